"""Endings: a job that ends without a result says what happened to each of its attempts."""

from __future__ import annotations

import pickle

import pytest

from ppnext.endings import destroyed, destroyed_already, given_up, too_late
from ppnext.errors import (
    DestroyedServerError,
    JobError,
    JobMemoryExceeded,
    JobStopped,
    JobTimeout,
    NodeLost,
    NoNodes,
    PoisonedJob,
    WorkerDied,
)
from ppnext.sched.actions import Cause
from ppnext.sched.model import Limit, Mishap, Verdict


def mishap(attempt: int, node: str, cause: str, verdict: Verdict | None = None) -> Mishap:
    return Mishap(attempt, node, cause, blamed=True, verdict=verdict)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Cause.POISONED, PoisonedJob),
        (Cause.WORKER_DIED, WorkerDied),
        (Cause.NODE_LOST, NodeLost),
        (Cause.LOST_TOO_OFTEN, NodeLost),
    ],
)
def test_each_cause_has_its_error(cause: Cause, kind: type[JobError]) -> None:
    error = given_up(4, cause, (mishap(1, "ws1", "it was killed"),))
    assert type(error) is kind
    assert str(error) == (f"job 4 was given up: {cause.value} (attempt 1 on ws1: it was killed)")


def test_no_cause_is_without_an_error() -> None:
    verdict = Verdict(Limit.TIMEOUT, "too long", "", 0)
    for cause in Cause:
        last = mishap(1, "ws1", "lost", verdict if cause is Cause.LIMIT else None)
        assert isinstance(given_up(4, cause, (last,)), JobError)


def test_attempts_that_failed_alike_are_told_together_with_their_nodes() -> None:
    how = "worker process {} was killed by SIGSEGV; it was here: f in line {}"
    mishaps = tuple(mishap(n, f"ws{n % 2}", how.format(100 + n, n)) for n in (1, 2, 3))
    assert str(given_up(4, Cause.POISONED, mishaps)) == (
        "job 4 was given up: its worker died under it too often (3 times, on ws1, ws0: "
        "worker process 103 was killed by SIGSEGV; it was here: f in line 3)"
    )


def test_the_last_attempt_is_told_in_full_and_those_before_in_few_words() -> None:
    mishaps = (mishap(1, "a", "x" * 500), mishap(2, "b", "lost"), mishap(3, "c", "y" * 500))
    said = str(given_up(4, Cause.POISONED, mishaps))
    assert f"attempt 1 on a: {'x' * 120}; attempt 2 on b: lost; attempt 3 on c: {'y' * 500}" in said


@pytest.mark.parametrize(
    ("limit", "kind"), [(Limit.TIMEOUT, JobTimeout), (Limit.MEMORY, JobMemoryExceeded)]
)
def test_one_that_was_stopped_says_where_it_was(limit: Limit, kind: type[JobStopped]) -> None:
    verdict = Verdict(limit, "it went too far", "main.py:1 in main\nmain.py:9 in work", 123)
    error = given_up(4, Cause.LIMIT, (mishap(2, "ws1", "it went too far", verdict),))
    assert type(error) is kind and isinstance(error, JobStopped)
    assert str(error) == (
        "job 4, attempt 2, was stopped on ws1: it went too far\n"
        "It was here, innermost call last:\nmain.py:1 in main\nmain.py:9 in work"
    )
    assert (error.stack, error.peak) == (verdict.stack, 123)


def test_one_that_could_not_be_seen_says_nothing_of_it() -> None:
    verdict = Verdict(Limit.MEMORY, "it went too far", "", 5)
    error = given_up(4, Cause.LIMIT, (mishap(1, "ws1", "it went too far", verdict),))
    assert str(error) == "job 4, attempt 1, was stopped on ws1: it went too far"


def test_only_the_last_attempt_decides_whether_it_was_stopped() -> None:
    verdict = Verdict(Limit.TIMEOUT, "too long", "", 0)
    stopped, died = mishap(1, "a", "too long", verdict), mishap(2, "b", "killed")
    assert type(given_up(4, Cause.WORKER_DIED, (stopped, died))) is WorkerDied
    assert type(given_up(4, Cause.LIMIT, (died, stopped))) is JobTimeout


def test_a_stopped_job_is_the_same_after_pickling() -> None:
    verdict = Verdict(Limit.MEMORY, "it went too far", "main.py:1 in main", 5)
    error = given_up(4, Cause.LIMIT, (mishap(1, "ws1", "it went too far", verdict),))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_deadline_says_how_long_and_why() -> None:
    error = too_late(4, 90.0, "no node is connected")
    assert type(error) is NoNodes
    assert str(error) == "job 4 was not started within 90 s: no node is connected"
    assert "within 0.25 s" in str(too_late(4, 0.25, ""))


def test_a_destroyed_server_is_told_apart_by_when_it_was_asked() -> None:
    late, early = destroyed_already(), destroyed()
    assert type(late) is type(early) is DestroyedServerError
    assert "takes no jobs" in str(late)
    assert "before the job had ended" in str(early)
