"""Policy: how many jobs are sent ahead, and the running mean that this depends on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.sched.actions import Cause
from ppnext.sched.model import (
    JobId,
    JobState,
    Limit,
    Mishap,
    NodeId,
    NodeKind,
    NodeState,
    Verdict,
)
from ppnext.sched.policy import Policy

POLICY = Policy(horizon=0.002, worth_hiding=0.02, prefetch_limit=128, smoothing=0.25)


def node(slots: int, latency: float, mean: float | None, draining: bool = False) -> NodeState:
    state = NodeState(NodeId(1), "n", NodeKind.DAEMON, slots, latency, draining)
    state.mean_seconds = mean
    return state


@pytest.mark.parametrize(
    ("slots", "latency", "mean", "credit"),
    [
        pytest.param(4, 0.001, None, 4, id="nothing known: no more than it runs"),
        pytest.param(4, 0.001, 1.0, 4, id="long jobs: the way there is not worth hiding"),
        pytest.param(4, 0.001, 0.0501, 4, id="just not worth hiding"),
        pytest.param(4, 0.001, 0.05, 5, id="just worth hiding"),
        pytest.param(1, 0.001, 0.001, 4, id="one millisecond each: three ahead"),
        pytest.param(4, 0.001, 0.001, 16, id="the same for each of four slots"),
        pytest.param(1, 0.098, 0.01, 11, id="far away: as many as the way takes"),
        pytest.param(2, 0.001, 1e-6, 2 + 2 * 128, id="tiny jobs: the limit"),
        pytest.param(2, 0.001, 0.0, 2 + 2 * 128, id="jobs that take no time: the limit"),
        pytest.param(2, 0.001, 5e-324, 2 + 2 * 128, id="the smallest number there is"),
        pytest.param(2, 0.0, 0.0, 2 + 2 * 128, id="no time and no way"),
        pytest.param(0, 0.001, None, 0, id="no slots"),
        pytest.param(0, 0.001, 0.001, 0, id="no slots, nothing ahead"),
    ],
)
def test_credit(slots: int, latency: float, mean: float | None, credit: int) -> None:
    assert POLICY.credit(node(slots, latency, mean)) == credit


def test_a_draining_node_has_no_credit() -> None:
    assert POLICY.credit(node(4, 0.001, 0.001, draining=True)) == 0


@given(st.integers(0, 2**20), st.floats(0, 60), st.none() | st.floats(0, 1e12))
def test_credit_is_between_the_slots_and_the_limit(
    slots: int, latency: float, mean: float | None
) -> None:
    assert slots <= POLICY.credit(node(slots, latency, mean)) <= slots * 129


def test_the_first_duration_is_the_mean() -> None:
    assert POLICY.smooth(None, 3.0) == 3.0


def test_a_later_duration_moves_the_mean_by_its_weight() -> None:
    assert POLICY.smooth(2.0, 4.0) == 2.5
    assert POLICY.smooth(2.0, 0.0) == 1.5


def test_durations_that_arrive_together_move_the_mean_as_if_one_after_another() -> None:
    mean = 2.0
    for _ in range(5):
        mean = POLICY.smooth(mean, 4.0)
    assert POLICY.smooth(2.0, 4.0, 5) == pytest.approx(mean)
    assert POLICY.smooth(2.0, 4.0, 10_000) == 4.0


def test_a_client_that_seldom_looks_keeps_workers_of_tiny_jobs_busy() -> None:
    usual = Policy()
    assert usual.credit(node(1, 0.0001, 5e-6)) * 5e-6 >= 0.005
    assert usual.credit(node(64, 0.0001, 5e-6)) <= 64 + 4096


@pytest.mark.parametrize(
    ("once", "blamed", "cause"),
    [
        (True, [True], Cause.WORKER_DIED),
        (True, [False], Cause.NODE_LOST),
        (False, [True, False], None),
        (False, [True, False, True], Cause.POISONED),
        (False, [False, True, False], Cause.LOST_TOO_OFTEN),
    ],
)
def test_why_a_job_is_given_up(once: bool, blamed: list[bool], cause: Cause | None) -> None:
    job = JobState(JobId(1), None, once)
    job.mishaps = tuple(Mishap(n, "n", "gone", blame) for n, blame in enumerate(blamed, 1))
    assert Policy(poison_limit=2, loss_limit=2).reason_to_give_up(job) is cause


@pytest.mark.parametrize(
    ("retries", "blamed", "cause"),
    [
        (0, [True], Cause.WORKER_DIED),
        (0, [False], Cause.NODE_LOST),
        (1, [True], None),
        (1, [True, False], Cause.NODE_LOST),
        (1, [False, True], Cause.WORKER_DIED),
        (3, [True, True, True], None),
        (3, [False, False, False], None),
        (3, [True, False, True, True], Cause.WORKER_DIED),
    ],
)
def test_a_job_that_says_how_often_is_given_up_after_that(
    retries: int, blamed: list[bool], cause: Cause | None
) -> None:
    job = JobState(JobId(1), None, retries=retries)
    job.mishaps = tuple(Mishap(n, "n", "gone", blame) for n, blame in enumerate(blamed, 1))
    assert Policy(poison_limit=2, loss_limit=2).reason_to_give_up(job) is cause


@pytest.mark.parametrize("limit", [Limit.TIMEOUT, Limit.MEMORY])
@pytest.mark.parametrize("retries", [None, 0, 9])
def test_a_job_that_went_beyond_a_limit_is_given_up(limit: Limit, retries: int | None) -> None:
    job = JobState(JobId(1), None, retries=retries)
    verdict = Verdict(limit, limit.value)
    job.mishaps = (Mishap(1, "n", verdict.cause, blamed=False, verdict=verdict),)
    assert Policy().reason_to_give_up(job) is Cause.LIMIT


PRESSED = Mishap(1, "n", "it was short", False, Verdict(Limit.PRESSURE, "it was short"))
LOST = Mishap(1, "n", "lost", False)


@pytest.mark.parametrize(
    ("mishaps", "retries", "cause"),
    [
        pytest.param([PRESSED] * 3, None, None, id="run again"),
        pytest.param([PRESSED] * 4, None, Cause.LIMIT, id="so often"),
        pytest.param([LOST] * 3 + [PRESSED] * 3, None, None, id="what else there was"),
        pytest.param([PRESSED], 0, Cause.LIMIT, id="not again"),
        pytest.param([LOST, PRESSED], 2, None, id="as often as it may"),
        pytest.param([LOST, PRESSED], 1, Cause.LIMIT, id="no more often"),
    ],
)
def test_a_job_whose_machine_ran_short_is_run_again(
    mishaps: list[Mishap], retries: int | None, cause: Cause | None
) -> None:
    job = JobState(JobId(1), None, retries=retries)
    job.mishaps = tuple(mishaps)
    assert Policy().reason_to_give_up(job) is cause


def test_a_session_leaves_it_to_its_client() -> None:
    assert Policy.of_session() == Policy(poison_limit=1, pressure_limit=0)
    assert Policy.of_session(0).prefetch_limit == 0
    job = JobState(JobId(1), None)
    job.mishaps = (PRESSED,)
    assert Policy.of_session().reason_to_give_up(job) is Cause.LIMIT
