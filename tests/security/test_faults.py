"""Threats from broken links, dying machines, and clients that hold a key and misbehave."""

from __future__ import annotations

import asyncio
import os
import pickle
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import ppnext
from ppnext.runtime import keystore
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import dial
from ppnext.server.session import JOBS_LIMIT
from ppnext.wire.connection import Connection
from ppnext.wire.frames import CHUNK_LIMIT, OPENS, PASSED, encode_header
from ppnext.wire.messages import (
    KINDS,
    PROTOCOL,
    Hello,
    Outcome,
    Result,
    Run,
    Start,
    encode_control,
)
from tests.ppserver_fixture import Daemon, PPServers
from tests.security.conftest import Client, Proxy
from tests.stage_fixture import Stage
from tests.visits import visit

pytestmark = pytest.mark.cluster

ROOT = str(Path(ppnext.__file__).parents[1])
PATIENCE = 20.0
DIGEST = bytes(32)


class Authenticated:
    """Somebody who holds the key and says what they like."""

    def __init__(self, daemon: Daemon, key_file: Path) -> None:
        (key, *_) = keystore.load(key_file)
        address = Address("127.0.0.1", daemon.port)
        self.sock: ssl.SSLSocket = asyncio.run(dial(address, key, secrets.token_bytes(16))).socket
        self.sock.settimeout(PATIENCE)

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def say_hello(self) -> None:
        self.say(frame(Hello(PROTOCOL, "1", "3", "somebody", 1, 0)))

    def is_thrown_out(self) -> bool:
        try:
            while self.sock.recv(1 << 16):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        return True


@pytest.fixture
def authenticated(key_file: Path) -> Iterator[Callable[[Daemon], Authenticated]]:
    opened: list[Authenticated] = []

    def open_one(daemon: Daemon) -> Authenticated:
        opened.append(Authenticated(daemon, key_file))
        return opened[-1]

    yield open_one
    for one in opened:
        one.sock.close()


def frame(message: Hello | Run | Result, payload: bytes = b"") -> bytes:
    connection = Connection(0.0)
    connection.send(message, (payload,) if payload else ())
    data = b""
    while connection.wants_to_send:
        data += b"".join(connection.data_to_send(0.0).buffers)
    return data


def run(number: int, *sizes: int) -> Run:
    return Run(DIGEST, [Start(number + place, 1, size) for place, size in enumerate(sizes or (0,))])


def raw(kind: int, control: bytes, flags: int = 0, size: int = 0) -> bytes:
    return encode_header(kind, flags, len(control), 1 if flags else 0, size) + control


# 17 and 18: pickles before authentication, in the daemon, in the control plane.


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("unpickled",)


def test_row_17_and_18_the_daemon_unpickles_nothing(
    ppserver: PPServers,
    client: Client,
    authenticated: Callable[[Daemon], Authenticated],
    tmp_path: Path,
) -> None:
    """Neither what its jobs are made of, nor what a client puts where it does not belong."""
    daemon = ppserver.start()
    server = client(daemon.address)
    assert [server.submit(abs, (-n,))() for n in range(5)] == list(range(5))
    evil = pickle.dumps(Evil())
    for message, kind in KINDS.items():
        one = authenticated(daemon)
        if message is not Hello:
            one.say_hello()
        one.say(raw(kind, evil))
        assert one.is_thrown_out()
    digest_and_arguments = frame(run(1, len(evil)), evil)
    one = authenticated(daemon)
    one.say_hello()
    one.say(digest_and_arguments)
    assert server.submit(abs, (-9,))() == 9
    assert daemon.audit_file.read_text().splitlines() == ["recording"]
    assert not (tmp_path / "unpickled").exists()


# 19: what is reachable.

AUDIT = """
import sys
def hook(event, args):
    if event in ("socket.bind", "socket.connect") and isinstance(args[1], tuple):
        print(event, args[1][0], flush=True)
sys.addaudithook(hook)
"""


def audited(code: str, *args: str, **env: str) -> list[str]:
    """Events of a program: where it binds and connects."""
    result = subprocess.run(
        [sys.executable, "-c", AUDIT + code, *args],
        capture_output=True, text=True, timeout=30, check=True,
        env={**os.environ, "PYTHONPATH": ROOT, **env},
    )  # fmt: skip
    return [line for line in result.stdout.splitlines() if line.startswith("socket.")]


def test_row_19_a_daemon_listens_on_the_loopback_only(key_file: Path) -> None:
    code = (
        "from ppnext.server.cli import main\n"
        "sys.exit(main(['-p', '0', '-w', '1', '-t', '0.05', '--key-file', sys.argv[1]]))"
    )
    events = audited(code, str(key_file))
    assert "socket.bind 127.0.0.1" in events
    assert set(events) <= {"socket.bind 127.0.0.1", "socket.bind ::1"}


def test_row_19_the_listing_agrees(ppserver: PPServers) -> None:
    daemon = ppserver.start()
    listening = psutil.Process(daemon.pid).net_connections("inet")
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_row_19_a_server_of_this_machine_opens_no_socket() -> None:
    code = "import ppnext\nwith ppnext.Server(1) as server: assert server.submit(abs, (-1,))() == 1"
    assert audited(code) == []


# 26: a stale address.


def test_row_26_a_dead_address_delays_nobody(ppserver: PPServers, client: Client) -> None:
    dead, alive = ppserver.start(), ppserver.start()
    dead.kill()
    began = time.monotonic()
    server = client(dead.address, alive.address, connected=False)
    assert server.submit(abs, (-1,))() == 1
    assert time.monotonic() - began < 5.0
    assert list(server.get_active_nodes()) == ["local", alive.address]


# 28: one client passes for another.


def test_row_28_the_log_tells_clients_apart_and_keys_do_not_mix(
    ppserver: PPServers, client: Client, key_file: Path, tmp_path: Path
) -> None:
    (first,) = keystore.load(key_file)
    second = keystore.create(tmp_path / "second", "second")
    keystore.append(key_file, second)
    daemon = ppserver.start()
    for key in (first, second):
        client(daemon.address, secret=key.line(), key_file=None)
        daemon.wait_for_log(rf"client connected: 127\.0\.0\.1, key {key.label}, session \w+")
    words = first.line().split()
    mixed = " ".join([words[0], words[1], second.line().split()[2], words[3]])
    client(daemon.address, secret=mixed, key_file=None, connected=False)
    daemon.wait_for_log(f"does not know the secret of key {first.label}")


# 29: cut in the middle.

TEXT = "0123456789abcdef" * 40_000


def repeat(text: str, times: int) -> str:
    return text * times


@pytest.mark.parametrize("direction", ["down", "up"])
def test_row_29_a_cut_connection_never_gives_a_short_result(
    ppserver: PPServers, client: Client, proxy: Callable[[str], Proxy], direction: str
) -> None:
    daemon = ppserver.start(workers=1)
    size = len(TEXT)
    outcomes = []
    for offset in [1, 2, 5, 22, 30, 80, 200, 1000, 16_000, 16_413, size // 2, size - 1, size + 999]:
        way = proxy(daemon.address)
        server = client(way.address)
        # Whatever the two say to each other at the beginning has been said.
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1
        way.cut_after(offset, direction)
        if direction == "down":
            job = server.submit(repeat, ("0123456789abcdef", 40_000), retry=False)
        else:
            job = server.submit(repeat, (TEXT, 1), retry=False)
        try:
            assert job.result(PATIENCE) == TEXT
            outcomes.append("whole")
        except ppnext.NodeLost:
            outcomes.append("lost")
        server.destroy()
    assert "lost" in outcomes
    assert outcomes[0] == "lost"


def test_row_29_a_reset_is_a_loss_and_the_job_is_run_again(
    ppserver: PPServers, client: Client, proxy: Callable[[str], Proxy], stage: Stage
) -> None:
    daemon = ppserver.start(workers=1)
    way = proxy(daemon.address)
    job = client(way.address).submit(visit, (stage.port, "job"))
    first = stage.next()
    way.reset()
    assert first.gone_within(5.0)
    stage.next().release("the second time")
    assert job() == "the second time"
    assert job.attempts == 2


# 30: with a key, and misbehaving.


@pytest.mark.parametrize(
    "attack",
    [
        b"\xff" * 1000,
        encode_header(KINDS[Run], 0, 10, 0, 2**63),
        encode_header(KINDS[Run], OPENS, 10, 1, 2**63) + bytes(10),
        raw(KINDS[Run], encode_control(run(1)), OPENS, 2**62),
        raw(KINDS[Run], b"\xdd\xff\xff\xff\xff"),
        raw(KINDS[Hello], b"\x91" * 60_000),
        raw(99, b""),
        encode_header(0, 0, 0, 7, CHUNK_LIMIT),
        frame(Result([Outcome(1, 1, 10, False, 0.0)]), b"for nobody"),
        b"".join(frame(run(number * 100, *[0] * 100)) for number in range(JOBS_LIMIT // 100 + 1)),
        raw(KINDS[Run], encode_control(run(1, 2**20)), PASSED, 2**20),
        frame(run(1, 2**62), b"short"),
        frame(run(1, 3, 3), b"short"),
        frame(run(1, 150_000, 150_000), bytes(300_000)),
    ],
    ids=[
        "garbage", "huge frame", "huge stream", "huge payload", "huge list", "depth",
        "unknown kind", "chunk of no stream", "result", "too many jobs", "passed over the network",
        "size without bytes", "sizes that do not add up", "jobs that share a large payload",
    ],
)  # fmt: skip
def test_row_30_whoever_misbehaves_ends_its_own_session_only(
    ppserver: PPServers,
    client: Client,
    authenticated: Callable[[Daemon], Authenticated],
    stage: Stage,
    attack: bytes,
) -> None:
    daemon = ppserver.start(workers=2)
    job = client(daemon.address).submit(visit, (stage.port, "honest"))
    honest = stage.next()
    before = psutil.Process(daemon.pid).memory_info().rss
    one = authenticated(daemon)
    one.say_hello()
    one.say(attack)
    if attack.startswith(encode_header(0, 0, 0, 7, CHUNK_LIMIT)):
        # It is thrown out with the first piece, and perhaps before it has said the last.
        with suppress(ssl.SSLError, ConnectionError):
            one.say(bytes(CHUNK_LIMIT))
    assert one.is_thrown_out()
    assert psutil.Process(daemon.pid).memory_info().rss - before < 64 << 20
    honest.release("untouched")
    assert job() == "untouched"
    assert job.attempts == 1
    assert "Traceback" not in daemon.log()


# 31: half-open links and hung nodes.


def test_row_31_a_pulled_cable_is_noticed_and_the_job_runs_elsewhere(
    ppserver: PPServers, client: Client, proxy: Callable[[str], Proxy], stage: Stage
) -> None:
    far, near = ppserver.start("-k", "1", workers=1), ppserver.start(workers=1)
    way = proxy(far.address)
    server = client(way.address, near.address, socket_timeout=1.0)
    jobs = [server.submit(visit, (stage.port, str(n))) for n in range(2)]
    running = {visitor.parent: visitor for visitor in stage.many(2)}
    way.swallow()
    running[near.pid].release("near")
    again = stage.next(5.0)
    assert again.parent == near.pid
    assert again.name == running[far.pid].name
    assert running[far.pid].gone_within(5.0)  # the daemon has noticed as well
    again.release("near")
    assert [job() for job in jobs] == ["near", "near"]


def test_row_31_a_hung_daemon_is_noticed_and_its_late_result_is_not_taken(
    ppserver: PPServers, client: Client, stage: Stage
) -> None:
    hung, other = ppserver.start(workers=1), ppserver.start(workers=1)
    server = client(hung.address, other.address, socket_timeout=1.0)
    calls: list[str] = []
    jobs = [server.submit(visit, (stage.port, str(n)), callback=calls.append) for n in range(2)]
    running = {visitor.parent: visitor for visitor in stage.many(2)}
    hung.process.send_signal(signal.SIGSTOP)
    try:
        running[hung.pid].release("late")  # its result waits in the stopped daemon
        running[other.pid].release("in time")
        stage.next(5.0).release("again")
    finally:
        hung.process.send_signal(signal.SIGCONT)
    results = [job() for job in jobs]
    assert sorted(results) == ["again", "in time"]
    hung.wait_for_log("client gone")
    assert server.wait("default", PATIENCE)
    assert sorted(calls) == ["again", "in time"]


# 32: executed twice, 33: poison, 34: leaks.


def test_row_32_a_job_that_may_not_be_retried_is_started_once(
    ppserver: PPServers, client: Client, stage: Stage
) -> None:
    dying, other = ppserver.start(workers=1), ppserver.start(workers=1)
    server = client(dying.address, other.address)
    jobs = [server.submit(visit, (stage.port, str(n)), retry=False) for n in range(2)]
    running = {visitor.parent: visitor for visitor in stage.many(2)}
    dying.kill()
    lost = jobs[int(running[dying.pid].name)]
    with pytest.raises(ppnext.NodeLost):
        lost.result(PATIENCE)
    running[other.pid].release()
    assert stage.is_empty_for(0.3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_row_33_poison_is_given_up_and_the_others_finish(
    ppserver: PPServers, client: Client
) -> None:
    server = client(ppserver.start(workers=2).address)
    poison = server.submit(die)
    others = [server.submit(abs, (-n,)) for n in range(20)]
    with pytest.raises(ppnext.PoisonedJob, match="SIGSEGV"):
        poison.result(PATIENCE)
    assert poison.attempts == 3
    assert [job() for job in others] == list(range(20))


CLIENT = """
import sys, ppnext
from tests.visits import visit
with ppnext.Server(1, (sys.argv[1],), key_file=sys.argv[2]) as server:
    for n in range(50):
        server.submit(visit, (int(sys.argv[3]), str(n)))
    server.wait()
"""


@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_row_34_a_client_killed_at_any_moment_leaves_nothing(
    ppserver: PPServers, stage: Stage, key_file: Path, after: int
) -> None:
    daemon = ppserver.start(workers=2)
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, daemon.address, str(key_file), str(stage.port)],
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    try:
        for _ in range(after):
            stage.next().release()
        stage.next()
        workers = [
            *psutil.Process(process.pid).children(recursive=True),
            *psutil.Process(daemon.pid).children(recursive=True),
        ]
        assert workers
    finally:
        process.kill()
        process.wait(10)
    _, left = psutil.wait_procs(workers, timeout=5.0)
    assert not left


def test_row_34_destroying_a_server_does_not_wait_for_a_silent_peer() -> None:
    """Its connections go with it, whatever the other end does not say."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        key = keystore.generate("lab")
        server = ppnext.Server(0, (address,), secret=key.line())
        silent.settimeout(PATIENCE)
        accepted, _ = silent.accept()
        began = time.monotonic()
        server.destroy()
        assert time.monotonic() - began < 3.0
        accepted.close()
