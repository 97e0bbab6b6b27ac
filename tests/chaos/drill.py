"""The drill: before the campaign, in quiet, three times are measured.

How long it takes the client to notice a node that was killed, and one that has fallen silent; and
how much time is lost when one of the nodes is killed in the middle of a run. They are reported, not
judged: what a clock says depends on who else uses the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from tests.chaos.errands import Errand
from tests.chaos.laboratory import Laboratory
from tests.chaos.machine import Machine

__all__ = ["Drill", "drill"]

_PATIENCE = 60.0
_ROUNDS = 12
"""Jobs of each slot in a run."""


class Drill(NamedTuple):
    """What was measured, in seconds.

    Attributes:
        killed: until a killed node was noticed.
        silent: until a silent one was.
        silence: the limit for that.
        lost: more than the machines that were left needed for what was left when one was killed.
        job: how long each job of that run takes.
    """

    killed: float
    silent: float
    silence: float
    lost: float
    job: float

    def lines(self) -> Iterator[str]:
        """Yield the figures, with what they are to be."""
        yield f"a killed node was noticed after {self.killed:.3f} s (to be: 0.5 s at most)"
        yield (
            f"a silent node was noticed after {self.silent:.3f} s "
            f"(to be: {self.silence + 1:.1f} s at most)"
        )
        yield (
            f"one node of several killed in a run cost {self.lost:.3f} s "
            f"(to be: {self.job + 1:.1f} s at most)"
        )


async def drill(lab: Laboratory, numbers: Iterator[int]) -> Drill:
    """Measure.

    Args:
        lab: the laboratory; it is whole before and after.
        numbers: for jobs.
    """
    await _whole(lab)
    machine = next(it for it in lab.machines if not it.spared)
    silent = await _silent(lab, machine)
    lost, killed = await _killed_in_a_run(lab, machine, numbers)
    return Drill(killed, silent, lab.scale.silence, lost, _nap(0).seconds)


def _nap(number: int) -> Errand:
    return Errand(number, "nap", number * 100)


async def _whole(lab: Laboratory) -> None:
    names = [machine.address for machine in lab.machines]
    if not await lab.customer.sees(names, _PATIENCE):
        lab.blame(f"the client sees {lab.customer.nodes} of {names} after {_PATIENCE:g} s")


async def _gone(lab: Laboratory, machine: Machine, since: float) -> float:
    """Wait until the client has noticed. Return how long that took."""
    if not await lab.customer.until(lambda: machine.address not in lab.customer.nodes, _PATIENCE):
        lab.blame(f"the client does not notice that {machine.name} is gone")
    return lab.customer.changed_at - since


async def _silent(lab: Laboratory, machine: Machine) -> float:
    machine.busy = "silent"
    began = lab.now
    machine.stop()
    try:
        return await _gone(lab, machine, began)
    finally:
        machine.go_on()
        machine.busy = ""
        await _whole(lab)


async def _killed_in_a_run(
    lab: Laboratory, machine: Machine, numbers: Iterator[int]
) -> tuple[float, float]:
    """Return the time lost, and how long it took to notice."""
    await _run(lab, numbers, 1)  # workers are started before the run
    running = asyncio.ensure_future(_run(lab, numbers, _ROUNDS))
    await asyncio.sleep(_ROUNDS / 2 * _nap(0).seconds)  # the middle of the run
    machine.busy = "killed"
    left, began = lab.ledger.unfinished, lab.now
    await machine.kill()
    noticed = await _gone(lab, machine, began)
    await running
    took = lab.now - began
    await machine.start()
    machine.busy = ""
    await _whole(lab)
    slots = lab.capacity - machine.workers
    return took - left * _nap(0).seconds / slots, noticed


async def _run(lab: Laboratory, numbers: Iterator[int], rounds: int) -> None:
    for _ in range(rounds * lab.capacity):
        lab.customer.submit(_nap(next(numbers)))
    if not await lab.customer.until(lambda: not lab.ledger.unfinished, _PATIENCE):
        lab.blame(f"{lab.ledger.unfinished} jobs have not ended after {_PATIENCE:g} s")
