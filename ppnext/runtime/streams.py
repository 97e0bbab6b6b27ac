"""Streams: a socket and the protocol state of its end.

The only place that moves bytes between a socket and a ``Connection``, whether the socket is one of
a pair to a worker or a TLS socket to another machine. Nothing is copied into a buffer of the
stream's own: it pulls from the connection what the socket will take. Several messages that are
sent in one turn of the loop leave in one write.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from ppnext.errors import ProtocolError
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Bye, Message

__all__ = ["Stream"]

_READ = 1 << 18

_PATIENCE = 5.0
"""Seconds that ``finish`` leaves the other end to close after all has been sent."""
_READS_PER_TURN = 8
_REASON = 1000
"""Most characters of a reason in a Bye."""


class Stream:
    """One end of a stream of messages. Lives on one event loop, in its thread.

    Args:
        loop: the event loop.
        sock: a connected, non-blocking socket; the stream closes it.
        connection: the protocol state.
        on_message: called with each message that arrives.
        on_end: called once when the stream has ended, with the cause, or None after a Bye; not
            called after ``close``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        connection: Connection,
        on_message: Callable[[Received], None],
        on_end: Callable[[str | None], None],
    ) -> None:
        self.connection = connection
        self._loop = loop
        self._socket = sock
        self._descriptor = sock.fileno()
        self._on_message = on_message
        self._on_end = on_end
        # What has been pulled from the connection and not been taken by the socket.
        self._pending: list[bytes | memoryview] = []
        self._flush_scheduled = False
        self._writer_watched = False
        self._finishing = False
        # Everything has been sent, and nothing that arrives is of interest any more.
        self._finished = False
        self._patience = _PATIENCE
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(self._descriptor, self._readable)
        self._set_timer()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent or received any more."""
        return self._closed

    def send(self, message: Message, payload: bytes | memoryview = b"") -> None:
        """Queue a message; it leaves at the end of this turn of the loop, or when there is room.

        After ``finish`` it is dropped: nothing may follow the Bye.
        """
        if self._finishing:
            return
        self.connection.send(message, payload)
        self._flush_soon()

    def feed(self, data: bytes) -> None:
        """Handle bytes that were read from the socket before the stream took it over."""
        self._received(data)
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
        self._flush()
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
        self._loop.remove_reader(self._descriptor)
        if self._writer_watched:
            self._loop.remove_writer(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()

    # Receiving.

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            if self._closed:
                return
            try:
                data = self._socket.recv(_READ)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._end(None if self._finished else _describe(error))
                return
            if not data:
                done = self._finished or self.connection.receive_eof()
                self._end(None if done else "the connection was cut")
                return
            if not self._finished:
                self._received(data)
            if len(data) < _READ and not isinstance(self._socket, ssl.SSLSocket):
                return
        # There may be more, and TLS may already hold it where no reader would be told.
        self._loop.call_soon(self._readable)

    def _received(self, data: bytes) -> None:
        try:
            arrived = self.connection.receive_data(data, self._loop.time())
            for received in arrived:
                if self._closed:
                    return
                self._on_message(received)
        except ProtocolError as error:
            self._end(str(error))
            return
        if self.connection.wants_to_send:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_scheduled and not self._writer_watched and not self._closed:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    # Sending.

    def _flush(self) -> None:
        self._flush_scheduled = False
        try:
            while not self._closed:
                if not self._pending:
                    self._pending = self.connection.data_to_send(self._loop.time())
                    if not self._pending:
                        self._watch_writer(False)
                        if self._finishing and not self._finished:
                            self._await_end()
                        return
                self._write()
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._watch_writer(True)
        except OSError as error:
            # What the other end managed to say before it went is still to be read.
            self._watch_writer(False)
            self._readable()
            self._end(_describe(error))

    def _await_end(self) -> None:
        """All is sent: say so to the other end, and wait until it closes as well."""
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._patience, self._end, None)
        self._socket.shutdown(socket.SHUT_WR)  # from here on a TLS socket gives raw bytes

    def _write(self) -> None:
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        sent = self._socket.send(data)
        self._pending = [memoryview(data)[sent:]] if sent < len(data) else []

    def _watch_writer(self, wanted: bool) -> None:
        if wanted and not self._writer_watched:
            self._loop.add_writer(self._descriptor, self._flush)
        elif self._writer_watched and not wanted:
            self._loop.remove_writer(self._descriptor)
        self._writer_watched = wanted

    # Time.

    def _set_timer(self) -> None:
        deadline = self.connection.next_deadline()
        if deadline is not None and not self._closed:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        if self.connection.handle_timer(now):
            self._flush_soon()
            self._set_timer()
        else:
            self._end(f"nothing was heard for {self.connection.silent_for(now):.0f} s")

    def _end(self, cause: str | None) -> None:
        if not self._closed:
            self.close()
            self._on_end(cause)


def _describe(error: OSError) -> str:
    return f"the connection failed: {error.strerror or error}"
