"""Outbox: messages on their way out, until the stream has room for them.

Three lanes. Control messages go first. Messages that keep their order follow; small ones that are
queued together leave together. Large payloads go one chunk at a time, in turn, so that nothing
waits for more than a chunk of them. The last word goes when all else has gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ppnext.wire.frames import CHUNK, CHUNK_LIMIT, OPENS, PASSED, encode_header
from ppnext.wire.messages import (
    KINDS,
    Bye,
    Define,
    Drop,
    Hold,
    Message,
    Result,
    Retract,
    Run,
    encode_control,
)
from ppnext.wire.payloads import Large, Payload

__all__ = ["IN_ORDER", "WITH_PAYLOAD", "Outbox", "Outgoing"]

# Messages that keep their order among each other: a function before the jobs that call it, a job
# before it is asked back, results before the last word. All others may overtake them.
IN_ORDER = (Define, Hold, Drop, Run, Retract, Result, Bye)

WITH_PAYLOAD = (Define, Hold, Run, Result)

_LEAST_CHUNK = CHUNK_LIMIT // 8

Buffer: TypeAlias = bytes | memoryview


class Outgoing(NamedTuple):
    """What is to be sent next, in this order."""

    buffers: list[Buffer]
    passed: Large | None = None
    """Its descriptor is to be passed along with the first byte."""


class _Leaving:
    """A large payload on its way out."""

    __slots__ = ("sent", "stream", "view")

    def __init__(self, stream: int, view: memoryview) -> None:
        self.stream = stream
        self.view = view
        self.sent = 0


class _Frame(NamedTuple):
    """A frame on its way out, and what of its payload does not stand in it."""

    buffers: list[Buffer]
    size: int
    passed: Large | None = None
    leaving: _Leaving | None = None


class Outbox:
    """What one end has to say.

    Args:
        in_order: nothing overtakes a large payload but control messages.
        passing: payloads that another process can map are passed along, not sent.
    """

    def __init__(self, in_order: bool, passing: bool) -> None:
        self._in_order = in_order
        self._passing = passing
        self._urgent: deque[bytes] = deque()
        self._ordered: deque[_Frame] = deque()
        # Large payloads whose opening has left, in turn.
        self._leaving: deque[_Leaving] = deque()
        self._last_word: bytes | None = None
        self._next_stream = 1

    def put(self, message: Message, payloads: Sequence[Payload]) -> None:
        """Queue a message. Of several payloads, the sum must fit into a chunk."""
        control = encode_control(message)
        kind = KINDS[type(message)]
        if not isinstance(message, IN_ORDER):
            self._urgent.append(encode_header(kind, 0, len(control), 0, 0) + control)
        elif isinstance(message, Bye):
            self._last_word = encode_header(kind, 0, len(control), 0, 0) + control
        else:
            self._put_in_order(message, kind, control, payloads)

    def _put_in_order(
        self, message: Message, kind: int, control: bytes, payloads: Sequence[Payload]
    ) -> None:
        size = 0
        small: list[bytes] = []
        for payload in payloads:
            size += len(payload)
            if isinstance(payload, bytes):
                small.append(payload)
        if size and not isinstance(message, WITH_PAYLOAD):
            raise AssertionError(f"a {type(message).__name__} has no payload")
        if size > CHUNK_LIMIT or len(small) < len(payloads):
            (payload,) = payloads
            self._put_large(kind, control, payload)
        else:
            header = encode_header(kind, 0, len(control), 0, size)
            self._ordered.append(_Frame([b"".join((header, control, *small))], 0))

    def _put_large(self, kind: int, control: bytes, payload: Payload) -> None:
        size = len(payload)
        if (
            self._passing
            and size
            and not isinstance(payload, bytes)
            and payload.descriptor() is not None
        ):
            header = encode_header(kind, PASSED, len(control), 0, size)
            self._ordered.append(_Frame([header + control], 0, passed=payload))
            return
        view = memoryview(payload) if isinstance(payload, bytes) else payload.view()
        if size <= CHUNK_LIMIT:
            header = encode_header(kind, 0, len(control), 0, size)
            self._ordered.append(_Frame([header + control, view], size))
            return
        stream = self._next_stream
        self._next_stream = self._next_stream % 0xFFFFFFFF + 1
        header = encode_header(kind, OPENS, len(control), stream, size)
        self._ordered.append(_Frame([header + control], 0, leaving=_Leaving(stream, view)))

    def take(self, budget: int) -> Outgoing:
        """Return what goes next, about ``budget`` bytes; nothing if nothing waits."""
        buffers: list[Buffer] = []
        total = 0
        urgent, ordered = self._urgent, self._ordered
        while urgent and total < budget:
            buffers.append(urgent.popleft())
            total += len(buffers[-1])
        # Small messages leave half of it to a large payload that waits.
        share = budget // 2 if self._leaving else budget
        while ordered and total < share and not (self._in_order and self._leaving):
            frame = ordered[0]
            if frame.passed is not None:
                if not buffers:
                    ordered.popleft()
                    return Outgoing(frame.buffers, frame.passed)
                return Outgoing(buffers)  # a descriptor goes with the first byte
            ordered.popleft()
            buffers += frame.buffers
            total += len(frame.buffers[0]) + frame.size
            if frame.leaving is not None:
                self._leaving.append(frame.leaving)
        if self._leaving and total < budget:
            self._take_chunk(buffers, budget - total)
        if self._last_word is not None and not (urgent or ordered or self._leaving):
            buffers.append(self._last_word)
            self._last_word = None
        return Outgoing(buffers)

    def _take_chunk(self, buffers: list[Buffer], room: int) -> None:
        """Add the next chunk of the large payload whose turn it is."""
        leaving = self._leaving.popleft()
        size = min(max(room, _LEAST_CHUNK), CHUNK_LIMIT)
        piece = leaving.view[leaving.sent : leaving.sent + size]
        leaving.sent += len(piece)
        if leaving.sent < len(leaving.view):
            self._leaving.append(leaving)
        buffers += (encode_header(CHUNK, 0, 0, leaving.stream, len(piece)), piece)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._urgent or self._ordered or self._leaving or self._last_word)
