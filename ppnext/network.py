"""Network: which ppservers a ``Server`` is to work with, and the key that it proves to them.

What is given explicitly counts; then the environment; then the user's files. Loaded only by
programs that name ppservers, in their code or in the environment.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ppnext.errors import ConfigError, KeyFileError
from ppnext.runtime.addresses import Address, Wildcard, parse_servers, servers_from_text

if TYPE_CHECKING:
    from ppnext.wire.keys import Key

__all__ = ["Network", "choose", "client_key", "network_settings"]

# Keys that were in the environment when they were first needed.
_taken: list[Key] = []


class Network(NamedTuple):
    """Which daemons a client is to work with.

    Attributes:
        servers: named addresses.
        wildcards: which discovered ones are wanted.
        interfaces: where to look for them; None for all interfaces.
    """

    servers: list[Address]
    wildcards: list[Wildcard]
    interfaces: list[str] | None

    def __bool__(self) -> bool:
        return bool(self.servers or self.wildcards)


def choose(
    ppservers: Iterable[str],
    interfaces: Iterable[str] | str | None,
    secret: str | None,
    key_file: str | os.PathLike[str] | None,
) -> tuple[Network, Key | None]:
    """Return which daemons to work with, if with any, and the key for them.

    Raises:
        AddressError, ConfigError, KeyFileError, TypeError: as the functions below.
    """
    network = network_settings(ppservers, interfaces)
    return network, client_key(secret, key_file) if network or secret is not None else None


def network_settings(ppservers: Iterable[str], interfaces: Iterable[str] | str | None) -> Network:
    """Return which daemons to work with.

    Args:
        ppservers: names as the caller gave them. If empty, ``PPNEXT_SERVERS`` counts, then the
            file that ``PPNEXT_SERVERS_FILE`` names.
        interfaces: as the caller gave them. If None, ``PPNEXT_INTERFACES`` counts.

    Raises:
        AddressError: a name is malformed.
        ConfigError: the servers file cannot be read, or an interface is no IP address.
        TypeError: names or interfaces are not strings in a tuple or list.
    """
    servers, wildcards = parse_servers(ppservers)
    if not servers and not wildcards:
        servers, wildcards = parse_servers(_configured_servers())
    if interfaces is None:
        interfaces = os.environ.get("PPNEXT_INTERFACES", "").replace(",", " ").split() or None
    return Network(servers, wildcards, _check_interfaces(interfaces))


def _check_interfaces(interfaces: object) -> list[str] | None:
    if interfaces is None:
        return None
    wanted = [interfaces] if isinstance(interfaces, str) else interfaces
    if not isinstance(wanted, (list, tuple)) or not all(isinstance(it, str) for it in wanted):
        raise TypeError(f"interfaces must be a tuple of IP addresses, not {interfaces!r:.60}")
    for address in wanted:
        try:
            ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            raise ConfigError(
                f"an interface is named by its IP address, such as 192.168.1.5, not {address!r}"
            ) from None
    return list(wanted)


def _configured_servers() -> list[str]:
    named = os.environ.get("PPNEXT_SERVERS", "")
    if named.strip():
        return servers_from_text(named, "PPNEXT_SERVERS")
    file = os.environ.get("PPNEXT_SERVERS_FILE")
    if file is None:
        return []
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the servers file {file}, named by PPNEXT_SERVERS_FILE, cannot be read: {error}"
        ) from error
    return servers_from_text(text, file)


def client_key(secret: str | None, key_file: str | os.PathLike[str] | None) -> Key:
    """Return the key a client proves: that of ``secret``, of ``key_file``, or the user's own.

    Raises:
        KeyFileError: there is none that can be used; the message says how to make one.
    """
    # Loaded here so that a program without daemons pays for none of it.
    from ppnext.runtime import keystore
    from ppnext.wire.keys import parse_key_line, usable

    if secret is not None:
        if not isinstance(secret, str):
            raise TypeError(f"secret must be a string, not {type(secret).__name__}")
        keys, source = [parse_key_line(secret)], "secret="
    elif key_file is None and (found := _environment_keys()):
        keys, source = found, "PPNEXT_KEY"
    else:
        path = keystore.find_key_file(None if key_file is None else Path(key_file), os.environ)
        if not path.exists():
            raise KeyFileError(
                f"there is no key file {path}; make one with `ppserver --new-key`, or copy the "
                "one of the machines that run ppserver"
            )
        keys, source = keystore.load(path), str(path)
    accepted = usable(keys, datetime.date.today())
    if not accepted:
        raise KeyFileError(f"all keys of {source} have expired; make one: `ppserver --new-key`")
    return accepted[0]


def _environment_keys() -> list[Key]:
    """The keys in ``PPNEXT_KEY``: taken out of the environment of children, and kept here."""
    from ppnext.runtime import keystore  # as above

    if found := keystore.from_environ(os.environ):
        _taken[:] = found
    return _taken
