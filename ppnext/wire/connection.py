"""Connection: one end of an established stream, without the stream.

Bytes in, messages out; messages in, bytes out. Used over a socketpair to a worker and, after the
handshake, over TLS to a daemon.

Theory of operation. ``receive_data`` cuts frames, decodes messages and puts the chunks of large
payloads together. ``send`` only queues. Whoever has room on the stream pulls with
``data_to_send``: control messages first, then the other messages in the order in which they were
sent, and of the large payloads one chunk at a time, in turn. So a heartbeat or a small job waits
for one chunk at most, nothing is copied before the stream can take it, and what is queued stays
here, where it can be counted.

A message with a large payload counts as received when all of it is there; smaller ones may
overtake it. ``in_order`` forbids that, for a worker that runs its jobs in the order of sending.
With ``adopt``, payloads that another process can map travel as descriptors.

Time is an argument. With a ``Heartbeat`` the connection asks to be called (``next_deadline``,
``handle_timer``): it pings an idle stream and says so when the other end has been silent too long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ppnext.errors import ProtocolError
from ppnext.wire.frames import CHUNK, CHUNK_LIMIT, PASSED, Frame, FrameDecoder
from ppnext.wire.messages import Bye, Message, Ping, Pong, decode_control
from ppnext.wire.outbox import WITH_PAYLOAD, Outbox, Outgoing
from ppnext.wire.payloads import Block, Large, Payload

__all__ = ["PAYLOAD_LIMIT", "Connection", "Heartbeat", "Received"]

PAYLOAD_LIMIT = 1 << 30
"""Most bytes of one payload, and of all payloads that are being put together, by default."""


_MOST_DESCRIPTORS = 64
"""Descriptors that may wait for the messages which they belong to."""


class Heartbeat(NamedTuple):
    """When an idle connection is probed, and when a silent one is given up. In seconds."""

    interval: float = 5.0
    dead: float = 30.0


class Received(NamedTuple):
    """A message that has arrived whole."""

    message: Message
    payload: Payload


class _Incoming:
    """A large payload on its way in."""

    __slots__ = ("filled", "memory", "message", "view")

    def __init__(self, message: Message, memory: Large) -> None:
        self.message = message
        self.memory = memory
        self.view = memory.room()
        self.filled = 0


class Connection:
    """The protocol state of one end of a stream.

    Args:
        now: the present time in seconds, on a clock that never goes back.
        heartbeat: when to probe and when to give up; None where the stream itself tells (a
            socketpair to a child process).
        payload_limit: most bytes of a payload that is accepted.
        in_order: nothing overtakes a large payload but control messages.
        allocate: makes room for a large payload of so many bytes.
        adopt: makes a payload of a descriptor that was passed and the payload's size; None where
            no descriptors are passed. Raises ProtocolError if it is not what it should be.
    """

    def __init__(
        self,
        now: float,
        heartbeat: Heartbeat | None = None,
        payload_limit: int = PAYLOAD_LIMIT,
        *,
        in_order: bool = False,
        allocate: Callable[[int], Large] = Block,
        adopt: Callable[[int, int], Large] | None = None,
    ) -> None:
        # Public: whether the other end has said Bye.
        self.bye: Bye | None = None
        # Public: seconds that the last answered ping took, None before the first.
        self.round_trip: float | None = None

        self._heartbeat = heartbeat
        self._payload_limit = payload_limit
        self._allocate = allocate
        self._adopt = adopt
        self._decoder = FrameDecoder()
        # Large payloads on their way in, by stream number, and how many bytes they will have;
        # descriptors that have arrived and not been adopted.
        self._streams: dict[int, _Incoming] = {}
        self._assembling = 0
        self._descriptors: deque[int] = deque()
        self._outbox = Outbox(in_order, adopt is not None)
        self._said_bye = False
        # When the last bytes came in and went out, and the probe that has not been answered.
        self._heard = now
        self._spoke = now
        self._probe: tuple[int, float] | None = None
        self._probes = 0

    # Receiving.

    def receive_data(
        self, data: bytes, now: float, descriptors: Sequence[int] = ()
    ) -> list[Received]:
        """Take the next bytes of the stream; return the messages that are now complete.

        Heartbeats are answered here and not returned.

        Args:
            descriptors: those that were passed along with these bytes; this end owns them now.

        Raises:
            ProtocolError: the other end broke the protocol. The connection is to be closed.
        """
        self._heard = now
        self._descriptors.extend(descriptors)
        received: list[Received] = []
        for frame in self._decoder.feed(data):
            complete = self._receive_frame(frame)
            if complete is not None and not self._handle_here(complete.message, now):
                received.append(complete)
        if len(self._descriptors) > _MOST_DESCRIPTORS:
            raise ProtocolError("memory was passed along that no message speaks of")
        return received

    def room(self) -> memoryview | None:
        """Return where the next bytes of the stream belong, if that is known.

        They may be read to there and reported with ``filled``, instead of being given to
        ``receive_data``.
        """
        stream, missing = self._decoder.chunk
        incoming = self._streams.get(stream) if missing else None
        if incoming is None:
            return None
        return incoming.view[incoming.filled : incoming.filled + missing]

    def filled(self, count: int, now: float) -> list[Received]:
        """Note that so many bytes were read to where ``room`` said; return what is complete."""
        self._heard = now
        stream, _ = self._decoder.chunk
        self._decoder.filled(count)
        complete = self._advance(stream, self._streams[stream], count)
        return [] if complete is None else [complete]

    def _receive_frame(self, frame: Frame) -> Received | None:
        if self.bye is not None:
            raise ProtocolError("a message arrived after the other end had said Bye")
        if frame.kind == CHUNK:
            return self._receive_chunk(frame)
        message = decode_control(frame.kind, frame.control)
        if not frame.size:
            return Received(message, b"")
        if not isinstance(message, WITH_PAYLOAD):
            raise ProtocolError(f"a {type(message).__name__} has no payload, but one arrived")
        if not frame.flags:
            return Received(message, frame.payload)
        if frame.flags == PASSED:
            return Received(message, self._take_passed(frame.size))
        if frame.stream in self._streams:
            raise ProtocolError(f"stream {frame.stream} was opened twice")
        if self._assembling + frame.size > self._payload_limit:
            raise ProtocolError(
                f"a payload of {frame.size} bytes was announced; this end accepts at most "
                f"{self._payload_limit} bytes at a time"
            )
        self._assembling += frame.size
        self._streams[frame.stream] = _Incoming(message, self._allocate(frame.size))
        return None

    def _receive_chunk(self, frame: Frame) -> Received | None:
        try:
            incoming = self._streams[frame.stream]
        except KeyError:
            raise ProtocolError(f"a chunk arrived for stream {frame.stream}, not open") from None
        if incoming.filled + frame.size > len(incoming.view):
            raise ProtocolError(f"stream {frame.stream} is longer than it said")
        incoming.view[incoming.filled : incoming.filled + frame.size] = frame.payload
        return self._advance(frame.stream, incoming, frame.size)

    def _advance(self, stream: int, incoming: _Incoming, count: int) -> Received | None:
        incoming.filled += count
        if incoming.filled < len(incoming.view):
            return None
        del self._streams[stream]
        incoming.view.release()
        self._assembling -= incoming.filled
        return Received(incoming.message, incoming.memory)

    def _take_passed(self, size: int) -> Large:
        if self._adopt is None or not self._descriptors:
            raise ProtocolError("a payload was announced as passed along, but it was not")
        return self._adopt(self._descriptors.popleft(), size)

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

    def is_arriving(self, message: Message) -> bool:
        """Whether this message has been announced and its payload is on its way in."""
        return any(incoming.message == message for incoming in self._streams.values())

    @property
    def farewell(self) -> str | None:
        """Why the other end has said Bye; None if it has not."""
        return None if self.bye is None else self.bye.reason

    def receive_eof(self) -> bool:
        """Note that the stream has ended. Return whether it ended as it should: after a Bye."""
        return self.bye is not None and self._decoder.is_empty and not self._streams

    def take_descriptors(self) -> list[int]:
        """Give up the descriptors that nobody has adopted; the caller closes them."""
        left = list(self._descriptors)
        self._descriptors.clear()
        return left

    def forget(self) -> None:
        """Forget the payloads that are on their way in or out: the stream has been closed.

        Their memory is given back now, not when the garbage collector finds this end.
        """
        self._streams.clear()
        self._assembling = 0
        self._outbox = Outbox(False, False)

    # Sending.

    def send(self, message: Message, payloads: Sequence[Payload] = ()) -> None:
        """Queue a message; ``data_to_send`` gives its bytes when the stream has room.

        Args:
            payloads: what it carries; several, if together they fit into a chunk.
        """
        if isinstance(message, Bye):
            self._said_bye = True
        self._outbox.put(message, payloads)

    def data_to_send(self, now: float, budget: int = CHUNK_LIMIT) -> Outgoing:
        """Return the next buffers for the stream, about ``budget`` bytes; none when none wait.

        The caller sends all of them, in order, before it asks again.
        """
        outgoing = self._outbox.take(budget)
        if outgoing.buffers:
            self._spoke = now
        return outgoing

    @property
    def wants_to_send(self) -> bool:
        """Whether ``data_to_send`` would give anything."""
        return not self._outbox.is_empty

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

    @property
    def has_heartbeat(self) -> bool:
        """Whether the other end is heard from time to time if all is well."""
        return self._heartbeat is not None

    def silent_for(self, now: float) -> float:
        """Seconds since the other end was last heard."""
        return now - self._heard
