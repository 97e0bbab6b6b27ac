"""How many slots are left while others use the machine: readings in, a number out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppnext.server.politeness import Politeness


class Machine:
    """A machine of which others use so much."""

    def __init__(self, slots: int = 8, cores: int = 8) -> None:
        self.politeness = Politeness(slots, cores)
        self.now = self.used = 0.0
        self.seen: list[int] = []
        self.politeness.note(0.0, 0.0)

    def use(self, cores: float, seconds: int) -> int:
        """Others use so many cores for so long. Return how many slots are left."""
        for _ in range(seconds):
            self.now += 1.0
            self.used += cores
            self.politeness.note(self.now, self.used)
            self.seen.append(self.politeness.slots)
        return self.politeness.slots


def test_nobody_needs_it() -> None:
    assert Machine().use(0.1, 60) == 8


def test_slots_are_given_back_within_some_seconds() -> None:
    machine = Machine()
    assert machine.use(3.0, 8) == 5
    assert machine.use(8.0, 8) == 0
    assert machine.seen == sorted(machine.seen, reverse=True)


def test_they_are_taken_again_when_they_were_free_for_a_while() -> None:
    machine = Machine()
    machine.use(8.0, 20)
    assert machine.use(0.0, 9) == 0
    assert machine.use(0.0, 20) == 8


def test_a_pause_to_think_is_no_end() -> None:
    machine = Machine()
    machine.use(8.0, 20)
    for _ in range(10):
        assert machine.use(0.0, 8) == 0
        assert machine.use(8.0, 8) == 0


def test_only_what_was_free_all_the_time_is_taken_again() -> None:
    machine = Machine()
    machine.use(8.0, 20)
    machine.use(2.0, 10)
    machine.use(6.0, 4)
    machine.use(2.0, 2)
    assert machine.politeness.slots <= 4


def test_a_load_on_the_edge_does_not_flap() -> None:
    machine = Machine()
    machine.use(1.3, 20)
    del machine.seen[:]
    for _ in range(100):
        machine.use(1.2, 15)
        machine.use(1.3, 15)
    assert set(machine.seen) == {6}


def test_a_short_burst_costs_a_slot_and_not_all() -> None:
    machine = Machine()
    assert machine.use(4.0, 1) >= 6


def test_fewer_slots_than_cores_leave_room_for_others() -> None:
    assert Machine(slots=2, cores=8).use(5.0, 20) == 2
    assert Machine(slots=2, cores=8).use(7.0, 20) == 1


def test_with_more_slots_than_cores_each_that_is_used_costs_one() -> None:
    machine = Machine(slots=4, cores=2)
    assert machine.use(0.0, 20) == 4
    assert machine.use(1.0, 20) == 3


def test_a_clock_that_stands_still_says_nothing() -> None:
    politeness = Politeness(2, 2)
    for used in (0.0, 10.0, 20.0):
        politeness.note(5.0, used)
    assert (politeness.slots, politeness.load) == (2, 0.0)


@given(st.lists(st.tuples(st.floats(0, 16), st.integers(1, 30)), max_size=20))
def test_there_are_never_more_than_there_are_nor_fewer_than_none(
    times: list[tuple[float, int]],
) -> None:
    machine = Machine()
    for cores, seconds in times:
        machine.use(cores, seconds)
    assert all(0 <= slots <= 8 for slots in machine.seen)
    assert machine.use(0.0, 40) == 8
