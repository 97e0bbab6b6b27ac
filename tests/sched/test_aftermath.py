"""The aftermath: what becomes of a job whose node has died, or that its owner wants back."""

from __future__ import annotations

import pytest

from ppnext.sched.actions import Cause, End, Kept, Withdrawn
from ppnext.sched.model import NOBODY, Intent, JobId, Mishap, NodeId
from tests.sched.bench import Bench, Sent, assigned, hoarder, retract

# Workers and nodes that die.


def test_a_worker_that_dies_blames_the_job_it_was_running() -> None:
    bench = hoarder(1, 2, 3)
    assert bench.lost(1) == []
    jobs = bench.scheduler.jobs
    assert [state.deaths for state in jobs.values()] == [1, 0, 0]
    assert jobs[JobId(1)].mishaps == (Mishap(1, "w1", "gone", True),)
    assert bench.scheduler.rescheduled == 1


def test_a_worker_whose_latest_job_is_known_blames_that_one() -> None:
    bench = hoarder(1, 2, 3)
    assert bench.scheduler.lost_with(NodeId(1), JobId(2)) == 2
    assert bench.lost(1, running=2) == []
    states = bench.scheduler.jobs.values()
    assert [(state.deaths, state.losses) for state in states] == [(0, 1), (1, 0), (0, 0)]
    assert bench.scheduler.rescheduled == 2


@pytest.mark.parametrize("running", [None, 9])
def test_otherwise_it_blames_the_oldest(running: int | None) -> None:
    bench = hoarder(1, 2)
    bench.lost(1, running)
    assert [state.deaths for state in bench.scheduler.jobs.values()] == [1, 0]


def test_nobody_is_blamed_if_it_ran_none() -> None:
    bench = hoarder(1, 2)
    bench.lost(1, NOBODY)
    assert [state.deaths for state in bench.scheduler.jobs.values()] == [0, 0]


def test_a_once_job_that_ended_unheard_is_not_run_again() -> None:
    bench = hoarder(9)
    bench.finish(1, 9, seconds=0.01)
    bench.submit(1, once=True)
    bench.submit(2)
    [end] = bench.lost(1, running=2)
    assert isinstance(end, End)
    assert (end.job.id, end.cause) == (1, Cause.NODE_LOST)


def test_the_jobs_of_a_lost_node_are_placed_again_in_their_order() -> None:
    bench = hoarder(1, 2, 3)
    bench.lost(1)
    bench.submit(4)
    assert bench.daemon(2, slots=9) == [Sent(2, [(1, 2), (2, 2), (3, 2), (4, 1)])]


def test_an_idle_worker_that_dies_blames_nobody() -> None:
    bench = Bench()
    bench.worker(1)
    assert bench.lost(1) == []
    assert bench.scheduler.nodes == {}


def test_a_lost_daemon_blames_nobody_but_is_counted() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1, 2)
    bench.lost(1)
    states = bench.scheduler.jobs.values()
    assert [(state.deaths, state.losses) for state in states] == [(0, 1), (0, 1)]
    assert bench.scheduler.rescheduled == 2


def test_a_death_that_a_daemon_reports_blames_the_job() -> None:
    bench = Bench()
    bench.daemon(1, slots=1)
    bench.submit(1, 2)
    assert bench.died(1, 1) == assigned(1, 1, attempt=2)
    assert bench.state(1).mishaps == (Mishap(1, "d1", "killed", True),)


def test_a_job_is_poisoned_when_enough_workers_have_died_under_it() -> None:
    bench = Bench(poison_limit=3)
    bench.submit(1)
    for node in (1, 2):
        assert bench.worker(node) == assigned(node, 1, attempt=node)
        assert bench.lost(node) == []
    bench.worker(3)
    mishaps = tuple(Mishap(node, f"w{node}", "gone", True) for node in (1, 2, 3))
    state = bench.state(1)
    assert bench.lost(3) == [End(state, Cause.POISONED, mishaps)]
    assert state.call == "call 1"
    assert bench.scheduler.jobs == {}


def test_a_job_is_given_up_when_enough_nodes_were_lost_with_it() -> None:
    bench = Bench(loss_limit=2, poison_limit=2)
    bench.submit(1)
    bench.daemon(1)
    bench.died(1, 1)
    bench.lost(1)
    bench.daemon(2)
    [end] = bench.lost(2)
    assert isinstance(end, End)
    assert end.cause is Cause.LOST_TOO_OFTEN
    assert [mishap.blamed for mishap in end.mishaps] == [True, False, False]


def test_each_attempt_that_fails_is_told_when_it_does() -> None:
    bench = Bench(poison_limit=2)
    bench.daemon(1)
    bench.submit(1)
    for attempt in (1, 2):
        bench.scheduler.on_died(NodeId(1), JobId(1), attempt, "killed")
        bench.done()
    mishaps = [Mishap(attempt, "d1", "killed", blamed=True) for attempt in (1, 2)]
    assert [it.mishap for it in bench.failed] == mishaps
    assert {it.job.id for it in bench.failed} == {1}


def test_losses_poison_nothing() -> None:
    bench = Bench(poison_limit=1)
    bench.submit(1)
    for node in range(9):
        bench.daemon(node)
        assert bench.lost(node) == []


@pytest.mark.parametrize("how", ["worker lost", "reported"])
def test_a_once_job_whose_worker_died_is_not_run_again(how: str) -> None:
    bench = Bench()
    if how == "reported":
        bench.daemon(1)
    else:
        bench.worker(1)
    bench.submit(1, once=True)
    [end] = bench.died(1, 1) if how == "reported" else bench.lost(1)
    assert isinstance(end, End)
    assert end.cause is Cause.WORKER_DIED


def test_a_once_job_whose_node_was_lost_is_not_run_again() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1, once=True)
    mishap = Mishap(1, "d1", "gone", False)
    state = bench.state(1)
    assert bench.lost(1) == [End(state, Cause.NODE_LOST, (mishap,))]


def test_a_once_job_that_has_not_started_is_placed_again() -> None:
    bench = hoarder(1)
    bench.submit(2, once=True)
    bench.lost(1)
    assert bench.daemon(2) == assigned(2, 1, 2, attempt=2)


# Withdrawing.


def test_a_waiting_job_is_withdrawn_at_once() -> None:
    bench = Bench()
    bench.submit(1, 2)
    state = bench.state(1)
    assert bench.withdraw(1) == [Withdrawn(state)]
    assert bench.worker(1) == assigned(1, 2)


def test_an_unknown_or_ended_job_is_kept() -> None:
    assert Bench().withdraw(1) == [Kept(JobId(1))]


def test_a_placed_job_is_withdrawn_when_its_node_gives_it_back() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    assert bench.withdraw(1) == [retract(1, 1)]
    state = bench.state(1)
    assert bench.returned(1, (1, 1)) == [Withdrawn(state)]
    assert bench.scheduler.jobs == {}


def test_a_placed_job_is_kept_when_its_node_has_started_it() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.withdraw(1)
    assert bench.returned(1, kept=((1, 1),)) == [Kept(JobId(1))]
    assert bench.withdraw(1) == [Kept(JobId(1))]
    assert bench.finish(1, 1) == (True, [])


def test_a_job_that_ends_before_its_node_answers_is_kept() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.withdraw(1)
    assert bench.finish(1, 1) == (True, [Kept(JobId(1))])


def test_a_job_whose_worker_died_is_kept() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.withdraw(1)
    assert bench.lost(1) == [Kept(JobId(1))]
    assert bench.scheduler.waiting == 1


def test_an_unstarted_job_of_a_dead_worker_is_withdrawn() -> None:
    bench = hoarder(1, 2)
    bench.withdraw(2)
    state = bench.state(2)
    assert bench.lost(1) == [Withdrawn(state)]


def test_a_job_that_is_being_moved_is_withdrawn_with_the_same_answer() -> None:
    bench = hoarder(1, 2, 3)
    assert bench.worker(2) == [retract(1, 3)]
    assert bench.withdraw(3) == []
    state = bench.state(3)
    assert bench.returned(1, (3, 1))[0] == Withdrawn(state)


def test_a_job_is_withdrawn_once() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.withdraw(1)
    assert bench.withdraw(1) == [Kept(JobId(1))]


def test_a_cancelled_job_cannot_be_withdrawn_and_a_withdrawn_one_can_be_cancelled() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1, 2)
    bench.cancel(1)
    assert bench.withdraw(1) == [Kept(JobId(1))]
    bench.withdraw(2)
    assert bench.cancel(2) == [Kept(JobId(2))]
    assert bench.scheduler.jobs[JobId(2)].intent is Intent.CANCEL
    assert bench.returned(1, (1, 1), (2, 1)) == []
    assert bench.scheduler.jobs == {}
