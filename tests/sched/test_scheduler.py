"""The scheduler: what its owner can ask, results and their fence, and what only a bug can do."""

from __future__ import annotations

import pytest

from ppnext.sched.actions import Kept
from ppnext.sched.invariants import check
from ppnext.sched.model import JobId, NodeId, Status
from tests.sched.bench import Bench, assigned, hoarder

# What the owner can ask.


def test_how_many_jobs_wait_before_one() -> None:
    bench = Bench()
    bench.submit(1, 2, 3, 4)
    bench.cancel(2)
    before = [bench.scheduler.waiting_before(JobId(job)) for job in (1, 3, 4, 9)]
    assert before == [0, 1, 2, 3]


@pytest.mark.parametrize(("jobs", "worker_loses", "daemon_loses"), [((), 0, 0), ((1, 2), 1, 2)])
def test_what_would_be_lost_with_a_node(
    jobs: tuple[int, ...], worker_loses: int, daemon_loses: int
) -> None:
    assert hoarder(*jobs).scheduler.lost_with(NodeId(1)) == worker_loses
    bench = Bench()
    bench.daemon(1)
    bench.submit(*jobs)
    assert bench.scheduler.lost_with(NodeId(1)) == daemon_loses


# Results and their fence.


def test_results_that_arrive_together_are_answered_one_by_one() -> None:
    bench = Bench()
    bench.daemon(1, slots=4)
    bench.submit(1, 2, 3, 4, 5, 6)
    results = [(1, 1), (2, 7), (3, 1), (3, 1), (9, 1)]
    assert bench.finish_all(1, *results) == ([1, None, 3, None, None], assigned(1, 5, 6))
    assert bench.scheduler.dropped == 3


def test_results_of_cancelled_and_withdrawn_jobs_arrive_with_others() -> None:
    bench = Bench()
    bench.daemon(1, slots=4)
    bench.submit(1, 2, 3)
    bench.cancel(1)
    bench.withdraw(2)
    results = [(1, 1), (2, 1), (3, 1)]
    assert bench.finish_all(1, *results) == ([None, 2, 3], [Kept(JobId(2))])
    assert bench.scheduler.dropped == 1


def test_no_results_are_no_event() -> None:
    bench = Bench()
    bench.worker(1)
    assert bench.finish_all(1) == ([], [])
    assert bench.scheduler.nodes[NodeId(1)].mean_seconds is None


def test_a_finished_job_is_on_no_node() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    state = bench.state(1)
    bench.finish(1, 1)
    assert (state.status, state.node) == (Status.ENDED, None)


def test_a_result_of_another_attempt_is_dropped() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    assert bench.finish(1, 1, attempt=2) == (False, [])
    assert bench.finish(1, 1, attempt=1) == (True, [])
    assert bench.finish(1, 1, attempt=1) == (False, [])
    assert bench.scheduler.dropped == 2


def test_a_result_from_a_node_that_does_not_hold_the_job_is_dropped() -> None:
    bench = Bench()
    bench.worker(1)
    bench.worker(2)
    bench.submit(1)
    assert bench.finish(2, 1) == (False, [])
    assert bench.scheduler.nodes[NodeId(2)].mean_seconds is None


def test_a_death_that_is_reported_too_late_is_dropped() -> None:
    bench = Bench()
    bench.daemon(1, slots=1)
    bench.submit(1)
    assert bench.died(1, 1, attempt=7) == []
    assert bench.died(1, 9) == []
    assert bench.scheduler.dropped == 2


# What only a bug of the owner can do.


def test_a_job_is_not_submitted_twice() -> None:
    bench = Bench()
    bench.submit(1)
    with pytest.raises(AssertionError, match="job 1 was submitted twice"):
        bench.submit(1)


@pytest.mark.parametrize("batch", [(2, 2), (2, 1), (1, 2)])
def test_a_batch_with_a_job_that_is_there_changes_nothing(batch: tuple[int, int]) -> None:
    bench = Bench()
    bench.submit(1)
    with pytest.raises(AssertionError, match=r"job [12] was submitted twice"):
        bench.submit(*batch)
    assert list(bench.scheduler.jobs) == [1]
    assert bench.scheduler.waiting == 1


def test_a_node_does_not_join_twice() -> None:
    bench = Bench()
    bench.worker(1)
    with pytest.raises(AssertionError, match="node 1 joined twice"):
        bench.worker(1)


def test_the_invariants_find_a_contradiction() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1, 2)
    bench.scheduler.jobs[JobId(1)].status = Status.RETRACTING
    with pytest.raises(AssertionError, match="asked for something else"):
        check(bench.scheduler)


def test_a_placed_job_without_a_node_is_found_out() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.scheduler.jobs[JobId(1)].node = None
    with pytest.raises(AssertionError, match="but on no node"):
        bench.cancel(1)
