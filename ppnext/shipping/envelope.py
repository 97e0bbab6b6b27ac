"""Envelopes: a pickle and the large buffers that it refers to, side by side in one region.

Pickle protocol 5 lets an array's memory stay where it is ("out of band"): the pickle says "the
next buffer", and the buffer travels beside it. ``pack`` collects such buffers, and ``Parts`` says
how they lie in one contiguous region, which whoever moves the bytes writes piece by piece: the
memory of an array is copied once, to where it is going. ``unpack`` gives the loaded objects slices
of the region: nothing is copied there.

A region begins with a head::

    magic  version  0 0  count  (offset, length) × count

all little-endian; the first entry is the pickle, the others are its buffers in the order in which
it asks for them, each at a multiple of 64 bytes. The magic byte is no pickle opcode, so a plain
pickle, which is what everything without large buffers is, needs no envelope to be told apart.

Buffers below ``OUT_OF_BAND`` bytes stay in the pickle: copying them costs less than the table.

A buffer that could be written to can be written to where it arrives, as with a plain pickle: in
place where the region is private memory, on a copy of its own where the region is ``bytes``.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable
from pickle import PickleBuffer
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing import Protocol

    class Pickle(Protocol):
        """Something that pickles an object to bytes and hands out its buffers."""

        def __call__(self, obj: object, protocol: int, *, buffers: Collector | None) -> bytes:
            """Return the pickle of ``obj``; ``buffers`` collects what is left out of it."""


__all__ = [
    "OUT_OF_BAND",
    "Buffer",
    "Collector",
    "Parts",
    "hold_no_buffers",
    "joined",
    "pack",
    "unpack",
]

Buffer: TypeAlias = "bytes | bytearray | memoryview"
"""Bytes in memory; a memoryview is one-dimensional, of format "B" and without gaps."""

OUT_OF_BAND = 128 * 1024
"""Bytes from which a buffer travels beside the pickle."""

_MAGIC = 0xF5
_VERSION = 1
_ALIGNMENT = 64
_FIRST_PROTOCOL = 5
_HEAD = struct.Struct("<BBxxI")
_ENTRY = struct.Struct("<QQ")

_SIMPLE = frozenset({bool, bytes, complex, float, int, str, type(None)})


class Collector(list[memoryview]):
    """The buffers that a pickler leaves out of its pickle, in their order.

    Args:
        least: bytes below which a buffer stays in the pickle.
    """

    __slots__ = ("_least",)

    def __init__(self, least: int = OUT_OF_BAND) -> None:
        self._least = least

    def take(self, buffer: PickleBuffer) -> bool:
        """Pickle's ``buffer_callback``. Return whether ``buffer`` stays in the pickle."""
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # its memory has gaps: let the pickler say what it makes of it
        if raw.nbytes < self._least:
            return True
        self.append(raw)
        return False


class Parts:
    """What to write, in this order, to one contiguous region.

    The buffers are the memory of the objects themselves: what is changed before they are written
    is written as changed. So they are written, or joined, before whoever packed them goes on.

    Args:
        pickled: the pickle.
        found: the buffers that were left out of it, in their order.

    Attributes:
        pickled: the pickle.
        buffers: the head, the pickle, and then padding and a buffer in turn; of ``size`` bytes.
        size: bytes of the region.
    """

    __slots__ = ("buffers", "pickled", "size")

    def __init__(self, pickled: bytes, found: Iterable[memoryview]) -> None:
        contents: list[Buffer] = [pickled, *found]
        head = bytearray(_HEAD.pack(_MAGIC, _VERSION, len(contents)))
        end = _HEAD.size + _ENTRY.size * len(contents)
        self.pickled = pickled
        self.buffers: list[Buffer] = [head]
        for content in contents:
            start = _aligned(end) if len(self.buffers) > 1 else end
            if start > end:
                self.buffers.append(bytes(start - end))
            self.buffers.append(content)
            head += _ENTRY.pack(start, len(content))
            end = start + len(content)
        self.size = end

    def __len__(self) -> int:
        return self.size

    def join(self) -> bytes:
        """Return the region as bytes; copies everything once."""
        return b"".join(self.buffers)


def joined(payload: bytes | Parts) -> bytes:
    """Return what ``pack`` has returned as bytes."""
    return payload if isinstance(payload, bytes) else payload.join()


def hold_no_buffers(values: tuple[object, ...]) -> bool:
    """Whether all values are of basic types, so that it is not worth looking for buffers."""
    return _SIMPLE.issuperset(map(type, values))


def pack(
    obj: object, protocol: int, dumps: Pickle | None = None, least: int = OUT_OF_BAND
) -> bytes | Parts:
    """Pickle ``obj``.

    Args:
        protocol: the pickle protocol; below 5 nothing is out of band.
        dumps: the pickler, if it is not to be the plain one.
        least: bytes from which a buffer travels beside the pickle.

    Returns:
        the pickle, or the parts of an envelope if ``obj`` has large buffers.

    Raises:
        Exception: whatever an object's own pickling raises; there is no common class.
    """
    if protocol < _FIRST_PROTOCOL:
        return dumps(obj, protocol, buffers=None) if dumps else pickle.dumps(obj, protocol)
    buffers = Collector(least)
    try:
        if dumps:
            pickled = dumps(obj, protocol, buffers=buffers)
        else:
            pickled = pickle.dumps(obj, protocol, buffer_callback=buffers.take)
    except BaseException:
        buffers.clear()  # the error's traceback would hold the user's memory
        raise
    return Parts(pickled, buffers) if buffers else pickled


def unpack(region: Buffer, frozen: bool = False) -> object:
    """Load what ``pack`` has written.

    Args:
        region: a pickle or an envelope. Where it can be written to, what is loaded uses its memory:
            it begins at a multiple of 64 bytes of a ``bytearray`` or a mapping, or else the arrays
            in it are not aligned.
        frozen: use its memory also if it cannot be written to; nor can the buffers then.

    Raises:
        pickle.UnpicklingError: the head makes no sense.
        Exception: whatever loading the objects raises.
    """
    if not region or region[0] != _MAGIC:
        return pickle.loads(region)
    with memoryview(region) as view:
        (start, end), *spans = _spans(view)
        slices = (view[start:end] for start, end in spans)
        copies = view.readonly and not frozen
        buffers = (bytearray(it) for it in slices) if copies else slices
        with view[start:end] as pickled:
            return pickle.loads(pickled, buffers=buffers)


def _spans(view: memoryview) -> list[tuple[int, int]]:
    """Where the pickle and its buffers begin and end."""
    if len(view) < _HEAD.size:
        raise pickle.UnpicklingError(f"an envelope of {len(view)} bytes has no whole head")
    _, version, count = _HEAD.unpack_from(view)
    if version != _VERSION:
        raise pickle.UnpicklingError(f"an envelope of version {version}; {_VERSION} is known here")
    end = _HEAD.size + _ENTRY.size * count
    if not count or end > len(view):
        raise pickle.UnpicklingError(f"an envelope of {len(view)} bytes claims {count} contents")
    spans = []
    for offset, length in _ENTRY.iter_unpack(view[_HEAD.size : end]):
        if not end <= offset < end + _ALIGNMENT or length > len(view) - offset:
            raise pickle.UnpicklingError(
                f"an envelope of {len(view)} bytes has {length} bytes at {offset}, after {end}"
            )
        end = offset + length
        spans.append((offset, end))
    if end != len(view):
        raise pickle.UnpicklingError(f"an envelope of {len(view)} bytes ends at {end}")
    return spans


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
