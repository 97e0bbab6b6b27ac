"""The daemon as clients see it: fair shares, keys that change, and every way to end."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import ppnext
from ppnext.runtime import keystore
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import _connect, read_some, shake_tls, write_all
from ppnext.runtime.tls import client_context, peer_certificate
from ppnext.wire.handshake import HELLO_SIZE, ClientHandshake
from ppnext.wire.keys import Key
from tests.ppserver_fixture import Daemon, PPServers
from tests.stage_fixture import Stage
from tests.visits import visit

pytestmark = pytest.mark.cluster

ROOT = str(Path(ppnext.__file__).parents[1])
PATIENCE = 20.0
LEFT_WITHIN = 5.0
"""Seconds after which no worker may be left."""

Connect = Callable[..., ppnext.Server]


CLIENT = """
import sys, ppnext
from tests.visits import visit
address, key_file, port = sys.argv[1:]
server = ppnext.Server(0, (address,), key_file=key_file)
jobs = [server.submit(visit, (int(port), f"job{n}")) for n in range(4)]
print([job() for job in jobs], flush=True)
"""


@pytest.fixture
def program() -> Iterator[Callable[[Daemon, int], subprocess.Popen[bytes]]]:
    """Start a program that is a client with four jobs on the stage."""
    started: list[subprocess.Popen[bytes]] = []

    def program(daemon: Daemon, port: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, daemon.address, str(daemon.key_file), str(port)],
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        started.append(process)
        return process

    yield program
    for process in started:
        process.kill()
        process.wait(10)


def workers_of(daemon: Daemon) -> list[psutil.Process]:
    return psutil.Process(daemon.pid).children(recursive=True)


# Fair shares.


def test_two_clients_share_evenly_and_no_slot_stays_free(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    daemon = ppserver.start(workers=2)
    busy, modest = connect(daemon), connect(daemon)
    many = [busy.submit(visit, (stage.port, "busy")) for _ in range(12)]
    first, second = stage.many(2)
    assert (first.name, second.name) == ("busy", "busy")  # all slots for whoever is alone
    few = [modest.submit(visit, (stage.port, "modest")) for _ in range(3)]
    assert stage.is_empty_for(0.2)
    first.release()
    newcomer = stage.next()
    assert newcomer.name == "modest"
    running = {"busy": second, "modest": newcomer}
    for _ in range(2):  # each keeps the slot that is its share
        for name in ("busy", "modest"):
            running[name].release()
            running[name] = stage.next()
            assert running[name].name == name
    running["modest"].release()
    assert [job() for job in few] == ["done"] * 3
    other = stage.next()  # the slot that became free goes to whoever can use it
    assert other.name == "busy"
    for visitor in (running["busy"], other):
        visitor.release()
    for _ in range(12 - 5):
        stage.next().release()
    assert [job() for job in many] == ["done"] * 12


def test_two_clients_have_worker_processes_of_their_own(
    ppserver: PPServers, connect: Connect
) -> None:
    daemon = ppserver.start(workers=2)
    clients = connect(daemon), connect(daemon)
    pids = [{client.submit(os.getpid)() for _ in range(4)} for client in clients]
    assert not pids[0] & pids[1]


def test_more_clients_than_slots_all_make_progress(ppserver: PPServers, connect: Connect) -> None:
    daemon = ppserver.start(workers=1)
    clients = [connect(daemon) for _ in range(3)]
    jobs = [client.submit(abs, (-n,)) for n in range(5) for client in clients]
    assert [job.result(PATIENCE) for job in jobs] == [n for n in range(5) for _ in clients]


def test_a_slot_is_shared_in_turns_and_not_job_by_job(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    """A client with long jobs sends the next one when it has the result of the last: in between
    its worker stays its worker, and the turn of the others comes all the same."""
    daemon = ppserver.start(workers=1)
    greedy, other = connect(daemon), connect(daemon)
    for _ in range(40):
        greedy.submit(visit, (stage.port, "greedy"))
    visitor = stage.next()
    other.submit(visit, (stage.port, "other"))
    seen: list[tuple[str, int]] = []
    while visitor.name != "other" and len(seen) < 40:
        seen.append((visitor.name, visitor.pid))
        assert not visitor.gone_within(0.1)  # a job that takes a while
        visitor.release()
        visitor = stage.next()
    assert visitor.name == "other"
    assert len(set(seen)) == 1, "the worker was exchanged between two jobs"
    visitor.release()
    assert stage.next().name == "greedy"


def test_the_worker_that_is_ready_first_makes_room(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    """Whichever job ends first, its slot goes to the newcomer: no slot waits for a long job."""
    daemon = ppserver.start(workers=3)
    first = connect(daemon)
    for number in range(9):
        first.submit(visit, (stage.port, f"first{number}"))
    running = stage.many(3)
    second, third = connect(daemon), connect(daemon)
    second.submit(visit, (stage.port, "second"))
    third.submit(visit, (stage.port, "third"))
    assert stage.is_empty_for(0.2)
    names = set()
    for visitor in running[1:]:
        visitor.release()
        names.add(stage.next().name)
    assert names == {"second", "third"}


def test_letter_r_gives_every_job_a_process_of_its_own(
    ppserver: PPServers, connect: Connect
) -> None:
    client = connect(ppserver.start("-r", workers=1))
    jobs = [client.submit(os.getpid) for _ in range(5)]
    assert len({job() for job in jobs}) == 5


# Draining.


def test_sigterm_finishes_what_runs_and_hands_back_the_rest(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    leaving, staying = ppserver.start(workers=1), ppserver.start(workers=1)
    client = connect(leaving, staying)
    jobs = [client.submit(visit, (stage.port, str(n)), retry=n % 2 == 0) for n in range(8)]
    running = {visitor.parent: visitor for visitor in stage.many(2)}
    leaving.terminate()
    leaving.wait_for_log("draining: 1 sessions")
    running[leaving.pid].release("by the one that leaves")
    assert leaving.process.wait(10) == 0
    running[staying.pid].release("by the one that stays")
    for _ in range(6):
        visitor = stage.next()
        assert visitor.parent == staying.pid
        visitor.release("by the one that stays")
    results = [job() for job in jobs]
    assert results.count("by the one that leaves") == 1
    assert results.count("by the one that stays") == 7
    assert [job.attempts for job in jobs] == [1] * 8
    assert sum(node.lost for node in client.get_stats().values()) == 0


def test_a_drained_daemon_takes_no_new_clients(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    daemon = ppserver.start(workers=1)
    client = connect(daemon)
    client.submit(visit, (stage.port, "last"))
    visitor = stage.next()
    daemon.terminate()
    daemon.wait_for_log("draining")
    with pytest.raises(ConnectionRefusedError):
        _raw_connect(daemon)
    visitor.release()
    assert daemon.process.wait(10) == 0


def test_the_second_sigterm_ends_it_now(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    daemon = ppserver.start(workers=1)
    job = connect(daemon).submit(visit, (stage.port, "long"), retry=False)
    visitor = stage.next()
    daemon.terminate()
    daemon.wait_for_log("draining")
    daemon.terminate()
    assert daemon.process.wait(10) == 0
    assert visitor.gone_within(LEFT_WITHIN)
    with pytest.raises(ppnext.NodeLost):
        job.result(PATIENCE)


def test_idle_exit_waits_for_the_last_client(ppserver: PPServers, connect: Connect) -> None:
    daemon = ppserver.start("-t", "0.3")
    client = connect(daemon)
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.wait(0.8)
    client.destroy()
    assert daemon.process.wait(10) == 0


def test_a_client_that_leaves_in_the_moment_it_is_admitted_is_forgotten(
    ppserver: PPServers, key_file: Path
) -> None:
    daemon = ppserver.start("-t", "0.3")
    (key,) = keystore.load(key_file)
    for _ in range(3):
        asyncio.run(_prove_and_leave(daemon, key))
    assert daemon.process.wait(10) == 0
    daemon.stop()
    assert daemon.log().count("client gone") == 3


# Keys.


def test_sighup_reads_the_keys_again(
    ppserver: PPServers, connect: Connect, key_file: Path, tmp_path: Path, stage: Stage
) -> None:
    (old,) = keystore.load(key_file)
    copy, second = tmp_path / "copy", tmp_path / "second"
    keystore.append(copy, old)
    daemon = ppserver.start(workers=2)
    client = connect(daemon, key_file=copy)
    client.submit(visit, (stage.port, "old"))
    visitor = stage.next()
    new = keystore.create(second, "new")
    keystore.append(key_file, new)
    keystore.revoke(key_file, old.kid.hex())
    daemon.hang_up()
    daemon.wait_for_log(rf"the key of .*{old.label}.* is not accepted any more")
    assert visitor.gone_within(LEFT_WITHIN)
    assert connect(daemon, key_file=second).submit(abs, (-4,))() == 4
    assert daemon.process.poll() is None


def test_sighup_with_other_keys_kept_disturbs_nobody(
    ppserver: PPServers, connect: Connect, key_file: Path, stage: Stage
) -> None:
    daemon = ppserver.start()
    job = connect(daemon).submit(visit, (stage.port, "steady"))
    visitor = stage.next()
    keystore.append(key_file, keystore.generate("another"))
    daemon.hang_up()
    daemon.wait_for_log("keys read: .*another")
    visitor.release("still here")
    assert job() == "still here"
    assert job.attempts == 1


def test_a_revoked_key_is_noticed_without_a_signal(
    ppserver: PPServers, connect: Connect, key_file: Path, tmp_path: Path
) -> None:
    (key,) = keystore.load(key_file)
    keystore.append(tmp_path / "copy", key)
    daemon = ppserver.start()
    connect(daemon, key_file=tmp_path / "copy")
    keystore.append(key_file, keystore.generate("another"))
    keystore.revoke(key_file, key.kid.hex())
    daemon.wait_for_log("is not accepted any more", timeout=8)


def test_sigusr1_logs_what_is_going_on(ppserver: PPServers, connect: Connect, stage: Stage) -> None:
    daemon = ppserver.start()
    connect(daemon).submit(visit, (stage.port, "running"))
    stage.next()
    daemon.process.send_signal(signal.SIGUSR1)
    daemon.wait_for_log(r"1 sessions, \{'admitted': 1\}")
    daemon.wait_for_log(r"127\.0\.0\.1, key .*: 0 jobs done, 1 here, 1 workers")


# Deaths.

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def test_the_first_process_of_a_container_buries_what_jobs_leave(
    ppserver: PPServers, connect: Connect
) -> None:
    """It is given all whose parents are gone; nobody else would ask how they have ended."""
    if shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"]).returncode:
        pytest.skip("processes cannot have numbers of their own here")
    daemon = ppserver.start(within=CONTAINER)
    [first] = psutil.Process(daemon.pid).children()
    client = connect(daemon)
    client.submit(os.posix_spawnp, ("sleep", ["sleep", "100"], {}))()
    [left] = [it for it in first.children(recursive=True) if it.name() == "sleep"]
    client.destroy()
    left.wait(PATIENCE)  # until its number is free, which that of a zombie is not
    first.terminate()
    assert daemon.process.wait(PATIENCE) == 0


def test_a_killed_client_leaves_no_worker(
    ppserver: PPServers, program: Callable[..., subprocess.Popen[bytes]], stage: Stage
) -> None:
    daemon = ppserver.start(workers=2)
    process = program(daemon, stage.port)
    visitors = stage.many(2)
    process.kill()
    assert all(visitor.gone_within(LEFT_WITHIN) for visitor in visitors)
    daemon.wait_for_log("client gone: .*; 0 jobs done")
    assert workers_of(daemon) == []


def test_a_killed_daemon_leaves_no_worker(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    daemon = ppserver.start(workers=2)
    client = connect(daemon)
    for _ in range(4):
        client.submit(visit, (stage.port, "job"))
    visitors = stage.many(2)
    daemon.kill()
    assert all(visitor.gone_within(LEFT_WITHIN) for visitor in visitors)


def test_letter_k_gives_up_a_client_that_hangs(
    ppserver: PPServers, program: Callable[..., subprocess.Popen[bytes]], stage: Stage
) -> None:
    daemon = ppserver.start("-k", "1", workers=1)
    process = program(daemon, stage.port)
    visitor = stage.next()
    process.send_signal(signal.SIGSTOP)
    try:
        assert visitor.gone_within(LEFT_WITHIN)
        daemon.wait_for_log("client gone: .*nothing was heard for 1 s")
    finally:
        process.send_signal(signal.SIGCONT)


def _raw_connect(daemon: Daemon) -> None:
    import socket

    socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE).close()


async def _prove_and_leave(daemon: Daemon, key: Key) -> None:
    """Authenticate, and close before the daemon's proof arrives."""
    sock = await _connect(Address("127.0.0.1", daemon.port))
    channel = client_context().wrap_socket(sock, do_handshake_on_connect=False)
    with channel:
        await shake_tls(channel)
        handshake = ClientHandshake(
            key, secrets.token_bytes(32), secrets.token_bytes(16), peer_certificate(channel)
        )
        await write_all(channel, handshake.hello())
        await write_all(channel, handshake.receive(await read_some(channel, HELLO_SIZE)))
