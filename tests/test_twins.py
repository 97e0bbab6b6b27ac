"""Twins: of two attempts the first result counts, and whatever befalls one, the job ends once."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from ppnext.sched.invariants import check
from ppnext.sched.model import Limit, NodeKind, Verdict
from tests.rescue_lab import Lab, Node

STOPPED = Verdict(Limit.TIMEOUT, "it ran too long")


class Both:
    """A job that runs on a slow node, and its twin on a quick one."""

    def __init__(self, **terms: object) -> None:
        self.lab = Lab()
        self.slow = self.lab.node("slow")
        self.job = self.lab.submit(**terms)
        self.quick = self.lab.node("quick")
        self.lab.start_twin(self.job)

    @property
    def ended(self) -> list[tuple[int, str]]:
        scheduler = self.lab.engine._scheduler  # what is checked is inside
        check(scheduler, scheduler._policy)
        return self.lab.ended

    def more(self, name: str) -> Node:
        """Have another node; it is given what is to be run again."""
        return self.lab.node(name)


@pytest.fixture
def both() -> Both:
    return Both()


def test_a_twin_runs_elsewhere_and_is_no_job_of_its_own(both: Both) -> None:
    assert (both.slow.numbers, both.quick.numbers) == ([0], [-1])
    assert both.job.attempts == 2
    assert len(both.lab.twins) == 1 and both.lab.engine.unfinished == 2
    assert both.lab.twins.node_of(both.job) == "quick"


def test_twins_may_be_counted_while_they_end(both: Both) -> None:
    def end(frame: FrameType, event: str, argument: object) -> object:
        if frame.f_code.co_name == "<genexpr>":
            sys.settrace(None)
            both.quick.answers()
        return None

    sys.settrace(end)
    try:
        len(both.lab.twins)
    finally:
        sys.settrace(None)
    assert both.ended and len(both.lab.twins) == 0


def test_the_twin_is_first(both: Both) -> None:
    both.quick.answers()
    assert both.ended == [(0, "done on quick")] and both.job.node == "quick"
    assert both.slow.stopped == [0] and both.job.arguments == b""
    both.slow.answers()
    assert both.ended == [(0, "done on quick")]
    assert both.lab.engine.unfinished == len(both.lab.twins) == 0


def test_the_twin_is_too_late(both: Both) -> None:
    both.slow.answers()
    assert both.ended == [(0, "done on slow")] and both.job.node == "slow"
    assert both.quick.stopped
    both.quick.answers()
    assert both.ended == [(0, "done on slow")] and both.lab.engine.unfinished == 0


@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_of_two_results_that_come_together_one_counts(places: tuple[int, int]) -> None:
    lab = Lab()
    node = lab.node("both", 2)
    job = lab.submit()
    state = lab.engine.state_of(job.tid)
    assert state is not None
    lab.twins.start([state], ())
    node.answers(*places)
    assert lab.ended == [(0, "done on both")] and lab.engine.unfinished == 0


def test_other_results_pass(both: Both) -> None:
    other = both.more("other")
    both.lab.submit()
    other.answers()
    assert both.ended == [(1, "done on other")]


# One of the two fails.


@pytest.mark.parametrize("how", [Node.is_lost, Node.dies, Node.refuses])
def test_a_twin_that_fails_is_forgotten(both: Both, how: object) -> None:
    how(both.quick)  # type: ignore[operator]  # a method of a node
    assert both.ended == [] and len(both.lab.twins) == 0 and both.lab.engine.unfinished == 1
    assert both.lab.twins.node_of(both.job) is None
    both.slow.answers()
    assert both.ended == [(0, "done on slow")]


def test_a_twin_that_was_stopped_is_forgotten(both: Both) -> None:
    both.quick.dies(STOPPED)
    both.slow.answers()
    assert both.ended == [(0, "done on slow")]


def test_a_first_that_is_lost_is_run_again_and_its_twin_goes_on(both: Both) -> None:
    both.slow.is_lost()
    more = both.more("more")
    assert more.numbers == [0]
    both.quick.answers()
    assert both.ended == [(0, "done on quick")] and more.stopped == [0]


def test_a_first_that_is_refused_waits_for_a_node_that_can(both: Both) -> None:
    both.slow.refuses()
    both.quick.answers()
    assert both.ended == [(0, "done on quick")] and both.lab.engine.unfinished == 0


def test_a_first_that_is_given_up_leaves_it_to_its_twin() -> None:
    both = Both(retries=1)
    both.slow.dies()
    both.slow.dies()
    assert both.ended == [] and both.lab.twins.node_of(both.job) == "quick"
    assert len(both.lab.twins) == 0  # it is the only attempt there is
    both.quick.answers()
    assert both.ended == [(0, "done on quick")]


@pytest.mark.parametrize("how", [Node.is_lost, Node.dies])
def test_where_both_fail_the_job_ends_as_its_first_has(how: object) -> None:
    both = Both(retries=1)
    both.slow.dies()
    both.slow.dies()
    how(both.quick)  # type: ignore[operator]  # a method of a node
    assert both.ended == [(0, "WORKER_DIED")] and both.lab.engine.unfinished == 0


def test_a_first_that_goes_beyond_a_limit_is_the_end(both: Both) -> None:
    both.slow.dies(STOPPED)
    assert both.ended == [(0, "LIMIT")] and both.quick.stopped
    both.quick.answers()
    assert both.ended == [(0, "LIMIT")]


def test_a_first_that_is_poisoned_is_the_end(both: Both) -> None:
    for _ in range(3):
        both.slow.dies()
    assert both.ended == [(0, "POISONED")] and both.quick.stopped


def test_deaths_under_a_twin_count(both: Both) -> None:
    both.quick.dies()
    state = both.lab.engine.state_of(0)
    assert state is not None and state.deaths == 1 and not both.lab.twins.may_have(state)
    both.slow.dies()
    assert both.ended == []
    both.slow.dies()
    assert both.ended == [(0, "POISONED")]


def test_the_third_death_may_be_that_under_the_twin(both: Both) -> None:
    both.slow.dies()
    both.slow.dies()
    both.quick.dies()
    assert both.ended == [(0, "POISONED")]
    assert both.slow.stopped == [0]
    both.slow.answers()
    assert both.ended == [(0, "POISONED")] and both.lab.engine.unfinished == 0


def test_what_a_twin_raises_counts_unless_its_job_may_be_run_again() -> None:
    both = Both()
    both.quick.answers(raised=True)
    assert both.ended == [(0, "done on quick")]
    both = Both(retry_on=(OSError,))
    both.quick.answers(raised=True)
    assert both.ended == [] and len(both.lab.twins) == 0
    both.slow.answers(raised=True)
    assert both.ended == [(0, "done on slow")]


def test_a_job_that_may_be_run_again_keeps_its_arguments() -> None:
    both = Both(retry_on=(OSError,))
    arguments: list[object] = []
    # A client decides now whether it is.
    both.lab.settled = lambda jobs: arguments.extend(job.arguments for job in jobs)
    both.slow.answers(raised=True)
    assert arguments == [b"arguments"] and both.quick.stopped


# Nobody wants them.


def test_cancelling_stops_both(both: Both) -> None:
    both.job.cancel()
    both.lab.twins.cancel(both.job, 2.0)
    assert both.slow.stopped and both.quick.stopped
    both.slow.is_lost()
    both.quick.answers()
    assert both.ended == [] and both.lab.engine.unfinished == 0
    both.lab.twins.sweep()
    assert len(both.lab.twins) == 0


def test_a_job_that_has_none_is_cancelled_as_well() -> None:
    lab = Lab()
    job = lab.submit()
    lab.twins.cancel(job, 2.0)
    assert lab.engine.unfinished == 0


def test_twins_of_jobs_that_have_ended_otherwise_are_swept_out(both: Both) -> None:
    both.lab.twins.sweep()
    assert not both.quick.stopped
    both.job.mark_failed(KeyError())
    both.lab.twins.sweep()
    assert both.quick.stopped
    both.lab.twins.sweep()  # it is being stopped
    both.quick.answers()
    both.lab.twins.sweep()
    assert both.ended == [] and len(both.lab.twins) == 0


def test_twins_give_way_unless_only_they_run() -> None:
    both = Both()
    both.lab.twins.give_way({"slow"})
    assert not both.quick.stopped
    both.lab.twins.give_way(set())
    assert both.quick.stopped and len(both.lab.twins) == 0
    both = Both(retries=1)
    both.slow.dies()
    both.slow.dies()
    both.lab.twins.give_way(set())
    assert not both.quick.stopped


# Who has one.


def test_a_job_has_one_at_a_time_and_few_in_all(both: Both) -> None:
    state = both.lab.engine.state_of(0)
    assert state is not None
    for _ in range(2):
        assert not both.lab.twins.may_have(state)
        both.quick.is_lost()
        assert both.lab.twins.may_have(state)
        both.quick = both.more("quick")
        both.lab.start_twin(both.job)
    both.quick.is_lost()
    assert not both.lab.twins.may_have(state)


def test_twins_have_none_and_jobs_that_run_once_have_none(both: Both) -> None:
    twin = next(it for it in both.lab.engine.states() if it.id != 0)
    assert not both.lab.twins.may_have(twin)
    lab = Lab()
    lab.node("slow")
    job = lab.submit(retries=0)
    state = lab.engine.state_of(job.tid)
    assert state is not None and not lab.twins.may_have(state)


def test_a_twin_waits_for_a_node_that_is_not_to_be_avoided_and_behind_everybody() -> None:
    lab = Lab()
    workers = [lab.node("local", 1, NodeKind.WORKER) for _ in range(2)]
    job = lab.submit()
    lab.start_twin(job)
    assert sorted(worker.numbers for worker in workers) == [[], [0]]
    assert lab.twins.node_of(job) is None
    [lab.submit() for _ in range(2)]
    quick = lab.node("quick")
    assert quick.numbers == [2]
    quick.answers()
    assert quick.numbers == [-1]
