"""Endings: the errors of jobs that end without a result of their own."""

from __future__ import annotations

from ppnext.errors import DestroyedServerError, JobError, NodeLost, PoisonedJob, WorkerDied
from ppnext.sched.actions import Cause
from ppnext.sched.model import Mishap

__all__ = ["destroyed", "destroyed_already", "given_up"]

_ERRORS: dict[Cause, type[JobError]] = {
    Cause.POISONED: PoisonedJob,
    Cause.WORKER_DIED: WorkerDied,
    Cause.NODE_LOST: NodeLost,
    Cause.LOST_TOO_OFTEN: NodeLost,
}

_FEW_WORDS = 120
"""Characters kept of the cause of each attempt but the last."""


def given_up(job: int, cause: Cause, mishaps: tuple[Mishap, ...]) -> JobError:
    """Return the error of a job that is not run again."""
    # The last one in full, those before it in a few words: they mostly are the same.
    *earlier, last = mishaps
    story = [f"attempt {it.attempt} on {it.node}: {it.cause[:_FEW_WORDS]}" for it in earlier]
    story.append(f"attempt {last.attempt} on {last.node}: {last.cause}")
    return _ERRORS[cause](f"job {job} was given up: {cause.value} ({'; '.join(story)})")


def destroyed_already() -> DestroyedServerError:
    """Return the error of who submits too late."""
    return DestroyedServerError("the job server has been destroyed and takes no jobs")


def destroyed() -> DestroyedServerError:
    """Return the error of a job whose server is gone."""
    return DestroyedServerError("the job server was destroyed before the job had ended")
