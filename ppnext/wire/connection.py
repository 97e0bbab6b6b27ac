"""Connection: one end of an established stream, without the stream.

Bytes in, messages out; messages in, bytes out. Used over a socketpair to a worker and, after the
handshake, over TLS to a daemon; it cannot tell which.

Theory of operation. ``receive_data`` cuts frames, decodes messages and puts the chunks of large
payloads together. ``send`` only queues. Whoever has room on the stream pulls with
``data_to_send``: control messages first, then the messages that carry payload, in the order in
which they were sent, cut into chunks. So a heartbeat waits for one chunk at most, nothing is
copied before the stream can take it, and what is queued stays here, where it can be counted.

Time is an argument. With a ``Heartbeat`` the connection asks to be called (``next_deadline``,
``handle_timer``): it pings an idle stream and says so when the other end has been silent too long.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ppnext.errors import ProtocolError
from ppnext.wire.frames import (
    CHUNK,
    CHUNK_LIMIT,
    OPENS,
    Frame,
    FrameDecoder,
    encode_header,
)
from ppnext.wire.messages import (
    KINDS,
    Bye,
    Define,
    Message,
    Ping,
    Pong,
    Result,
    Retract,
    Run,
    decode_control,
    encode_control,
)

__all__ = ["IN_ORDER", "PAYLOAD_LIMIT", "Connection", "Heartbeat", "Received"]

PAYLOAD_LIMIT = 1 << 30
"""Most bytes of one payload, and of all payloads that are being put together, by default."""

# Messages that keep their order among each other: a function before the jobs that call it, a job
# before it is asked back, results before the last word. All others may overtake them.
IN_ORDER = (Define, Run, Retract, Result, Bye)

_WITH_PAYLOAD = (Define, Run, Result)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When an idle connection is probed, and when a silent one is given up. In seconds."""

    interval: float = 5.0
    dead: float = 30.0


class Received(NamedTuple):
    """A message that has arrived whole."""

    message: Message
    payload: bytes


@dataclass(slots=True)
class _Incoming:
    """A large payload on its way in."""

    message: Message
    size: int
    # Not a list of pieces: many small ones would take many times their size.
    payload: bytearray = field(default_factory=bytearray)


class Connection:
    """The protocol state of one end of a stream.

    Args:
        now: the present time in seconds, on a clock that never goes back.
        heartbeat: when to probe and when to give up; None where the stream itself tells (a
            socketpair to a child process).
        payload_limit: most bytes of a payload that is accepted.
    """

    def __init__(
        self,
        now: float,
        heartbeat: Heartbeat | None = None,
        payload_limit: int = PAYLOAD_LIMIT,
    ) -> None:
        # Public: whether the other end has said Bye.
        self.bye: Bye | None = None
        # Public: seconds that the last answered ping took, None before the first.
        self.round_trip: float | None = None

        self._heartbeat = heartbeat
        self._payload_limit = payload_limit
        self._decoder = FrameDecoder()
        # Large payloads on their way in, by stream number, and how many bytes they will have.
        self._streams: dict[int, _Incoming] = {}
        self._assembling = 0
        # Messages on their way out: those that may overtake, and those that keep their order.
        self._urgent: deque[bytes] = deque()
        self._ordered: deque[tuple[bytes, memoryview]] = deque()
        self._next_stream = 1
        self._said_bye = False
        # When the last bytes came in and went out, and the probe that has not been answered.
        self._heard = now
        self._spoke = now
        self._probe: tuple[int, float] | None = None
        self._probes = 0

    # Receiving.

    def receive_data(self, data: bytes, now: float) -> list[Received]:
        """Take the next bytes of the stream; return the messages that are now complete.

        Heartbeats are answered here and not returned.

        Raises:
            ProtocolError: the other end broke the protocol. The connection is to be closed.
        """
        self._heard = now
        received: list[Received] = []
        for frame in self._decoder.feed(data):
            complete = self._receive_frame(frame)
            if complete is not None and not self._handle_here(complete.message, now):
                received.append(complete)
        return received

    def _receive_frame(self, frame: Frame) -> Received | None:
        if self.bye is not None:
            raise ProtocolError("a message arrived after the other end had said Bye")
        if frame.kind == CHUNK:
            return self._receive_chunk(frame)
        message = decode_control(frame.kind, frame.control)
        if frame.size and not isinstance(message, _WITH_PAYLOAD):
            raise ProtocolError(f"a {type(message).__name__} has no payload, but one arrived")
        if not frame.flags:
            return Received(message, frame.payload)
        if frame.stream in self._streams:
            raise ProtocolError(f"stream {frame.stream} was opened twice")
        if self._assembling + frame.size > self._payload_limit:
            raise ProtocolError(
                f"a payload of {frame.size} bytes was announced; this end accepts at most "
                f"{self._payload_limit} bytes at a time"
            )
        self._assembling += frame.size
        self._streams[frame.stream] = _Incoming(message, frame.size)
        return None

    def _receive_chunk(self, frame: Frame) -> Received | None:
        try:
            incoming = self._streams[frame.stream]
        except KeyError:
            raise ProtocolError(f"a chunk arrived for stream {frame.stream}, not open") from None
        incoming.payload += frame.payload
        if len(incoming.payload) > incoming.size:
            raise ProtocolError(f"stream {frame.stream} is longer than it said")
        if len(incoming.payload) < incoming.size:
            return None
        del self._streams[frame.stream]
        self._assembling -= incoming.size
        return Received(incoming.message, bytes(incoming.payload))

    def _handle_here(self, message: Message, now: float) -> bool:
        if isinstance(message, Ping):
            if not self._said_bye:
                self.send(Pong(message.token))
        elif isinstance(message, Pong):
            if self._probe is not None and self._probe[0] == message.token:
                self.round_trip = now - self._probe[1]
                self._probe = None
        elif isinstance(message, Bye):
            self.bye = message
        else:
            return False
        return True

    @property
    def farewell(self) -> str | None:
        """Why the other end has said Bye; None if it has not."""
        return None if self.bye is None else self.bye.reason

    def receive_eof(self) -> bool:
        """Note that the stream has ended. Return whether it ended as it should: after a Bye."""
        return self.bye is not None and self._decoder.is_empty and not self._streams

    # Sending.

    def send(self, message: Message, payload: bytes | bytearray | memoryview = b"") -> None:
        """Queue a message; ``data_to_send`` gives its bytes when the stream has room."""
        control = encode_control(message)
        view = memoryview(payload)
        size = view.nbytes
        if view.itemsize != 1 or view.ndim != 1:
            view = view.cast("B") if size else memoryview(b"")
        if size and not isinstance(message, _WITH_PAYLOAD):
            raise AssertionError(f"a {type(message).__name__} has no payload")
        if isinstance(message, Bye):
            self._said_bye = True
        if not isinstance(message, IN_ORDER):
            self._urgent.append(
                encode_header(KINDS[type(message)], 0, len(control), 0, size) + control
            )
            return
        stream = 0
        if size > CHUNK_LIMIT:
            stream = self._next_stream
            self._next_stream = self._next_stream % 0xFFFFFFFF + 1
        header = encode_header(
            KINDS[type(message)], OPENS if stream else 0, len(control), stream, size
        )
        if not stream:
            self._ordered.append((header + control, view))
            return
        self._ordered.append((header + control, memoryview(b"")))
        for start in range(0, size, CHUNK_LIMIT):
            piece = view[start : start + CHUNK_LIMIT]
            self._ordered.append((encode_header(CHUNK, 0, 0, stream, len(piece)), piece))

    def data_to_send(self, now: float, budget: int = CHUNK_LIMIT) -> list[bytes | memoryview]:
        """Return the next buffers for the stream, about ``budget`` bytes; empty when none wait.

        The caller sends all of them, in order, before it asks again.
        """
        buffers: list[bytes | memoryview] = []
        total = 0
        urgent, ordered = self._urgent, self._ordered
        while urgent and total < budget:
            buffers.append(urgent.popleft())
            total += len(buffers[-1])
        while ordered and total < budget:
            head, payload = ordered.popleft()
            buffers.append(head)
            total += len(head) + len(payload)
            if payload:
                buffers.append(payload)
        if buffers:
            self._spoke = now
        return buffers

    @property
    def wants_to_send(self) -> bool:
        """Whether ``data_to_send`` would give anything."""
        return bool(self._urgent or self._ordered)

    # Time.

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` wants to be called next; None if never."""
        beat = self._heartbeat
        if beat is None:
            return None
        dead = self._heard + beat.dead
        return dead if self._said_bye else min(self._spoke + beat.interval, dead)

    def handle_timer(self, now: float) -> bool:
        """Do what the time asks for. Return False if the other end is to be given up.

        A connection that has sent nothing for an interval sends a Ping, which also keeps the
        other end from giving this one up.
        """
        beat = self._heartbeat
        if beat is None:
            return True
        # The same sums as in next_deadline: a difference may round to the other side.
        if now >= self._heard + beat.dead:
            return False
        if now >= self._spoke + beat.interval:
            self.probe(now)
        return True

    def probe(self, now: float) -> None:
        """Send a Ping; its answer updates ``round_trip``. After a Bye, nothing is sent."""
        if self._said_bye:
            return
        self._probes += 1
        if self._probe is None:
            self._probe = (self._probes, now)
        self._spoke = now
        self.send(Ping(self._probes))

    def silent_for(self, now: float) -> float:
        """Seconds since the other end was last heard."""
        return now - self._heard
