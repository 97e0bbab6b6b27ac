"""Callbacks: the thread in which users' callbacks run.

Users' code never runs on the event loop. One thread per server, started when it is first needed,
makes the calls one after the other in the order in which the jobs ended. An error in one is
logged and does not reach the jobs or the next callback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import TypeAlias

__all__ = ["CallbackThread"]

_log = logging.getLogger("ppnext.callbacks")

_Call: TypeAlias = tuple[Callable[..., object], tuple[object, ...], Callable[[], None] | None]


class CallbackThread:
    """Makes calls in a thread of its own."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._stopped = False

    def post(
        self,
        call: Callable[..., object],
        *args: object,
        afterwards: Callable[[], None] | None = None,
    ) -> None:
        """Have ``call(*args)`` made, and then ``afterwards()``, whatever became of it."""
        with self._lock:
            self._calls.put((call, args, afterwards))
            if self._stopped:
                self._calls.put(None)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="ppnext-callbacks", daemon=True)
                self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether this code runs in a callback."""
        return current_thread() is self._thread

    def stop(self) -> None:
        """Let the thread end after the calls that were posted; does not wait for it.

        What is posted later is called as well; the thread then comes back for it.
        """
        with self._lock:
            self._stopped = True
            self._calls.put(None)

    def _next(self) -> _Call | None:
        """Return the next call; None when the thread is to end, and is forgotten already."""
        while (item := self._calls.get()) is None:
            with self._lock:
                if self._calls.empty():
                    self._thread = None
                    return None
        return item

    def _run(self) -> None:
        while (item := self._next()) is not None:
            call, args, afterwards = item
            try:
                call(*args)
            # A user's callback may raise anything, and nobody waits for it: it is logged.
            except BaseException:
                _log.exception("%r raised", getattr(call, "__self__", call))
            if afterwards is not None:
                afterwards()
