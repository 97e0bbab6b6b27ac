"""Sharing: large payloads as memory that another process of this machine maps.

A thin layer between segments and those who send and receive payloads. ``Shared`` is a payload in a
segment; ``Sharing`` makes them and takes them back. What segments are made of is loaded with the
first large payload, and never by programs that have none.

The life of a segment: its owner writes it and passes it on with a message. The receiver maps it,
and when nothing uses the mapping any more says so (``Outcome.freed`` for arguments, ``Freed`` for
results), and whether the memory may be written again. The owner then reuses or closes it. If the
receiver dies, the owner closes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from mmap import mmap
from time import monotonic
from typing import TYPE_CHECKING
from weakref import ref

from ppnext.wire.payloads import Block, Large

if TYPE_CHECKING:
    from ppnext.runtime.segments import Segment, Segments

__all__ = ["WORTH_SHARING", "Shared", "Sharing"]

WORTH_SHARING = 1 << 20
"""Bytes from which a payload is shared rather than sent to a process of this machine."""

_PART_OF_MEMORY = 4
"""At most one part in so many of the usable memory is held in segments."""


class Shared:
    """A payload in a segment.

    Args:
        segment: written here, or received.
        is_received: whether another process has written it.
        maps_once: whether it is mapped once only, and then closed.

    Attributes:
        segment: where the payload is.
        is_received: see above.
    """

    def __init__(self, segment: Segment, is_received: bool, maps_once: bool) -> None:
        self.segment = segment
        self.is_received = is_received
        self._size = segment.size
        self._maps_once = maps_once
        self._view: memoryview | None = None
        self._on_free: Callable[[bool], object] | None = None
        self._is_passed = False

    def __len__(self) -> int:
        return self._size

    def descriptor(self) -> int | None:
        """What another process can map it by."""
        self._is_passed = True
        return self.segment.fileno()

    def when_free(self, call: Callable[[bool], object]) -> None:
        """Have ``call(reusable)`` called when nothing here uses it; before it is first looked at.

        The call may come in any thread between any two instructions.
        """
        self._on_free = call

    def room(self) -> memoryview:
        """Where its bytes are put, before it is passed on or looked at."""
        return self.segment.room()

    def view(self) -> memoryview:
        """Its bytes; what is written to them is seen by this process alone."""
        if not self._maps_once:
            return self.segment.map()
        if self._view is None:
            on_free, self._on_free = self._on_free, None
            self._view = self.segment.map(on_free)
            if self.is_received:
                self.segment.close()
        return self._view

    def drop(self) -> None:
        """Forget the view: what has been made of it may still use it."""
        self._view = None
        on_free, self._on_free = self._on_free, None
        if on_free is not None:  # nobody has looked at it
            if self.is_received:
                self.segment.close()
            on_free(not self._is_passed)

    def disown(self) -> Segment:
        """Return the segment, whose fate is no business of this object any more."""
        self._on_free = None
        return self.segment

    def __del__(self) -> None:
        self.drop()


class _Unshared:
    """A large payload in memory of this process, which is had when it is written to.

    Args:
        size: its bytes.
    """

    def __init__(self, size: int) -> None:
        self._memory = mmap(-1, size)

    def __len__(self) -> int:
        return len(self._memory)

    def room(self) -> memoryview:
        """Where its bytes are put."""
        return memoryview(self._memory)

    view = room

    def descriptor(self) -> int | None:
        """None: no other process can map it."""
        return None


class Sharing:
    """Makes and takes back shared payloads. For any thread.

    Args:
        most_bytes: bound of what is held in segments, in bytes; None for a part of the memory.
        on_idle: called when ``trim`` is to be called some time later; from any thread.
    """

    def __init__(
        self, most_bytes: int | None = None, on_idle: Callable[[], object] | None = None
    ) -> None:
        self._most_bytes = most_bytes
        self._on_idle = on_idle
        self._is_trimmed = False
        # What was allocated here and is not in use any more.
        self._freed: deque[tuple[Segment, bool]] = deque()
        self._segments: Segments | None = None
        self._closed = False

    def share(self, parts: Sequence[bytes | bytearray | memoryview]) -> Shared | None:
        """Write the parts to a segment; None if there is none to be had."""
        if self._closed:
            return None
        segment = self._open().write(parts)
        return None if segment is None else Shared(segment, is_received=False, maps_once=False)

    def allocate(self, size: int) -> Large:
        """Make room for a payload that arrives over the network.

        Its memory may be passed on; once it has been looked at here and is not in use any more, it
        is used again.
        """
        segment = None if self._closed else self._open().blank(size)
        if segment is not None:
            try:
                segment.room()
            except OSError:  # no memory to be had that way
                segment.close()
            else:
                shared = Shared(segment, is_received=False, maps_once=True)
                # Whoever has the payload does not keep this, and all that is behind ``on_idle``.
                shared.when_free(partial(_free, ref(self), segment))
                return shared
        return Block(size) if size < WORTH_SHARING else _Unshared(size)

    def free(self, segment: Segment, reusable: bool) -> None:
        """A segment is not in use any more; called in any thread between any two instructions."""
        self._freed.append((segment, reusable))
        if self._on_idle is not None:
            self._on_idle()

    def _settle(self) -> None:
        while self._freed:
            segment, reusable = self._freed.popleft()
            self._take_back(segment, reusable)

    def adopt(self, descriptor: int, size: int) -> Shared:
        """Take over a descriptor that was passed along.

        Raises:
            ProtocolError: it is not that of a segment of this size.
        """
        return Shared(self._open().receive(descriptor, size), is_received=True, maps_once=True)

    def take_back(self, shared: Shared, reusable: bool) -> None:
        """Nobody else needs a payload any more whose memory belongs to this process."""
        self._take_back(shared.disown(), reusable)

    def _take_back(self, segment: Segment, reusable: bool) -> None:
        if segment.is_closed:
            return
        if reusable and not self._closed and not segment.is_mapped:
            self._open().recycle(segment, monotonic())
            if self._on_idle is not None and not self._is_trimmed:
                self._is_trimmed = True
                self._on_idle()
        else:
            segment.close()

    def trim(self) -> float | None:
        """Give back memory that has long been idle.

        Returns:
            seconds after which to call this again; None if nothing is idle.
        """
        if self._segments is None:
            return None
        self._settle()
        now = monotonic()
        again = self._segments.trim(now)
        self._is_trimmed = again is not None
        return None if again is None else max(0.0, again - now)

    def close(self) -> None:
        """Give all idle memory back; nothing is shared any more."""
        self._closed = True
        if self._segments is not None:
            self._segments.close()

    def _open(self) -> Segments:
        if self._segments is None:
            from ppnext.runtime.memory import usable_memory
            from ppnext.runtime.segments import Segments

            most = self._most_bytes or usable_memory() // _PART_OF_MEMORY
            self._segments = Segments(most, smallest=WORTH_SHARING)
        if self._freed:
            self._settle()
        return self._segments


def _free(sharing: ref[Sharing], segment: Segment, reusable: bool) -> None:
    if (known := sharing()) is not None:
        known.free(segment, reusable)
