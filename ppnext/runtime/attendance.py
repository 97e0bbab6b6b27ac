"""Attendance: a thread that waits for something serves the stream on which it will arrive.

The event loop would be woken to read it, and would then wake the thread that waits: two changes of
thread, which cost more than all the rest of a short job. So the waiting thread takes the stream
from the loop for as long as it waits, reads it in visits to the loop, and gives it back. Whatever
else ends the wait (another stream, a cancellation, the end of the server) is told by ``release``,
as to any thread that sleeps on a lock.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, local
from time import monotonic
from typing import Protocol

from ppnext.runtime.looking import look
from ppnext.runtime.loop import LoopThread
from ppnext.runtime.streams import Stream

__all__ = ["Attendance", "Sleeper", "taken_lock"]

_MOMENT = 0.00005
"""Seconds for which a thread looks before it sleeps."""

_LONGEST = 1e9
"""Milliseconds that a system can be asked to wait at a time."""


class _Ends:
    """Both ends of a bell, closed with the thread that it belongs to."""

    def __init__(self) -> None:
        self.push, self.ring = socket.socketpair()
        self.push.setblocking(False)
        self.ring.setblocking(False)

    def __del__(self) -> None:
        self.push.close()
        self.ring.close()


class Sleeper(Protocol):
    """What a thread sleeps on: a lock that it has acquired once, or the like."""

    def acquire(self, *, timeout: float = -1) -> bool:
        """Sleep until ``release`` is called, or has been."""

    def release(self) -> None:
        """End the sleep. From any thread."""


class _Bell(local):
    """What wakes a thread that attends; one of each thread, because making it costs time."""

    def __init__(self) -> None:
        self._ends = _Ends()
        self.push, self.ring = self._ends.push, self._ends.ring
        self.poll = select.poll()
        self.poll.register(self.ring, select.POLLIN)


_bell = _Bell()


class Attendance:
    """Waits as a lock does that is released when something has happened.

    Args:
        thread: the event loop.
        find: called in a visit to the loop; returns the stream to serve, or None.
    """

    def __init__(self, thread: LoopThread, find: Callable[[], Stream | None]) -> None:
        self._thread = thread
        self._find = find
        self._stream: Stream | None = None
        self._is_serving = False
        self._is_over = False
        self._has_rung = False
        self._push: socket.socket | None = None

    def release(self) -> None:
        """It has happened. From any thread."""
        self._is_over = True
        push = self._push
        if push is not None and not self._is_serving:
            self._has_rung = True
            with suppress(OSError):  # the thread has gone meanwhile
                push.send(b"!")

    def acquire(self, timeout: float = -1) -> bool:
        """Wait until it has happened, at most ``timeout`` seconds if that is not negative.

        Returns:
            whether it has happened.
        """
        bell = _bell
        self._push = bell.push
        until = None if timeout < 0 else monotonic() + timeout
        try:
            self._thread.visit(self._borrow)
            return self._serve(bell, until)
        finally:
            if self._stream is not None:
                self._thread.enter(self._give_back)
                if self._stream is not None:  # the loop has ended, and the stream with it
                    bell.poll.unregister(self._stream.descriptor)
            self._push = None
            if self._has_rung:
                _silence(bell)

    def _borrow(self) -> None:
        stream = None if self._is_over else self._find()
        if stream is not None and stream.lend():
            _bell.poll.register(stream.descriptor, select.POLLIN)
            self._stream = stream

    def _give_back(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            _bell.poll.unregister(stream.descriptor)
            stream.take_back()

    def _serve(self, bell: _Bell, until: float | None) -> bool:
        ring = bell.ring.fileno()
        while not self._is_over:
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                return False
            wait = None if left is None else min(left * 1000 + 1, _LONGEST)
            found = look(lambda: bell.poll.poll(0), _MOMENT)
            for descriptor, _ in found or bell.poll.poll(wait):
                if descriptor == ring:
                    _silence(bell)
                else:
                    self._is_serving = True
                    try:
                        self._thread.enter(self._read)
                    finally:
                        self._is_serving = False
        return True

    def _read(self) -> None:
        # If the stream has ended, what that means is the loop's business.
        if self._stream is not None and (not self._stream.serve() or self._is_over):
            self._give_back()


def taken_lock() -> Sleeper:
    """Return the plainest thing to sleep on."""
    lock = Lock()
    lock.acquire()
    return lock


def _silence(bell: _Bell) -> None:
    try:
        bell.ring.recv(64)
    except BlockingIOError:
        return
