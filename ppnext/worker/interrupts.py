"""Interrupts: the job that runs is stopped, and no other.

Who wants a job stopped says so on the control channel, where the watching thread reads it. It sends
the main thread a SIGINT, whose handler raises ``KeyboardInterrupt`` in the job: so Python code can
clean up. Between the two the job may have ended and another begun; so the handler looks whether it
is that job which runs, and otherwise does nothing.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

from ppnext.wire.messages import JobRef

__all__ = ["Interrupts"]


class Interrupts:
    """Made by the main thread, which runs the jobs."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._running: JobRef | None = None
        self._unwanted: JobRef | None = None
        signal.signal(signal.SIGINT, self._on_signal)

    def begin(self, job: JobRef) -> None:
        """From now on the job may be interrupted."""
        self._running = job

    def end(self) -> None:
        """The job has ended."""
        self._running = None

    def stop(self, job: JobRef) -> None:
        """Interrupt a job if it is running. Called by any thread."""
        self._unwanted = job
        if self._running == job:
            signal.pthread_kill(self._main, signal.SIGINT)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._running is not None and self._running == self._unwanted:
            self._running = None  # once is enough
            raise KeyboardInterrupt("the job was stopped")
