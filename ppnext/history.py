"""History: what became of each attempt at a job, and the jobs that are in quarantine.

Almost all jobs have one attempt, of which the job itself knows enough. Only what went wrong is
written down, when it does. Written on the event loop, read by any thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ppnext.job import Job
from ppnext.sched.model import Mishap

__all__ = ["Attempt", "History", "Report"]

_MOST = 1000
"""Most jobs in quarantine, and most attempts at a job that are kept."""


class Attempt(NamedTuple):
    """One attempt at a job.

    Attributes:
        number: counted from 1; numbers that are missing were given back before they had begun.
        node: the name of the node.
        sent: when it was sent there, in seconds since the epoch.
        ended: when it ended, or that was noticed, in seconds since the epoch; None if it has not.
        cause: how it ended, in words, or where it is.
    """

    number: int
    node: str
    sent: float
    ended: float | None
    cause: str


class Report(NamedTuple):
    """All that is known of a job. As text, it is written for people.

    Attributes:
        job: its number.
        function: the name of its function.
        state: where it is, or why it waits; see ``Job.status``.
        attempts: those that have begun, in their order.
    """

    job: int
    function: str
    state: str
    attempts: tuple[Attempt, ...]

    def __str__(self) -> str:
        return "\n".join(
            [f"job {self.job}, {self.function}: {self.state}", *map(_line, self.attempts)]
        )


class History:
    """What went wrong with the jobs of one server.

    Args:
        clock: returns the present time, in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._failed: WeakKeyDictionary[Job, deque[Attempt]] = WeakKeyDictionary()
        # Not the jobs: what was raised from them holds the frames that it was raised in.
        self._quarantine: deque[Report] = deque(maxlen=_MOST)

    def failed(self, job: Job, mishap: Mishap) -> None:
        """An attempt did not end by itself."""
        self._note(job, mishap.attempt, mishap.node, mishap.cause)

    def raised(self, job: Job, number: int, kind: str) -> None:
        """An attempt ended with an exception of this type, after which the job is run again."""
        self._note(job, number, job.node or "?", f"raised {kind}")

    def tried(self, job: Job) -> bool:
        """Return whether an attempt at a job has begun and failed."""
        return job in self._failed

    def isolate(self, job: Job, why: str) -> None:
        """A job was given up because its workers died."""
        attempts = tuple(self._failed.get(job, ()))
        self._quarantine.append(Report(job.tid, _name(job), f"given up: {why}", attempts))

    def quarantine(self) -> list[Report]:
        """Return what is known of the jobs that were given up for this reason, the latest last."""
        return list(self._quarantine)

    def report(self, job: Job) -> Report:
        """Return what is known of a job."""
        attempts = list(self._failed.get(job, ()))
        if job.node is not None and not (attempts and attempts[-1].number >= job.attempts):
            attempts.append(Attempt(job.attempts, job.node, job.sent, job.ended, job.fate))
        return Report(job.tid, _name(job), job.status(), tuple(attempts))

    def _note(self, job: Job, number: int, node: str, cause: str) -> None:
        attempts = self._failed.setdefault(job, deque(maxlen=_MOST))
        attempts.append(Attempt(number, node, job.sent, self._clock(), cause))


def _name(job: Job) -> str:
    """What its function is called, as far as that is known: C functions have no parts."""
    names = [part.name for part in job.definition.parts if part.kind == "function"]
    return names[0] if names else f"a function of {job.definition.home or 'unknown origin'}"


def _line(attempt: Attempt) -> str:
    began = time.strftime("%H:%M:%S", time.localtime(attempt.sent))
    took = "" if attempt.ended is None else f" after {attempt.ended - attempt.sent:.3g} s"
    return f"  attempt {attempt.number}, sent to {attempt.node} at {began}: {attempt.cause}{took}"
