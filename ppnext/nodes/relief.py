"""Relief: when the machine runs short of memory, a job gives way; never a client or a daemon.

While jobs run here, the memory of the machine is looked at once a second. When it is short, one job
is killed (``ppnext.nodes.pressure`` says which), with what it had and what the machine had as the
cause; whoever submitted it has it run again. No other job is started here until there is room, or
half a minute has passed, for others may have the memory; then one more may run every few seconds.
So what had been run beside others is run beside fewer, and in the end alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple, Protocol

from ppnext.nodes.guard import Guard
from ppnext.nodes.pressure import Sized, has_room, newest_large, short_of
from ppnext.runtime.memory import Room, rooms
from ppnext.sched.model import Limit
from ppnext.wire.messages import JobRef

__all__ = ["Pool", "Relief", "Running"]

_log = logging.getLogger("ppnext.workers")

_LOOK_EVERY = 1.0
"""Seconds between two looks."""

_MORE_EVERY = 5.0
"""Seconds between two slots that are given back."""

_PATIENCE = 30.0
"""Seconds after which slots are given back although there is little memory."""


class Running(NamedTuple):
    """A job that a worker here runs.

    Attributes:
        job: its number and attempt.
        guard: can kill it.
        footprint: says how many bytes of memory it has.
    """

    job: JobRef
    guard: Guard
    footprint: Callable[[], int]


class Pool(Protocol):
    """The workers of one client."""

    def running(self) -> list[Running]:
        """Return what they run."""

    def hold_back(self, most: int) -> None:
        """Have no more than so many workers for now."""

    def give_back(self) -> None:
        """Have one more, until there are as many as are wanted."""

    @property
    def is_held_back(self) -> bool:
        """Whether there are to be fewer workers than are wanted."""


class Timers(Protocol):
    """The event loop."""

    def later(self, seconds: float, call: Callable[[], None]) -> object:
        """Make a call after so many seconds."""


class Relief:
    """Watches over the memory of this machine for the jobs of some pools.

    Args:
        turn: of the event loop.
        clock: its time, in seconds.
        pools: says which there are.
        has_jobs: whether any job may begin without ``watch`` being called again, since it waits for
            a worker to be started, or has been sent to one just now.
        read: says how much memory there is, and how much of it is left.
    """

    def __init__(
        self,
        turn: Timers,
        clock: Callable[[], float],
        pools: Callable[[], Iterable[Pool]],
        has_jobs: Callable[[], bool],
        read: Callable[[], list[Room]] = rooms,
    ) -> None:
        self._turn = turn
        self._clock = clock
        self._pools = pools
        self._has_jobs = has_jobs
        self._read = read
        self._is_looking = False
        # When a look saw each job first that runs.
        self._began: dict[tuple[Guard, JobRef], float] = {}
        # Since when no pool has been given another worker.
        self._since = 0.0
        # Whether the last look has failed, and somebody has been told.
        self._is_blind = False

    def watch(self) -> None:
        """Jobs have been sent to workers."""
        if not self._is_looking:
            self._is_looking = True
            self._turn.later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        now = self._clock()
        self._is_looking = False
        running = {pool: pool.running() for pool in self._pools()}
        before, self._began = self._began, {}
        for it in chain.from_iterable(running.values()):
            self._began[it.guard, it.job] = before.get((it.guard, it.job), now)
        held_back = [pool for pool in running if pool.is_held_back]
        if not self._began and not held_back:
            if self._has_jobs():
                self.watch()
            return
        self.watch()
        try:
            there = self._read()
            self._is_blind = False
        except OSError as error:  # the next look may have a descriptor for it
            if not self._is_blind:
                _log.info("it is not known how much memory is left: %s", error)
            self._is_blind = True
            return
        room = short_of(there)
        if room is not None:
            self._relieve(running, room, now)
        if held_back and now - self._since >= (_MORE_EVERY if has_room(there) else _PATIENCE):
            self._since = now
            for pool in held_back:
                pool.give_back()

    def _relieve(self, running: dict[Pool, list[Running]], room: Room, now: float) -> None:
        """Have one job killed, and no other started."""
        jobs = list(chain.from_iterable(running.values()))
        sizes = [Sized(it.footprint(), self._began[it.guard, it.job]) for it in jobs]
        place = newest_large(sizes)
        if place is None:
            return
        victim = jobs[place]
        self._since = now
        # First of all: the job would be run again at once on a worker that is idle.
        for pool, own in running.items():
            pool.hold_back(sum(it is not victim for it in own))
        victim.guard.exceed(
            victim.job,
            Limit.PRESSURE,
            f"the machine ran short of memory: {room.available} of {room.total} bytes were left, "
            f"and the job had {sizes[place].size}",
            sizes[place].size,
        )
