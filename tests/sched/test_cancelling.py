"""Cancelling: what nobody wants does not start, or is stopped where it runs."""

from __future__ import annotations

import pytest

from ppnext.sched.actions import Kept, Release, Stop, Withdrawn
from ppnext.sched.model import JobId, JobState, Limit, NodeId, Status, Verdict
from tests.sched.bench import Bench, assigned, hoarder, retract


def stop(node: int, job: int, grace: float, attempt: int = 1) -> Stop:
    return Stop(NodeId(node), (JobId(job), attempt), grace)


def running(*jobs: int) -> Bench:
    """A daemon 1 that was asked for all of ``jobs`` and keeps them, because they run."""
    bench = Bench()
    bench.daemon(1, slots=len(jobs))
    bench.submit(*jobs)
    for job in jobs:
        bench.withdraw(job)
    kept = [Kept(JobId(job)) for job in jobs]
    assert bench.returned(1, kept=tuple((job, 1) for job in jobs)) == kept
    return bench


# Jobs that have not started.


def test_an_unknown_or_ended_job_can_be_cancelled() -> None:
    assert Bench().cancel(1) == []


def test_a_waiting_job_that_is_cancelled_is_never_placed() -> None:
    bench = Bench()
    bench.submit(1, 2)
    assert bench.cancel(1) == []
    assert bench.worker(1) == assigned(1, 2)


def test_a_placed_job_that_is_cancelled_is_asked_back_and_forgotten() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1, 2)
    assert bench.cancel(1) == [retract(1, 1)]
    assert bench.cancel(1) == []
    assert bench.returned(1, (1, 1)) == assigned(1, 2)
    assert JobId(1) not in bench.scheduler.jobs


def test_the_result_of_a_cancelled_job_is_not_wanted() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.cancel(1)
    bench.returned(1, kept=((1, 1),))
    assert bench.finish(1, 1) == (False, [])
    assert bench.scheduler.dropped == 1


def test_a_cancelled_job_whose_worker_died_is_forgotten() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.cancel(1)
    assert bench.lost(1) == []
    assert bench.scheduler.jobs == {}


def test_cancelled_jobs_leave_nothing_behind_even_if_no_node_ever_comes() -> None:
    bench = Bench()
    bench.submit(0)
    for job in range(1, 1000):
        bench.scheduler.on_submit([JobState(JobId(job), None)])
        bench.scheduler.on_cancel(JobId(job))
    bench.done()
    assert len(bench.scheduler.pools.general.backlog) < 100
    assert bench.worker(1) == assigned(1, 0)


def test_a_cancelled_job_that_is_given_back_is_not_placed_again() -> None:
    bench = hoarder(1, 2, 3)
    assert bench.cancel(2, grace=9.0) == [retract(1, 2)]
    assert bench.cancel(3, grace=9.0) == [retract(1, 3)]
    assert bench.returned(1, (2, 1), (3, 1)) == []
    assert list(bench.scheduler.jobs) == [1]
    assert bench.scheduler.waiting == 0


def test_a_job_that_is_being_moved_is_cancelled_with_the_same_answer() -> None:
    bench = hoarder(1, 2, 3)
    assert bench.worker(2) == [retract(1, 3)]
    assert bench.cancel(3) == []
    assert bench.returned(1, (3, 1)) == [retract(1, 2)]
    assert JobId(3) not in bench.scheduler.jobs


# Jobs that have started.


def test_a_cancelled_job_that_its_node_has_started_is_stopped() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    assert bench.cancel(1, grace=2.5) == [retract(1, 1)]
    assert bench.returned(1, kept=((1, 1),)) == [stop(1, 1, 2.5)]
    assert bench.held(1) == [1]


def test_a_job_that_was_kept_before_is_stopped_at_once() -> None:
    bench = running(1, 2)
    assert bench.cancel(2, grace=2.5) == [stop(1, 2, 2.5)]
    assert bench.state(1).status is Status.ASSIGNED


def test_only_what_is_cancelled_is_stopped() -> None:
    bench = hoarder(1, 2, 3)
    bench.withdraw(1)
    bench.cancel(2, grace=1.0)
    kept = ((1, 1), (2, 1))
    assert bench.returned(1, kept=kept) == [Kept(JobId(1)), stop(1, 2, 1.0)]


def test_cancelled_again_before_the_answer_it_is_stopped_once_with_the_later_grace() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.cancel(1, grace=5.0)
    assert bench.cancel(1, grace=0.0) == []
    assert bench.returned(1, kept=((1, 1),)) == [stop(1, 1, 0.0)]


def test_cancelled_again_after_the_answer_it_is_stopped_again() -> None:
    bench = running(1)
    assert bench.cancel(1, grace=5.0) == [stop(1, 1, 5.0)]
    assert bench.cancel(1, grace=0.0) == [stop(1, 1, 0.0)]


def test_a_later_attempt_is_stopped_under_its_own_number() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.lost(1)
    bench.worker(2)
    bench.cancel(1, grace=1.0)
    assert bench.returned(2, kept=((1, 1),)) == []
    assert bench.returned(2, kept=((1, 2),)) == [stop(2, 1, 1.0, attempt=2)]


def test_a_withdrawn_job_that_is_cancelled_is_kept_and_stopped() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.withdraw(1)
    assert bench.cancel(1, grace=1.0) == [Kept(JobId(1))]
    assert bench.returned(1, kept=((1, 1),)) == [stop(1, 1, 1.0)]


def test_a_stopped_job_makes_room_for_the_next() -> None:
    bench = running(1)
    bench.submit(2)
    bench.cancel(1)
    assert bench.died(1, 1) == assigned(1, 2)
    assert list(bench.scheduler.jobs) == [2]


def test_a_cancelled_job_that_ends_before_the_answer_is_not_stopped() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.cancel(1, grace=1.0)
    assert bench.finish(1, 1) == (False, [])
    assert bench.returned(1, kept=((1, 1),)) == []
    assert bench.cancel(1) == []


def test_a_number_that_is_used_again_does_not_inherit_the_grace() -> None:
    bench = Bench()
    bench.worker(1)
    for ended in (lambda: bench.finish(1, 1), lambda: bench.returned(1, (1, 1))):
        bench.submit(1)
        bench.cancel(1, grace=1.0)
        ended()
    bench.submit(1)
    bench.withdraw(1)
    assert bench.returned(1, kept=((1, 1),)) == [Kept(JobId(1))]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("kind", ["worker", "daemon"])
def test_a_cancelled_job_whose_node_is_lost_is_forgotten(kind: str, kept: bool) -> None:
    bench = Bench()
    if kind == "worker":
        bench.worker(1)
    else:
        bench.daemon(1)
    bench.submit(1)
    bench.cancel(1, grace=1.0)
    if kept:
        bench.returned(1, kept=((1, 1),))
    assert bench.lost(1) == []
    assert bench.scheduler.jobs == {}
    assert bench.scheduler.rescheduled == 0
    assert bench.worker(2) == []


def test_a_cancelled_job_that_went_beyond_a_limit_is_forgotten() -> None:
    verdict = Verdict(Limit.TIMEOUT, "it took longer than 1 s")
    bench = running(1, 2)
    bench.cancel(1)
    assert bench.died(1, 1, verdict=verdict) == []
    assert list(bench.scheduler.jobs) == [2]


def test_a_cancelled_job_of_a_draining_node_is_stopped_and_the_node_released() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1)
    bench.drain(1)
    assert bench.cancel(1, grace=1.0) == []
    assert bench.returned(1, kept=((1, 1),)) == [stop(1, 1, 1.0)]
    assert bench.died(1, 1) == [Release(NodeId(1))]


# What a former node has kept.


def test_a_job_that_was_kept_by_a_lost_node_and_waits_again_can_be_withdrawn() -> None:
    bench = running(1)
    bench.lost(1)
    state = bench.state(1)
    assert bench.withdraw(1) == [Withdrawn(state)]


def test_a_job_that_was_kept_by_a_lost_node_is_asked_for_at_the_next() -> None:
    bench = running(1)
    bench.lost(1)
    bench.worker(2)
    assert bench.cancel(1, grace=1.0) == [retract(2, 1, attempt=2)]
