"""Interfaces: which addresses the daemon listens on.

By default only this machine's loopback; on the laboratory's network only when told, and then on
the addresses of the interface that leads to it, never on "any".
"""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from ppnext.errors import ConfigError

__all__ = ["LOOPBACK", "is_loopback", "lan_addresses", "loopback_addresses"]

LOOPBACK = "127.0.0.1"

_ROUTES = Path("/proc/net/route")


def is_loopback(address: str) -> bool:
    """Whether an IP address is reachable from this machine only."""
    return ipaddress.ip_address(address).is_loopback


def loopback_addresses() -> list[str]:
    """Return the loopback addresses of this machine: IPv4, and IPv6 where there is one."""
    return [LOOPBACK, "::1"] if _can_bind("::1") else [LOOPBACK]


def _can_bind(address: str) -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def lan_addresses(routes: Path = _ROUTES) -> list[str]:
    """Return the addresses of the interface that has the default route.

    Where no default route is known (an isolated laboratory, a system without /proc), those of all
    interfaces that are up.

    Raises:
        ConfigError: there is none.
    """
    import psutil  # only this question needs it

    up = {name for name, status in psutil.net_if_stats().items() if status.isup}
    default = _default_interface(routes)
    found = [
        entry.address
        for name, entries in psutil.net_if_addrs().items()
        if name in up and (default is None or name == default)
        for entry in entries
        if entry.family == socket.AF_INET and not is_loopback(entry.address)
    ]
    if not found:
        raise ConfigError(
            "no network interface with an IPv4 address was found for --lan; name an address with "
            "--listen ADDRESS"
        )
    return found


def _default_interface(routes: Path) -> str | None:
    try:
        lines = routes.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
            return fields[0]
    return None
