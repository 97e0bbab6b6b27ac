"""Sockets: streams of bytes between processes of the simulated world.

A stream is what TCP makes of a bad network: bytes arrive late, in other pieces than they were sent
in, or not at all for as long as the way is cut; but never out of order and never twice. A direction
holds a bounded number of bytes that have been sent and not been read; beyond that the sender has to
wait. The end of a stream, and its being reset, travel behind the bytes and are held up like them.

A socket does what those of the system do as far as ``ppnext.runtime.streams`` asks for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.simulation.kernel import Kernel

__all__ = ["Held", "Route", "Socket", "join"]

_CAPACITY = 1 << 16
"""Bytes that may be under way in one direction, by default."""

_SHORT_READ = 0.02
"""Share of reads that give less than there is."""


class Held(Protocol):
    """What waits for a way to be open."""

    def release(self) -> None:
        """The way is open again."""


class Route(Protocol):
    """The way from one machine to another."""

    def delay(self) -> float:
        """Return how many seconds the next piece takes."""

    def is_open(self) -> bool:
        """Whether anything gets through now."""

    def hold(self, flow: Held) -> None:
        """Have ``flow.release`` called when something gets through again."""


class _Here:
    """The way between two processes of one machine."""

    def delay(self) -> float:
        return 0.0

    def is_open(self) -> bool:
        return True

    def hold(self, flow: Held) -> None:
        raise AssertionError("a machine cannot be cut off from itself")


class _Flow:
    """One direction of a stream: what has been sent and has not arrived."""

    def __init__(self, kernel: Kernel, route: Route, to: Socket, capacity: int) -> None:
        self.to = to
        self.sender = to  # until it is joined
        self.route = route
        self.capacity = capacity
        self.under_way = 0
        self._kernel = kernel
        self._items: deque[bytes | str | Callable[[], object]] = deque()
        self._latest = 0.0
        self._held = 0

    def put(self, item: bytes | str | Callable[[], object]) -> None:
        """Send bytes, an end ("end", "reset"), or what is to be called when it arrives."""
        if isinstance(item, bytes):
            self.under_way += len(item)
        self._items.append(item)
        self._latest = max(self._latest, self._kernel.now + self.route.delay())
        if self._latest > self._kernel.now:
            self._kernel.at(self._latest - self._kernel.now, self._arrive)
        else:
            self._arrive()

    def _arrive(self) -> None:
        if self._held or not self.route.is_open():
            self._held += 1
            if self._held == 1:
                self.route.hold(self)
        elif self._items:
            item = self._items.popleft()
            if callable(item):
                item()
            else:
                self.to.take(item)

    def release(self) -> None:
        """The way is open again: what was held up arrives."""
        held, self._held = self._held, 0
        for _ in range(held):
            self._arrive()


class Socket:
    """One end of a stream.

    Args:
        kernel: decides how reads are cut short.
        on_change: called when the socket has become readable or writable.
    """

    def __init__(self, kernel: Kernel, on_change: Callable[[], object]) -> None:
        self.number = -1
        self.on_change = on_change
        self._kernel = kernel
        self._unread = bytearray()
        self._ended = False
        self._reset = False
        self._closed = False
        self._said_end = False
        self._out: _Flow | None = None
        self._in: _Flow | None = None
        self.on_send: Callable[[bytes], object] | None = None

    def attach(self, out: _Flow, back: _Flow) -> None:
        """Give it its two directions."""
        self._out, self._in = out, back

    def post(self, call: Callable[[], object]) -> None:
        """Have a call made at the other end, behind what has been sent."""
        self._flow(self._out).put(call)

    # What the network does.

    def take(self, item: bytes | str) -> None:
        """Something arrives."""
        if self._closed:
            if isinstance(item, bytes):
                self._flow(self._out).put("reset")
            return
        if item == "end":
            self._ended = True
        elif item == "reset":
            self.break_off()
        else:
            self._unread += item  # type: ignore[arg-type]  # what is no word is bytes
        self.on_change()

    def break_off(self) -> None:
        """The connection has been reset; what was not read may be lost."""
        if self._closed:
            return
        self._kernel.happened["connection reset"] += 1
        self._reset = True
        if self._kernel.chance(0.5):
            self._unread.clear()
        self.on_change()

    def vanish(self) -> None:
        """The machine goes down: the socket is gone, and nobody is told."""
        self._closed = True
        self._unread.clear()

    @property
    def is_over(self) -> bool:
        """Whether it has been closed or reset."""
        return self._closed or self._reset

    # What the system offers.

    def is_readable(self) -> bool:
        return bool(self._unread) or self._ended or self._reset

    def is_writable(self) -> bool:
        flow = self._flow(self._out)
        return self._reset or flow.under_way < flow.capacity

    def fileno(self) -> int:
        return self.number

    def recv(self, size: int, flags: int = 0) -> bytes:
        size = self._readable(size)
        data = bytes(self._unread[:size])
        self._read(size)
        return data

    def recvmsg(
        self, size: int, room: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        return self.recv(size), [], 0, None

    def recv_into(self, room: memoryview) -> int:
        size = self._readable(len(room))
        room[:size] = self._unread[:size]
        self._read(size)
        return size

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        flow = self._flow(self._out)
        if self._reset or self._closed or self._said_end:
            raise BrokenPipeError(32, "Broken pipe")
        room = flow.capacity - flow.under_way
        if room <= 0:
            self._kernel.happened["socket full"] += 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        sent = bytes(data[:room])
        if self.on_send is not None:
            self.on_send(sent)
        flow.put(sent)
        return len(sent)

    def force(self, data: bytes) -> None:
        """Send all of it, as a blocking socket does in the end; nothing if nobody is there."""
        if not (self._reset or self._closed):
            self._flow(self._out).put(data)

    def unwatched(self) -> None:
        """A loop does not read it any more."""

    def sendmsg(
        self, buffers: Sequence[bytes | memoryview], rights: object = (), flags: int = 0
    ) -> int:
        return self.send(b"".join(buffers))

    def shutdown(self, how: int) -> None:
        if not (self._said_end or self._reset):
            self._said_end = True
            self._flow(self._out).put("end")

    def close(self) -> None:
        if self._closed:
            return
        if not self._reset and (self._unread or not self._said_end):
            self._flow(self._out).put("reset" if self._unread else "end")
        self._closed = True
        self._unread.clear()

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def _readable(self, size: int) -> int:
        """Return how many bytes the next read gives, of ``size`` at most; 0 at the end."""
        if not self._unread:
            if self._reset:
                raise ConnectionResetError(104, "Connection reset by peer")
            if self._ended:
                return 0
            raise BlockingIOError(11, "Resource temporarily unavailable")
        size = min(size, len(self._unread))
        if size > 1 and self._kernel.chance(_SHORT_READ):
            self._kernel.happened["short read"] += 1
            size = self._kernel.random.randint(1, size)
        return size

    def _read(self, size: int) -> None:
        flow = self._flow(self._in)
        was_full = flow.under_way >= flow.capacity
        del self._unread[:size]
        flow.under_way -= size
        if was_full and size:
            flow.sender.on_change()

    def _flow(self, flow: _Flow | None) -> _Flow:
        if flow is None:
            raise AssertionError("a socket is used before it is connected")
        return flow


def join(
    kernel: Kernel,
    one: Socket,
    other: Socket,
    there: Route | None = None,
    back: Route | None = None,
    capacity: int = _CAPACITY,
) -> None:
    """Connect two sockets.

    Args:
        there: the way from the one to the other; None if they are on one machine.
        back: the way from the other to the one.
    """
    out = _Flow(kernel, there or _Here(), other, capacity)
    home = _Flow(kernel, back or _Here(), one, capacity)
    out.sender, home.sender = one, other
    one.attach(out, home)
    other.attach(home, out)
