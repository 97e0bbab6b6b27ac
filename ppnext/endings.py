"""Endings: the errors of jobs that end without a result of their own."""

from __future__ import annotations

import re

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

__all__ = ["destroyed", "destroyed_already", "given_up", "too_late"]

_ERRORS: dict[Cause, type[JobError]] = {
    Cause.POISONED: PoisonedJob,
    Cause.WORKER_DIED: WorkerDied,
    Cause.NODE_LOST: NodeLost,
    Cause.LOST_TOO_OFTEN: NodeLost,
}

_STOPPED: dict[Limit, type[JobStopped]] = {
    Limit.TIMEOUT: JobTimeout,
    Limit.MEMORY: JobMemoryExceeded,
    Limit.PRESSURE: JobMemoryExceeded,
}

_NUMBER = re.compile(r"\b\d+\b")

_FEW_WORDS = 120
"""Characters kept of the cause of each attempt but the last."""


def given_up(job: int, cause: Cause, mishaps: tuple[Mishap, ...]) -> JobError:
    """Return the error of a job that is not run again."""
    if (verdict := mishaps[-1].verdict) is not None:
        return _stopped(job, mishaps[-1], verdict)
    if len(mishaps) > 1 and len({_how(it) for it in mishaps}) == 1:
        nodes = ", ".join(dict.fromkeys(it.node for it in mishaps))
        story = f"{len(mishaps)} times, on {nodes}: {mishaps[-1].cause}"
        return _ERRORS[cause](f"job {job} was given up: {cause.value} ({story})")
    # The last one in full, those before it in a few words: they mostly are the same.
    *earlier, last = mishaps
    told = [f"attempt {it.attempt} on {it.node}: {it.cause[:_FEW_WORDS]}" for it in earlier]
    told.append(f"attempt {last.attempt} on {last.node}: {last.cause}")
    return _ERRORS[cause](f"job {job} was given up: {cause.value} ({'; '.join(told)})")


def _how(mishap: Mishap) -> str:
    """In which way an attempt failed, without the numbers of processes."""
    return _NUMBER.sub("", mishap.cause.partition(";")[0])


def _stopped(job: int, mishap: Mishap, verdict: Verdict) -> JobStopped:
    story = f"job {job}, attempt {mishap.attempt}, was stopped on {mishap.node}: {verdict.cause}"
    if verdict.stack:
        story += f"\nIt was here, innermost call last:\n{verdict.stack}"
    return _STOPPED[verdict.limit](story, verdict.stack, verdict.peak)


def too_late(job: int, deadline: float, why: str) -> NoNodes:
    """Return the error of a job that was not started in time.

    Args:
        deadline: seconds that there were.
        why: where it stands.
    """
    return NoNodes(f"job {job} was not started within {deadline:g} s: {why}")


def destroyed_already() -> DestroyedServerError:
    """Return the error of who submits too late."""
    return DestroyedServerError("the job server has been destroyed and takes no jobs")


def destroyed() -> DestroyedServerError:
    """Return the error of a job whose server is gone."""
    return DestroyedServerError("the job server was destroyed before the job had ended")
