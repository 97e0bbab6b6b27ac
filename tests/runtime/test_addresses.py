"""Server names: every understood form, and a helpful error for every other."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.errors import AddressError
from ppnext.runtime.addresses import (
    DEFAULT_PORT,
    Address,
    Wildcard,
    parse_server,
    parse_servers,
    servers_from_text,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("host", "host", DEFAULT_PORT),
        ("host:1234", "host", 1234),
        ("  host:1234\n", "host", 1234),
        ("Node-7.Lab.example", "node-7.lab.example", DEFAULT_PORT),
        ("node_7", "node_7", DEFAULT_PORT),
        ("node.", "node.", DEFAULT_PORT),
        ("bücher.lab:1", "bücher.lab", 1),
        ("3com", "3com", DEFAULT_PORT),
        ("192.168.1.5", "192.168.1.5", DEFAULT_PORT),
        ("192.168.1.5:65535", "192.168.1.5", 65535),
        ("::1", "::1", DEFAULT_PORT),
        ("::1:6000", "::1:6000", DEFAULT_PORT),
        ("0:0:0:0:0:0:0:1", "::1", DEFAULT_PORT),
        ("[::1]", "::1", DEFAULT_PORT),
        ("[::1]:1234", "::1", 1234),
        ("[FD00::A]:1234", "fd00::a", 1234),
        ("fe80::1%eth0", "fe80::1%eth0", DEFAULT_PORT),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_server(text) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "pattern", "port"),
    [
        ("*", "*", None),
        ("*:60001", "*", 60001),
        ("10.0.*.*", "10.0.*.*", None),
        ("10.0.*.*:60001", "10.0.*.*", 60001),
        ("*.*.*.7", "*.*.*.7", None),
        ("010.0.*.*", "10.0.*.*", None),
    ],
)
def test_wildcards(text: str, pattern: str, port: int | None) -> None:
    assert parse_server(text) == Wildcard(pattern, port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        (":60000", "the host is missing"),
        ("host:", "the port is missing"),
        ("[::1]:", "the port is missing"),
        ("*:", "the port is missing"),
        ("host:99999", "not a port"),
        ("host:0", "not a port"),
        ("host:-1", "not a port"),
        ("host:+5", "not a port"),
        ("host:http", "not a port"),
        ("host:६", "not a port"),
        ("host:600000", "not a port"),
        ("a b", "white space"),
        ("fe80::1%a b", "white space"),
        ("http://x", "URL"),
        ("http://x:80/", "URL"),
        ("-host", "not a host name"),
        ("a..b", "not a host name"),
        ("user@host", "not a host name"),
        ("host/24", "not a host name"),
        ("host,other", "not a host name"),
        ("x" * 64, "not a host name"),
        ("a." * 127, "not a host name"),
        ("60000", "not an IPv4 address"),
        ("10.1", "not an IPv4 address"),
        ("10.0.0.256", "not an IPv4 address"),
        ("::1:60000", "not an IPv6 address"),
        ("a:b:c", "not an IPv6 address"),
        ("[host]:1", "brackets are for IPv6"),
        ("[::1", 'needs "]"'),
        ("[::1]60000", 'needs "]"'),
        ("[]", "brackets are for IPv6"),
        ("10.0.*", "four numbers"),
        ("node*", "four numbers"),
        ("[fe80::*]", "four numbers"),
        ("fe80::*", "four numbers"),
        ("300.0.*.*", "above 255"),
        ("*.*.*.*.*", "four numbers"),
    ],
)
def test_malformed(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_server(text)
    message = str(caught.value)
    assert repr(text) in message
    assert reason in message
    assert '"host:port"' in message
    assert '"[ipv6]:port"' in message


@pytest.mark.parametrize("thing", [None, 60000, b"host", ("host", 60000)])
def test_a_name_that_is_no_string(thing: object) -> None:
    with pytest.raises(AddressError) as caught:
        parse_server(thing)  # type: ignore[arg-type]  # a wrong type is tried
    assert repr(thing) in str(caught.value)
    assert '"host:port"' in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        server = parse_server(text)
    except AddressError:
        return
    assert parse_server(str(server)) == server


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("host"), "host:60000"),
        (Address("10.0.0.1", 7), "10.0.0.1:7"),
        (Address("::1", 7), "[::1]:7"),
        (Wildcard(), "*"),
        (Wildcard("10.0.*.*", 7), "10.0.*.*:7"),
    ],
)
def test_str(address: Address | Wildcard, text: str) -> None:
    assert str(address) == text


def test_an_address_is_a_frozen_value() -> None:
    address = Address("host")
    with pytest.raises(dataclasses.FrozenInstanceError):
        address.port = 1  # type: ignore[misc]  # it is frozen, which is tried
    assert not hasattr(address, "__dict__")
    assert len({address, Address("host", 60000)}) == 1


@pytest.mark.parametrize(
    ("text", "host", "port", "fits"),
    [
        ("*", "10.0.0.1", 1, True),
        ("*", "fe80::1", 1, True),
        ("*:7", "fe80::1", 7, True),
        ("*:7", "10.0.0.1", 8, False),
        ("10.0.*.*", "10.0.3.4", 8, True),
        ("10.0.*.*", "10.1.3.4", 8, False),
        ("10.0.*.*", "fe80::1", 8, False),
        ("10.0.*.*", "10.0.1", 8, False),
        ("10.0.*.*:7", "10.0.3.4", 7, True),
        ("10.0.*.*:7", "10.0.3.4", 8, False),
        ("*.*.*.1", "10.0.3.11", 8, False),
    ],
)
def test_matches(text: str, host: str, port: int, fits: bool) -> None:
    wildcard = parse_server(text)
    assert isinstance(wildcard, Wildcard)
    assert wildcard.matches(host, port) is fits


def test_parse_servers_keeps_order_and_drops_repetitions() -> None:
    names = ["b", "*", "a:7", "B:60000", "::1", "[0::1]", "*", "10.0.*.*", "a:7", "a"]
    assert parse_servers(iter(names)) == (
        [Address("b"), Address("a", 7), Address("::1"), Address("a")],
        [Wildcard(), Wildcard("10.0.*.*")],
    )
    assert parse_servers(()) == ([], [])


@pytest.mark.parametrize(("names", "tip"), [("*", '("*",)'), (b"host", '("host",)')])
def test_a_string_instead_of_a_tuple(names: str, tip: str) -> None:
    with pytest.raises(TypeError) as caught:
        parse_servers(names)
    assert f"did you mean {tip}?" in str(caught.value)


def test_no_collection_at_all() -> None:
    with pytest.raises(TypeError, match="must be a tuple"):
        parse_servers(60000)  # type: ignore[arg-type]  # a wrong type is tried


def test_one_malformed_name_among_many() -> None:
    with pytest.raises(AddressError, match="'b:'"):
        parse_servers(("a", "b:"))


def test_a_servers_file() -> None:
    text = "# the lab\nnode1\n\n  node2:7   # by the window\n[::1]:8, *\r\n#node3\n"
    assert servers_from_text(text, "servers file") == ["node1", "node2:7", "[::1]:8", "*"]


def test_the_environment() -> None:
    assert servers_from_text("a, b:7,,c  d\t*", "PPNEXT_SERVERS") == ["a", "b:7", "c", "d", "*"]
    assert servers_from_text("", "PPNEXT_SERVERS") == []


@pytest.mark.parametrize(
    ("text", "where"), [("a b:", "PPNEXT_SERVERS: "), ("a\nb:\n", "PPNEXT_SERVERS, line 2: ")]
)
def test_a_malformed_name_in_a_text_is_located(text: str, where: str) -> None:
    with pytest.raises(AddressError, match="'b:'") as caught:
        servers_from_text(text, "PPNEXT_SERVERS")
    assert str(caught.value).startswith(where)
