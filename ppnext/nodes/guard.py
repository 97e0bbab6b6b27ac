"""Guard: ends the job that a worker runs when it may not go on.

One for each worker process, in its parent. A job that has limits says when it begins. When its time
is up, or when nobody wants it any more, the worker is told to interrupt it, so that Python code can
clean up; if it has not ended after a grace, its process is killed with all that it has started.
While the process is suspended, the time of its job does not run.

However a job ends that was stopped for going beyond a limit, that is how it has ended: what it
still returned or raised does not count. The guard has the verdict when the link asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import NamedTuple, Protocol

from ppnext.nodes.countdown import Countdown
from ppnext.sched.model import NOBODY, Limit, Verdict
from ppnext.wire.messages import Began, JobRef, Limits, Stop

__all__ = ["GRACE", "Guard", "GuardedProcess"]

GRACE = 2.0
"""Seconds that a job which is interrupted has to clean up."""

_ANSWER = 1.0
"""Seconds that a worker has to say which jobs it has begun, before that is looked up."""

_LOADING = 60.0
"""Seconds, at least, that the function and arguments of a job that has a timeout may take to load:
modules are imported then, and may be fetched first."""

_LOOK_EVERY = 0.1
"""Seconds between two looks at the memory of a job that may have so much and no more."""

_LONGEST_STACK = 12_000
"""Characters of a stack that are passed on; its innermost end is kept."""


class GuardedProcess(Protocol):
    """The worker process."""

    def kill(self) -> None:
        """Kill it and all that its job has started."""

    def ask_where(self) -> int:
        """Ask it where its job is; returns what to give to ``where``."""

    def footprint(self) -> int:
        """Return how many bytes of memory of their own it and its children have."""

    def last_started(self) -> int | None:
        """Return the number of the job that it has started last; None if it has started none."""

    def where(self, asked: int) -> str:
        """Return where its job was when it was asked; empty if it has not answered."""


class _Found(NamedTuple):
    """What a job went beyond, and what to ask its process for."""

    limit: Limit
    cause: str
    asked: int
    peak: int


class Guard:
    """Watches over the jobs of one worker.

    Args:
        process: the worker.
        later: makes a call after so many seconds.
        send: sends the worker a message that it reads while its job runs.

    Attributes:
        is_spent: whether the worker is to run no more jobs after this one, because it cannot take
            back that it gives way to others.
    """

    def __init__(
        self,
        process: GuardedProcess,
        later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        send: Callable[[Stop], object],
    ) -> None:
        self._process = process
        self._later = later
        self._send = send
        # The job that is watched or being stopped, if there is one.
        self._job: JobRef | None = None
        self._timers: list[asyncio.TimerHandle] = []
        # The time that the job has, and whether it is held up.
        self._time: Countdown | None = None
        self._is_held = False
        self._looking: asyncio.TimerHandle | None = None
        self._found: _Found | None = None
        self._has_killed = False
        self.is_spent = False
        # Whether it has been told to end.
        self._is_stopping = False

    @property
    def job(self) -> JobRef | None:
        """The job that is watched or being stopped."""
        return self._job

    def begin(self, began: Began, limits: Limits) -> None:
        """A job that has limits is being loaded, or called: each has its time."""
        self.is_spent |= began.called and limits.nice > 0
        job = (began.job, began.attempt)
        if self._job == job and self._is_stopping:
            return
        self._watch(job)
        if limits.timeout:
            seconds = limits.timeout if began.called else max(_LOADING, limits.timeout)
            what = "it ran longer than its timeout of" if began.called else "it did not load within"
            cause = f"{what} {seconds:g} s"
            beyond = partial(self._beyond, Limit.TIMEOUT, cause)
            self._time = Countdown(seconds, beyond, self._later, self._is_held)
        if limits.memory:
            self._look_later(limits.memory)

    def stop(self, job: JobRef, grace: float) -> None:
        """Nobody wants a job any more that has been started."""
        if self._job != job:
            self._watch(job)
        self._interrupt(grace)

    def exceed(self, job: JobRef, limit: Limit, cause: str, peak: int) -> None:
        """A job is too much for the machine: kill it, with all that it has started.

        Args:
            limit: what it went beyond.
            cause: the same in words.
            peak: how many bytes of memory it has.
        """
        if self._job != job:
            self._watch(job)
        if self._found is None:
            self._found = _Found(limit, cause, self._process.ask_where(), peak)
        self._interrupt(0.0)

    def hold(self, now: float) -> None:
        """The process is suspended: the job's time does not run, but for that to end in."""
        self._is_held = True
        if self._time is not None:
            self._time.hold(now)

    def go_on(self) -> None:
        """The process is continued, and so is the time of its job."""
        self._is_held = False
        if self._time is not None:
            self._time.go_on()

    def expect(self, call: Callable[[], None]) -> None:
        """The process is asked for jobs: make a call when it should have answered.

        While a job computes in C, or is suspended, nobody answers.
        """
        self._later(_ANSWER, call)

    def returned(self, jobs: Collection[JobRef]) -> None:
        """The process has not begun these jobs, and will not, whatever its note seemed to say."""
        if self._job in jobs:
            self.close()

    def begun(self, held: Iterable[int], asked: Iterable[JobRef]) -> list[JobRef]:
        """Return which of the jobs that it was asked for the process has begun, as its note says.

        It is the oldest that it holds; if it was run before, the note may be of that.
        """
        oldest = next(iter(held), None)
        return [it for it in asked if it[0] == oldest == self._process.last_started()]

    def running(self, last: int | None) -> int | None:
        """Return which job the process was running when it ended.

        Args:
            last: the one that it has started last.
        """
        if not self._has_killed:
            return last
        # Killed a moment after the job had ended, it may have been sent others.
        return NOBODY if self._job is None else self._job[0]

    def ended(self) -> Verdict | None:
        """The job that is watched has ended, or its process has.

        Returns:
            why it was stopped, if it had gone beyond a limit.
        """
        found = self._found
        self.close()
        if found is None:
            return None
        stack = self._process.where(found.asked)[-_LONGEST_STACK:]
        return Verdict(found.limit, found.cause, stack, found.peak)

    def close(self) -> None:
        """Watch nothing any more."""
        self._job = self._found = None
        self._is_stopping = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._time is not None:
            self._time.cancel()
            self._time = None
        if self._looking is not None:
            self._looking.cancel()

    def _watch(self, job: JobRef) -> None:
        self.close()
        self._job = job

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(self._later(seconds, call))

    def _look(self, most: int) -> None:
        """See how much memory the job has."""
        size = self._process.footprint()
        if size > most:
            cause = f"it had {size} bytes of memory, and may have {most}"
            self._beyond(Limit.MEMORY, cause, size)
        else:
            self._look_later(most)

    def _look_later(self, most: int) -> None:
        self._looking = self._later(_LOOK_EVERY, lambda: self._look(most))

    def _beyond(self, limit: Limit, cause: str, peak: int = 0) -> None:
        if self._found is None:
            self._found = _Found(limit, cause, self._process.ask_where(), peak)
            self._interrupt(GRACE)

    def _interrupt(self, grace: float) -> None:
        if self._job is None:
            return
        self._is_stopping = True
        if grace > 0:
            self._send(Stop(*self._job, grace))
            self._after(grace, self._kill)
        else:
            self._kill()

    def _kill(self) -> None:
        self._has_killed = True
        self._process.kill()
