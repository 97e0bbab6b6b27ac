"""Retrying: jobs that are run again after an exception, because their terms say so.

Whether an exception is one of those that are meant shows when it is unpickled, which runs code of
the user's: so that is done in a thread of its own, which no callback holds up. Until it is decided,
and while it waits for its next attempt, the job has not ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from ppnext.callbacks import CallbackThread
from ppnext.job import Job

__all__ = ["Raised", "Retrying"]

_log = logging.getLogger("ppnext.retrying")

_RETRIES = 3
"""How often a job is run again if its terms do not say."""

_LONGEST = 300.0
"""Most seconds between two attempts, unless the first of them were more already."""

_DOUBLINGS = 60
"""After so many the pause has its full length, or is nothing."""


class Timers(Protocol):
    """The event loop."""

    def later(self, seconds: float, call: Callable[[], None]) -> object:
        """Make a call after so many seconds."""

    def soon(self, call: Callable[[], None]) -> None:
        """Make a call on the loop; from any thread."""


class Raised(NamedTuple):
    """An attempt that has ended with an exception.

    Attributes:
        job: at what.
        number: of the attempt.
        error: returns the exception; called in any thread.
        accept: called on the loop if that is how the job has ended.
        is_known: whether the history has it already: the attempt was stopped.
    """

    job: Job
    number: int
    error: Callable[[], BaseException]
    accept: Callable[[], None]
    is_known: bool = False


class Retrying:
    """Decides which jobs are run again. Lives on the event loop.

    Args:
        turn: of the event loop.
        again: called with a job that is to be run again, and its latest attempt.
        raised: called on the loop with a job that is going to be, the attempt and what it raised.
    """

    def __init__(
        self,
        turn: Timers,
        again: Callable[[Job, int], None],
        raised: Callable[[Job, int, str], None],
    ) -> None:
        self._turn = turn
        self._again = again
        self._raised = raised
        self._thread = CallbackThread()
        # Jobs that are looked at or wait for their next attempt.
        self._open: dict[int, Job] = {}
        # How often each job has been run again for this reason.
        self._times: WeakKeyDictionary[Job, int] = WeakKeyDictionary()

    def consider(self, attempt: Raised) -> None:
        """A job whose terms name exceptions has ended with one."""
        job = attempt.job
        most = _RETRIES if job.terms.retries is None else job.terms.retries
        if self._times.get(job, 0) >= most:
            self._accept(attempt)
            return
        self._open[job.tid] = job
        self._thread.post(self._look, attempt)

    def waits(self, job: Job) -> bool:
        """Whether a job has had an attempt and waits for the next."""
        return job.tid in self._open

    def forget(self, job: Job) -> None:
        """A job has been cancelled."""
        self._open.pop(job.tid, None)
        self._times.pop(job, None)

    def close(self) -> list[Job]:
        """Run nothing again. Returns the jobs that have not ended."""
        left = list(self._open.values())
        self._open.clear()
        self._thread.stop()
        return left

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._open.values())

    def _look(self, attempt: Raised) -> None:
        try:
            error = attempt.error()
            wanted, kind = isinstance(error, attempt.job.terms.retry_on), type(error).__name__
        # A class of the user's may raise anything when it is asked; the job has ended as it has.
        except BaseException:
            _log.exception("cannot tell whether job %d is to be run again", attempt.job.tid)
            wanted, kind = False, ""
        self._turn.soon(lambda: self._decided(attempt, wanted, kind))

    def _decided(self, attempt: Raised, wanted: bool, kind: str) -> None:
        job = attempt.job
        if job.tid not in self._open:
            return
        if not wanted:
            self._accept(attempt)
            return
        if not attempt.is_known:
            self._raised(job, attempt.number, kind)
        times = self._times[job] = self._times.get(job, 0) + 1
        first = job.terms.backoff
        pause = min(first * 2.0 ** min(times - 1, _DOUBLINGS), max(first, _LONGEST))
        self._turn.later(pause, lambda: self._run(attempt))

    def _run(self, attempt: Raised) -> None:
        if self._open.pop(attempt.job.tid, None) is not None:
            self._again(attempt.job, attempt.number)

    def _accept(self, attempt: Raised) -> None:
        self.forget(attempt.job)
        attempt.accept()
