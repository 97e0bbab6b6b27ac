"""History: what went wrong is kept, with nodes and times, and told in words."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

from ppnext.history import Attempt, History, Report
from ppnext.sched.model import Mishap


class Clock:
    """Stands at a time."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeJob:
    """What a history asks of a job."""

    tid, sent, ended, fate, attempts = 7, 990.0, None, "has not ended", 1
    node: str | None = "ws1"
    definition: Any = SimpleNamespace(
        parts=(SimpleNamespace(kind="class", name="C"), SimpleNamespace(kind="function", name="f")),
        home=None,
    )

    def status(self) -> str:
        return "somewhere"


def history() -> History:
    return History(Clock())


def test_a_job_that_was_not_sent_has_no_attempts() -> None:
    job: Any = FakeJob()
    job.node = None
    assert history().report(job) == Report(7, "f", "somewhere", ())


def test_the_first_attempt_is_what_the_job_knows_of_itself() -> None:
    job: Any = FakeJob()
    assert history().report(job).attempts == (Attempt(1, "ws1", 990.0, None, "has not ended"),)


def test_what_went_wrong_comes_before_the_present_attempt() -> None:
    told, job = history(), FakeJob()
    given: Any = job
    told.failed(given, Mishap(1, "ws1", "its worker was killed", blamed=True))
    assert told.report(given).attempts == (
        Attempt(1, "ws1", 990.0, 1000.0, "its worker was killed"),
    )
    job.node, job.attempts, job.sent = "ws2", 2, 1001.0
    told.raised(given, 2, "ValueError")
    job.attempts, job.sent, job.ended, job.fate = 4, 1002.0, 1003.5, "returned"
    report = told.report(given)
    assert [(it.number, it.node, it.cause) for it in report.attempts] == [
        (1, "ws1", "its worker was killed"),
        (2, "ws2", "raised ValueError"),
        (4, "ws2", "returned"),
    ]
    lines = str(report).splitlines()
    assert lines[0] == "job 7, f: somewhere"
    assert told.tried(given) and not told.tried(FakeJob())  # type: ignore[arg-type]  # as above
    assert lines[3].startswith("  attempt 4, sent to ws2 at ")
    assert lines[3].endswith(": returned after 1.5 s")


def test_a_function_without_parts_is_named_by_where_it_is_from() -> None:
    job: Any = FakeJob()
    job.definition = SimpleNamespace(parts=(), home="builtins")
    assert history().report(job).function == "a function of builtins"
    job.definition = SimpleNamespace(parts=(), home=None)
    assert history().report(job).function == "a function of unknown origin"


def test_of_endless_attempts_the_last_are_kept() -> None:
    told, job = history(), FakeJob()
    given: Any = job
    for number in range(1, 1501):
        job.attempts = number
        told.raised(given, number, "OSError")
    assert [it.number for it in told.report(given).attempts] == list(range(501, 1501))


def test_the_quarantine_is_bounded_and_keeps_no_job() -> None:
    told = history()
    for number in range(1001):
        job: Any = FakeJob()
        job.tid = number
        told.failed(job, Mishap(1, "ws1", "died", blamed=True))
        told.isolate(job, "too often")
    assert [it.job for it in told.quarantine()] == list(range(1, 1001))
    attempt = Attempt(1, "ws1", 990.0, 1000.0, "died")
    assert told.quarantine()[-1] == Report(1000, "f", "given up: too often", (attempt,))
    gone = weakref.ref(job)
    del job
    gc.collect()
    assert gone() is None
