"""Interfaces: which addresses count as this machine's own, and which lead to the laboratory."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from ppnext.errors import ConfigError
from ppnext.server.interfaces import is_loopback, lan_addresses, loopback_addresses

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def own() -> dict[str, list[str]]:
    """IPv4 addresses of the interfaces of this machine that are up, but for the loopback."""
    stats = psutil.net_if_stats()
    found = {
        name: [it.address for it in entries if it.family == socket.AF_INET]
        for name, entries in psutil.net_if_addrs().items()
        if stats[name].isup
    }
    return {
        name: outer
        for name, addresses in found.items()
        if (outer := [it for it in addresses if not is_loopback(it)])
    }


def routes(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "route"
    path.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError):
        is_loopback("localhost")


def test_the_loopback_addresses_can_be_listened_on() -> None:
    addresses = loopback_addresses()
    assert addresses[0] == "127.0.0.1"
    for address in addresses:
        assert is_loopback(address)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as sock:
            sock.bind((address, 0))


def test_the_interface_with_the_default_route_is_the_laboratory(tmp_path: Path) -> None:
    if not own():
        pytest.skip("this machine has no interface but the loopback")
    name, addresses = next(iter(own().items()))
    line = f"{name}\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0"
    other = "other0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0"
    assert lan_addresses(routes(tmp_path, other, line)) == addresses


def test_a_default_route_through_an_interface_without_address(tmp_path: Path) -> None:
    line = "nowhere0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0"
    with pytest.raises(ConfigError, match="--listen ADDRESS"):
        lan_addresses(routes(tmp_path, line))


def test_without_a_default_route_all_interfaces_count(tmp_path: Path) -> None:
    expected = sorted(address for addresses in own().values() for address in addresses)
    for path in (routes(tmp_path), tmp_path / "missing"):
        if expected:
            assert sorted(lan_addresses(path)) == expected
        else:
            with pytest.raises(ConfigError):
                lan_addresses(path)


def test_never_any_address(tmp_path: Path) -> None:
    found = loopback_addresses()
    if own():
        found += lan_addresses(routes(tmp_path))
    assert not {"0.0.0.0", "::"} & set(found)
