"""The aftermath: faults have stopped, and everything has to be as it was before.

In this order: all jobs end within a bound that is computed from what is left to do; every node
offers all its slots, and they can be used at the same time; a client that is killed leaves nothing
within five seconds; client and daemons hold what they held before the first fault; a client that
ends and daemons that are told to end do so, with status 0; no log tells of an uncaught exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from tests.chaos.errands import Errand
from tests.chaos.laboratory import GRACE, Laboratory
from tests.chaos.leaks import descriptors, family, segments
from tests.chaos.logs import surprises
from tests.chaos.machine import Machine

__all__ = ["aftermath", "bound", "ready"]

_LOOK = 0.05
_REDIAL = 75.0
"""Seconds after which even a daemon that failed often has been dialled again: 60, and some."""

_STARTS = 20.0
"""Seconds that workers may take to be started again, some after failures."""

_HOLDING = 60.0
"""Seconds after which idle memory has been given back."""

_SLACK = 4
"""Descriptors that a client may open only after a while; what leaks by the job is many more."""


def bound(lab: Laboratory) -> float:
    """Return within how many seconds all jobs have to end from now on.

    What is lost is noticed after the silence limit; then everything might have to be done again,
    by one worker.
    """
    return lab.scale.silence + 1.0 + _STARTS + 2 * lab.ledger.seconds_left / lab.scale.local


async def ready(lab: Laboratory) -> None:
    """Wait until everything works for the first time, and note what the client then holds."""
    await _slots_are_back(lab)
    await _all_slots_work(lab)
    lab.client_descriptors = len(descriptors(lab.customer.pid))


async def aftermath(lab: Laboratory, numbers: Iterator[int]) -> None:
    """Check that all is well again; what is not is blamed in the laboratory."""
    await _all_end(lab)
    await _slots_are_back(lab)
    await _all_slots_work(lab)
    await _the_client_holds_no_more(lab)
    await _a_killed_client_leaves_nothing(lab, numbers)
    await _daemons_hold_nothing(lab)
    await _everybody_leaves(lab)


async def _all_end(lab: Laboratory) -> None:
    seconds = bound(lab)
    lab.note(f"{lab.ledger.unfinished} jobs have not ended; they have {seconds:.1f} s")
    began = lab.now
    if await lab.customer.until(lambda: not lab.ledger.unfinished, seconds):
        lab.note(f"all have ended after {lab.now - began:.1f} s")
        return
    lab.blame(f"{lab.ledger.unfinished} jobs have not ended {seconds:.1f} s after the last fault")
    for number, where in (await lab.customer.explain()).items():
        lab.note(f"job {number}: {where}")
    lab.customer.dump()


async def _slots_are_back(lab: Laboratory) -> None:
    wanted = {machine.address: machine.workers for machine in lab.machines}
    wanted["local"] = lab.scale.local
    began = lab.now
    if await lab.customer.until(lambda: lab.customer.nodes == wanted, _REDIAL):
        lab.note(f"all slots are back after {lab.now - began:.1f} s")
    else:
        lab.blame(f"slots are {lab.customer.nodes}, not {wanted}")


async def _all_slots_work(lab: Laboratory) -> None:
    size = lab.capacity
    lab.customer.meet(len(lab.ledger.entries), size)
    met = await lab.customer.until(lambda: len(lab.customer.meetings) == size, 60.0)
    if not met or not all(it is True for it in lab.customer.meetings):
        lab.blame(f"{size} jobs cannot run at the same time: {lab.customer.meetings}")
        for number, where in (await lab.customer.explain()).items():
            lab.note(f"job {number}: {where}")


async def _the_client_holds_no_more(lab: Laboratory) -> None:
    pid, most = lab.customer.pid, lab.client_descriptors + _SLACK
    if not await _becomes(lab, partial(_has_few_descriptors, pid, most), _HOLDING):
        held = sorted(descriptors(pid))
        lab.blame(f"the client holds {len(held)} descriptors, not {most}: {held}")


async def _a_killed_client_leaves_nothing(lab: Laboratory, numbers: Iterator[int]) -> None:
    lab.customer.busy = "killed"
    for _ in range(2 * lab.capacity):
        lab.customer.submit(Errand(next(numbers), "nap", 99))
    await asyncio.sleep(0.5)  # so that some run
    processes = family(lab.customer.pid)
    for machine in lab.machines:
        processes += family(machine.pid)
    lab.vigil.expect(processes, lab.now, "the last client was killed")
    began = lab.now
    await lab.customer.kill()
    await _becomes(lab, lambda: not len(lab.vigil), GRACE + 1.0)
    lab.note(f"{len(processes)} processes were gone after {lab.now - began:.2f} s")


async def _daemons_hold_nothing(lab: Laboratory) -> None:
    for machine in lab.machines:
        calm = lab.calm_descriptors[machine.name]
        if not await _becomes(lab, partial(_has_few_descriptors, machine.pid, calm), GRACE):
            held = sorted(descriptors(machine.pid))
            lab.blame(f"daemon {machine.name} holds {len(held)} descriptors, not {calm}: {held}")
        if not await _becomes(lab, partial(_has_no_segments, machine), _HOLDING):
            lab.blame(f"daemon {machine.name} holds {segments(machine.pid)} segments")
        if family(machine.pid):
            lab.blame(f"daemon {machine.name} still has processes: {family(machine.pid)}")
        if left := list(machine.temporary.iterdir()):
            lab.blame(f"daemon {machine.name} has left files: {left}")


def _has_few_descriptors(pid: int, few: int) -> bool:
    return len(descriptors(pid)) <= few


def _has_no_segments(machine: Machine) -> bool:
    return not segments(machine.pid)


async def _everybody_leaves(lab: Laboratory) -> None:
    await lab.customer.start()
    await lab.customer.sees([machine.address for machine in lab.machines], _REDIAL)
    if status := await lab.customer.leave():
        lab.blame(f"the last client ended with status {status}")
    for machine in lab.machines:
        machine.busy = "ended"
        await machine.end()
        if status := await machine.ended():
            lab.blame(f"daemon {machine.name} ended with status {status}: {machine.last_words()}")
    for path in sorted(lab.folder.glob("log-*")):
        for surprise in surprises(path):
            lab.blame(surprise)


async def _becomes(lab: Laboratory, question: Callable[[], bool], patience: float) -> bool:
    """Ask again and again; the system does not tell."""
    until = lab.now + patience
    while lab.now < until:
        lab.vigil.look(lab.now)
        with suppress(OSError):  # a process of which something was asked has just ended
            if question():
                return True
        await asyncio.sleep(_LOOK)  # no event tells of what other processes do
    return False
