"""Yielding: who is suspended, and when. What others use is what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from ppnext.server.guests import Guests
from ppnext.server.politeness import Politeness
from ppnext.server.yielding import Courtesy, Yielding


class Loop:
    """An event loop whose time a test tells."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: object) -> None:
        """The test makes the calls."""


class Worker:
    """A worker that has a job."""

    suspended_since: float | None = None

    def proceed(self) -> None:
        self.suspended_since = None


class Jobs:
    """The jobs of one client, which take a slot each and never end."""

    def __init__(self, number: int) -> None:
        self._workers = [Worker() for _ in range(number)]
        self.excess = 0

    @property
    def running(self) -> list[Worker]:
        return [it for it in self._workers if it.suspended_since is None]

    @property
    def suspended(self) -> list[Worker]:
        return [it for it in self._workers if it.suspended_since is not None]

    @property
    def busy(self) -> int:
        return len(self.running)

    def slots_of(self, worker: Worker) -> int:
        return 1

    def hand_back(self) -> None:
        """All of them have been started."""

    def give_up(self, before: float) -> None:
        """Nobody waits for so long."""

    def suspend(self, now: float) -> int:
        self.running[-1].suspended_since = now
        return 1


class Machine:
    """A machine that is full of jobs."""

    def __init__(self, cores: int) -> None:
        self.loop, self.jobs, self._used = Loop(), Jobs(cores), 0.0
        self.yielding = Yielding(
            cast(asyncio.AbstractEventLoop, self.loop),
            Courtesy(Politeness(cores, cores), lambda: self._used, 60.0),
            lambda: cast(Sequence[Guests], [self.jobs]),
            lambda: None,
        )
        self.yielding.look()

    def second(self, others: float) -> None:
        """Others use so many cores for a second."""
        self.loop.now += 1.0
        self._used += others
        self.yielding.look()


def test_jobs_have_a_second_to_end_by_themselves_and_no_more_while_others_need_ever_more() -> None:
    machine, left = Machine(64), 64
    for _ in range(12):
        machine.second(64.0)
        assert machine.jobs.busy == left, "as many as there were slots a second ago"
        left = machine.yielding.slots
    assert machine.jobs.busy == 0


def test_jobs_go_on_when_there_are_slots_again() -> None:
    machine = Machine(4)
    for _ in range(6):
        machine.second(2.0)
    assert machine.jobs.busy == 2
    for _ in range(30):
        machine.second(0.0)
    assert machine.jobs.busy == 4
