"""Threats from whoever is on the network without a key, against a real ppserver or client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import secrets
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import psutil
import pytest

import ppnext
from ppnext.errors import HandshakeError, KeyFileError, WeakSecretError
from ppnext.runtime import keystore
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import dial, read_some, shake_tls, write_all
from ppnext.runtime.tls import (
    client_context,
    ephemeral_certificate,
    peer_certificate,
    server_context,
)
from ppnext.wire.frames import encode_header
from ppnext.wire.handshake import ClientHandshake, ServerHandshake
from ppnext.wire.keys import Key, new_key
from ppnext.wire.messages import KINDS, Hello, Outcome, Result, encode_control
from tests.ppserver_fixture import Daemon, PPServers
from tests.security.conftest import Client

pytestmark = pytest.mark.cluster

ROOT = str(Path(ppnext.__file__).parents[1])
PATIENCE = 20.0
CLIENT = b"c" * 16


def create(path: str) -> None:
    """The canary: a job that nobody may get to run."""
    Path(path).touch()


@pytest.fixture
def key(key_file: Path) -> Key:
    """The key that the daemons accept."""
    return keystore.load(key_file)[0]


def stranger(kid: bytes = b"") -> Key:
    return new_key(secrets.token_bytes(32), kid or secrets.token_bytes(16), "stranger")


def address_of(daemon: Daemon) -> Address:
    return Address("127.0.0.1", daemon.port)


async def open_channel(daemon: Daemon, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", daemon.port))
    channel = (context or client_context()).wrap_socket(sock, do_handshake_on_connect=False)
    try:
        await shake_tls(channel)
    except BaseException:  # a test that expects it must not leave the socket open
        channel.close()
        raise
    return channel


async def rest_of(channel: ssl.SSLSocket) -> bytes:
    """Everything that still comes, however it ends."""
    received = b""
    try:
        while data := await read_some(channel, 4096):
            received += data
    except (ConnectionError, ssl.SSLError):
        pass  # a reset, or an alert: no byte of ours
    channel.close()
    return received


def run(work: Coroutine[object, object, bytes]) -> bytes:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


# 1: a stranger submits a job.


@pytest.mark.parametrize("knows", ["nothing", "the key's id"])
def test_row_1_a_stranger_runs_nothing(
    ppserver: PPServers, client: Client, key: Key, tmp_path: Path, knows: str
) -> None:
    daemon = ppserver.start()
    canary = tmp_path / "canary"
    line = stranger(key.kid if knows == "the key's id" else b"").line()
    server = client(daemon.address, connected=False, secret=line, key_file=None)
    job = server.submit(create, (str(canary),))
    daemon.wait_for_log("client at 127.0.0.1 not authenticated")
    assert not server.wait_for_nodes(1, 0.3)
    assert "does not accept key stranger" in job.status()
    assert not canary.exists()
    assert psutil.Process(daemon.pid).children() == []


def test_row_1_frames_without_a_handshake_are_not_read(ppserver: PPServers) -> None:
    daemon = ppserver.start()
    control = encode_control(Hello(1, "1", "3", "stranger", 1, 0))
    frame = encode_header(KINDS[Hello], 0, len(control), 0, 0) + control

    async def attack() -> bytes:
        channel = await open_channel(daemon)
        await write_all(channel, frame * 5)
        return await rest_of(channel)

    assert run(attack()) == b""
    daemon.wait_for_log("not authenticated: malformed ClientHello")


# 2: a rogue daemon sends malicious pickles.


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("unpickled",)


AUDITED_CLIENT = """
import sys, time
seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event == "pickle.find_class" else None)
import ppnext
address, key_file = sys.argv[1:]
with ppnext.Server(0, (address,), key_file=key_file) as server:
    job = server.submit(abs, (-1,))
    seen.clear()
    while "SECURITY" not in job.status():
        job.wait(0.02)
    print(job.status(), len(seen), job.done())
"""


@pytest.fixture
def rogue(key: Key) -> Iterator[Callable[[Callable[[bytes, bytes], bytes]], str]]:
    """Start a false daemon that answers hello and proof with what a function says, and frames."""
    listening: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(answer: Callable[[bytes, bytes], bytes]) -> None:
        identity = ephemeral_certificate()
        context = server_context(identity)
        while True:
            try:
                sock, _ = listening[0].accept()
                sock.settimeout(PATIENCE)
                with context.wrap_socket(sock, server_side=True) as channel:
                    hello = channel.recv(72)
                    # It may know the id of the key, but not the secret.
                    false = {key.kid: stranger(key.kid)}.get
                    ours = ServerHandshake(
                        false, secrets.token_bytes(32), b"r" * 16, identity.der, stranger()
                    )
                    channel.sendall(ours.receive(hello))
                    channel.sendall(answer(hello, channel.recv(32)) + malice())
                    channel.recv(100)
            except OSError:
                if listening[0].fileno() < 0:
                    return

    def start(answer: Callable[[bytes, bytes], bytes]) -> str:
        listening.append(socket.create_server(("127.0.0.1", 0)))
        threads.append(threading.Thread(target=serve, args=(answer,)))
        threads[0].start()
        return f"127.0.0.1:{listening[0].getsockname()[1]}"

    yield start
    listening[0].shutdown(socket.SHUT_RDWR)
    listening[0].close()
    threads[0].join(PATIENCE)


def malice() -> bytes:
    evil = pickle.dumps(Evil())
    frames = b""
    hello, result = (
        Hello(1, "1", "3", "rogue", 1, 4),
        Result([Outcome(0, 1, len(evil), False, 0.0)]),
    )
    for message, payload in ((hello, b""), (result, evil)):
        control = encode_control(message)
        frames += encode_header(KINDS[type(message)], 0, len(control), 0, len(payload))
        frames += control + payload
    return frames


@pytest.mark.parametrize(
    "answer",
    [
        lambda hello, proof: secrets.token_bytes(32),
        lambda hello, proof: bytes(32),
        lambda hello, proof: proof,
    ],
    ids=["random", "zeros", "our own proof"],
)
def test_row_2_nothing_of_a_rogue_daemon_is_unpickled(
    rogue: Callable[[Callable[[bytes, bytes], bytes]], str],
    answer: Callable[[bytes, bytes], bytes],
    key_file: Path,
    tmp_path: Path,
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", AUDITED_CLIENT, rogue(answer), str(key_file)],
        capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert "SECURITY: the peer does not know key" in result.stdout
    assert result.stdout.split()[-2:] == ["0", "False"]
    assert not (tmp_path / "unpickled").exists()


# 3: a man in the middle, 5: replay, 6: reflection.


def test_row_3_a_man_in_the_middle_is_found_out_by_both(ppserver: PPServers, key: Key) -> None:
    daemon = ppserver.start()
    context = server_context(ephemeral_certificate())

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = await open_channel(daemon)
        await write_all(channel, await reader.readexactly(72))
        writer.write(await read_some(channel, 72))
        await write_all(channel, await reader.readexactly(32))
        assert await rest_of(channel) == b""
        writer.close()

    async def attack() -> bytes:
        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HandshakeError, match="does not accept key"):
            await dial(Address("127.0.0.1", port), key, CLIENT)
        server.close()
        await asyncio.sleep(0.01)  # asyncio's TLS transport notices the end
        return b""

    run(attack())
    daemon.wait_for_log(f"does not know the secret of key {key.label}")


def test_row_4_the_channel_is_forward_secret_and_not_resumable(ppserver: PPServers) -> None:
    daemon = ppserver.start()

    async def look() -> bytes:
        channel = await open_channel(daemon)
        assert channel.version() == "TLSv1.3"
        assert channel.session is None or not channel.session.has_ticket
        channel.close()
        return b""

    run(look())


def test_row_5_a_recorded_handshake_cannot_be_replayed(ppserver: PPServers, key: Key) -> None:
    daemon = ppserver.start()

    async def attack() -> bytes:
        channel = await open_channel(daemon)
        handshake = ClientHandshake(key, secrets.token_bytes(32), CLIENT, peer_certificate(channel))
        await write_all(channel, handshake.hello())
        proof = handshake.receive(await read_some(channel, 72))
        await write_all(channel, proof)
        assert len(await read_some(channel, 32)) == 32  # the honest run
        channel.close()
        replay = await open_channel(daemon)
        await write_all(replay, handshake.hello())
        assert len(await read_some(replay, 72)) == 72
        await write_all(replay, proof)
        return await rest_of(replay)

    assert run(attack()) == b""


def test_row_6_messages_sent_back_are_refused(ppserver: PPServers, key: Key) -> None:
    daemon = ppserver.start()

    async def attack() -> bytes:
        first = await open_channel(daemon)
        handshake = ClientHandshake(key, secrets.token_bytes(32), CLIENT, peer_certificate(first))
        await write_all(first, handshake.hello())
        theirs = await read_some(first, 72)
        second = await open_channel(daemon)
        await write_all(second, theirs)
        first.close()
        return await rest_of(second)

    assert run(attack()) == b""


# 7: downgrade; 16: whoever fails does not lock out others.


def test_row_7_and_16_after_every_kind_of_bad_client_a_good_one_is_served(
    ppserver: PPServers, client: Client, key: Key
) -> None:
    daemon = ppserver.start()
    old = client_context()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    other.check_hostname, other.verify_mode = False, ssl.CERT_NONE
    other.set_alpn_protocols(["h2"])

    async def attack() -> bytes:
        with pytest.raises(ssl.SSLError):
            await open_channel(daemon, old)
        assert await rest_of(await open_channel(daemon, other)) == b""
        for version in (0, 2):
            channel = await open_channel(daemon)
            hello = bytearray(b"PPNX\x01\x01\x00\x00" + bytes(64))
            hello[5] = version
            await write_all(channel, bytes(hello))
            assert await rest_of(channel) == b""
        for _ in range(3):
            with pytest.raises(HandshakeError):
                await dial(address_of(daemon), stranger(key.kid), CLIENT)
        return b""

    with socket.create_connection(("127.0.0.1", daemon.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):  # a reset is no byte of ours either
            assert b"HTTP" not in plain.recv(100)
    run(attack())
    assert client(daemon.address).submit(abs, (-3,))() == 3


# 8: weak secrets; 9: loose files.


@pytest.mark.parametrize(
    "secret",
    ["password", "epo20pdosl;dksldkmm", "x" * 31, "A" * 43, "0" * 64],
    ids=["a word", "an old default", "31 bytes", "one letter", "zeros"],
)
def test_row_8_only_generated_keys_are_secrets(secret: str) -> None:
    with pytest.raises(WeakSecretError, match="ppserver --new-key") as caught:
        ppnext.Server(0, ("127.0.0.1:60000",), secret=secret)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_row_9_a_client_refuses_a_loose_key_file(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        ppnext.Server(0, ("127.0.0.1:60000",), key_file=key_file)


# 10: the key does not show.


def environment() -> dict[str, str]:
    return dict(os.environ)


def test_row_10_the_key_does_not_show_anywhere(
    ppserver: PPServers, client: Client, key: Key, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    daemon = ppserver.start("-d", env={"PPNEXT_NAME": "x"})
    server = client(daemon.address)
    job = server.submit(environment)
    texts = [str(job()), job.status(), repr(server), repr(job), repr(key), str(key)]
    with pytest.raises(ZeroDivisionError) as caught:
        server.submit(divmod, (1, 0))()
    texts.append(str(caught.value))
    for process in (psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(True)):
        texts.append(" ".join(process.cmdline()))
        texts.append(str(process.environ()))
    assert "PPNEXT_" not in texts[0]
    server.destroy()
    daemon.stop()
    texts += [daemon.log(), caplog.text]
    forms = key.secret.hex(), key.line().split()[2], repr(key.secret)[2:20]
    for text in texts:
        assert not any(form in text for form in forms)


# 11: no oracle.


def test_row_11_an_unknown_key_costs_as_much_as_a_wrong_proof() -> None:
    """The median times of both are alike; the bound is loose."""
    known = stranger()
    dummy = stranger()
    keys = {known.kid: known}

    def refuse(claimed: Key) -> float:
        client = ClientHandshake(claimed, secrets.token_bytes(32), CLIENT, b"certificate")
        server = ServerHandshake(
            keys.get, secrets.token_bytes(32), b"d" * 16, b"certificate", dummy
        )
        proof = client.receive(server.receive(client.hello()))
        began = time.perf_counter()
        with pytest.raises(HandshakeError):
            server.receive(proof)
        return time.perf_counter() - began

    wrong, unknown = stranger(known.kid), stranger()
    times = [(refuse(wrong), refuse(unknown)) for _ in range(500)]
    ratio = statistics.median(t for t, _ in times) / statistics.median(t for _, t in times)
    assert 0.5 < ratio < 2.0


# 20: other users of this machine.


def test_row_20_the_loopback_is_no_exception_and_the_key_is_private(
    ppserver: PPServers, client: Client, key_file: Path
) -> None:
    daemon = ppserver.start()
    assert client(daemon.address).submit(abs, (-1,))() == 1
    processes = psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True)
    assert len(processes) > 1
    for process in (*processes, psutil.Process()):
        for connection in process.net_connections("unix"):
            # Pairs have no name; an abstract one would begin with @ or a zero byte.
            assert not str(connection.laddr).startswith(("@", "\0")), connection
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                key_file.read_text()
        finally:
            os.seteuid(0)


# 35 and 36: nothing of TLS is on disk.


def test_row_35_and_36_no_private_key_and_no_session_secret_on_disk(
    ppserver: PPServers, key_file: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "tmp"
    directory.mkdir()
    log = tmp_path / "sslkeys"
    environment = {"SSLKEYLOGFILE": str(log), "TMPDIR": str(directory)}
    daemon = ppserver.start(env=environment)
    code = (
        "import sys, ppnext\n"
        "with ppnext.Server(0, (sys.argv[1],), key_file=sys.argv[2]) as server:\n"
        "    print(server.submit(abs, (-5,))())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, daemon.address, str(key_file)],
        capture_output=True, text=True, timeout=30, check=True,
        env={**os.environ, "PYTHONPATH": ROOT, **environment},
    )  # fmt: skip
    assert result.stdout == "5\n"
    assert not log.exists()
    for path in directory.rglob("*"):
        assert path.is_dir() or b"PRIVATE KEY" not in path.read_bytes()
