"""Relief: one job at a time gives way, no other is started, and slots come back one by one."""

from __future__ import annotations

import pytest

from ppnext.nodes.relief import Relief, Running
from ppnext.runtime.memory import Room
from ppnext.sched.model import Limit
from tests.nodes.clock import Clock

MIB, GIB = 1 << 20, 1 << 30
SHORT, WELL = [Room(16 * GIB, MIB)], [Room(16 * GIB, 8 * GIB)]
TIGHT = [Room(16 * GIB, GIB // 2)]
"""Not short, and without room for more."""


class Guard:
    """Notes what it is told."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.told: list[tuple[Limit, str, int]] = []

    def exceed(self, job: tuple[int, int], limit: Limit, cause: str, peak: int) -> None:
        self.told.append((limit, cause, peak))
        self._pool.jobs = [it for it in self._pool.jobs if it.job != job]


class Pool:
    """Workers that are wanted, and what runs."""

    def __init__(self, wanted: int = 4) -> None:
        self.jobs: list[Running] = []
        self._wanted = wanted
        self.most: int | None = None

    def runs(self, number: int, size: int) -> Guard:
        guard = Guard(self)
        self.jobs.append(Running((number, 1), guard, lambda: size * MIB))  # type: ignore[arg-type]  # as much of a guard as is asked
        return guard

    def running(self) -> list[Running]:
        return list(self.jobs)

    @property
    def is_held_back(self) -> bool:
        return self.most is not None

    def hold_back(self, most: int) -> None:
        self.most = most

    def give_back(self) -> None:
        assert self.most is not None
        self.most = self.most + 1 if self.most + 1 < self._wanted else None


class Machine:
    """A machine with two pools."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pools = [Pool(), Pool()]
        self.rooms: list[Room] | None = WELL
        self.reads = 0
        self.has_jobs = False
        self.relief = Relief(
            self.clock, self.clock.time, lambda: self.pools, lambda: self.has_jobs, self.read
        )

    def read(self) -> list[Room]:
        self.reads += 1
        if self.rooms is None:
            raise OSError("too many open files")
        return self.rooms


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_it_looks_once_a_second_and_only_while_jobs_run(machine: Machine) -> None:
    machine.relief.watch()
    machine.clock.forward(10.0)
    assert machine.reads == 0 and not machine.clock.pending
    machine.pools[0].runs(1, 100)
    machine.relief.watch()
    machine.relief.watch()
    machine.clock.forward(10.0)
    assert machine.reads == 10
    machine.pools[0].jobs.clear()
    machine.clock.forward(10.0)
    assert machine.reads == 10 and not machine.clock.pending


def test_what_cannot_be_seen_now_is_looked_at_again(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = machine.pools[0].runs(1, 1000)
    machine.rooms = None
    machine.relief.watch()
    machine.clock.forward(5.0)
    assert machine.reads == 5 and not first.told
    assert caplog.messages == ["it is not known how much memory is left: too many open files"]
    machine.rooms = SHORT
    machine.clock.forward(1.0)
    assert first.told


def test_jobs_that_begin_late_are_seen_as_well(machine: Machine) -> None:
    """Their workers are still being started, or they have been sent just now."""
    machine.has_jobs = True
    machine.relief.watch()
    machine.clock.forward(3.5)
    assert machine.reads == 0, "there is nothing that could give way"
    guard = machine.pools[0].runs(1, 1000)
    machine.rooms = SHORT
    machine.clock.forward(1.0)
    assert guard.told
    machine.has_jobs, machine.rooms = False, WELL
    machine.clock.forward(120.0)
    assert not machine.clock.pending


def test_the_newest_large_job_of_all_clients_gives_way_and_no_other_begins(
    machine: Machine,
) -> None:
    one, other = machine.pools
    others = [one.runs(1, 1000), one.runs(2, 100)]
    machine.relief.watch()
    machine.clock.forward(1.0)
    newest = other.runs(1, 900)
    machine.clock.forward(1.0)
    machine.rooms = SHORT
    machine.clock.forward(1.0)
    [(limit, cause, peak)] = newest.told
    assert limit is Limit.PRESSURE and peak == 900 * MIB
    assert cause == (
        f"the machine ran short of memory: {MIB} of {16 * GIB} bytes were left, "
        f"and the job had {900 * MIB}"
    )
    assert not any(guard.told for guard in others)
    assert (one.most, other.most) == (2, 0)


def test_while_it_is_short_one_after_the_other_gives_way_but_none_that_is_small(
    machine: Machine,
) -> None:
    pool = machine.pools[0]
    guards = [pool.runs(number, size) for number, size in enumerate((10, 300, 1000))]
    machine.rooms = SHORT
    machine.relief.watch()
    machine.clock.forward(1.0)
    assert [len(guard.told) for guard in guards] == [0, 0, 1]
    machine.clock.forward(1.0)
    assert [len(guard.told) for guard in guards] == [0, 1, 1]
    machine.clock.forward(10.0)
    assert [len(guard.told) for guard in guards] == [0, 1, 1]
    assert pool.most == 1


def test_slots_come_back_one_by_one_when_there_is_room(machine: Machine) -> None:
    pool = machine.pools[0]
    pool.runs(1, 1000)
    machine.rooms = SHORT
    machine.relief.watch()
    machine.clock.forward(1.0)
    machine.rooms = TIGHT
    machine.clock.forward(20.0)
    assert pool.most == 0
    machine.rooms = WELL
    machine.clock.forward(1.0)
    assert pool.most == 1
    machine.clock.forward(5.0)
    assert pool.most == 2
    machine.clock.forward(10.0)
    assert pool.most is None
    machine.clock.forward(10.0)
    assert not machine.clock.pending


def test_they_come_back_in_the_end_although_others_keep_the_memory(machine: Machine) -> None:
    pool = machine.pools[0]
    pool.runs(1, 1000)
    machine.rooms = SHORT
    machine.relief.watch()
    machine.clock.forward(30.0)
    assert pool.most == 0
    machine.clock.forward(2.0)
    assert pool.most == 1
