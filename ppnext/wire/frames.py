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

Between processes of one machine a payload of any size may travel beside the stream: the frame
carries the flag ``PASSED``, the control part and the length of the payload, and a descriptor of
the memory that holds the payload is passed along with the frame's first byte.
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
    "PASSED",
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
"""Flag: the payload follows in chunks."""

PASSED = 2
"""Flag: the payload is in memory whose descriptor is passed along."""


class Frame(NamedTuple):
    """One frame, as it was cut from the stream; of a chunk, as much as has arrived of it."""

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

    Chunks are given piece by piece, as they arrive. While one is incomplete, ``chunk`` says which
    stream it belongs to and how much of it is missing; these bytes may be read from the socket
    to where they are to be, and reported with ``filled``, instead of being fed.
    After a ``ProtocolError`` the decoder is not to be fed again: the stream has lost its place.
    """

    def __init__(self) -> None:
        # Bytes that do not make a whole frame yet; at most one frame's worth and one read.
        self._rest = b""
        # The stream of the chunk that is incomplete, and its missing bytes.
        self._stream = 0
        self._missing = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the frames that are now complete.

        Raises:
            ProtocolError: a header breaks a rule of this file.
        """
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        start, end = 0, len(data)
        if self._missing and data:
            start = min(self._missing, end)
            frames.append(Frame(CHUNK, 0, self._stream, start, b"", data[:start]))
            self._missing -= start
        while end - start >= _HEADER_SIZE:
            kind, flags, control_length, stream, size = _unpack_header(data, start)
            if kind == CHUNK or flags or size > CHUNK_LIMIT:
                _check_header(kind, flags, control_length, size)
            control_at = start + _HEADER_SIZE
            payload_at = control_at + control_length
            stop = payload_at if flags else payload_at + size
            if kind == CHUNK:
                if end > payload_at:
                    piece = data[payload_at:stop]
                    frames.append(Frame(CHUNK, 0, stream, len(piece), b"", piece))
                if stop > end:
                    self._stream, self._missing = stream, stop - end
                    stop = end
            elif stop > end:
                break
            else:
                control = data[control_at:payload_at]
                frames.append(Frame(kind, flags, stream, size, control, data[payload_at:stop]))
            start = stop
        self._rest = data[start:] if start < end else b""
        return frames

    @property
    def chunk(self) -> tuple[int, int]:
        """The stream of the chunk that is incomplete and its missing bytes; 0 if there is none."""
        return self._stream, self._missing

    def filled(self, count: int) -> None:
        """Note that so many bytes of the incomplete chunk were read elsewhere."""
        self._missing -= count

    @property
    def is_empty(self) -> bool:
        """Whether the stream could end here without cutting a frame in two."""
        return not self._rest and not self._missing


_HEADER_SIZE = HEADER.size
_unpack_header = HEADER.unpack_from


def _check_header(kind: int, flags: int, control_length: int, size: int) -> None:
    if flags > PASSED:
        raise ProtocolError(f"a frame has unknown flags {flags:#04x}")
    if kind == CHUNK and (flags or control_length or not size):
        raise ProtocolError("a chunk carries payload, and nothing but payload")
    if not flags and size > CHUNK_LIMIT:
        raise ProtocolError(
            f"a frame announces {size} payload bytes; one frame carries at most {CHUNK_LIMIT}"
        )
    if flags == OPENS and size <= CHUNK_LIMIT:
        raise ProtocolError(f"a stream was opened for {size} bytes, which fit into one frame")
    if flags == PASSED and not size:
        raise ProtocolError("a descriptor was passed for no payload")
