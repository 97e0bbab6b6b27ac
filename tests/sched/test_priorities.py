"""Priorities: what matters more goes first, and keeps nothing from a node that it cannot use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.sched.model import JobId, JobState, NodeId, NodeKind
from ppnext.sched.scheduler import Scheduler
from tests.sched.letters import Bench, letters, priority


def order(bench: Bench, node: int) -> list[int]:
    """Let a node run one job after another; return in which order it did."""
    ran: list[int] = []
    while held := bench.held(node):
        ran.append(held[0])
        bench.finish(node, held[0])
    return ran


# Which job is next.


def test_a_higher_priority_goes_first() -> None:
    bench = Bench()
    bench.submit((1, "a"), (2, "a5"), (3, "a-5"), (4, "a2"), (5, "a5"))
    bench.node(1, "a")
    assert order(bench, 1) == [2, 5, 4, 1, 3]


def test_jobs_that_need_nothing_have_priority_0() -> None:
    bench = Bench()
    bench.submit((1, "a-1"), (2, None), (3, "a"), (4, None), (5, "a1"))
    bench.node(1, "a")
    assert order(bench, 1) == [5, 2, 3, 4, 1]


def test_of_one_priority_the_oldest_goes_first_whatever_it_needs() -> None:
    bench = Bench()
    bench.submit((1, "a2"), (2, "b2"), (3, "b2"), (4, "a2"), (5, "b"), (6, "a2"))
    bench.node(1, "ab")
    assert order(bench, 1) == [1, 2, 3, 4, 6, 5]


def test_one_with_a_higher_priority_that_comes_later_goes_before_all_that_wait() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.submit((1, "a"), (2, "a"), (3, "a"))
    assert bench.submit((4, "a9")) == []
    assert bench.finish(1, 1) == [("run", 1, [4])]
    assert bench.finish(1, 4) == [("run", 1, [2])]


def test_what_runs_is_not_disturbed() -> None:
    bench = Bench()
    bench.node(1, "a", slots=2)
    bench.submit((1, "a"), (2, "a"))
    assert bench.submit((3, "a9")) == []
    assert bench.held(1) == [1, 2]


def test_one_that_is_given_back_goes_to_the_front_of_its_own_priority() -> None:
    bench = Bench()
    bench.node(1, "a", slots=2)
    bench.submit((1, "a"), (2, "a3"), (3, "a"), (4, "a3"))
    assert bench.held(1) == [2, 4]
    assert bench.returned(1, 2, 4) == [("run", 1, [2, 4])]
    assert bench.finish(1, 2) == [("run", 1, [1])]


def test_a_new_need_brings_a_new_priority() -> None:
    bench = Bench()
    bench.submit((1, "a"), (2, "a"), (3, "a"), (4, "a2"))
    bench.need("a2", 3)
    bench.need("a-2", 1)
    bench.node(1, "a")
    assert order(bench, 1) == [3, 4, 2, 1]


# Which node gets it.


def test_a_node_with_many_slots_is_given_the_highest_first() -> None:
    bench = Bench()
    bench.submit((1, "a"), (2, "b1"), (3, None), (4, "a1"), (5, "b2"))
    assert bench.node(1, "ab", slots=4) == [("run", 1, [5, 2, 4, 1])]


def test_open_nodes_are_given_the_highest_first() -> None:
    bench = Bench()
    for node in (1, 2, 3):
        bench.node(node, "a")
    bench.submit((1, "a"), (2, "a1"), (3, None), (4, "a2"), (5, "a1"))
    assert [bench.held(node) for node in (1, 2, 3)] == [[4], [2], [5]]
    assert bench.scheduler.waiting == 2


def test_a_priority_that_no_open_node_fits_holds_up_nobody() -> None:
    bench = Bench()
    bench.submit((1, "b9"), (2, "z9"), (3, "a"), (4, "a-1"), (5, None))
    assert bench.node(1, "a", slots=2) == [("run", 1, [3, 5])]
    assert bench.finish(1, 3) == [("run", 1, [4])]
    assert bench.node(2, "b", slots=2) == [("run", 2, [1])]
    assert bench.scheduler.waiting == 1


def test_open_nodes_that_fit_only_the_lowest_get_those() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.node(2, "b")
    bench.node(3, "c")
    bench.submit((1, "c-3"), (2, "a2"), (3, "a2"), (4, "b1"), (5, "b1"))
    assert [bench.held(node) for node in (1, 2, 3)] == [[2], [4], [1]]


def test_without_a_rule_all_have_the_same() -> None:
    scheduler = Scheduler(fits=letters)
    scheduler.on_submit([JobState(JobId(1), None), JobState(JobId(2), None, need="a9")])
    scheduler.on_node_joined(NodeId(1), "n", NodeKind.DAEMON, 1, 0.0001, "a")
    assert list(scheduler.nodes[NodeId(1)].held) == [1]


# What the owner can ask.


def test_how_many_go_before_counts_the_higher_and_of_equals_the_older() -> None:
    bench = Bench()
    bench.node(1, "ab", slots=0)
    bench.submit((1, "a"), (2, "b2"), (3, "a2"), (4, None), (5, "b"), (6, "b2"), (7, "a-1"))
    before = {job: bench.scheduler.waiting_before(JobId(job)) for job in range(1, 8)}
    assert before == {2: 0, 3: 1, 6: 2, 1: 3, 4: 4, 5: 5, 7: 6}


def test_how_many_go_before_leaves_out_the_higher_that_want_other_nodes() -> None:
    bench = Bench()
    bench.node(1, "a", slots=0)
    bench.node(2, "b", slots=0)
    bench.submit((1, "b9"), (2, "a9"), (3, None), (4, "a"))
    before = [bench.scheduler.waiting_before(JobId(job)) for job in (1, 2, 3, 4)]
    assert before == [0, 0, 2, 2]


@pytest.mark.parametrize(("least", "count"), [(3, 0), (2, 2), (1, 2), (0, 4), (-1, 5), (-100, 5)])
def test_how_many_wait_that_have_a_priority_or_a_higher_one(least: int, count: int) -> None:
    bench = Bench()
    bench.submit((1, "a2"), (2, "b2"), (3, None), (4, "c"), (5, "a-1"))
    assert bench.scheduler.pools.waiting_from(least) == count


def test_how_many_wait_of_each_priority() -> None:
    bench = Bench()
    assert bench.scheduler.pools.waiting_by_priority() == [(0, 0)]
    bench.submit((1, "a2"), (2, "b2"), (3, None), (4, "c"), (5, "a-1"))
    assert bench.scheduler.pools.waiting_by_priority() == [(-1, 1), (0, 2), (2, 2)]


# Whatever they are.

wanted = st.lists(st.sampled_from([None, "a", "a2", "b2", "b-1", "a-1", "z7"]), max_size=40)


@given(wanted, st.integers(1, 5))
def test_one_node_runs_what_it_fits_by_priority_and_then_by_number(
    needs: list[str | None], slots: int
) -> None:
    bench = Bench()
    bench.submit(*enumerate(needs))
    bench.node(1, "ab", slots=slots)
    ranks = {job: priority(need or "a") for job, need in enumerate(needs) if need != "z7"}
    assert order(bench, 1) == sorted(ranks, key=lambda job: (-ranks[job], job))


@given(wanted)
def test_how_many_go_before_is_the_place_in_that_order(needs: list[str | None]) -> None:
    bench = Bench()
    bench.node(1, "abz", slots=0)
    bench.submit(*enumerate(needs))
    before = [bench.scheduler.waiting_before(JobId(job)) for job in range(len(needs))]
    ranks = [(-priority(need or "a"), job) for job, need in enumerate(needs)]
    assert before == [sorted(ranks).index(rank) for rank in ranks]


@given(wanted, st.lists(st.sampled_from(["a", "b", "ab", "z"]), min_size=1, max_size=5))
def test_no_job_waits_for_a_node_that_was_given_a_lower_one(
    needs: list[str | None], nodes: list[str]
) -> None:
    bench = Bench()
    for node, facts in enumerate(nodes):
        bench.node(node, facts, slots=node % 3 + 1)
    bench.submit(*enumerate(needs))
    left = [job for job in bench.scheduler.jobs.values() if job.node is None]
    for node, facts in enumerate(nodes):
        given_here = [priority(needs[job] or "a") for job in bench.held(node)]
        fitting = [job.need or "a" for job in left if not job.need or job.need[0] in facts]
        assert not given_here or all(priority(need) <= min(given_here) for need in fitting)
