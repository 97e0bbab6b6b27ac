"""Inbox: jobs that have been sent to this worker and not started.

Two threads touch it. The main thread takes the next job and runs it. The other one sleeps until
the parent writes to the control channel: then it reads what lies on the jobs channel, gives back
the jobs that are asked for and have not been started, and says which those are. So jobs that were
sent ahead are not stuck behind a long one, and in normal service the thread costs nothing.
It never reads while the main thread waits on the jobs channel, which would then sleep on although
there is a job for it: it lets the main thread read first.

The parent's end is seen here too: the worker then ends itself and whatever its jobs have started.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Lock
from time import monotonic

from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Define, JobRef, Message, Retract, Returned, Run

__all__ = ["Inbox"]

_READ = 1 << 18


class Inbox:
    """The worker's end of its two channels.

    Args:
        jobs: socket on which functions and jobs arrive and results leave; used by one thread at
            a time to read, and by the main thread alone to write.
        control: socket on which jobs are asked back.
        on_end: called in the watching thread when the parent is gone; does not return.
    """

    def __init__(
        self, jobs: socket.socket, control: socket.socket, on_end: Callable[[], None]
    ) -> None:
        self._jobs = jobs
        self._control = control
        self._on_end = on_end
        self._jobs_connection = Connection(monotonic())
        self._control_connection = Connection(monotonic())
        # The lock owns the reading of the jobs channel, and what has been read from it.
        self._lock = Lock()
        self._arrived: deque[Received] = deque()
        self._ended = False
        # Whether the main thread is about to read, as soon as there is something; and that it has.
        self._waiting = False
        self._has_read = Condition(self._lock)

    # The main thread.

    def next(self) -> Received | None:
        """Wait for the next message and return it; None when the parent has closed the channel."""
        while True:
            with self._lock:
                if self._arrived:
                    return self._arrived.popleft()
                if self._ended:
                    return None
                self._waiting = True
            self._wait()

    def wait_for_definition(self, digest: bytes) -> bytes | None:
        """Wait for the function of this content hash, leaving all other messages where they are."""
        while True:
            with self._lock:
                for place, (message, payload) in enumerate(self._arrived):
                    if isinstance(message, Define) and message.digest == digest:
                        del self._arrived[place]
                        return payload
                if self._ended:
                    return None
                self._waiting = True
            self._wait()

    def send(self, message: Message, payload: bytes = b"") -> None:
        """Send a message to the parent; returns when the kernel has taken it."""
        _send(self._jobs, self._jobs_connection, message, payload)

    def _wait(self) -> None:
        """Wait until there is something to read, and read it."""
        _wait_readable(self._jobs, None)
        with self._lock:
            self._waiting = False
            self._read()
            self._has_read.notify()

    # The watching thread.

    def watch(self, every: float | None, tick: Callable[[], None]) -> None:
        """Answer the parent on the control channel until it is gone.

        Args:
            every: seconds after which ``tick`` is called, again and again.
        """
        with suppress(ConnectionError):  # the parent went before it had its answer
            self._answer(every, tick)
        self._on_end()

    def _answer(self, every: float | None, tick: Callable[[], None]) -> None:
        while True:
            if not _wait_readable(self._control, every):
                tick()
                continue
            data = _receive(self._control)
            if not data:
                return
            for message, _ in self._control_connection.receive_data(data, monotonic()):
                if isinstance(message, Retract):
                    self._give_back(message.jobs)

    def _give_back(self, asked: list[JobRef]) -> None:
        wanted = set(asked)
        with self._lock:
            while self._waiting and _wait_readable(self._jobs, 0):
                self._has_read.wait()
            if not self._waiting:
                self._read()
            found = {
                (message.job, message.attempt)
                for message, _ in self._arrived
                if isinstance(message, Run)
            } & wanted
            self._arrived = deque(
                item
                for item in self._arrived
                if not (
                    isinstance(item.message, Run)
                    and (item.message.job, item.message.attempt) in found
                )
            )
        returned = sorted(found)
        kept = sorted(wanted - found)
        _send(self._control, self._control_connection, Returned(returned, kept), b"")

    # Both, with the lock.

    def _read(self) -> None:
        """Take what lies on the jobs channel, without waiting for more."""
        if self._ended or not _wait_readable(self._jobs, 0):
            return
        data = _receive(self._jobs)
        if data:
            self._arrived.extend(self._jobs_connection.receive_data(data, monotonic()))
        else:
            self._ended = True


def _receive(channel: socket.socket) -> bytes:
    """Return what has arrived; nothing when the parent is gone."""
    try:
        return channel.recv(_READ)
    except ConnectionError:
        return b""  # it went without reading all that was sent to it


def _send(channel: socket.socket, connection: Connection, message: Message, payload: bytes) -> None:
    connection.send(message, payload)
    while buffers := connection.data_to_send(0.0):
        channel.sendall(b"".join(buffers) if len(buffers) > 1 else buffers[0])


if hasattr(select, "poll"):

    def _wait_readable(channel: socket.socket, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

else:  # Windows, where select has no limit on descriptor numbers

    def _wait_readable(channel: socket.socket, seconds: float | None) -> bool:
        return bool(select.select([channel], [], [], seconds)[0])
