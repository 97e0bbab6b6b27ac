"""A client that holds the key and says anything that can be said, in any order.

Every message is well formed, so that it passes the decoder and meets the daemon's session: jobs
that were never sent are retracted, jobs are sent twice, hashes are false, answers come unasked. The
session may end; the daemon goes on, unpickles nothing, and serves the next client.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

import ppnext
from ppnext.runtime import keystore
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import dial
from ppnext.wire.connection import Connection
from ppnext.wire.messages import (
    PROTOCOL,
    Ask,
    Define,
    Died,
    Drop,
    Facts,
    Found,
    Freed,
    Hello,
    Hold,
    Message,
    Need,
    Offer,
    Outcome,
    Ping,
    Pong,
    Result,
    Retract,
    Returned,
    Run,
    Seek,
    Setup,
    Start,
    Unfit,
)
from tests.ppserver_fixture import Daemon, PPServers

pytestmark = pytest.mark.cluster

PATIENCE = 20.0
SESSIONS, MESSAGES = 90, 25
"""No more sessions than a daemon lets in at once."""
FUNCTIONS = [b"", b"not a function", bytes(1000)]

Said = tuple[Message, bytes]


class Babble:
    """Makes up messages, again and again the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        # What the daemon takes is more likely than what ends the session.
        takes = [self._run, self._retract, self._define, self._hold, self._drop, self._found]
        self._say: list[Callable[[], Said]] = [*takes * 6, self._ask, self._heartbeat, self._wrong]

    def next(self) -> Said:
        """The next message, and its payload."""
        return self._chance.choice(self._say)()

    def _content(self) -> bytes:
        return self._chance.choice(FUNCTIONS)

    def _digest(self) -> bytes:
        return hashlib.sha256(self._content()).digest()

    def _number(self) -> int:
        return self._chance.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2**63 - 1])

    def _run(self) -> Said:
        number = self._chance.randrange(1 << 40)
        sizes = [self._chance.randrange(4) for _ in range(self._chance.randrange(1, 4))]
        once = self._chance.random() < 0.5
        jobs = [Start((number + n) % 50, self._number(), it, once) for n, it in enumerate(sizes)]
        return Run(self._digest(), jobs), self._chance.randbytes(sum(sizes))

    def _retract(self) -> Said:
        chance = self._chance
        return Retract([(chance.randrange(50), self._number()) for _ in range(5)] * 2), b""

    def _define(self) -> Said:
        content = self._content()
        return Define(hashlib.sha256(content).digest()), content

    def _hold(self) -> Said:
        return Hold(self._digest()), self._content()

    def _drop(self) -> Said:
        return Drop(self._digest()), b""

    def _found(self) -> Said:
        name = self._chance.choice(["os", "a.b", "", "..", "x" * 1024])
        return Found(name, self._chance.choice([b"", self._digest()]), "why"), b""

    def _ask(self) -> Said:
        return Ask(self._chance.choices(["numpy", "", "../x", "no such thing"], k=4)), b""

    def _heartbeat(self) -> Said:
        beats: list[Message] = [Ping(self._number()), Pong(self._number())]
        return self._chance.choice(beats), b""

    def _wrong(self) -> Said:
        """What only the other end may say, or what ends the session."""
        number, digest = self._number(), self._digest()
        wrong: list[Message] = [
            Hello(PROTOCOL, "1", "3", "again", 1, 0), Setup("n", ["/"], 5), Need(digest),
            Result([Outcome(number, 1, 0, False, 0.0)]), Died(number, 1, "gone"), Offer(3),
            Returned([(number, 1)], []), Freed(number, 1, True), Unfit(number, 1, "no"),
            Facts({"a": "1"}), Seek("os"),
        ]  # fmt: skip
        return self._chance.choice(wrong), b""


def babble_at(daemon: Daemon, key_file: Path, seed: int) -> bool:
    """Say all of it, and wait for the answer. Return whether it was all listened to."""
    (key, *_) = keystore.load(key_file)
    address = Address("127.0.0.1", daemon.port)
    sock: ssl.SSLSocket = asyncio.run(dial(address, key, secrets.token_bytes(16))).socket
    sock.settimeout(PATIENCE)
    connection, babble = Connection(0.0), Babble(seed)
    connection.send(Hello(PROTOCOL, "1", "3", f"seed {seed}", 1, 0))
    for _ in range(MESSAGES):
        message, payload = babble.next()
        connection.send(message, (payload,) if payload else ())
    with sock:
        try:
            send_all(sock, connection)
            connection.probe(0.0)
            send_all(sock, connection)
            while connection.round_trip is None:
                if not (data := sock.recv(1 << 16)):
                    return False
                connection.receive_data(data, 0.0)
        except (ConnectionError, ssl.SSLError):
            return False  # it was thrown out, as it may be
    return True


def send_all(sock: ssl.SSLSocket, connection: Connection) -> None:
    while connection.wants_to_send:
        for buffer in connection.data_to_send(0.0).buffers:
            sock.sendall(buffer)


def test_whatever_an_authenticated_client_says_the_daemon_goes_on(
    ppserver: PPServers, key_file: Path
) -> None:
    daemon = ppserver.start()
    listened = [babble_at(daemon, key_file, seed) for seed in range(SESSIONS)]
    assert {True, False} == set(listened)
    with ppnext.Server(0, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()
    assert daemon.log().count("client gone") == SESSIONS + 1
