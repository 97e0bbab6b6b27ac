"""Vicinity: which discovered addresses are near enough to be dialled.

Anybody can announce anything, so a client must not be made to connect to an arbitrary host: an
address counts only if it is private, link-local or on a network of this machine, or explicitly
allowed, and only with a port from 1024 up. ``refusal`` is the whole rule.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["IPNetwork", "on_link", "parse_networks", "plain", "refusal"]

_FIRST_PORT = 1024

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Listed here because `is_private` covers more (documentation, reserved) and varies by version.
_LOCAL_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)


def refusal(
    host: str,
    port: int,
    networks: Iterable[IPNetwork] = (),
    allowed: Iterable[IPNetwork] = (),
    allow_loopback: bool = False,
) -> str | None:
    """Say why a discovered address must not be dialled.

    Args:
        host: the address, as announced.
        port: the TCP port, as announced.
        networks: networks that this machine is on.
        allowed: networks that the user allows although they are elsewhere.
        allow_loopback: accept addresses of this machine's loopback interface.

    Returns:
        The reason, or ``None`` if it may be dialled.
    """
    try:
        ip = plain(ipaddress.ip_address(host))
    except ValueError:
        return "not an IP address"
    if not _FIRST_PORT <= port <= 65535:
        return f"port {port} is not a port of a user's program"
    if ip.is_unspecified or ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
        return "not the address of one machine"
    if ip.version == 6 and ip.is_link_local and "%" not in host:
        return "a link-local address without its interface"
    if ip.is_loopback:
        return None if allow_loopback else "a loopback address, announced from elsewhere"
    on_link = [network for network in networks if network.prefixlen and ip in network]
    if any(_names_the_network(ip, network) for network in on_link):
        return "not the address of one machine"
    near = (*_LOCAL_NETWORKS, *on_link, *allowed)
    return None if any(ip in network for network in near) else "not on a local network"


def plain(ip: _IPAddress) -> _IPAddress:
    """An IPv4 address wrapped in IPv6 must not pass where the bare one would not."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip if mapped is None else mapped


def _names_the_network(ip: _IPAddress, network: IPNetwork) -> bool:
    """The first and the last address of an IPv4 network are no machine's, small ones apart."""
    edges = (network.network_address, network.broadcast_address)
    return network.version == 4 and network.prefixlen < 31 and ip in edges


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Return the networks of interface addresses such as ``"192.168.1.7/24"``."""
    return tuple(ipaddress.ip_network(text.partition("%")[0], strict=False) for text in texts)


def on_link() -> list[str]:
    """List the networks of this machine's interfaces, such as ``192.168.1.7/24``.

    Raises:
        OSError: the system does not tell.
    """
    import ifaddr  # comes with zeroconf, and like it is loaded only for discovery

    return [
        f"{ip.ip if isinstance(ip.ip, str) else ip.ip[0]}/{ip.network_prefix}"
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
