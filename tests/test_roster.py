"""The roster: nodes come and go, and who waits for them wakes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ppnext.roster import Roster
from ppnext.stats import NodeStats

PATIENCE = 20.0


class Link(NamedTuple):
    """As much of a link as a roster asks."""

    name: str
    slots: int


class Waiter:
    """A thread that waits for nodes.

    Args:
        number: how many.
    """

    def __init__(self, roster: Roster, number: int) -> None:
        self.is_over = False
        self._looked = threading.Event()
        self._answers: list[bool] = []
        self._thread = threading.Thread(
            target=lambda: self._answers.append(roster.wait_for(number, PATIENCE, self._ask)),
            daemon=True,
        )
        self._thread.start()
        # It holds the roster's lock as it looks, and gives it up as it waits.
        assert self._looked.wait(PATIENCE)

    def _ask(self) -> bool:
        self._looked.set()
        return self.is_over

    def answer(self) -> bool:
        self._thread.join(PATIENCE)
        [answer] = self._answers
        return answer


@pytest.fixture
def roster() -> Roster:
    """A roster without nodes."""
    return Roster()


def test_at_first_there_is_this_machine_without_workers(roster: Roster) -> None:
    assert roster.stats() == {"local": NodeStats()}
    assert roster.active() == {} and roster.slots == 0


def test_workers_of_one_machine_are_one_node(roster: Roster) -> None:
    links = [Link("local", 1), Link("far", 8), Link("local", 1)]
    roster.recount("local", links)
    roster.recount("far", links)
    assert roster.active() == {"local": 2, "far": 8} and roster.slots == 10


def test_a_node_that_goes_is_remembered_with_what_it_has_done(roster: Roster) -> None:
    roster.recount("far", [Link("far", 8)])
    roster.node("far").njobs = 5
    roster.recount("far", [])
    assert roster.active() == {} and roster.slots == 0
    assert roster.stats()["far"] == NodeStats(ncpus=0, njobs=5)


def test_a_node_that_comes_back_is_the_same(roster: Roster) -> None:
    before = roster.node("far")
    roster.recount("far", [Link("far", 2)])
    assert roster.node("far") is before and before.ncpus == 2


def test_a_node_that_changes_its_size_is_counted_anew(roster: Roster) -> None:
    roster.recount("far", [Link("far", 2)])
    roster.recount("far", [Link("far", 3)])
    assert roster.active() == {"far": 3} and roster.slots == 3


def test_what_is_handed_out_does_not_change_with_the_roster(roster: Roster) -> None:
    active, stats = roster.active(), roster.stats()
    roster.recount("far", [Link("far", 2)])
    assert active == {} and set(stats) == {"local"}


def test_nobody_sees_a_count_that_is_not_finished(roster: Roster) -> None:
    links = [Link("a", 2), Link("b", 3)]
    roster.recount("a", links)
    seen: list[int] = []

    def looked_at() -> Iterator[Link]:
        for link in links:
            seen.append(roster.slots)
            yield link

    roster.recount("b", looked_at())  # type: ignore[arg-type]  # as much of links as is asked
    assert seen == [5, 5]


# Waiting.


def test_who_waits_for_what_is_there_does_not_wait(roster: Roster) -> None:
    roster.recount("a", [Link("a", 1)])
    assert roster.wait_for(1, None, lambda: False)
    assert roster.wait_for(0, None, lambda: False)


def test_who_waits_wakes_when_enough_nodes_are_there(roster: Roster) -> None:
    waiter = Waiter(roster, 2)
    roster.recount("a", [Link("a", 1)])
    roster.recount("b", [Link("a", 1), Link("b", 1)])
    assert waiter.answer()


def test_a_node_without_slots_does_not_count(roster: Roster) -> None:
    roster.recount("a", [Link("a", 0)])
    assert not roster.wait_for(1, 0.0, lambda: False)


def test_nobody_waits_longer_than_agreed(roster: Roster) -> None:
    assert not roster.wait_for(1, 0.0, lambda: False)


def test_who_waits_wakes_when_it_is_over(roster: Roster) -> None:
    waiter = Waiter(roster, 1)
    waiter.is_over = True
    roster.wake()
    assert not waiter.answer()


def test_to_be_woken_is_not_to_be_over(roster: Roster) -> None:
    waiter = Waiter(roster, 1)
    roster.wake()
    roster.recount("a", [Link("a", 1)])
    assert waiter.answer()


def test_once_it_is_over_nodes_do_not_count(roster: Roster) -> None:
    roster.recount("a", [Link("a", 1)])
    assert not roster.wait_for(1, None, lambda: True)
