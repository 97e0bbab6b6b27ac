"""Job: what ``submit`` returns. A ``concurrent.futures.Future`` that can be called.

The result stays pickled until somebody asks for it, and is unpickled in that thread: a class with
a slow or broken ``__setstate__`` costs its own user time, not the event loop.

A program may have a million jobs waiting, and most are only ever waited for and called. So a job
is small.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from concurrent.futures import Future
from threading import TIMEOUT_MAX
from time import time
from typing import TYPE_CHECKING, Any

from ppnext.errors import JobCancelled
from ppnext.lazyfuture import CANCELLED, FINISHED, PENDING, SENT, LazyFuture, lock
from ppnext.nodes.guard import GRACE
from ppnext.runtime.attendance import Sleeper, taken_lock
from ppnext.shipping.functions import Definition
from ppnext.shipping.outcomes import decode_exception, encode_result, open_result
from ppnext.terms import DEFAULT, Terms
from ppnext.wire.messages import Limits, Outcome
from ppnext.wire.payloads import Payload, view_of

if TYPE_CHECKING:
    from ppnext.audience import Finished
    from ppnext.explaining import Explanation
    from ppnext.jobowner import JobOwner

__all__ = ["Job", "mark_finished", "mark_sent", "unended"]


class Job(LazyFuture):
    """A job that was submitted.

    ``job()`` waits and returns what the function returned or raises what it raised, with the
    traceback on the node. ``wait`` and ``as_completed`` of ``concurrent.futures`` take jobs.

    Attributes:
        tid: the job's number, counted from 0 for each server.
        group: the label given to ``submit``.
        server: the ``Server`` it was given to, which is not forgotten before its jobs are.
        node: name of the node that it was last sent to; None while it has not been sent.
        attempts: how often it has been sent to a node.
        seconds: how many seconds the call took on the node; None before it has ended.
        sent: when it was last sent to a node, in seconds since the epoch; 0 before.
        ended: when that it has ended was noticed, in seconds since the epoch; None before.
        definition: the function, as it is shipped.
        arguments: the arguments, as they are shipped; empty once the job has ended.
        callback: what is to be called with the result, and its first arguments; None if nothing is.
        uses: broadcast objects that the arguments refer to; none once the job has ended.
        terms: on which it runs.
        is_counted: whether ``Server.wait`` waits for it.
    """

    __slots__ = (
        "_output",
        "_owner",
        "_sleepers",
        "_unshown",
        "arguments",
        "attempts",
        "callback",
        "definition",
        "ended",
        "group",
        "is_counted",
        "node",
        "seconds",
        "sent",
        "server",
        "terms",
        "tid",
        "uses",
    )

    def __init__(
        self,
        owner: JobOwner,
        tid: int,
        group: str,
        server: object,
        definition: Definition,
        arguments: Payload,
        callback: tuple[Callable[..., object], tuple[Any, ...]] | None = None,
        uses: Sequence[object] = (),
        terms: Terms = DEFAULT,
    ) -> None:
        # Future.__init__ is called when somebody needs it.
        self._is_future = False
        self._phase = PENDING
        self._report = self._outcome = None
        self.tid = tid
        self.group = group
        self.server = server
        self.definition = definition
        self.arguments = arguments
        self.uses = uses
        self.terms = terms
        self.is_counted = False
        self.node: str | None = None
        self.attempts = 0
        self.seconds: float | None = None
        self.sent = 0.0
        self.ended: float | None = None
        self._owner = owner
        self.callback = callback
        # What threads that wait for the job sleep on, released when it has ended.
        self._sleepers: tuple[Sleeper, ...] = ()
        self._output = ""
        self._unshown = False

    # What users ask.

    def __call__(self, raw_result: bool = False) -> Any:
        """Wait for the job and return its result.

        Args:
            raw_result: return the result and the output as one pickle instead.

        Raises:
            Exception: what the job raised.
            JobError: it ended without a result of its own.
            DestroyedServerError: the server was destroyed before it ended.
        """
        result = self.result()
        return encode_result((result, self.output), 5) if raw_result else result

    def result(self, timeout: float | None = None) -> Any:
        """Wait at most ``timeout`` seconds for the job and return its result.

        Raises:
            TimeoutError: it has not ended by then; it goes on.
            CancelledError: it was cancelled.
            Exception: what the job raised, or one of ours; see ``__call__``.
        """
        error, value = self._outcome_within(timeout)
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback would hold this frame, and the frame would hold it
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the job raised, or None. Waits and raises as ``result`` otherwise."""
        return self._outcome_within(timeout)[0]

    def _outcome_within(self, timeout: float | None) -> tuple[BaseException | None, Any]:
        if self._phase < CANCELLED and not self._await(timeout):
            raise futures.TimeoutError(f"job {self.tid} has not ended after {timeout} s")
        if self._phase == CANCELLED:
            raise self._cancelled()
        return self._open()

    def _cancelled(self) -> JobCancelled:
        where = f"while it was on {self.node}" if self.node else "before it was sent"
        return JobCancelled(f"job {self.tid} was cancelled {where}")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds for the end. Return whether it has come."""
        return self._await(timeout)

    def done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self._phase >= CANCELLED

    def running(self) -> bool:
        """Whether the job has been sent to a node and has not ended."""
        return self._phase == SENT

    def cancelled(self) -> bool:
        """Whether the job was cancelled."""
        return self._phase == CANCELLED

    @property
    def limits(self) -> Limits | None:  # for links, which know no terms
        return self.terms.limits

    finished = property(done)

    @property
    def output(self) -> str:
        """What the job wrote to its standard output and error; empty before it has ended.

        At most 1 MiB is kept, of its beginning and end; a line says how much was left out."""
        return self._output

    @property
    def shipping(self) -> Explanation:
        """How its function is sent, and what comes along."""
        from ppnext.explaining import explanation_of  # only for who asks

        return explanation_of(self.definition)

    def status(self) -> str:
        """Say in one line where the job is, or why it waits."""
        return self._owner.describe(self)

    def cancel(self, kill: bool = False) -> bool:
        """Cancel the job unless it has ended. Return whether it is cancelled.

        One that runs is interrupted there, as by Ctrl-C, so that Python code can clean up; its
        worker process is killed if it has not ended two seconds later, or with ``kill`` at once.
        It counts as cancelled now. Who has cancelled it can still kill it.
        """
        return self._cancel((PENDING, SENT, CANCELLED), 0.0 if kill else GRACE)

    def drop(self) -> bool:
        """Cancel the job if it has not been sent to a node. Return whether it is cancelled."""
        return self._cancel((PENDING, CANCELLED), GRACE)

    def _cancel(self, phases: tuple[int, ...], grace: float) -> bool:
        """Cancel the job if it is in one of these phases."""
        with lock:
            if self._phase not in phases:
                return False
            is_new = self._phase != CANCELLED
            if is_new:
                self.ended = time()
                self._end(CANCELLED)
            told = is_new and self._is_future
        if told:
            self._tell_future()
        self._owner.cancelled(self, grace)
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have ``fn(job)`` called when the job has ended, in the server's callback thread."""
        callbacks = self._owner.callbacks
        super().add_done_callback(lambda future: callbacks.post(fn, future))

    def __repr__(self) -> str:
        where = f" on {self.node}" if self.node else ""
        state = "cancelled" if self.cancelled() else "finished" if self.done() else "unfinished"
        return f"<Job {self.tid} {state}{where}>"

    # What the client reports.

    def call_back(self) -> None:
        """Call the callback with the result."""
        if self.callback is not None and self._phase != CANCELLED:  # at the very end
            function, arguments = self.callback
            function(*arguments, self.result())

    def mark_failed(self, error: BaseException) -> None:
        """The job has ended without a result."""
        with lock:
            if self._phase >= CANCELLED:
                return
            self._outcome = error, None
            self.ended = time()
            self._end(FINISHED)
            told = self._is_future
        if told:
            self._tell_future()

    def _take_output(self, outcome: Outcome, payload: Payload) -> None:
        text = bytes(view_of(payload)[outcome.size - outcome.output :])
        self._output = text.decode(errors="backslashreplace")
        if outcome.dropped:
            self._output += f"\n[ppnext: {outcome.dropped} bytes of output were left out]\n"
        self._unshown = True

    # Waiting.

    def _end(self, phase: int) -> None:
        """Enter a last phase and wake who waits. With the lock."""
        self._phase = phase
        self.arguments = b""
        self.uses = ()
        if phase == FINISHED and self.definition.uses:
            self.definition = Definition(self.definition.digest, b"")
        if self._sleepers:
            for sleeper in self._sleepers:
                sleeper.release()
            self._sleepers = ()

    def _await(self, timeout: float | None) -> bool:
        """Wait for the end of the job. Return whether it has ended."""
        sleeper = self._owner.attend(self) or taken_lock()
        with lock:
            self._sleepers += (sleeper,)
            if self._phase >= CANCELLED:  # looked at last: a handler of signals may have ended it
                self._sleepers = ()
                return True
        try:
            if timeout is None:
                return sleeper.acquire()
            return sleeper.acquire(timeout=min(max(0.0, timeout), TIMEOUT_MAX))
        finally:
            with lock:
                self._sleepers = tuple(other for other in self._sleepers if other is not sleeper)

    @property
    def fate(self) -> str:
        """How its latest attempt has ended, in few words."""
        if self._phase == CANCELLED:
            return "cancelled"
        if self._phase == FINISHED and self.seconds is None:
            return "ended without a result"
        report = self._report  # may be unpickled now
        raised = report[0] if report else self._outcome and self._outcome[0] is not None
        return "has not ended" if self._phase < FINISHED else "raised" if raised else "returned"

    def show_output(self) -> None:
        """Print what the job wrote, the first time that anybody asks for its result."""
        with lock:
            unshown, self._unshown = self._unshown, False
        if unshown:
            sys.stdout.write(self._output)

    def _open(self) -> tuple[BaseException | None, Any]:
        """Unpickle what came back, once. Two threads may both do it; one outcome is kept."""
        report = self._report
        if self._outcome is None and report is not None:
            if self._unshown:
                self.show_output()
            raised, payload, size = report
            content = payload if type(payload) is bytes else view_of(payload)
            if size < len(content):
                content = content[:size]
            outcome = (decode_exception(bytes(content)), None) if raised else open_result(content)
            with lock:
                self._outcome = self._outcome or outcome
                self._report = None
        if self._outcome is None:
            raise AssertionError(f"job {self.tid} has ended without an outcome")
        return self._outcome


def mark_sent(jobs: Iterable[Job], node: str) -> None:
    """The jobs were sent to a node."""
    now, told = time(), []
    with lock:
        for job in jobs:
            job.node = node
            job.sent = now
            job.attempts += 1
            if job._phase == PENDING:
                job._phase = SENT
                if job._is_future:
                    told.append(job)
    for job in told:
        job._tell_future()


def unended(jobs: Iterable[Job]) -> list[Job]:
    """Return those of these jobs that have not ended."""
    return [job for job in jobs if job._phase < CANCELLED]


def mark_finished(jobs: Iterable[Job], ended: Iterable[Finished]) -> None:
    """The jobs have ended by themselves, each in its way."""
    now, told = time(), []
    with lock:
        for job, (_, outcome, payload) in zip(jobs, ended, strict=True):
            if job._phase >= CANCELLED:
                continue  # it was cancelled at this very moment
            job.ended = now
            job.seconds = outcome.seconds
            job._report = outcome.raised, payload, outcome.size - outcome.output
            if outcome.output:
                job._take_output(outcome, payload)
            job._end(FINISHED)
            if job._is_future:
                told.append(job)
    for job in told:
        job._tell_future()
