"""A TCP proxy that does to connections what networks do to them, and what they should never do.

It stands between a client and one daemon. Each direction has a ``Treatment`` that may be changed
while bytes pass: they can be late, slow, held back, cut into small pieces or gathered to large
ones, and end after so many. What is held back is not thrown away: TCP would send it again, so after
the fault it arrives. Connections as a whole can be reset, and one direction of them closed.

One task reads and one writes for each direction of each connection, so that a delay does not limit
how much is on its way.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["FaultProxy", "Treatment"]

DOWN, UP = "down", "up"
_READ = 1 << 16
_ON_THE_WAY = 64
"""Reads that may be on their way in one direction before nothing more is read."""


class Treatment:
    """What is done to one direction, of all connections.

    Attributes:
        delay: seconds that bytes are late.
        rate: bytes a second; None for as many as there are.
        piece: bytes that are sent at a time; None for as they come.
        gather: seconds for which bytes are gathered before they are sent at once.
        left: bytes that still pass before connections are closed; None for all.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.rate: float | None = None
        self.piece: int | None = None
        self.gather = 0.0
        self.left: int | None = None
        self._passes = asyncio.Event()
        self._passes.set()

    def hold(self) -> None:
        """From now on let nothing pass: a black hole."""
        self._passes.clear()

    def heal(self) -> None:
        """Do nothing more to bytes, and let those pass that were held back."""
        self.delay, self.rate, self.piece, self.gather, self.left = 0.0, None, None, 0.0, None
        self._passes.set()

    async def passage(self) -> None:
        """Wait until bytes may pass."""
        await self._passes.wait()

    def allowed(self, size: int) -> int:
        """Take so many bytes of what is left. Return how many of them may pass."""
        if self.left is None:
            return size
        allowed = min(size, self.left)
        self.left -= allowed
        return allowed


class _Pump:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, target: socket.socket, treatment: Treatment) -> None:
        self._source = source
        self._target = target
        self._treatment = treatment
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_THE_WAY)

    async def read(self) -> None:
        """Read to the end, and note when each piece is due; the end is an empty one."""
        while True:
            await self._treatment.passage()
            if self._treatment.gather:
                await asyncio.sleep(self._treatment.gather)  # the fault itself
            data = await self._loop.sock_recv(self._source, _READ)
            await self._queue.put((self._loop.time() + self._treatment.delay, data))
            if not data:
                return

    async def write(self) -> bool:
        """Send what was read, when it is due. Return False if the connection is to be cut."""
        while True:
            due, data = await self._queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))  # the fault itself
            await self._treatment.passage()
            if not data:
                self._target.shutdown(socket.SHUT_WR)
                return True
            allowed = data[: self._treatment.allowed(len(data))]
            for piece in _pieces(allowed, self._treatment.piece):
                await self._loop.sock_sendall(self._target, piece)
            if len(allowed) < len(data):
                return False
            if self._treatment.rate is not None:
                await asyncio.sleep(len(data) / self._treatment.rate)  # the fault itself


class _Tunnel:
    """One connection: from a client to the proxy, and on to the daemon."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far

    async def run(self, down: Treatment, up: Treatment) -> None:
        """Pass bytes on until both directions have ended, or one fails or is cut; then close."""
        pumps = [_Pump(self.near, self.far, up), _Pump(self.far, self.near, down)]
        readers = [asyncio.ensure_future(pump.read()) for pump in pumps]
        writers = [asyncio.ensure_future(pump.write()) for pump in pumps]
        tasks: list[asyncio.Future[None] | asyncio.Future[bool]] = [*readers, *writers]
        try:
            for done in asyncio.as_completed(tasks):
                if await done is False:
                    break
        except (OSError, ValueError):
            pass  # one end has gone, or was closed here; so goes the other
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.close()

    def half_close(self, direction: str) -> None:
        """Say to the end that a direction leads to that nothing more comes."""
        with suppress(OSError):
            (self.near if direction == DOWN else self.far).shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Have both ends see a reset once the tunnel is closed."""
        for sock in (self.near, self.far):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.near.close()
        self.far.close()


class FaultProxy:
    """Passes connections on to one address.

    Args:
        target: host and port of the daemon; the daemon need not be there yet.

    Attributes:
        address: ``"127.0.0.1:PORT"``, where clients connect.
        down: what is done to bytes on their way to clients.
        up: what is done to bytes on their way to the daemon.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.down = Treatment()
        self.up = Treatment()
        self._tunnels: dict[asyncio.Task[None], _Tunnel] = {}
        self._coming: set[asyncio.Task[None]] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listening.setblocking(False)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = asyncio.ensure_future(self._accept())

    def treatment(self, direction: str) -> Treatment:
        """Return what is done to a direction, ``"down"`` or ``"up"``."""
        return self.down if direction == DOWN else self.up

    def heal(self) -> None:
        """Do no more harm; what was held back arrives."""
        self.down.heal()
        self.up.heal()

    def reset(self) -> None:
        """Reset all connections, as the crash of a machine does."""
        for task, tunnel in self._tunnels.items():
            tunnel.reset()
            task.cancel()

    def half_close(self, direction: str) -> None:
        """Close one direction of all connections and leave the other open."""
        for tunnel in self._tunnels.values():
            tunnel.half_close(direction)

    async def close(self) -> None:
        """End, with all connections."""
        tasks = [self._accepting, *self._coming, *self._tunnels]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._tunnels)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listening)
            task = asyncio.ensure_future(self._connect(near))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _connect(self, near: socket.socket) -> None:
        far = socket.socket()
        try:
            for sock in (near, far):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self.up.passage()
            await asyncio.get_running_loop().sock_connect(far, self.target)
        except (OSError, asyncio.CancelledError):
            near.close()
            far.close()
            return
        tunnel = _Tunnel(near, far)
        task = asyncio.ensure_future(tunnel.run(self.down, self.up))
        self._tunnels[task] = tunnel
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        # A task that was cancelled before its first step has closed nothing.
        self._tunnels.pop(task).close()


def _pieces(data: bytes, size: int | None) -> Iterator[bytes]:
    step = size or max(1, len(data))
    return (data[place : place + step] for place in range(0, len(data), step))
