"""Frames: how bytes on a stream are cut into control parts and payload parts.

Rule 1: a frame is a header of fixed size, then a control part, then a payload part.
Rule 2: every length is checked against its limit before anything is kept because of it.
Rule 3: this file knows neither what a control part means nor what a payload is.

The header (16 bytes, big-endian)::

    kind u8 | flags u8 | control length u16 | stream u32 | size u64

A message whose payload has at most ``CHUNK_LIMIT`` bytes travels in one frame: ``size`` is the
length of the payload part. A longer payload opens a stream: its first frame carries the flag
``OPENS``, the control part and the length of the whole payload as ``size``, but none of the
payload; frames of kind ``CHUNK`` with the same stream number follow, each with a piece of it,
in order. Frames of other messages may stand between them, so that a large payload holds up
neither heartbeats nor small jobs.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ppnext.errors import ProtocolError

__all__ = [
    "CHUNK",
    "CHUNK_LIMIT",
    "CONTROL_LIMIT",
    "HEADER",
    "OPENS",
    "Frame",
    "FrameDecoder",
    "encode_header",
]

HEADER = Struct(">BBHIQ")

CHUNK_LIMIT = 256 * 1024
"""Most payload bytes in one frame: what a heartbeat may have to wait for."""

CONTROL_LIMIT = 0xFFFF
"""Most bytes in a control part; its length field holds no more."""

CHUNK = 0
"""The kind of a frame that continues a stream. All other kinds name a message."""

OPENS = 1
"""The only flag: the payload follows in chunks."""


class Frame(NamedTuple):
    """One frame, as it was cut from the stream."""

    kind: int
    flags: int
    stream: int
    size: int
    control: bytes
    payload: bytes


def encode_header(kind: int, flags: int, control_length: int, stream: int, size: int) -> bytes:
    """Return the 16 bytes that stand before a frame's control part.

    Raises:
        ProtocolError: the control part is longer than a frame can carry.
    """
    if control_length > CONTROL_LIMIT:
        raise ProtocolError(
            f"a control part of {control_length} bytes was to be sent; a frame carries at most "
            f"{CONTROL_LIMIT}"
        )
    return HEADER.pack(kind, flags, control_length, stream, size)


class FrameDecoder:
    """Cuts a stream of bytes into frames, however the bytes arrive.

    After a ``ProtocolError`` the decoder is not to be fed again: the stream has lost its place.
    """

    def __init__(self) -> None:
        # Bytes that do not make a whole frame yet; at most one frame's worth and one read.
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the frames that are now complete.

        Raises:
            ProtocolError: a header breaks a rule of this file.
        """
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        start, end = 0, len(data)
        while end - start >= HEADER.size:
            kind, flags, control_length, stream, size = HEADER.unpack_from(data, start)
            _check_header(kind, flags, control_length, size)
            control_at = start + HEADER.size
            payload_at = control_at + control_length
            stop = payload_at if flags else payload_at + size
            if stop > end:
                break
            frames.append(
                Frame(kind, flags, stream, size, data[control_at:payload_at], data[payload_at:stop])
            )
            start = stop
        self._rest = data[start:] if start < end else b""
        return frames

    @property
    def is_empty(self) -> bool:
        """Whether the stream could end here without cutting a frame in two."""
        return not self._rest


def _check_header(kind: int, flags: int, control_length: int, size: int) -> None:
    if flags > OPENS:
        raise ProtocolError(f"a frame has unknown flags {flags:#04x}")
    if kind == CHUNK and (flags or control_length or not size):
        raise ProtocolError("a chunk carries payload, and nothing but payload")
    if not flags and size > CHUNK_LIMIT:
        raise ProtocolError(
            f"a frame announces {size} payload bytes; one frame carries at most {CHUNK_LIMIT}"
        )
    if flags and size <= CHUNK_LIMIT:
        raise ProtocolError(f"a stream was opened for {size} bytes, which fit into one frame")
