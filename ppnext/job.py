"""Job: what ``submit`` returns. A ``concurrent.futures.Future`` that can be called.

The result stays pickled until somebody asks for it, and is unpickled in that thread: a class with
a slow or broken ``__setstate__`` costs its own user time, not the event loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from threading import Lock
from typing import Any, Protocol

from ppnext.callbacks import CallbackThread
from ppnext.errors import JobCancelled, RemoteError
from ppnext.shipping.outcomes import decode_exception, decode_result, encode_result
from ppnext.wire.messages import Result

__all__ = ["Job", "JobOwner"]

# Guards the step from pending to running or cancelled, of all jobs: it is taken for an instant.
_starting = Lock()


class JobOwner(Protocol):
    """Whose job it is: the client that knows where it stands."""

    @property
    def callbacks(self) -> CallbackThread:
        """Where users' callbacks run."""

    def describe(self, job: Job) -> str:
        """Say in one line where the job is, or why it waits."""

    def cancelled(self, job: Job) -> None:
        """The job was cancelled by its user."""


class _Raised(Exception):
    """Stands in a Future for an exception that has not been unpickled."""


class Job(Future[Any]):
    """A job that was submitted.

    Call it to wait for its result: ``job()`` returns what the function returned or raises what it
    raised, with the traceback on the node as its cause. All of ``concurrent.futures.Future`` is
    there too, and ``wait`` and ``as_completed`` of that module take jobs.

    Attributes:
        tid: the job's number, counted from 0 for each server.
        group: the label given to ``submit``.
        server: the ``Server`` it was given to, which is not forgotten before its jobs are.
        node: name of the node that it was last sent to; None while it has not been sent.
        attempts: how often it has been sent to a node.
    """

    def __init__(self, owner: JobOwner, tid: int, group: str, server: object) -> None:
        super().__init__()
        self.tid = tid
        self.group = group
        self.server = server
        self.node: str | None = None
        self.attempts = 0
        self._owner = owner
        # What came back: whether the job raised, and the pickle; then what it was unpickled to.
        self._report: tuple[bool, bytes] | None = None
        self._outcome: tuple[BaseException | None, Any] | None = None
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
        try:
            super().result(timeout)
        except _Raised:
            pass  # what it raised is unpickled below
        except CancelledError:
            raise JobCancelled(f"job {self.tid} was cancelled before it was sent") from None
        error, value = self._open()
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback would hold this frame, and the frame would hold it
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait at most ``timeout`` seconds for the job; return what it raised, or None.

        Raises:
            TimeoutError: it has not ended by then; it goes on.
            CancelledError: it was cancelled.
        """
        try:
            error = super().exception(timeout)
        except CancelledError:
            raise JobCancelled(f"job {self.tid} was cancelled before it was sent") from None
        if error is not None and not isinstance(error, _Raised):
            return error
        return self._open()[0]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds for the job to end. Return whether it has ended."""
        return bool(futures.wait([self], timeout).done)

    @property
    def finished(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.done()

    @property
    def output(self) -> str:
        """What the job wrote to its standard output and error; empty before it has ended.

        At most 1 MiB is kept, from its beginning and its end; a line says how much was left out.
        """
        return self._output

    def status(self) -> str:
        """Say in one line where the job is, or why it waits."""
        return self._owner.describe(self)

    def cancel(self) -> bool:
        """Cancel the job if it has not been sent to a node. Return whether it was cancelled."""
        with _starting:
            if self.cancelled():
                return True
            if self.running() or not super().cancel():
                return False
            self.set_running_or_notify_cancel()
        self._owner.cancelled(self)
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have ``fn(job)`` called when the job has ended, in the server's callback thread."""
        callbacks = self._owner.callbacks
        super().add_done_callback(lambda future: callbacks.post(fn, future))

    def __repr__(self) -> str:
        where = f" on {self.node}" if self.node else ""
        state = "cancelled" if self.cancelled() else "finished" if self.done() else "unfinished"
        return f"<Job {self.tid} {state}{where}>"

    # What the client reports; on the event loop.

    def mark_sent(self, node: str) -> None:
        """The job was sent to a node."""
        self.node = node
        self.attempts += 1
        if self.attempts == 1:
            with _starting:
                if not self.cancelled():
                    self.set_running_or_notify_cancel()

    def mark_finished(self, result: Result, payload: bytes) -> None:
        """The job has ended by itself."""
        if result.output:
            self._output = payload[: result.output].decode(errors="backslashreplace")
            if result.dropped:
                self._output += f"\n[ppnext: {result.dropped} bytes of output were left out]\n"
            self._unshown = True
        self._report = result.raised, payload[result.output :]
        with suppress(InvalidStateError):  # it was cancelled at this very moment
            if result.raised:
                self.set_exception(_Raised())
            else:
                self.set_result(None)

    def mark_failed(self, error: BaseException) -> None:
        """The job has ended without a result."""
        with suppress(InvalidStateError):  # it was cancelled at this very moment
            self.set_exception(error)

    def show_output(self) -> None:
        """Print what the job wrote, the first time that anybody asks for its result."""
        with _starting:
            unshown, self._unshown = self._unshown, False
        if unshown:
            sys.stdout.write(self._output)

    def _open(self) -> tuple[BaseException | None, Any]:
        """Unpickle what came back, once. Two threads may both do it; one outcome is kept."""
        report = self._report
        if self._outcome is None and report is not None:
            self.show_output()
            raised, payload = report
            outcome = (decode_exception(payload), None) if raised else _decoded(payload)
            with _starting:
                self._outcome = self._outcome or outcome
                self._report = None
        if self._outcome is None:
            raise AssertionError(f"job {self.tid} has ended without an outcome")
        return self._outcome


def _decoded(payload: bytes) -> tuple[BaseException | None, Any]:
    try:
        return None, decode_result(payload)
    except RemoteError as error:
        return error, None
