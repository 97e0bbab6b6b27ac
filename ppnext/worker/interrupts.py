"""Interrupts: the job that runs is stopped, and no other.

Who wants a job stopped says so on the control channel, where the watching thread reads it. It sends
the main thread a SIGINT, whose handler raises ``KeyboardInterrupt`` in the job: so Python code can
clean up. Between the two the job may have ended and another begun; so the handler looks whether it
is that job which runs, and otherwise does nothing.

Only the job's own code is interrupted. What the worker does in a job, such as reading an object
that has not come yet, has to be done whole, or no job after it would find things in order; and half
an import would stay for jobs to come. The handler sees from the stack where the job is. As long as
that is not in its own code, the watching thread asks again every few milliseconds.

A job may have a handler of its own for SIGINT, and then it is stopped by that, or not. The next job
has ours again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TypeVar

from ppnext.wire.messages import JobRef

try:
    # What ``signal.getsignal`` wraps to make an enumeration, which takes ten times as long.
    from _signal import getsignal as _get  # type: ignore[import-not-found]  # no stubs
except ImportError:  # another implementation of Python
    from signal import getsignal as _get

__all__ = ["Interrupts"]

T = TypeVar("T")

_WHOLE = ("ppnext.worker.", "ppnext.runtime.sharing", "ppnext.runtime.segments")
"""Modules whose functions are not interrupted, nor what they call."""

_IMPORTING = "<frozen importlib"


class Interrupts:
    """Made by the main thread, which runs the jobs."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._running: JobRef | None = None
        self._unwanted: JobRef | None = None
        self._handler = self._on_signal
        signal.signal(signal.SIGINT, self._handler)

    def call(
        self,
        job: JobRef,
        function: Callable[..., T],
        args: Sequence[object],
        kwargs: Mapping[str, object],
    ) -> T:
        """Return what the function of a job returns; meanwhile the job may be interrupted.

        Raises:
            KeyboardInterrupt: the job was stopped, perhaps before it was called.
            BaseException: whatever the function raises.
        """
        if _get(signal.SIGINT) is not self._handler:  # a job before has put its own there
            signal.signal(signal.SIGINT, self._handler)
        self._running = job
        try:
            if self._unwanted == job:
                raise KeyboardInterrupt("the job was stopped before it was called")
            return function(*args, **kwargs)
        finally:
            self._running = None

    def stop(self, job: JobRef) -> bool:
        """Interrupt a job if it is running. Called by any thread.

        Returns:
            whether it runs and has not been interrupted yet: ask again soon.
        """
        self._unwanted = job
        if self._running != job:
            return False
        signal.pthread_kill(self._main, signal.SIGINT)
        return True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._running is None or self._running != self._unwanted or not _is_job(frame):
            return
        self._running = None  # once is enough
        raise KeyboardInterrupt("the job was stopped")


def _is_job(frame: FrameType | None) -> bool:
    """Whether all that runs since the job was called is its own code."""
    while frame is not None and frame.f_code is not Interrupts.call.__code__:
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return False
        if str(frame.f_globals.get("__name__")).startswith(_WHOLE):
            return False
        frame = frame.f_back
    return True
