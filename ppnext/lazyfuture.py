"""LazyFuture: a ``concurrent.futures.Future`` whose own state is made when somebody asks for it.

A ``Future`` has a condition and two lists, which cost more than a small job. What stands for it
here is a phase. The rest is made when something first needs it: ``concurrent.futures.wait``,
``add_done_callback``, ``asyncio``.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from threading import RLock
from typing import Any

from ppnext.wire.payloads import Payload

__all__ = ["CANCELLED", "FINISHED", "PENDING", "SENT", "LazyFuture", "lock"]

lock = RLock()
"""Guards the steps of all jobs from one phase to the next: it is taken for an instant. A handler of
signals that comes in this instant may take it again, to cancel a job."""

if hasattr(os, "register_at_fork"):
    # Else a child might have it taken, by a thread that is not there.
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )

PENDING, SENT, CANCELLED, FINISHED = range(4)

_PENDING, _CANCELLED = "PENDING", "CANCELLED"
"""States of a Future, by the names that it has for them."""


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
        if name.startswith("__") or name in own:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._make_future()
        return object.__getattribute__(self, name)

    def _make_future(self) -> None:
        """Make the state of a Future, in the phase that the job is in, unless it is there."""
        with lock:
            if self._is_future:
                return  # another thread was faster
            # Who sees it may lock it and then wait for this lock: nobody does before it is ready.
            made = Future[Any]()
            self._tell(made)
            if self._is_future:
                return  # a handler of signals needed it meanwhile
            vars(self).update(vars(made))
            self._is_future = True

    def _tell_future(self) -> None:
        """Bring the Future into the phase that the job is in."""
        self._tell(self)

    def _tell(self, future: Future[Any]) -> None:
        # Another thread may be doing so, with the phase before this one.
        if self._phase == SENT:
            with future._condition:
                if future._state == _PENDING:
                    future.set_running_or_notify_cancel()
        elif self._phase == CANCELLED:
            if Future.cancel(future):
                with future._condition:
                    if future._state == _CANCELLED:
                        future.set_running_or_notify_cancel()
            else:  # a Future that runs cannot be cancelled any more
                future.set_exception(self._cancelled())
        elif self._phase == FINISHED:
            report = self._report  # may be unpickled now
            if report is not None:
                error: BaseException | None = _Raised() if report[0] else None
            else:
                error = self._outcome[0] if self._outcome else None
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
