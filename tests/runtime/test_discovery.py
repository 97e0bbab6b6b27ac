"""Real mDNS, each case in a network namespace of its own, so that nobody else is met.

A case is a coroutine below; a test runs this file again as a program inside ``unshare -n``
with the name of the case. Cases wait for events and never for time to pass.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import struct
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

import ppnext.errors
from ppnext.errors import DiscoveryUnavailable
from ppnext.runtime.addresses import Address
from ppnext.runtime.candidates import Candidates
from ppnext.runtime.discovery import SERVICE_TYPE, Browser, advertise, choose_interfaces
from ppnext.runtime.vicinity import on_link

ROOT = str(Path(ppnext.errors.__file__).parents[1])
LOOPBACK = ["127.0.0.1"]
A, B = bytes(range(16)), bytes(range(16, 32))
NAME = "ppnext-0123abcd"
PATIENCE = 20.0

Found = tuple[str, str, "bytes | None", "list[str]", int]


class Watch:
    """A browser whose events are kept in a queue."""

    def __init__(self, repeat_seconds: float = 60.0) -> None:
        self.events: asyncio.Queue[Found] = asyncio.Queue()
        self.browser = Browser(
            choose_interfaces("loopback"), self.found, self.removed, repeat_seconds=repeat_seconds
        )

    async def __aenter__(self) -> Watch:
        await self.browser.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.browser.close()

    def found(self, name: str, daemon_id: bytes | None, addresses: list[str], port: int) -> None:
        self.events.put_nowait(("found", name, daemon_id, addresses, port))

    def removed(self, name: str) -> None:
        self.events.put_nowait(("removed", name, None, [], 0))

    async def next(self, kind: str, name: str = NAME, port: int | None = None) -> Found:
        """The next event of a kind; repeated announcements before it are skipped."""
        while True:
            event = await asyncio.wait_for(self.events.get(), PATIENCE)
            if event[:2] == (kind, name) and port in (None, event[4]):
                return event


def forge(*records: bytes) -> None:
    """Multicast an answer, as anybody on the network can."""
    packet = struct.pack("!6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rogue:
        rogue.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        rogue.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        rogue.bind(("127.0.0.1", 5353))
        rogue.sendto(packet, ("224.0.0.251", 5353))


def labels(name: str) -> bytes:
    parts = name.rstrip(".").encode().split(b".")
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def record(name: str, kind: int, ttl: int, data: bytes, flush: bool = True) -> bytes:
    cls = 0x8001 if flush else 1
    return labels(name) + struct.pack("!HHIH", kind, cls, ttl, len(data)) + data


def pointer(ttl: int, name: str = NAME) -> bytes:
    return record(SERVICE_TYPE, 12, ttl, labels(f"{name}.{SERVICE_TYPE}"), flush=False)


def service(port: int, target: str) -> bytes:
    data = struct.pack("!HHH", 0, 0, port) + labels(target)
    return record(f"{NAME}.{SERVICE_TYPE}", 33, 120, data)


def address(target: str, host: str) -> bytes:
    return record(target, 1, 120, socket.inet_aton(host))


def text(*pairs: bytes) -> bytes:
    data = b"".join(bytes([len(pair)]) + pair for pair in pairs)
    return record(f"{NAME}.{SERVICE_TYPE}", 16, 4500, data)


# --- cases, each run in a namespace ---------------------------------------------------------


async def case_found_and_goodbye() -> None:
    async with Watch() as watch:
        server = await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
        assert server.name == NAME
        event = await asyncio.wait_for(watch.next("found"), 5.0)
        assert event == ("found", NAME, A, LOOPBACK, 60000)
        await asyncio.gather(server.close(), server.close())
        await asyncio.wait_for(watch.next("removed"), 5.0)
        await server.close()
        await watch.browser.close()


async def case_a_late_browser_finds_at_once() -> None:
    server = await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
    async with Watch() as watch:
        await asyncio.wait_for(watch.next("found"), 5.0)
    async with Watch(repeat_seconds=0.01) as watch:
        await watch.next("found")
        await watch.next("found")  # repeated, without any change
    await server.close()


async def case_all_interfaces() -> None:
    server = await advertise(NAME, 60000, LOOPBACK, A, choose_interfaces("auto"))
    async with Watch() as watch:
        await watch.next("found")
    await server.close()


async def case_txt_says_nothing_else() -> None:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    server = await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
    async with AsyncZeroconf(LOOPBACK) as zeroconf:
        info = AsyncServiceInfo(SERVICE_TYPE, f"{NAME}.{SERVICE_TYPE}")
        assert await info.async_request(zeroconf.zeroconf, 1000 * PATIENCE)
    assert info.text == b"\x09txtvers=1\x07proto=1\x23id=" + A.hex().encode()
    assert info.server == f"{NAME}.local."
    await server.close()


async def case_a_killed_server_harms_nobody() -> None:
    async with Watch() as watch:
        process = await asyncio.create_subprocess_exec(sys.executable, __file__, "run_for_ever")
        try:
            await watch.next("found")
        finally:
            process.kill()
            await process.wait()
        server = await advertise(f"{NAME}-other", 60001, LOOPBACK, B, LOOPBACK)
        event = await watch.events.get()
        while event[1] != f"{NAME}-other":
            assert event[0] == "found"  # nobody said goodbye, so the dead one is still announced
            event = await watch.events.get()
        await server.close()


async def run_for_ever() -> None:
    await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
    await asyncio.Event().wait()


async def case_a_taken_name_is_changed() -> None:
    first = await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
    second = await advertise(NAME, 60001, LOOPBACK, B, LOOPBACK)
    assert (first.name, second.name) == (NAME, f"{NAME}-2")
    async with Watch() as watch:
        seen: dict[str, Found] = {}
        while len(seen) < 2:
            event = await watch.events.get()
            seen[event[1]] = event
        assert seen[NAME] == ("found", NAME, A, LOOPBACK, 60000)
        assert seen[f"{NAME}-2"] == ("found", f"{NAME}-2", B, LOOPBACK, 60001)
        await second.close()
        await watch.next("removed", f"{NAME}-2")
    await first.close()


async def case_every_name_taken_is_one_line() -> None:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    async with AsyncZeroconf(LOOPBACK) as rogue:
        for name in (NAME, *(f"{NAME}-{number}" for number in range(2, 9))):
            info = AsyncServiceInfo(
                SERVICE_TYPE, f"{name}.{SERVICE_TYPE}", port=6666, parsed_addresses=LOOPBACK
            )
            await rogue.async_register_service(info, cooperating_responders=True)
        with pytest.raises(DiscoveryUnavailable) as caught:
            await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
        one_line(caught.value)


async def case_a_rogue_goodbye_stops_new_dials_only() -> None:
    server = await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
    candidates = Candidates(allow_loopback=True)
    async with Watch() as watch:
        _, name, daemon_id, addresses, port = await watch.next("found")
        assert candidates.add(name, daemon_id, addresses, port, 0.0) == []
        here = Address("127.0.0.1", 60000)
        assert candidates.due(0.0) == [here]
        assert candidates.connected(here, A, 0.0)
        forge(pointer(0))
        await watch.next("removed")
        candidates.removed(NAME)
        assert here in candidates  # still connected
        _, name, daemon_id, addresses, port = await watch.next("found")
        assert candidates.add(name, daemon_id, addresses, port, 10.0) == []
        assert candidates.due(10.0) == []  # one connection is enough
    await server.close()


async def case_a_forged_address_is_not_dialled() -> None:
    server = await advertise(NAME, 60000, LOOPBACK, A, LOOPBACK)
    candidates = Candidates(allow_loopback=True)
    targets = [("203.0.113.7", 6001), ("224.0.0.1", 6002), ("0.0.0.0", 6003), ("10.0.0.1", 22)]
    async with Watch() as watch:
        await watch.next("found")
        for host, port in targets:
            forge(service(port, f"rogue{port}.local."), address(f"rogue{port}.local.", host))
            _, name, daemon_id, addresses, seen = await watch.next("found", port=port)
            assert addresses == [host]
            (line,) = candidates.add(name, daemon_id, addresses, seen, 0.0)
            assert host in line
        assert candidates.due(0.0) == []
    await server.close()


async def case_strange_announcements_are_survived() -> None:
    here = address("rogue.local.", "127.0.0.1")
    async with Watch() as watch:
        idents = (b"id=xyz", b"id", b"id=" + b"0" * 30, b"id=\xff\xff", b"other=1")
        for port, ident in enumerate(idents, 6001):
            forge(pointer(120), service(port, "rogue.local."), here, text(ident))
            assert (await watch.next("found", port=port))[2] is None
        forge(pointer(120, "\x01\x02"), pointer(120, "x" * 63), pointer(120, ""))
        server = await advertise(f"{NAME}-other", 60001, LOOPBACK, B, LOOPBACK)
        await watch.next("found", f"{NAME}-other")
        await server.close()


async def case_loopback_down() -> None:
    for setting in ("loopback", "auto", "10.9.9.9", "nonsense", ()):
        interfaces = choose_interfaces(setting)
        with pytest.raises(DiscoveryUnavailable) as caught:
            await advertise(NAME, 60000, LOOPBACK, A, interfaces)
        one_line(caught.value)
        browser = Browser(interfaces, lambda *_: None, lambda _: None)
        with pytest.raises(DiscoveryUnavailable) as caught:
            await browser.start()
        one_line(caught.value)
        await browser.close()


def one_line(error: BaseException | None) -> None:
    assert isinstance(error, DiscoveryUnavailable), error
    message = str(error)
    assert message.startswith("discovery unavailable: ")
    assert 'ppservers=("host",)' in message
    assert len(message.splitlines()) == 1


# --- tests ----------------------------------------------------------------------------------


@lru_cache
def namespace_command() -> tuple[str, ...]:
    """The command that runs a program in a fresh network namespace; skips where none may."""
    reason = "unshare is not installed"
    if shutil.which("unshare"):
        for command in (("unshare", "-n"), ("unshare", "-Urn")):
            attempt = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=60)
            if attempt.returncode == 0:
                return command
            reason = attempt.stderr.strip()
    pytest.skip(f"network namespaces are not permitted: {reason}")


CASES = sorted(name for name in globals() if name.startswith("case_"))


@pytest.mark.parametrize("case", CASES)
def test_in_a_namespace(case: str) -> None:
    # Warnings are errors, but for the socket that zeroconf leaves open when it cannot start.
    strict = ["-X", "dev"] if case == "case_loopback_down" else ["-X", "dev", "-W", "error"]
    result = subprocess.run(
        [*namespace_command(), sys.executable, *strict, __file__, case],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert result.returncode == 0, result.stdout
    assert "Traceback" not in result.stdout, result.stdout
    assert "ERROR" not in result.stdout, result.stdout


def test_zeroconf_is_loaded_only_when_needed() -> None:
    program = "import sys, ppnext.runtime.discovery; sys.exit('zeroconf' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": ROOT}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=environment)


def test_a_missing_zeroconf_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "zeroconf.py").write_text("raise ImportError('No module named zeroconf')")
    result = subprocess.run(
        [sys.executable, __file__, "run_for_ever"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), ROOT))},
    )
    last = result.stderr.strip().splitlines()[-1]
    assert "DiscoveryUnavailable: discovery unavailable: No module named zeroconf;" in last


def test_the_choice_of_interfaces() -> None:
    from zeroconf import InterfaceChoice

    assert choose_interfaces() is InterfaceChoice.All
    assert choose_interfaces("auto") is InterfaceChoice.All
    assert choose_interfaces("loopback") == LOOPBACK
    assert choose_interfaces("192.168.1.5") == ["192.168.1.5"]
    assert choose_interfaces(("192.168.1.5", "fe80::1")) == ["192.168.1.5", "fe80::1"]


def test_networks_of_this_machine() -> None:
    Candidates(networks=on_link())
    assert "127.0.0.1/8" in on_link()


def raise_loopback() -> None:
    """Set lo up; only Linux has namespaces, so only Linux comes here."""
    import fcntl

    flags = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, flags)  # SIOCSIFFLAGS


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if sys.argv[1].startswith("case_") and sys.argv[1] != "case_loopback_down":
        raise_loopback()
    asyncio.run(globals()[sys.argv[1]]())
