"""Deadlines: jobs that must have been started within a time, or end.

A job that was sent to a node may not have been started there: then it is taken back. Whether that
is possible the node says. One that has been tried once has met its deadline, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol
from weakref import ref

from ppnext.endings import too_late
from ppnext.engine import Engine
from ppnext.errors import NoNodes
from ppnext.job import Job

__all__ = ["Deadlines"]


class Timers(Protocol):
    """The event loop."""

    def later(self, seconds: float, call: Callable[[], None]) -> object:
        """Make a call after so many seconds."""


class Deadlines:
    """The deadlines of a client's jobs. Lives on the event loop.

    Args:
        turn: of the event loop.
        engine: where jobs are sent from.
        tried: says whether an attempt at a job has failed.
        describe: says where a job stands.
        fail: ends a job with an error.
    """

    def __init__(
        self,
        turn: Timers,
        engine: Engine,
        tried: Callable[[Job], bool],
        describe: Callable[[Job], str],
        fail: Callable[[Job, NoNodes], None],
    ) -> None:
        self._turn = turn
        self._engine = engine
        self._tried = tried
        self._describe = describe
        self._fail = fail
        # Why each job that is being taken back has waited.
        self._asked: dict[int, tuple[Job, NoNodes]] = {}

    def enter(self, job: Job) -> None:
        """A job has been submitted now."""
        if (seconds := job.terms.deadline) is not None:
            # A job that has ended is not kept: a deadline may be a day away. Others are elsewhere.
            self._turn.later(seconds, partial(self._is_over, ref(job), seconds))

    def withdrawn(self, number: int, is_back: bool) -> None:
        """The answer to whether a job could be taken back unstarted."""
        job, error = self._asked.pop(number)
        if is_back and not job.done():
            self._fail(job, error)

    def _is_over(self, known: ref[Job], seconds: float) -> None:
        job = known()
        if job is None or job.done() or self._tried(job):
            return
        error = too_late(job.tid, seconds, self._describe(job))
        if self._engine.state_of(job.tid) is not None:
            self._asked[job.tid] = (job, error)
            self._engine.withdraw([job.tid])
        elif not job.attempts:  # otherwise it waits to be run again
            self._fail(job, error)
