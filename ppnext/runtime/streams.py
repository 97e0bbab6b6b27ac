"""Streams: a socket and the protocol state of its end.

The only place that moves bytes between a socket and a ``Connection``, whether the socket is one of
a pair to a worker or a TLS socket to another machine. Nothing is copied into a buffer of the
stream's own: it pulls from the connection what the socket will take, and of a large payload it
reads straight to where the payload is put together. Several messages that are sent in one turn of
the loop leave in one write. Memory that is passed to another process goes along as a descriptor.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from ppnext.errors import ProtocolError
from ppnext.runtime.loop import Turn
from ppnext.runtime.passing import NO_SIGNAL, receive, send_passing
from ppnext.runtime.records import joined, read_records, send_records
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Bye, Message
from ppnext.wire.payloads import Large, Payload

__all__ = ["Stream"]

_READ = 1 << 17

_WORTH_A_READ = 1 << 14
"""Bytes of a large payload that are read to their place; fewer are read with what follows them."""

_BUFFERS = 512
"""Most buffers in one write; every system takes that many."""

_PATIENCE = 5.0
"""Seconds that ``finish`` leaves the other end to close after all has been sent."""

_READS_PER_TURN = 4
_PULLS_PER_TURN = 4
"""Chunks of a stream that are read or written before the loop looks after others and timers."""

_REASON = 1000
"""Most characters of a reason in a Bye."""


_NO_MEMORY = "there was no memory for what arrived or was to be sent"


class Stream:
    """One end of a stream of messages. Lives on one event loop, in its thread.

    Args:
        turn: the event loop's turn.
        sock: a connected, non-blocking socket; the stream closes it.
        connection: the protocol state.
        on_messages: called with the messages that have arrived together.
        on_end: called once when the stream has ended, with the cause, or None after a Bye; not
            called after ``close``.
        passing: whether the other end is a process of this machine: memory may be passed to it by
            descriptor, and the stream may be lent.
    """

    def __init__(
        self,
        turn: Turn,
        sock: socket.socket,
        connection: Connection,
        on_messages: Callable[[list[Received]], None],
        on_end: Callable[[str | None], None],
        passing: bool = False,
    ) -> None:
        self.connection = connection
        self._turn = turn
        self._loop = loop = turn.loop
        self._socket = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._passing = passing
        self._descriptor = sock.fileno()
        self._on_messages = on_messages
        self._on_end = on_end
        # What has been pulled from the connection and not been taken by the socket.
        self._pending: list[bytes | memoryview] = []
        self._passed: Large | None = None
        self._flush_scheduled = False
        self._writer_watched = False
        self._finishing = False
        # Everything has been sent, and nothing that arrives is of interest any more.
        self._finished = False
        self._patience = _PATIENCE
        self._closed = False
        self._is_lent = False
        self._timer: asyncio.TimerHandle | None = None
        # Only streams without TLS can be lent: it may hold what no descriptor tells of.
        self._watch = turn.watch if passing else None
        if self._watch is not None:
            self._watch.add(self._descriptor, self._readable)
        else:
            loop.add_reader(self._descriptor, self._readable)
        self._set_timer()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent or received any more."""
        return self._closed

    def send(self, message: Message, payloads: Sequence[Payload] = ()) -> None:
        """Queue a message; it leaves at the end of this turn of the loop, or when there is room.

        After ``finish`` it is dropped: nothing may follow the Bye.
        """
        if self._finishing:
            return
        self.connection.send(message, payloads)
        self._flush_soon()

    def feed(self, data: bytes) -> None:
        """Handle bytes that were read from the socket before the stream took it over."""
        try:
            self._received(data)
        except (ProtocolError, MemoryError) as error:
            self._end(str(error) or _NO_MEMORY)
            return
        self._readable()

    def drain(self) -> None:
        """Handle what the other end has sent and this one has not read yet."""
        self._readable()

    def say_bye(self, reason: str) -> None:
        """Send what is queued and a Bye as far as the socket takes them now, and close."""
        if self._closed:
            return
        if not self._finishing:
            self.connection.send(Bye(reason[:_REASON]))
        with suppress(OSError):  # it is as far as the socket takes it
            self._write_some()
        self.close()

    def finish(self, reason: str, patience: float = _PATIENCE) -> None:
        """Send all that is queued and a Bye, however long it takes; then end.

        What arrives after the Bye has been sent is ignored. The socket is closed when the other
        end has closed its own, or ``patience`` seconds later: closing it while something is
        unread would reset the connection, and what is still on its way would be lost.
        """
        if self._finishing or self._closed:
            return
        self.connection.send(Bye(reason[:_REASON]))
        self._finishing = True
        self._patience = patience
        self._flush_soon()

    def close(self) -> None:
        """Close the socket. Nothing is called any more."""
        if self._closed:
            return
        self._closed = True
        if self._watch is not None:
            self._watch.remove(self._descriptor)
        else:
            self._loop.remove_reader(self._descriptor)
        if self._writer_watched:
            self._loop.remove_writer(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()
        for descriptor in self.connection.take_descriptors():
            os.close(descriptor)
        self.connection.forget()
        self._pending, self._passed = [], None
        self._socket.close()

    # Lending. A stream that is lent is read by a visitor of the loop, not by the loop.

    @property
    def descriptor(self) -> int:
        """The socket's descriptor, to wait on while the stream is lent."""
        return self._descriptor

    def lend(self) -> bool:
        """Have a visitor read the stream from now on. Return False if that cannot be."""
        if self._watch is None or self._is_lent or self._closed or self._finishing:
            return False
        self._is_lent = True
        self._watch.put_aside(self._descriptor)
        return True

    def serve(self) -> bool:
        """Read what has arrived, in a visit. Return False if the loop is to see to the stream."""
        if self._closed:
            return False
        try:
            return self._read() > 0
        except BlockingIOError:
            return True
        except (ProtocolError, MemoryError) as error:
            self._loop.call_soon_threadsafe(self._end, str(error) or _NO_MEMORY)
            return False
        except OSError:
            return False  # the loop will meet the same

    def take_back(self) -> None:
        """Have the loop read the stream again."""
        if self._is_lent and self._watch is not None and not self._closed:
            self._watch.resume(self._descriptor)
        self._is_lent = False

    # Receiving.

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            if self._closed:
                return
            try:
                count = self._read()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except ProtocolError as error:
                self._end(str(error))
                return
            except MemoryError:
                self._end(_NO_MEMORY)  # without what has been read, the rest means something else
                return
            except OSError as error:
                self._end(None if self._finished else _describe(error))
                return
            if not count:
                done = self._finished or self.connection.receive_eof()
                self._end(None if done else "the connection was cut")
                return
            if count < _READ and not self._is_tls:
                return
        # There may be more, and TLS may already hold it where no reader would be told.
        self._loop.call_soon(self._readable)

    def _read(self) -> int:
        """Read once and handle what has arrived. Return how many bytes; 0 at the end."""
        room = self.connection.room()
        if room is not None and len(room) >= _WORTH_A_READ:
            sock = self._socket
            count = read_records(sock, room) if self._is_tls else sock.recv_into(room)
            if count and not self._finished:
                self._handle(self.connection.filled(count, monotonic()))
            return max(count, _READ) if count == len(room) else count
        if self._passing:
            data, descriptors = receive(self._socket, _READ)
        else:
            data, descriptors = self._socket.recv(_READ), ()
        if data and not self._finished:
            self._received(data, descriptors)
        return len(data)

    def _received(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        self._handle(self.connection.receive_data(data, monotonic(), descriptors))

    def _handle(self, arrived: list[Received]) -> None:
        if arrived:
            self._on_messages(arrived)
        if self.connection.wants_to_send:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_scheduled and not self._writer_watched and not self._closed:
            self._flush_scheduled = True
            self._turn.at_end(self._flush)

    # Sending.

    def _flush(self) -> None:
        self._flush_scheduled = False
        try:
            if not self._write_some(_PULLS_PER_TURN) and not self._writer_watched:
                self._flush_scheduled = True
                self._turn.next(self._flush)
        except MemoryError:
            self._loop.call_soon_threadsafe(self._end, _NO_MEMORY)
        except OSError as error:
            if self._turn.is_visit:
                self._loop.call_soon_threadsafe(self._flush)  # what to do is the loop's business
            elif isinstance(error, BlockingIOError | ssl.SSLWantWriteError | ssl.SSLWantReadError):
                self._watch_writer(True)
            else:
                # What the other end managed to say before it went is still to be read.
                self._watch_writer(False)
                self._readable()
                self._end(_describe(error))

    def _write_some(self, most: int | None = None) -> bool:
        """Write what waits, at most so many chunks. Return whether that is known to be all.

        Raises:
            OSError: the socket takes no more for now, or it has failed.
        """
        pulls = 0
        while not self._closed:
            if not self._pending:
                if pulls == most:
                    return False
                pulls += 1
                outgoing = self.connection.data_to_send(monotonic())
                if not outgoing.buffers:
                    self._watch_writer(False)
                    if self._finishing and not self._finished:
                        self._await_end()
                    return True
                self._pending = outgoing.buffers
                self._passed = outgoing.passed
            self._write()
        return True

    def _write(self) -> None:
        pending = self._pending
        if self._passed is not None:
            sent = send_passing(self._socket, pending, self._passed)
            self._passed = None
        elif self._is_tls:
            self._pending = pending = joined(pending)
            sent = send_records(self._socket, pending[0])
        elif len(pending) == 1:
            sent = self._socket.send(pending[0], NO_SIGNAL)
        elif hasattr(self._socket, "sendmsg"):
            sent = self._socket.sendmsg(pending[:_BUFFERS], (), NO_SIGNAL)
        else:
            self._pending = pending = joined(pending)
            sent = self._socket.send(pending[0])
        self._pending = _rest(pending, sent)

    def _await_end(self) -> None:
        """All is sent: say so to the other end, and wait until it closes as well."""
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._patience, self._end, None)
        self._socket.shutdown(socket.SHUT_WR)  # from here on a TLS socket gives raw bytes

    def _watch_writer(self, wanted: bool) -> None:
        if wanted and not self._writer_watched:
            self._loop.add_writer(self._descriptor, self._flush)
        elif self._writer_watched and not wanted:
            self._loop.remove_writer(self._descriptor)
        self._writer_watched = wanted

    # Time.

    def silent_for(self) -> float:
        """Return for how many seconds nothing was heard; 0 where nobody has to be."""
        connection = self.connection
        return connection.silent_for(monotonic()) if connection.has_heartbeat else 0.0

    def probe(self) -> None:
        """Ask the other end for a sign of life."""
        self.connection.probe(monotonic())
        self._flush_soon()

    def _set_timer(self) -> None:
        deadline = self.connection.next_deadline()
        if deadline is not None and not self._closed:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        now = monotonic()
        if self.connection.handle_timer(now):
            self._flush_soon()
            self._set_timer()
        else:
            self._end(f"nothing was heard for {self.connection.silent_for(now):.0f} s")

    def _end(self, cause: str | None) -> None:
        if not self._closed:
            self.close()
            self._on_end(cause)


def _rest(buffers: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of the buffers after so many bytes."""
    for place, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[place + 1 :]] if sent else buffers[place:]
        sent -= len(buffer)
    return []


def _describe(error: OSError) -> str:
    return f"the connection failed: {error.strerror or error}"
