"""Threats in numbers: floods of connections, slow strangers, scarce descriptors, forged adverts.

Everything is bounded: thousands of connections at most, seconds at most, on the loopback or in
network namespaces of this test. What a flood costs is measured in the daemon's own memory and
processor time, which do not depend on what else this machine does.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ppnext.runtime import keystore
from tests.cluster.conftest import Lab, address_of, lab
from tests.ppserver_fixture import Daemon, PPServers
from tests.security.conftest import Client
from tests.stage_fixture import Stage
from tests.visits import visit

__all__ = ["lab"]

pytestmark = pytest.mark.cluster

MIB = 1 << 20
PATIENCE = 20.0
AT_A_TIME = 64
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="network namespaces and prlimit are Linux's"
)


class Crowd:
    """Connections to a daemon that nobody takes care of."""

    def __init__(self, daemon: Daemon) -> None:
        self._address = ("127.0.0.1", daemon.port)
        self._open: deque[socket.socket] = deque()

    def come(self, number: int, words: bytes = b"") -> None:
        """Open so many connections, and say on each as much as is taken at once."""
        for _ in range(number):
            if len(self._open) >= AT_A_TIME:
                self._open.popleft().close()
            sock = socket.create_connection(self._address)
            self._open.append(sock)
            sock.setblocking(False)
            with suppress(OSError):  # it was closed already, as it should be
                sock.send(words)

    def is_cut(self, seconds: float) -> bool:
        """Wait until the daemon has closed them all."""
        until = time.monotonic() + seconds
        waiting = set(self._open)
        while waiting and time.monotonic() < until:
            for sock in select.select(waiting, [], [], until - time.monotonic())[0]:
                with suppress(ConnectionError):  # a reset is an end as well
                    assert sock.recv(1) == b"", "a stranger was told something"
                waiting.discard(sock)
        return not waiting

    def go(self) -> None:
        """Close them all."""
        while self._open:
            self._open.popleft().close()


@pytest.fixture
def crowd() -> Iterator[Callable[[Daemon], Crowd]]:
    """Make a crowd before a daemon."""
    crowds: list[Crowd] = []

    def gather(daemon: Daemon) -> Crowd:
        crowds.append(Crowd(daemon))
        return crowds[-1]

    yield gather
    for made in crowds:
        made.go()


def processor_time(daemon: Daemon) -> float:
    """Seconds that the daemon itself has worked."""
    used = psutil.Process(daemon.pid).cpu_times()
    return float(used.user + used.system)


def memory(daemon: Daemon) -> int:
    return int(psutil.Process(daemon.pid).memory_info().rss)


# 12: memory, 15: processor time.


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(MIB)], ids=len)
def test_row_12_and_15_a_flood_costs_little_and_disturbs_no_session(
    ppserver: PPServers, client: Client, crowd: Callable[[Daemon], Crowd], words: bytes
) -> None:
    daemon = ppserver.start(workers=1)
    server = client(daemon.address)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1
    had, worked = memory(daemon), processor_time(daemon)
    jobs = [server.submit(abs, (-x,)) for x in range(200)]
    strangers = crowd(daemon)
    strangers.come(2000, words)
    assert [job.result(PATIENCE) for job in jobs] == list(range(200))
    strangers.go()
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1
    assert memory(daemon) - had < 20 * MIB
    assert processor_time(daemon) - worked < 2.0  # a millisecond each, jobs included
    client(daemon.address)  # and the door is open again


def test_row_12_the_log_of_a_flood_is_short(
    ppserver: PPServers, client: Client, crowd: Callable[[Daemon], Crowd]
) -> None:
    daemon = ppserver.start(workers=1)
    crowd(daemon).come(1000)
    client(daemon.address)
    daemon.wait_for_log("client connected")
    assert daemon.log().count("\n") < 40


# 13: slow strangers.

DRIPS = """
import selectors, socket, sys, time
host, port = sys.argv[1].rsplit(":", 1)
hello = bytes.fromhex("1603010200010001fc0303") + bytes(500)
socks = [socket.create_connection((host, int(port))) for _ in range(64)]
print("dripping", flush=True)
for byte in hello:
    for sock in socks[::2]:
        try:
            sock.send(bytes([byte]))
        except OSError:
            pass  # cut, as it should be
    time.sleep(0.1)  # the drip itself
"""

HONEST = """
import json, sys, time, ppnext
address, key_file = sys.argv[1:]
began = time.monotonic()
with ppnext.Server(0, (address,), key_file=key_file) as server:
    assert server.wait_for_nodes(1, 30)
    print(json.dumps(time.monotonic() - began))
"""


@pytest.mark.netns
@linux_only
def test_row_13_slow_strangers_of_another_machine_delay_nobody(lab: Lab, key_file: Path) -> None:
    daemon = lab.start_ppserver("a")
    address = address_of(daemon)
    dripping = lab.run("b", DRIPS, address)
    assert dripping.stdout is not None and dripping.stdout.readline() == "dripping\n"
    output, _ = lab.run("hub", HONEST, address, str(key_file)).communicate("", timeout=60)
    assert json.loads(output) < 2.0


def test_row_13_slow_strangers_of_the_same_machine_delay_nobody(
    ppserver: PPServers, client: Client, crowd: Callable[[Daemon], Crowd]
) -> None:
    daemon = ppserver.start(workers=1)
    crowd(daemon).come(AT_A_TIME)
    server = client(daemon.address, connected=False)
    assert server.wait_for_nodes(1, 2.0)


@pytest.mark.parametrize("words", [b"", b"\x16\x03\x01"], ids=["tcp", "tls"])
def test_row_13_slow_strangers_are_cut(
    ppserver: PPServers, crowd: Callable[[Daemon], Crowd], words: bytes
) -> None:
    strangers = crowd(ppserver.start(workers=1))
    strangers.come(16, words)
    assert strangers.is_cut(10.0)


# 14: descriptors.


def leave_descriptors(daemon: Daemon, number: int) -> None:
    """Have the daemon get along with so many more descriptors than it has now."""
    import resource  # not on Windows

    _, most = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    few = psutil.Process(daemon.pid).num_fds() + number
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (few, most))


@linux_only
def test_row_14_without_descriptors_sessions_go_on_and_the_daemon_recovers(
    ppserver: PPServers, client: Client, crowd: Callable[[Daemon], Crowd]
) -> None:
    daemon = ppserver.start(workers=1)
    server = client(daemon.address)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1
    leave_descriptors(daemon, 4)
    strangers = crowd(daemon)
    strangers.come(12)
    daemon.wait_for_log("cannot accept connections for now: Too many open files")
    jobs = [server.submit(abs, (-x,)) for x in range(100)]
    assert [job.result(PATIENCE) for job in jobs] == list(range(100))
    strangers.go()
    client(daemon.address)
    assert daemon.process.poll() is None


@linux_only
def test_row_14_the_door_opens_as_soon_as_there_are_descriptors(
    ppserver: PPServers, client: Client, crowd: Callable[[Daemon], Crowd]
) -> None:
    daemon = ppserver.start(workers=1)
    leave_descriptors(daemon, 4)
    strangers = crowd(daemon)
    strangers.come(AT_A_TIME)
    daemon.wait_for_log("cannot accept connections for now: Too many open files")
    strangers.go()
    server = client(daemon.address, connected=False)
    assert server.wait_for_nodes(1, 5.0)


# 23: forged announcements.

FORGER = """
import random, socket, struct, sys
address, number = sys.argv[1], int(sys.argv[2])
chance = random.Random(23)

def name(*labels):
    return b"".join(bytes([len(it)]) + it.encode() for it in labels) + b"\\0"

def record(owner, kind, data, flush=0x8000):
    return owner + struct.pack(">HHIH", kind, 1 | flush, 4500, len(data)) + data

service = name("_ppnext", "_tcp", "local")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, 5353))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    for n in range(number):
        label = f"ppnext-{n:08x}"
        owner, host = name(label, "_ppnext", "_tcp", "local"), name(label, "local")
        target = bytes([10, 77, 0, 100 + n % 60])
        port = 1024 + chance.randrange(60000)
        answers = [
            record(service, 12, owner, 0),
            record(owner, 33, struct.pack(">HHH", 0, 0, port) + host),
            record(owner, 16, b"\\x09txtvers=1\\x07proto=1"),
            record(host, 1, target),
        ]
        head = struct.pack(">HHHHHH", 0, 0x8400, 0, len(answers), 0, 0)
        sock.sendto(head + b"".join(answers), ("224.0.0.251", 5353))
print("flooded", flush=True)
sys.stdin.readline()
"""

BROWSING = """
import json, sys
import psutil, ppnext
address, key_file = sys.argv[1:]
with ppnext.Server(0, ("*",), key_file=key_file, interfaces=[address]) as server:
    print("browsing", flush=True)
    sys.stdin.readline()
    had = psutil.Process().memory_info().rss
    assert server.wait_for_nodes(1, 30), server.submit(abs, (-1,)).status()
    result = server.submit(abs, (-7,)).result(30)
    grown = psutil.Process().memory_info().rss - had
print(json.dumps([result, grown]))
"""


@pytest.mark.netns
@linux_only
def test_row_23_a_flood_of_forged_announcements_hides_no_honest_daemon(
    lab: Lab, key_file: Path
) -> None:
    browsing = lab.run("hub", BROWSING, lab.client, str(key_file))
    assert browsing.stdout is not None and browsing.stdin is not None
    assert browsing.stdout.readline() == "browsing\n"
    forger = lab.run("c", FORGER, lab.machines["c"], "3000")
    assert forger.stdout is not None and forger.stdout.readline() == "flooded\n"
    address_of(lab.start_ppserver("a"))
    output, _ = browsing.communicate("go\n", timeout=60)
    result, grown = json.loads(output.splitlines()[-1])
    assert result == 7
    assert grown < 50 * MIB


# 27: a key that is not to be trusted any more.


def test_row_27_a_key_is_replaced_while_jobs_run_and_none_is_lost(
    ppserver: PPServers, client: Client, key_file: Path, tmp_path: Path, stage: Stage
) -> None:
    daemon = ppserver.start()
    old = client(daemon.address)
    job = old.submit(visit, (stage.port, "old"))
    visitor = stage.next()
    new_file = tmp_path / "new"
    keystore.append(key_file, keystore.create(new_file, "new"))
    daemon.hang_up()
    daemon.wait_for_log("keys read: .*new")
    new = client(daemon.address, key_file=new_file)
    assert new.submit(abs, (-2,)).result(PATIENCE) == 2
    visitor.release("done")
    assert job.result(PATIENCE) == "done"
    assert job.attempts == 1


def test_row_27_a_revoked_key_ends_its_sessions_within_ten_seconds_and_no_other(
    ppserver: PPServers, client: Client, key_file: Path, tmp_path: Path, stage: Stage
) -> None:
    (lost,) = keystore.load(key_file)
    lost_file, kept_file = tmp_path / "lost", tmp_path / "kept"
    keystore.append(lost_file, lost)
    keystore.append(key_file, keystore.create(kept_file, "kept"))
    daemon = ppserver.start()
    thief, friend = (client(daemon.address, key_file=it) for it in (lost_file, kept_file))
    stolen = thief.submit(visit, (stage.port, "stolen"))
    taken = stage.next()
    job = friend.submit(visit, (stage.port, "friend"))
    visitor = stage.next()
    keystore.revoke(key_file, lost.kid.hex())
    began = time.monotonic()
    said = daemon.wait_for_log(r"the key of (.*) is not accepted any more")
    assert taken.gone_within(10)
    assert time.monotonic() - began < 10
    assert lost.label in said[1]
    assert "session" in said[1] or "127.0.0.1" in said[1]
    visitor.release("undisturbed")
    assert job.result(PATIENCE) == "undisturbed"
    assert not stolen.done()
