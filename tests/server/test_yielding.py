"""How a daemon gives slots back and takes them again: which jobs wait, and which go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ppnext.server.politeness import Politeness
from ppnext.server.yielding import Courtesy, Yielding

TROUBLE = "it is not known what others use: too many open files"


class Worker:
    """What runs a job, or has to wait with it."""

    def __init__(self, name: str, slots: int = 1) -> None:
        self.name, self.slots = name, slots
        self.suspended_since: float | None = None
        self.stays = False

    def __repr__(self) -> str:
        return self.name


class Guests:
    """The jobs of a session."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers
        self.told: list[object] = []

    @property
    def running(self) -> list[Worker]:
        return [it for it in self._workers if it.suspended_since is None and not it.stays]

    @property
    def waiting(self) -> list[Worker]:
        return [it for it in self._workers if it not in self.running]

    @property
    def busy(self) -> int:
        return sum(it.slots for it in self.running)

    @property
    def excess(self) -> int:
        return self.busy

    def slots_of(self, worker: Worker) -> int:
        return worker.slots

    def hand_back(self) -> None:
        self.told.append("hand back")

    def suspend(self, now: float) -> int:
        worker = self.running[-1]
        worker.suspended_since = now
        return worker.slots

    def proceed(self, worker: Worker) -> None:
        worker.suspended_since, worker.stays = None, False

    def give_up(self, before: float) -> None:
        for worker in self.waiting:
            if worker.suspended_since is not None and worker.suspended_since <= before:
                worker.suspended_since, worker.stays = None, True  # as one that runs once


class Loop:
    """Its time is what a test says; the calls that it is to make are not made."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        pass


class Machine:
    """A daemon whose owner comes and goes."""

    def __init__(self, slots: int, *guests: Guests, smoothing: float = 0.01) -> None:
        self._loop = Loop()
        self._used = 0.0
        self.load = 0.0
        self.changes: list[tuple[int, list[Worker]]] = []
        self._guests = guests
        politeness = Politeness(slots, cores=slots, smoothing=smoothing, patience=2.0)
        self.has_descriptors = True
        courtesy = Courtesy(politeness, self._read, after=10.0)
        loop: Any = self._loop
        everybody: Any = self._all
        self.yielding = Yielding(loop, courtesy, everybody, self._changed)
        self.look()

    def _read(self) -> float:
        if not self.has_descriptors:
            raise OSError("too many open files")
        return self._used

    def _all(self) -> tuple[Guests, ...]:
        return self._guests

    def _changed(self) -> None:
        running = [worker for guests in self._guests for worker in guests.running]
        self.changes.append((self.yielding.slots, running))

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self._loop.now += 1.0
            self._used += self.load
            self.yielding.look()


def test_a_look_for_which_there_is_no_descriptor_is_not_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = Worker("one"), Worker("other")
    machine = Machine(2, Guests(one, other))
    machine.load = 1.0
    machine.look()
    machine.has_descriptors = False
    machine.look()  # who has had his time to end has had it
    assert (one.suspended_since, other.suspended_since) == (None, 3.0)
    machine.look(5)
    assert [it.message for it in caplog.records].count(TROUBLE) == 1
    machine.has_descriptors, machine.load = True, 0.0
    machine.look(5)
    assert other.suspended_since is None


def test_jobs_have_until_the_next_look_to_end_and_are_then_suspended() -> None:
    first, second, third = workers = [Worker(name) for name in "abc"]
    guests = Guests(*workers)
    machine = Machine(3, guests)
    machine.load = 2.0
    machine.look()
    assert machine.changes == [(1, workers)] and guests.told == ["hand back"]
    machine.look()
    assert guests.running == [first] and guests.waiting == [second, third]


def test_they_have_no_more_time_while_others_need_ever_more() -> None:
    guests = Guests(*(Worker(str(number)) for number in range(64)))
    machine, left = Machine(64, guests, smoothing=2.0), 64
    machine.load = 64.0
    for _ in range(12):
        machine.look()
        assert guests.busy == left, "as many as there were slots a second ago"
        left = machine.yielding.slots
    assert guests.busy == 0


def test_jobs_that_wait_for_a_slot_come_before_those_that_are_sent_next() -> None:
    workers = [Worker(name) for name in "ab"]
    machine = Machine(2, Guests(*workers))
    machine.load = 1.0
    machine.look(2)
    machine.load = 0.0
    machine.look(4)
    # When it is said that there are more slots, the job that had waited runs again.
    assert machine.changes == [(1, workers), (2, workers)]


def test_a_job_that_goes_on_without_a_slot_has_the_next_one() -> None:
    first, second, third = Worker("a"), Worker("b"), Worker("c")
    guests = Guests(first, second, third)
    machine = Machine(3, guests)
    machine.load = 2.0
    machine.look(13)
    assert guests.running == [first] and second.stays and third.stays
    machine.load = 1.0
    machine.look(4)
    assert guests.running == [first, second] and third.stays


def test_a_large_job_waits_until_all_its_slots_are_there() -> None:
    small, large = Worker("small"), Worker("large", slots=2)
    guests = Guests(small, large)
    machine = Machine(3, guests)
    machine.load = 1.0
    machine.look(5)
    assert guests.waiting == [large]
    machine.load = 0.0
    machine.look(4)
    assert guests.waiting == []
