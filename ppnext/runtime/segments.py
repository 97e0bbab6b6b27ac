"""Segments: large payloads that processes of one machine hand to each other without a stream.

A segment is a memfd. The sender writes a payload into it and passes the descriptor over a socket;
the receiver maps it privately: the pages are those of the sender until they are written to, and
what is written stays with the receiver. So a payload is copied once, where a socket copies it
twice.

**Written again.** Fresh pages cost several times what copying into them does. ``Segments`` keeps
what is given to ``recycle``, whose caller knows that nobody can still need the content:

* a segment that was written here and passed to one receiver, when the receiver says that its
  mapping is dead and was not forked; see ``Segment.map``;
* one that was received, when its mappings here are dead and the sender has given it away.

One whose receiver has died, or that has several, is closed instead: processes that were forked may
still look at its pages. They live on in their mappings.

Where a segment cannot be had (no memfd on this platform, the bounds are reached, the system
refuses) ``write`` says None, and the payload goes over the socket.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple
from weakref import finalize, ref

from ppnext.runtime.memfd import Buffer, CountedMemfd, Memfd, has_memfds

__all__ = ["SMALLEST", "Holdings", "Segment", "Segments"]

SMALLEST = 1 << 20
"""Bytes from which a segment that is written again costs less than the socket."""

_ROOMY = 4
"""A segment is not written again with a payload that fills less than this part of it."""

_forks = 0
"""Goes up with every fork of this process: whose pages were forked must not change any more."""


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    # Twice: what is mapped by another thread between the first call and the fork counts too.
    os.register_at_fork(before=_count_fork, after_in_parent=_count_fork)


class Holdings(NamedTuple):
    """What a process holds in segments."""

    segments: int
    """How many that were written here are open."""
    bytes: int
    """Their size."""
    idle: int
    """How much of it waits to be written again."""
    mappings: int
    """How many mappings are in use."""


class Segment:
    """A payload in a memfd: one that was written here, or one that was received.

    Closing it takes nothing from those who have mapped it.

    Attributes:
        size: bytes of the payload.
    """

    __slots__ = ("_file", "_mapped", "_owner", "size")

    def __init__(self, owner: Segments, file: CountedMemfd, size: int) -> None:
        self.size = size
        self._owner = owner
        self._file: CountedMemfd | None = file
        # The mappings that were made of it, and how many forks there had been.
        self._mapped: list[tuple[ref[mmap.mmap], int]] = []

    @property
    def is_mapped(self) -> bool:
        """Whether something in this process uses a mapping that was made with ``map``."""
        return any(mapping() is not None for mapping, _ in self._mapped)

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed or recycled."""
        return self._file is None

    @property
    def was_forked(self) -> bool:
        """Whether a forked process may use a mapping that was made with ``map``."""
        return any(forks != _forks for _, forks in self._mapped)

    def fileno(self) -> int:
        """Return the descriptor, to be passed on; it stays this segment's own.

        Raises:
            ValueError: the segment is closed.
        """
        return self._open().memfd.fileno()

    def room(self) -> memoryview:
        """Return the memory of the payload, to be filled before the segment is passed on.

        Raises:
            ValueError: the segment is closed.
            OSError: there is no descriptor or no address space left.
        """
        return self._open().memfd.room()[: self.size]

    def map(self, on_dead: Callable[[bool], object] | None = None) -> memoryview:
        """Return the payload as memory of this process that can be written to.

        What is written there is seen by nobody else. What is not written to are the pages of the
        segment: it must not be written again before the mapping is dead. Where there are too many
        mappings already, the payload is copied. The segment may be closed at once.

        Args:
            on_dead: called when nothing in this process uses the mapping any more, or before this
                returns if the payload is copied; with whether the segment may be written again,
                which is False if the process was forked meanwhile. It may be called in any thread
                between any two instructions: it notes it somewhere, and takes no lock.

        Raises:
            ValueError: the segment is closed.
            OSError: the payload cannot be read.
        """
        memfd, forks = self._open().memfd, _forks
        mapping = self._owner._map(memfd, self.size)
        if mapping is None:
            copy = memoryview(memfd.read(self.size))
            if on_dead is not None:
                on_dead(True)
            return copy
        if on_dead is not None:
            finalize(mapping, _tell, on_dead, forks, os.getpid()).atexit = False
        self._mapped.append((ref(mapping), forks))
        return memoryview(mapping)

    def close(self) -> None:
        """Close the descriptor; closing twice is nothing."""
        if self._file is not None:
            self._give_up().close()

    def _open(self) -> CountedMemfd:
        if self._file is None:
            raise ValueError("the segment is closed")
        return self._file

    def _give_up(self) -> CountedMemfd:
        file, self._file = self._open(), None
        return file

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Segments:
    """All segments of a process, within bounds. For any thread.

    Args:
        most_bytes: bound of what is held in segments that were written here, in bytes, those that
            wait to be written again among them.
        most: bound of the number of such segments.
        most_idle: bound of what waits to be written again, in bytes.
        patience: seconds after which what waits is given back to the system; see ``trim``.
        most_mappings: bound of live mappings; each holds a descriptor on Python before 3.13.
        smallest: bytes below which nothing is written to a segment.
    """

    def __init__(
        self,
        most_bytes: int,
        *,
        most: int = 256,
        most_idle: int = 256 << 20,
        patience: float = 10.0,
        most_mappings: int = 64,
        smallest: int = SMALLEST,
    ) -> None:
        self._most_bytes = most_bytes
        self._most = most
        self._most_idle = most_idle
        self._patience = patience
        self._most_mappings = most_mappings
        self._smallest = smallest
        self._process = os.getpid()
        self._lock = Lock()
        self._closed = False
        self._idle: list[CountedMemfd] = []  # the longest idle first
        self._live = 0
        self._bytes = 0
        self._mappings = 0
        # What ends is noted without the lock, for the garbage collector may end it.
        self._released: deque[int] = deque()
        self._unmapped: deque[None] = deque()

    def holdings(self) -> Holdings:
        """Return what is held at this moment."""
        with self._lock:
            self._settle()
            idle = sum(file.capacity for file in self._idle)
            return Holdings(self._live, self._bytes, idle, self._mappings)

    def write(self, parts: Sequence[Buffer]) -> Segment | None:
        """Write the parts, one after the other, to a segment.

        Returns:
            the segment, which the caller closes or gives to ``recycle``; None where there is none
            to be had: the payload is to go another way.
        """
        size = sum(map(len, parts))
        if size < self._smallest or not has_memfds():
            return None
        file = self._reserve(size)
        if file is None:
            return None
        try:
            file.memfd.write(parts)
        except OSError:  # no memory, a limit, a seal: whatever it is, there is the other way
            file.close()
            return None
        return Segment(self, file, size)

    def blank(self, size: int) -> Segment | None:
        """Return a segment whose content is to be written to its ``room``; None as ``write``."""
        if size < self._smallest or not has_memfds():
            return None
        file = self._reserve(size)
        return None if file is None else Segment(self, file, size)

    def receive(self, descriptor: int, size: int) -> Segment:
        """Take over a descriptor that was received, with the size that was announced for it.

        Raises:
            ProtocolError: it is not what ``write`` makes; the descriptor has been closed.
        """
        memfd = Memfd.receive(descriptor, size)
        # Its pages are counted where they were written.
        return Segment(self, CountedMemfd(memfd, self._released.append), size)

    def recycle(self, segment: Segment, now: float) -> None:
        """Keep the memory of a segment for a later ``write``. The segment is closed.

        The caller knows that nobody else can still need the content; see the top of this module.

        Args:
            now: monotonic time in seconds.

        Raises:
            ValueError: the segment is closed already, or still mapped in this process.
        """
        if segment.is_mapped:
            raise ValueError("the segment is still mapped in this process")
        file = segment._give_up()
        dropped = [file]
        if not segment.was_forked:
            with self._lock:
                dropped = self._keep(file, now)
        _close(dropped)

    def trim(self, now: float) -> float | None:
        """Give back to the system what has waited too long to be written again.

        Args:
            now: monotonic time in seconds.

        Returns:
            when to call this again; None if nothing waits.
        """
        with self._lock:
            limit = now - self._patience
            dropped = [file for file in self._idle if file.idle_since <= limit]
            self._idle = [file for file in self._idle if file.idle_since > limit]
            again = self._idle[0].idle_since + self._patience if self._idle else None
        _close(dropped)
        return again

    def close(self) -> None:
        """Give back what waits; from now on nothing is written. Open segments are not touched."""
        with self._lock:
            self._closed = True
            dropped, self._idle = self._idle, []
        _close(dropped)

    def _map(self, memfd: Memfd, size: int) -> mmap.mmap | None:
        """Map a memfd privately; None where that cannot be."""
        with self._lock:
            self._settle()
            if self._mappings >= self._most_mappings:
                return None
            self._mappings += 1
        try:
            mapping = memfd.map(size)
        except OSError:  # no descriptor or no address space is left: a copy needs neither
            self._unmapped.append(None)
            return None
        finalize(mapping, self._unmapped.append, None).atexit = False
        return mapping

    def _reserve(self, size: int) -> CountedMemfd | None:
        """Find or make a file for ``size`` bytes; what waits makes room for it."""
        while True:
            with self._lock:
                self._settle()
                # A forked process has the windows of its parent, and is not to write to them.
                if self._closed or os.getpid() != self._process or size > self._most_bytes:
                    return None
                file = self._waiting(size)
                if file is not None:
                    return file
                if self._live < self._most and self._bytes + size <= self._most_bytes:
                    return self._made(size)
                if not self._idle:
                    return None
                dropped = self._idle.pop(0)
            dropped.close()

    # With the lock.

    def _waiting(self, size: int) -> CountedMemfd | None:
        """Take the smallest of those that wait and fit."""
        fitting = [file for file in self._idle if size <= file.capacity <= _ROOMY * size]
        if not fitting:
            return None
        file = min(fitting, key=lambda it: it.capacity)
        self._idle.remove(file)
        return file

    def _made(self, size: int) -> CountedMemfd | None:
        try:
            file = CountedMemfd(Memfd.make(size), self._released.append)
        except OSError:  # no descriptor is left, or no memfd is allowed
            return None
        self._count(file)
        return file

    def _keep(self, file: CountedMemfd, now: float) -> list[CountedMemfd]:
        """Let a file wait; return those that there is no room for."""
        self._settle()
        if self._closed:
            return [file]
        if not file.counted:
            self._count(file)
        file.idle_since = now
        self._idle.append(file)
        idle, held = sum(it.capacity for it in self._idle), self._bytes
        dropped: list[CountedMemfd] = []
        while self._idle and (idle > self._most_idle or held > self._most_bytes):
            dropped.append(self._idle.pop(0))
            idle -= dropped[-1].capacity
            held -= dropped[-1].capacity
        return dropped

    def _count(self, file: CountedMemfd) -> None:
        file.counted = file.capacity
        self._live += 1
        self._bytes += file.capacity

    def _settle(self) -> None:
        """Count what has ended since the last time."""
        while self._released:
            self._live -= 1
            self._bytes -= self._released.popleft()
        while self._unmapped:
            self._mappings -= 1
            self._unmapped.popleft()


def _tell(on_dead: Callable[[bool], object], forks: int, process: int) -> None:
    if os.getpid() == process:
        on_dead(forks == _forks)


def _close(files: list[CountedMemfd]) -> None:
    for file in files:
        file.close()
