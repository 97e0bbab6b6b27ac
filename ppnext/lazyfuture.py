"""LazyFuture: a ``concurrent.futures.Future`` whose own state is made when somebody asks for it.

A ``Future`` has a condition and two lists, which cost more than a small job. What stands for it
here is a phase. The rest is made when something first needs it: ``concurrent.futures.wait``,
``add_done_callback``, ``asyncio``.
"""

from __future__ import annotations

from concurrent.futures import Future
from threading import Lock
from typing import Any

from ppnext.wire.payloads import Payload

__all__ = ["CANCELLED", "FINISHED", "PENDING", "SENT", "LazyFuture", "lock"]

lock = Lock()
"""Guards the steps of all jobs from one phase to the next: it is taken for an instant."""

PENDING, SENT, CANCELLED, FINISHED = range(4)


class _Raised(Exception):
    """Stands in a Future for an exception that has not been unpickled."""


class LazyFuture(Future[Any]):
    """What a job is besides a job. The job sets its attributes, for another call costs time."""

    __slots__ = ("_is_future", "_outcome", "_phase", "_report")

    _is_future: bool
    # Changed with the lock.
    _phase: int
    # What came back: whether the job raised, the pickle and its size.
    _report: tuple[bool, Payload, int] | None
    # What that was unpickled to.
    _outcome: tuple[BaseException | None, Any] | None

    def _cancelled(self) -> BaseException:
        """Return what is raised where the result of a cancelled job is asked for."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        # Only what is not there is looked up here: an attribute of Future before its __init__.
        own = (*type(self).__slots__, *LazyFuture.__slots__)
        if name.startswith("__") or name in own or not self._make_future():
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self, name)

    def _make_future(self) -> bool:
        """Make the state of a Future, in the phase that the job is in, unless it is there."""
        with lock:
            if self._is_future:
                return False
            Future.__init__(self)
            self._is_future = True
            self._tell_future()
            return True

    def _tell_future(self) -> None:
        """Bring the Future into the phase that the job is in."""
        if self._phase == SENT:
            self.set_running_or_notify_cancel()
        elif self._phase == CANCELLED:
            if super().cancel():
                self.set_running_or_notify_cancel()
            else:  # a Future that runs cannot be cancelled any more
                self.set_exception(self._cancelled())
        elif self._phase == FINISHED:
            if self._report is not None:
                raised = self._report[0]
                error: BaseException | None = _Raised() if raised else None
            else:
                error = self._outcome[0] if self._outcome else None
            if error is None:
                self.set_result(None)
            else:
                self.set_exception(error)
