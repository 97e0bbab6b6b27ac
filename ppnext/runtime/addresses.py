"""Server names as users write them.

Pure: text in, values out; no name is looked up here. The forms that are understood::

    host   host:60000   192.168.1.5   192.168.1.5:60000      a ppserver by name or IPv4 address
    ::1    [::1]        [::1]:60000   fe80::1%eth0           ... by IPv6 address
    *      *:60000      10.0.*.*      10.0.*.*:60000         every discovered ppserver that fits

Rules:

* A name without a port means port 60000. A pattern without a port fits every port, because
  a discovered ppserver says its port itself.
* More than one colon outside brackets is an IPv6 address without a port: ``::1:6000`` is an
  address, ``[::1]:6000`` has a port.
* Names are kept in lower case and IPv6 addresses in their short form, so that one server
  written in two ways is one server.
* Anything else is an ``AddressError`` that shows the text and the forms.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ppnext.errors import AddressError

__all__ = [
    "DEFAULT_PORT",
    "Address",
    "Wildcard",
    "parse_server",
    "parse_servers",
    "servers_from_text",
]

DEFAULT_PORT = 60000

_FORMS = (
    'write "host", "host:port", "[ipv6]:port", or "*", "*:port", "10.0.*.*" '
    "for servers found on the network"
)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)")
_SCOPE = re.compile(r"[\w.:@-]+")
_OCTET = re.compile(r"\*|[0-9]{1,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a ppserver is dialled.

    Attributes:
        host: name or IP address, IPv6 without brackets.
        port: TCP port.
    """

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A pattern that selects discovered ppservers.

    Attributes:
        pattern: ``*`` (any address) or a dotted IPv4 pattern such as ``10.0.*.*``.
        port: the only port that fits, or ``None`` for any.
    """

    pattern: str = "*"
    port: int | None = None

    def matches(self, host: str, port: int) -> bool:
        """Tell whether a discovered ppserver fits.

        Args:
            host: its IP address, as discovered.
            port: its TCP port.
        """
        if self.port is not None and port != self.port:
            return False
        if self.pattern == "*":
            return True
        wanted, labels = self.pattern.split("."), host.split(".")
        return len(wanted) == len(labels) and all(
            want in ("*", label) for want, label in zip(wanted, labels, strict=True)
        )

    def __str__(self) -> str:
        return self.pattern if self.port is None else f"{self.pattern}:{self.port}"


def parse_server(text: str) -> Address | Wildcard:
    """Understand one server name.

    Args:
        text: the name; white space around it is ignored.

    Returns:
        An ``Address``, or a ``Wildcard`` if the text has a ``*``.

    Raises:
        AddressError: the text has none of the understood forms.
    """
    if not isinstance(text, str):
        raise AddressError(f"a server name must be a string, not {text!r}; {_FORMS}")
    host, port_text = _split(text, text.strip())
    port = None if port_text is None else _port(text, port_text)
    if "*" in host:
        return Wildcard(_pattern(text, host), port)
    return Address(_host(text, host), DEFAULT_PORT if port is None else port)


def parse_servers(names: Iterable[str]) -> tuple[list[Address], list[Wildcard]]:
    """Understand a collection of server names.

    Args:
        names: the names, as given to ``Server(ppservers=...)``.

    Returns:
        The addresses and the patterns, each in the order given, without repetitions.

    Raises:
        TypeError: ``names`` is one string instead of a tuple of strings, or not a collection.
        AddressError: one of the names is malformed.
    """
    if isinstance(names, (str, bytes)):
        raise TypeError(f"ppservers must be a tuple of names; did you mean ({_quoted(names)},)?")
    if not isinstance(names, Iterable):
        raise TypeError(f'ppservers must be a tuple of names such as ("host",), not {names!r}')
    # Dicts, because they drop repetitions and keep the order.
    addresses: dict[Address, None] = {}
    wildcards: dict[Wildcard, None] = {}
    for name in names:
        server = parse_server(name)
        if isinstance(server, Address):
            addresses[server] = None
        else:
            wildcards[server] = None
    return list(addresses), list(wildcards)


def servers_from_text(text: str, source: str) -> list[str]:
    """Take the server names out of a servers file or the ``PPNEXT_SERVERS`` variable.

    Names are separated by line ends, white space or commas; ``#`` starts a comment that goes
    to the end of its line.

    Args:
        text: what the file or the variable holds.
        source: where it comes from, for the error message.

    Returns:
        The names, each of them well formed, in the order given; for ``parse_servers``.

    Raises:
        AddressError: a name is malformed; the message says where.
    """
    names = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        for name in line.partition("#")[0].replace(",", " ").split():
            try:
                parse_server(name)
            except AddressError as error:
                where = f"{source}, line {number}" if len(lines) > 1 else source
                raise AddressError(f"{where}: {error}") from None
            names.append(name)
    return names


def _split(text: str, name: str) -> tuple[str, str | None]:
    """Divide a name into host and port text; the port is None where none was written."""
    if len(name.split()) > 1:
        raise _malformed(text, "white space inside")
    if "://" in name:
        raise _malformed(text, "it is a URL")
    if name.startswith("["):
        host, bracket, rest = name[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _malformed(text, 'an opening "[" needs "]" or "]:port"')
        if ":" not in host:
            raise _malformed(text, "brackets are for IPv6 addresses")
        return host, rest[1:] if rest else None
    if name.count(":") > 1:
        return name, None
    host, colon, port = name.partition(":")
    return host, port if colon else None


def _port(text: str, port: str) -> int:
    if not port:
        raise _malformed(text, "the port is missing after the colon")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise _malformed(text, f"{port!r} is not a port from 1 to 65535")
    return int(port)


def _host(text: str, host: str) -> str:
    if not host:
        raise _malformed(text, "the host is missing" if text.strip() else "it is empty")
    if ":" in host:
        return _ipv6(text, host)
    host = host.lower()  # before the check: some letters become two
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _malformed(text, f"{host!r} is not a host name")
    # Resolvers read "10.1" as 10.0.0.1 and "60000" as 0.0.234.96: nobody means that.
    if labels[-1].isdecimal():
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _malformed(text, f"{host!r} is not an IPv4 address") from None
    return host


def _ipv6(text: str, host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        reason = f"{host!r} is not an IPv6 address (with a port it is written in brackets)"
        raise _malformed(text, reason) from None
    # Python takes anything for the name of an interface, also what ends the brackets.
    if address.scope_id is not None and not _SCOPE.fullmatch(address.scope_id):
        raise _malformed(text, f"{address.scope_id!r} is not the name of an interface")
    return str(address)


def _pattern(text: str, pattern: str) -> str:
    labels = pattern.split(".")
    fits = len(labels) == 4 and all(_OCTET.fullmatch(label) for label in labels)
    if pattern != "*" and not fits:
        raise _malformed(text, "a pattern is * or four numbers with * in place of some")
    if any(label != "*" and int(label) > 255 for label in labels):
        raise _malformed(text, "a number of the pattern is above 255")
    return ".".join(label if label == "*" else str(int(label)) for label in labels)


def _malformed(text: str, reason: str) -> AddressError:
    return AddressError(f"malformed server name {text!r}: {reason}; {_FORMS}")


def _quoted(name: str | bytes) -> str:
    """The name in double quotes, as it would be typed."""
    return '"' + (name if isinstance(name, str) else name.decode("ascii", "replace")) + '"'
