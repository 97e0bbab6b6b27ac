"""Attempts: how often a job is run again, and that one which was stopped for good reason is not."""

from __future__ import annotations

import pytest

from ppnext.sched.actions import Action, Cause, End
from ppnext.sched.model import NOBODY, JobId, Limit, Mishap, NodeId, Verdict
from tests.sched.bench import Bench, Sent, assigned, hoarder

TOO_SLOW = Verdict(Limit.TIMEOUT, "it ran longer than its timeout of 1 s", "in f")
TOO_BIG = Verdict(Limit.MEMORY, "it had 3 GiB and may have 2 GiB", peak=3 * 2**30)


def ended(actions: list[Action | Sent]) -> list[tuple[int, Cause]]:
    """Return the numbers of the jobs that were given up, and why."""
    return [(action.job.id, action.cause) for action in actions if isinstance(action, End)]


# As often as the job says.


@pytest.mark.parametrize("retries", [0, 1, 2, 7])
def test_a_job_is_run_again_as_often_as_it_says_though_its_workers_die(retries: int) -> None:
    bench = Bench(poison_limit=100)
    bench.daemon(1)
    bench.submit(1, retries=retries)
    for attempt in range(1, retries + 1):
        assert bench.died(1, 1, attempt) == assigned(1, 1, attempt=attempt + 1)
    assert ended(bench.died(1, 1, retries + 1)) == [(1, Cause.WORKER_DIED)]
    assert bench.scheduler.rescheduled == retries


def test_a_job_that_may_be_run_more_often_than_others_is_no_contradiction() -> None:
    bench = Bench(poison_limit=1, loss_limit=1)
    bench.daemon(1)
    bench.submit(1, retries=2)
    assert bench.died(1, 1) == assigned(1, 1, attempt=2)
    assert bench.lost(1) == []
    assert bench.daemon(2) == assigned(2, 1, attempt=3)


def test_the_number_of_a_job_goes_before_that_of_the_policy() -> None:
    bench = Bench(poison_limit=100, loss_limit=100)
    for node, retries in ((1, 1), (2, None)):
        bench.daemon(node, slots=1)
        bench.submit(node, retries=retries)
        bench.died(node, node)
    assert ended(bench.died(1, 1, 2)) == [(1, Cause.WORKER_DIED)]
    assert ended(bench.died(2, 2, 2)) == []


def test_deaths_and_losses_are_counted_together_and_the_last_says_why() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1, 2, retries=1)
    bench.died(1, 1)
    assert ended(bench.lost(1)) == [(1, Cause.NODE_LOST)]
    bench.daemon(2)
    assert ended(bench.died(2, 2, 2)) == [(2, Cause.WORKER_DIED)]


def test_an_attempt_that_has_not_started_is_not_counted() -> None:
    bench = hoarder(1)
    bench.submit(2, retries=0)
    assert bench.returned(1, (2, 1)) == assigned(1, 2, attempt=2)
    bench.lost(1)
    assert bench.worker(2) == assigned(2, 1, attempt=2)
    assert bench.lost(2, NOBODY) == []
    assert bench.daemon(3) == [Sent(3, [(1, 3), (2, 3)])]


def test_a_job_that_may_run_once_has_no_retries() -> None:
    bench = Bench()
    bench.submit(1, once=True, retries=5)
    assert (bench.state(1).retries, bench.state(1).once) == (0, True)


# A verdict.


@pytest.mark.parametrize("verdict", [TOO_SLOW, TOO_BIG])
@pytest.mark.parametrize("retries", [None, 0, 5])
def test_a_job_that_went_beyond_a_limit_ends_at_once_and_is_not_blamed(
    verdict: Verdict, retries: int | None
) -> None:
    bench = Bench()
    bench.daemon(1, slots=1)
    bench.submit(1, 2, retries=retries)
    state = bench.state(1)
    mishap = Mishap(1, "d1", "killed", False, verdict)
    end = End(state, Cause.LIMIT, (mishap,))
    assert bench.died(1, 1, verdict=verdict) == [end, *assigned(1, 2)]
    assert (state.deaths, bench.scheduler.rescheduled) == (0, 0)


def test_a_verdict_on_another_attempt_is_dropped() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1)
    assert bench.died(1, 1, attempt=2, verdict=TOO_SLOW) == []
    assert (bench.held(1), bench.scheduler.dropped) == ([1], 1)


def test_what_happened_before_is_told_with_the_verdict() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1)
    bench.died(1, 1)
    [end] = bench.died(1, 1, 2, verdict=TOO_BIG)
    assert isinstance(end, End)
    assert [mishap.blamed for mishap in end.mishaps] == [True, False]
    assert [mishap.verdict for mishap in end.mishaps] == [None, TOO_BIG]


# A worker that was killed because of a verdict.


def test_the_job_for_which_its_worker_was_killed_ends_with_the_verdict() -> None:
    bench = hoarder(1)
    state = bench.state(1)
    mishap = Mishap(1, "w1", TOO_SLOW.cause, False, TOO_SLOW)
    assert bench.lost(1, running=1, verdict=TOO_SLOW) == [End(state, Cause.LIMIT, (mishap,))]
    assert bench.scheduler.jobs == {}


def test_those_behind_it_are_placed_again_without_a_mishap() -> None:
    bench = hoarder(1)
    bench.submit(2, 3, retries=0)
    assert ended(bench.lost(1, running=1, verdict=TOO_BIG)) == [(1, Cause.LIMIT)]
    assert [bench.state(job).mishaps for job in (2, 3)] == [(), ()]
    assert bench.daemon(2) == assigned(2, 2, 3, attempt=2)


def test_those_before_it_have_lost_their_results_and_are_not_blamed() -> None:
    bench = hoarder(1, 2, 3)
    assert ended(bench.lost(1, running=2, verdict=TOO_SLOW)) == [(2, Cause.LIMIT)]
    assert bench.state(1).mishaps == (Mishap(1, "w1", "gone", False),)
    assert bench.state(3).mishaps == ()
    assert bench.scheduler.rescheduled == 1


def test_if_it_is_not_known_which_one_it_was_the_oldest_has_the_verdict() -> None:
    bench = hoarder(1, 2)
    assert ended(bench.lost(1, verdict=TOO_SLOW)) == [(1, Cause.LIMIT)]


def test_a_cancelled_job_for_which_its_worker_was_killed_is_not_told_of() -> None:
    bench = hoarder(1, 2)
    bench.cancel(1)
    assert bench.lost(1, running=1, verdict=TOO_SLOW) == []
    assert list(bench.scheduler.jobs) == [2]


def test_a_machine_is_not_lost_because_of_a_job() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1, 2)
    assert bench.lost(1, verdict=TOO_SLOW) == []
    assert [state.losses for state in bench.scheduler.jobs.values()] == [1, 1]
    assert all(state.mishaps[0].verdict is None for state in bench.scheduler.jobs.values())


# A worker that died while it ran nothing.


def test_a_worker_that_ran_nothing_takes_nothing_with_it() -> None:
    bench = hoarder(1)
    bench.submit(2, once=True)
    assert bench.scheduler.lost_with(NodeId(1), NOBODY) == 0
    assert bench.lost(1, NOBODY) == []
    assert [state.mishaps for state in bench.scheduler.jobs.values()] == [(), ()]
    assert bench.scheduler.rescheduled == 0
    assert bench.daemon(2) == assigned(2, 1, 2, attempt=2)


def test_nobody_has_the_verdict_if_nobody_ran() -> None:
    bench = hoarder(1)
    assert bench.lost(1, NOBODY, TOO_SLOW) == []
    assert bench.scheduler.jobs[JobId(1)].mishaps == ()
