"""Pretended ends of a connection: what says what a test wants, and notes what it is told.

* ``pretended_daemon``  a daemon with a real handshake and a Hello of the test's own; it runs jobs
* ``pretended_client``  a client that holds the key, likewise
"""

from __future__ import annotations

import asyncio
import secrets
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Condition, Thread
from typing import TypeVar

import pytest

from ppnext.runtime import keystore
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import dial
from ppnext.runtime.tls import ephemeral_certificate, server_context
from ppnext.shipping.loading import decode_call, load_definition
from ppnext.shipping.outcomes import encode_result
from ppnext.wire.connection import Connection, Received
from ppnext.wire.handshake import ServerHandshake
from ppnext.wire.keys import new_key
from ppnext.wire.messages import Define, Hello, Message, Need, Outcome, Result, Run, Start
from ppnext.wire.payloads import split, view_of

__all__ = ["PretendedClient", "PretendedDaemon", "pretended_client", "pretended_daemon"]

PATIENCE = 20.0

M = TypeVar("M")


class PretendedDaemon:
    """A daemon that is told by a test what to say. It serves one client after the other.

    Args:
        hello: what it says of itself.
        key_file: the key it accepts.

    Attributes:
        address: where it listens.
        runs_jobs: whether it does; if not they stay with it.
    """

    def __init__(self, hello: Hello, key_file: Path) -> None:
        self.runs_jobs = True
        self._hello = hello
        (self._key, *_) = keystore.load(key_file)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._wake, self._woken = socket.socketpair()
        self._changed = Condition()
        self._heard: list[Received] = []
        self._farewells: list[str] = []
        self._to_say: deque[tuple[Message, bytes]] = deque()
        self._closed = False
        self._thread = Thread(target=self._serve, name="pretended-daemon")
        self._thread.start()

    # What tests do with it.

    def say(self, message: Message, payload: bytes = b"") -> None:
        """Say something to the client that is there."""
        self._to_say.append((message, payload))
        self._wake.send(b".")

    def heard(self, kind: type[M]) -> list[M]:
        """Return what it was told of a kind, so far."""
        with self._changed:
            return [it.message for it in self._heard if isinstance(it.message, kind)]

    def kinds(self) -> set[str]:
        """Return which kinds of messages it was told, so far."""
        with self._changed:
            return {type(it.message).__name__ for it in self._heard}

    def wait_for(self, kind: type[M], number: int = 1) -> M:
        """Wait until it was told so many messages of a kind; return the last of these."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.heard(kind)) >= number, PATIENCE), (
                f"only {self.kinds()} were told, not {number} {kind.__name__}"
            )
            return self.heard(kind)[number - 1]

    def wait_for_the_end(self) -> None:
        """Wait until a client has gone."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._farewells, PATIENCE)

    def close(self) -> None:
        """End."""
        self._closed = True
        self._wake.send(b".")
        with socket.create_connection(self._listening.getsockname()):
            self._thread.join(PATIENCE)
        for sock in (self._listening, self._wake, self._woken):
            sock.close()

    # Its thread.

    def _serve(self) -> None:
        identity = ephemeral_certificate()
        context = server_context(identity)
        while not self._closed:
            sock, _ = self._listening.accept()
            sock.settimeout(PATIENCE)
            try:
                if not self._closed:
                    sock = context.wrap_socket(sock, server_side=True)
                    self._meet(sock, self._greet(sock, identity.der))
            except OSError as error:
                self._note_end(str(error))
            finally:
                sock.close()

    def _greet(self, channel: ssl.SSLSocket, certificate: bytes) -> bytes:
        handshake = ServerHandshake(
            {self._key.kid: self._key}.get,
            secrets.token_bytes(32),
            secrets.token_bytes(16),
            certificate,
            new_key(secrets.token_bytes(32), secrets.token_bytes(16), "nobody"),
        )
        while not handshake.done:
            data = channel.recv(100)
            if not data:
                raise ConnectionError("the client left during the handshake")
            channel.sendall(handshake.receive(data))
        return handshake.leftover

    def _meet(self, channel: ssl.SSLSocket, leftover: bytes) -> None:
        connection = Connection(time.monotonic())
        connection.send(self._hello)
        jobs = _Jobs(connection)
        self._hear(connection, jobs, leftover)
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closed:
                while self._to_say:
                    message, payload = self._to_say.popleft()
                    connection.send(message, (payload,) if payload else ())
                _flush(connection, channel)
                ready = {key.fileobj for key, _ in selector.select()}
                if self._woken in ready:
                    self._woken.recv(100)
                if channel in ready:
                    data = channel.recv(1 << 20)
                    if not data:
                        break
                    self._hear(connection, jobs, data)
        self._note_end(connection.farewell or "")

    def _note_end(self, farewell: str) -> None:
        with self._changed:
            self._farewells.append(farewell)
            self._changed.notify_all()

    def _hear(self, connection: Connection, jobs: _Jobs, data: bytes) -> None:
        received = connection.receive_data(data, time.monotonic()) if data else []
        if self.runs_jobs:
            for it in received:
                jobs.take(it)
        with self._changed:
            self._heard += received
            self._changed.notify_all()


class _Jobs:
    """Runs jobs, in the test's own process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._functions: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, list[tuple[Start, bytes]]] = {}

    def take(self, received: Received) -> None:
        message, payload = received
        if isinstance(message, Define):
            self._functions[message.digest] = bytes(view_of(payload))
            for start, arguments in self._waiting.pop(message.digest, ()):
                self._run(message.digest, start, arguments)
        elif isinstance(message, Run):
            parts = split(payload, [start.size for start in message.jobs])
            for start, part in zip(message.jobs, parts, strict=True):
                arguments = bytes(view_of(part))
                if message.function in self._functions:
                    self._run(message.function, start, arguments)
                else:
                    self._waiting.setdefault(message.function, []).append((start, arguments))
                    self._connection.send(Need(message.function))

    def _run(self, function: bytes, start: Start, arguments: bytes) -> None:
        call = load_definition(self._functions[function])
        args, kwargs = decode_call(arguments)
        result = bytes(encode_result(call(*args, **kwargs), 5))  # type: ignore[arg-type]  # small ones are bytes
        outcome = Outcome(start.job, start.attempt, len(result), False, 0.001)
        self._connection.send(Result([outcome]), (result,))


def _flush(connection: Connection, channel: ssl.SSLSocket) -> None:
    while connection.wants_to_send:
        channel.sendall(b"".join(connection.data_to_send(time.monotonic()).buffers))


@pytest.fixture
def pretended_daemon(key_file: Path) -> Iterator[Callable[[Hello], PretendedDaemon]]:
    """Start daemons that say what the test wants."""
    started: list[PretendedDaemon] = []

    def start(hello: Hello) -> PretendedDaemon:
        started.append(PretendedDaemon(hello, key_file))
        return started[-1]

    yield start
    for daemon in started:
        daemon.close()


class PretendedClient:
    """A client that says what a test wants.

    Args:
        port: of the daemon, on the loopback.
        key_file: its key.

    Attributes:
        heard: kinds of all messages that it was told.
    """

    def __init__(self, port: int, key_file: Path) -> None:
        (key, *_) = keystore.load(key_file)
        address = Address("127.0.0.1", port)
        dialled = asyncio.run(dial(address, key, secrets.token_bytes(16)))
        self.heard: set[str] = set()
        self._channel = dialled.socket
        self._channel.settimeout(PATIENCE)
        self._connection = Connection(time.monotonic())
        self._arrived: deque[Received] = deque()
        self._take(dialled.leftover)

    def say(self, message: Message, payload: bytes = b"") -> None:
        """Say something."""
        self._connection.send(message, (payload,) if payload else ())
        _flush(self._connection, self._channel)

    def say_bytes(self, data: bytes) -> None:
        """Say something in a way that this release does not have."""
        _flush(self._connection, self._channel)
        self._channel.sendall(data)

    def hear(self, *kinds: type[Message]) -> tuple[Message, bytes]:
        """Wait for a message of these kinds; others are passed over. Return it with its payload."""
        while True:
            while self._arrived:
                message, payload = self._arrived.popleft()
                if isinstance(message, kinds):
                    return message, bytes(view_of(payload))
            data = self._channel.recv(1 << 20)
            assert data, f"the daemon has hung up: {self._connection.farewell}"
            self._take(data)
            _flush(self._connection, self._channel)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def _take(self, data: bytes) -> None:
        arrived = self._connection.receive_data(data, time.monotonic()) if data else []
        self.heard |= {type(it.message).__name__ for it in arrived}
        self._arrived += arrived


@pytest.fixture
def pretended_client(key_file: Path) -> Iterator[Callable[[int], PretendedClient]]:
    """Connect clients that say what the test wants to the daemon on a port."""
    connected: list[PretendedClient] = []

    def connect(port: int) -> PretendedClient:
        connected.append(PretendedClient(port, key_file))
        return connected[-1]

    yield connect
    for client in connected:
        client.close()
