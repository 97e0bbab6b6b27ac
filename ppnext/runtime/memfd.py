"""Memfds: memory without a name, which processes share by passing its descriptor.

It is gone with the last process that holds the descriptor or maps it, however that process ends.
A memfd here never changes its size, and a received one is looked at for the seals that say so: a
mapping of a file that somebody cuts short would end the process with SIGBUS.

The first time it is written with ``pwritev``, which makes the pages as it goes, with the GIL
released, and answers with an error when there is no memory for them. From the second time on it is
copied into a mapping that is kept, in steps that let other threads run: that takes a third of the
time.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

from ppnext.errors import ProtocolError

if sys.platform == "linux":
    import fcntl

__all__ = ["Buffer", "CountedMemfd", "Memfd", "has_memfds", "write_all"]

Buffer: TypeAlias = "bytes | bytearray | memoryview"
"""Bytes in memory; a memoryview is one-dimensional, of format "B" and without gaps."""

_NOEXEC_SEAL = 0x0008
"""MFD_NOEXEC_SEAL: some systems insist that a memfd cannot be executed; old ones know no such."""

_STEP = 1 << 20
"""Bytes copied at a time while other threads wait: some 50 µs."""

_VECTOR = 1024
"""Most buffers that the system takes in one call (IOV_MAX)."""


def has_memfds() -> bool:
    """Whether this platform has memfds."""
    return sys.platform == "linux" and hasattr(os, "memfd_create")


class Memfd:
    """A memfd of a fixed size.

    Args:
        descriptor: the memfd; closed with this.
        capacity: its size in bytes.
        written: whether all its pages exist.

    Attributes:
        capacity: its size in bytes.
    """

    __slots__ = ("_descriptor", "_window", "_written", "capacity")

    def __init__(self, descriptor: int, capacity: int, written: bool) -> None:
        self.capacity = capacity
        self._descriptor = descriptor
        self._written = written
        self._window: mmap.mmap | None = None

    @classmethod
    def make(cls, size: int, name: str = "ppnext") -> Memfd:
        """Make one of ``size`` bytes.

        Args:
            size: its size.
            name: by which those who look at this process know it.

        Raises:
            OSError: the system refused.
        """
        return cls(_make(size, name), size, False)

    @classmethod
    def receive(cls, descriptor: int, size: int) -> Memfd:
        """Take over a descriptor that came from another process and is to hold ``size`` bytes.

        Raises:
            ProtocolError: it is not what ``make`` makes; the descriptor has been closed.
        """
        try:
            return cls(descriptor, _checked(descriptor, size), True)
        except ProtocolError:
            os.close(descriptor)
            raise

    def fileno(self) -> int:
        """Return the descriptor, which stays this object's own; -1 after ``close``."""
        return self._descriptor

    def write(self, parts: Sequence[Buffer]) -> None:
        """Write the parts, one after the other, from the beginning.

        Raises:
            OSError: the system refused.
        """
        if not self._written:
            write_all(self._descriptor, parts)
            self._written = True
            return
        if self._window is None:
            self._window = mmap.mmap(self._descriptor, self.capacity)
        _copy(parts, self._window)

    def room(self) -> memoryview:
        """Return its memory, to be written to until it is passed on.

        Raises:
            OSError: there is no descriptor or no address space left.
        """
        # Pages are had when they are written to: what is announced and never comes costs nothing.
        self._written = True
        if self._window is None:
            self._window = mmap.mmap(self._descriptor, self.capacity)
        return memoryview(self._window)

    def map(self, size: int) -> mmap.mmap:
        """Map the first ``size`` bytes for reading and, privately, for writing.

        Raises:
            OSError: there is no descriptor or no address space left.
        """
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        if sys.version_info >= (3, 13):
            return mmap.mmap(self._descriptor, size, mmap.MAP_PRIVATE, protection, trackfd=False)
        return mmap.mmap(self._descriptor, size, mmap.MAP_PRIVATE, protection)

    def read(self, size: int) -> bytearray:
        """Return a copy of the first ``size`` bytes.

        Raises:
            OSError: they cannot be read.
        """
        content = bytearray(size)
        done = 0
        with memoryview(content) as view:
            while done < size:
                read = os.preadv(self._descriptor, [view[done:]], done)
                if not read:
                    raise OSError(errno.EIO, "a memory segment ended too early")
                done += read
        return content

    def close(self) -> None:
        """Give it back; closing twice is nothing. Whoever maps the pages keeps them."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            if self._window is not None:
                with suppress(BufferError):  # somebody was given room there and never used it up
                    self._window.close()

    def __del__(self) -> None:
        self.close()


class CountedMemfd:
    """A memfd, and what is counted for it.

    Args:
        memfd: closed with this.
        released: takes the bytes that were counted, if any, when it is closed; that may be at any
            time and in any thread, for it may be the garbage collector that closes it.
    """

    __slots__ = ("counted", "idle_since", "memfd", "released")

    def __init__(self, memfd: Memfd, released: Callable[[int], None]) -> None:
        self.memfd = memfd
        self.counted = 0
        self.idle_since = 0.0
        self.released = released

    @property
    def capacity(self) -> int:
        """Its size in bytes."""
        return self.memfd.capacity

    def close(self) -> None:
        """Give it back; closing twice is nothing."""
        self.memfd.close()
        counted, self.counted = self.counted, 0
        if counted:
            self.released(counted)

    def __del__(self) -> None:
        self.close()


def _make(size: int, name: str) -> int:
    """Make a memfd that stays as large as it is.

    Raises:
        OSError: the system refused.
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create(name, flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os.memfd_create(name, flags)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _checked(descriptor: int, size: int) -> int:
    """Return the size of a memfd that was received.

    Raises:
        ProtocolError: it is none, or too small, or could be cut short.
    """
    if sys.platform != "linux":
        raise ProtocolError("a memory segment arrived on a platform that has none")
    try:
        status = os.fstat(descriptor)
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ProtocolError(f"what arrived as a memory segment is none: {error}") from error
    needed = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    if not stat.S_ISREG(status.st_mode) or seals & needed != needed:
        raise ProtocolError("a memory segment arrived without the seals that keep its size")
    if not 0 < size <= status.st_size:
        raise ProtocolError(f"a memory segment of {status.st_size} bytes is to hold {size}")
    return status.st_size


def write_all(
    descriptor: int,
    parts: Sequence[Buffer],
    pwritev: Callable[[int, Sequence[Buffer], int], int] | None = None,
) -> None:
    """Write the parts one after the other to the beginning of a file.

    Args:
        pwritev: writes buffers at an offset and returns how many bytes of them.

    Raises:
        OSError: the system refused.
    """
    pwritev = pwritev or os.pwritev
    waiting = deque(memoryview(part) for part in parts if len(part))
    offset = 0
    while waiting:
        batch = [waiting[place] for place in range(min(len(waiting), _VECTOR))]
        written = pwritev(descriptor, batch, offset)
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        offset += written
        while written:
            first = waiting.popleft()
            if written < len(first):
                waiting.appendleft(first[written:])
            written -= min(written, len(first))


def _copy(parts: Sequence[Buffer], window: mmap.mmap) -> None:
    offset = 0
    with memoryview(window) as target:
        for part in parts:
            source = memoryview(part)
            for start in range(0, len(source), _STEP):
                step = source[start : start + _STEP]
                target[offset + start : offset + start + len(step)] = step
            offset += len(source)
