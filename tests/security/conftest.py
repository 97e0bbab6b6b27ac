"""The rig: a stage for jobs, clients, and a TCP proxy that can do harm."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ppnext
from tests.stage_fixture import stage

__all__ = ["Client", "Proxy", "client", "proxy", "stage"]

PATIENCE = 20.0

Client = Callable[..., ppnext.Server]


@pytest.fixture
def client(key_file: Path) -> Iterator[Client]:
    """Make clients without workers of their own, connected to all the servers they name."""
    clients: list[ppnext.Server] = []

    def client(*servers: str, connected: bool = True, **options: object) -> ppnext.Server:
        options.setdefault("key_file", key_file)
        clients.append(ppnext.Server(0, servers, **options))  # type: ignore[arg-type]  # options by name
        if connected:
            assert clients[-1].wait_for_nodes(len(servers), PATIENCE)
        return clients[-1]

    yield client
    for made in clients:
        made.destroy()


class Proxy:
    """Passes bytes on between clients and a daemon, until it is told to do harm.

    Attributes:
        address: where clients connect.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._swallowing = threading.Event()
        # Bytes that still pass in each direction; None for all.
        self._left: dict[str, int | None] = {"down": None, "up": None}
        self._closed = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def swallow(self) -> None:
        """From now on pass nothing on, and close nothing: a cable that was pulled."""
        self._swallowing.set()

    def cut_after(self, number: int, direction: str = "down") -> None:
        """Close all connections when so many more bytes have passed (``"down"``: to clients)."""
        with self._lock:
            self._left[direction] = number

    def reset(self) -> None:
        """Close all connections as a crash would, with a reset."""
        with self._lock:
            for sock in self._open:
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._cut()

    def close(self) -> None:
        """End."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._cut()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _cut(self) -> None:
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            host, _, port = self._target.rpartition(":")
            try:
                server = socket.create_connection((host, int(port)))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for source, target, direction in ((client, server, "up"), (server, client, "down")):
                thread = threading.Thread(target=self._pump, args=(source, target, direction))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        while True:
            try:
                data = source.recv(4096)
                if not data:
                    if not self._swallowing.is_set():
                        target.shutdown(socket.SHUT_WR)
                    return
                if self._swallowing.is_set():
                    continue
                target.sendall(data[: self._allowed(len(data), direction)])
            except OSError:
                return
            if self._left[direction] == 0:
                self._left[direction] = None
                self._cut()
                return

    def _allowed(self, size: int, direction: str) -> int:
        with self._lock:
            left = self._left[direction]
            if left is None:
                return size
            self._left[direction] = max(0, left - size)
            return min(size, left)


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    """Start a proxy before a daemon."""
    proxies: list[Proxy] = []

    def start(target: str) -> Proxy:
        proxies.append(Proxy(target))
        return proxies[-1]

    yield start
    for made in proxies:
        made.close()
