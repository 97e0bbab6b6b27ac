"""Faults of means: no more descriptors, no more memory, no more room on the disk.

Limits are set on running processes and taken back, from those too that inherited them.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.chaos.laboratory import Laboratory
from tests.chaos.leaks import family
from tests.chaos.machine import Machine, workers_of

__all__ = ["fill_disk", "has_small_disk", "starve_descriptors", "starve_memory", "starve_workers"]

_MIB = 1 << 20
_AFTER = 5.0
"""Seconds in which what was begun under a fault may still end because of it."""

_SCARCE = ("MemoryError", "ImportError", "OSError", "PoisonedJob", "RemoteError", "WorkerDied")
"""How jobs may end that have no memory: some could not even load numpy."""


@contextmanager
def _limited(daemon: int, what: int, limits: Iterable[tuple[int, int]]) -> Iterator[None]:
    """Have limits of processes, and take them back from them and all below the daemon."""
    former = resource.prlimit(daemon, what)
    for pid, soft in limits:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, what, (soft, former[1]))
    try:
        yield
    finally:
        for pid in (daemon, *(it.pid for it in family(daemon))):
            with suppress(ProcessLookupError):
                resource.prlimit(pid, what, former)


async def starve_descriptors(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """The daemon can open one more descriptor, or a few."""
    highest = max(int(it) for it in os.listdir(f"/proc/{machine.pid}/fd"))
    more = 1 + dice % 8
    excuse = lab.excuse("OSError", "ImportError")
    with _limited(machine.pid, resource.RLIMIT_NOFILE, [(machine.pid, highest + 1 + more)]):
        await asyncio.sleep(length)  # the fault itself
    excuse.end = lab.now + _AFTER
    return f"{more} more"


async def starve_memory(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """The daemon can have little more memory than it has."""
    limit = _address_space(machine.pid) + (1 + dice % 16) * _MIB
    excuse = lab.excuse(*_SCARCE)
    with _limited(machine.pid, resource.RLIMIT_AS, [(machine.pid, limit)]):
        await asyncio.sleep(length)  # the fault itself
    _replace_workers(lab, machine)
    excuse.end = lab.now + _AFTER
    return f"{(1 + dice % 16)} MiB more"


async def starve_workers(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """The workers of a daemon can have little more memory than they have."""
    more = (1 + dice % 8) * _MIB
    limits = []
    for worker in workers_of(machine.pid):
        with suppress(OSError, psutil.Error):  # it has ended meanwhile
            limits.append((worker.pid, _address_space(worker.pid) + more))
    excuse = lab.excuse(*_SCARCE)
    with _limited(machine.pid, resource.RLIMIT_AS, limits):
        await asyncio.sleep(length)  # the fault itself
    _replace_workers(lab, machine)
    excuse.end = lab.now + _AFTER
    return f"{len(limits)} workers"


def _replace_workers(lab: Laboratory, machine: Machine) -> None:
    """Kill the workers: an extension module that failed to load fails for ever in its process."""
    for worker in workers_of(machine.pid):
        lab.ledger.worker_killed(lab.now)
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def _address_space(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().vms)


def has_small_disk(machine: Machine) -> bool:
    """Whether the machine's temporary folder can be filled without harm to others."""
    return machine.has_small_disk


async def fill_disk(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """There is no more room for temporary files."""
    path = machine.temporary / "full"
    excuse = lab.excuse("OSError", "output")
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while True:  # until there is no more room, at 64 KiB
            file.write(bytes(1024))
    try:
        await asyncio.sleep(length)  # the fault itself
    finally:
        path.unlink()
        excuse.end = lab.now + _AFTER
    return f"{length:.1f} s"
