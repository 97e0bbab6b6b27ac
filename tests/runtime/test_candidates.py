"""Discovered addresses are filtered, rationed and remembered; time is an argument."""

from __future__ import annotations

import ipaddress

import pytest

from ppnext.runtime.addresses import Address, Wildcard
from ppnext.runtime.candidates import (
    DIALS_IN_FLIGHT,
    DIALS_PER_SECOND,
    KEPT,
    UNTRUSTED_PENALTY,
    Candidates,
)
from ppnext.runtime.vicinity import refusal

A = bytes([1]) * 16
B = bytes([2]) * 16
NEAR = Address("192.168.1.5", 60000)


def announce(candidates: Candidates, address: Address, now: float = 0.0, name: str = "n") -> None:
    assert candidates.add(name, None, [address.host], address.port, now) == []


def connect(candidates: Candidates, address: Address, daemon_id: bytes, now: float) -> bool:
    announce(candidates, address, now, name=str(address))
    assert address in candidates.due(now)
    return candidates.connected(address, daemon_id, now)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "172.31.255.1",
        "192.168.1.5",
        "169.254.7.7",
        "fd00::5",
        "fe80::5%eth0",
        "::ffff:192.168.1.5",
        "198.51.100.9",  # public, but on the same network as we
        "2001:db8:1::9",
        "203.0.113.80",  # public and elsewhere, but explicitly allowed
    ],
)
def test_accepted(host: str) -> None:
    networks = [ipaddress.ip_network(text) for text in ("198.51.100.0/24", "2001:db8:1::/64")]
    allowed = [ipaddress.ip_network("203.0.113.80/32")]
    assert refusal(host, 60000, networks, allowed) is None


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("203.0.113.5", 60000, "not on a local network"),
        ("2001:db8:2::9", 60000, "not on a local network"),
        ("::ffff:203.0.113.5", 60000, "not on a local network"),
        ("100.64.0.1", 60000, "not on a local network"),
        ("240.0.0.1", 60000, "not on a local network"),
        ("64:ff9b::203.0.113.5", 60000, "not on a local network"),
        ("0.0.0.0", 60000, "not the address of one machine"),
        ("::", 60000, "not the address of one machine"),
        ("224.0.0.251", 60000, "not the address of one machine"),
        ("ff02::fb", 60000, "not the address of one machine"),
        ("::ffff:224.0.0.1", 60000, "not the address of one machine"),
        ("255.255.255.255", 60000, "not the address of one machine"),
        ("198.51.100.255", 60000, "not the address of one machine"),
        ("198.51.100.0", 60000, "not the address of one machine"),
        ("127.0.0.1", 60000, "a loopback address"),
        ("::1", 60000, "a loopback address"),
        ("::ffff:127.0.0.1", 60000, "a loopback address"),
        ("fe80::5", 60000, "without its interface"),
        ("192.168.1.5", 22, "port 22"),
        ("192.168.1.5", 1023, "port 1023"),
        ("192.168.1.5", 0, "port 0"),
        ("192.168.1.5", 65536, "port 65536"),
        ("router.example", 60000, "not an IP address"),
        ("", 60000, "not an IP address"),
    ],
)
def test_refused(host: str, port: int, reason: str) -> None:
    networks = [ipaddress.ip_network("198.51.100.0/24")]
    assert reason in (refusal(host, port, networks) or "")


def test_loopback_only_where_it_was_asked_for() -> None:
    assert refusal("127.0.0.1", 60000, allow_loopback=True) is None
    assert refusal("::1", 60000, allow_loopback=True) is None
    assert refusal("127.0.0.1", 22, allow_loopback=True) is not None


def test_a_network_of_everything_is_not_a_network() -> None:
    assert refusal("203.0.113.5", 60000, [ipaddress.ip_network("0.0.0.0/0")]) is not None


def test_refusals_are_told_and_quoted() -> None:
    candidates = Candidates()
    (line,) = candidates.add("evil\nname", None, ["203.0.113.5"], 60000, 0.0)
    assert line == "'evil\\nname' announces '203.0.113.5' port 60000: not on a local network"
    assert candidates.due(0.0) == []


def test_the_networks_of_the_machine_may_change() -> None:
    candidates = Candidates(networks=["198.51.100.7/24"])
    announce(candidates, Address("198.51.100.9", 60000))
    candidates.update_networks(["2001:db8::7/64"])
    assert candidates.add("m", None, ["198.51.100.8"], 60000, 0.0) != []
    assert candidates.add("m", None, ["2001:db8::8"], 60000, 0.0) == []


def test_patterns_choose() -> None:
    candidates = Candidates(wildcards=[Wildcard("10.0.*.*"), Wildcard("*", 60007)])
    for host, port in (("10.0.1.1", 60000), ("10.1.1.1", 60000), ("10.1.1.1", 60007)):
        assert candidates.add("n", None, [host], port, 0.0) == []
    assert candidates.due(0.0) == [Address("10.0.1.1", 60000), Address("10.1.1.1", 60007)]


def test_a_wrapped_address_is_the_bare_one() -> None:
    candidates = Candidates()
    candidates.add("n", None, ["::ffff:192.168.1.5", "192.168.1.5"], 60000, 0.0)
    assert candidates.due(0.0) == [NEAR]


def test_ourselves_are_not_dialled() -> None:
    candidates = Candidates(own_ids=[A])
    candidates.add("n", A, [NEAR.host], NEAR.port, 0.0)
    assert len(candidates) == 0


def test_ourselves_under_a_false_flag_are_found_out() -> None:
    candidates = Candidates(own_ids=[A])
    assert not connect(candidates, NEAR, A, 0.0)
    assert candidates.due(1e6) == []


def test_an_address_is_dialled_once() -> None:
    candidates = Candidates()
    announce(candidates, NEAR)
    announce(candidates, NEAR, name="the same under another name")
    assert candidates.next_due(0.0) == 0.0
    assert candidates.due(0.0) == [NEAR]
    assert candidates.due(0.0) == []
    assert candidates.next_due(0.0) is None


def test_too_many_addresses_under_one_name() -> None:
    candidates = Candidates()
    candidates.add("n", None, [f"10.0.0.{i}" for i in range(1, 100)], 60000, 0.0)
    assert len(candidates) == 8


def test_backoff_doubles_up_to_ten_minutes() -> None:
    candidates = Candidates()
    announce(candidates, NEAR)
    now, waits = 0.0, []
    for _ in range(7):
        assert candidates.due(now) == [NEAR]
        candidates.failed(NEAR, now)
        wake = candidates.next_due(now)
        assert wake is not None
        waits.append(wake - now)
        assert candidates.due(wake - 0.001) == []
        now = wake
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_backoff_is_for_the_address_not_the_name() -> None:
    candidates = Candidates()
    announce(candidates, NEAR)
    candidates.due(0.0)
    candidates.failed(NEAR, 0.0)
    candidates.removed("n")
    for number in range(100):
        announce(candidates, NEAR, 1.0, name=f"fresh-{number}")
    assert candidates.due(29.0) == []
    assert candidates.due(30.0) == [NEAR]


def test_a_peer_without_the_key_waits_ten_minutes() -> None:
    candidates = Candidates()
    announce(candidates, NEAR)
    candidates.due(0.0)
    candidates.failed(NEAR, 5.0, UNTRUSTED_PENALTY)
    assert candidates.next_due(5.0) == 605.0


def test_dials_per_second() -> None:
    candidates = Candidates()
    for number in range(40):
        announce(candidates, Address("10.0.0.1", 60000 + number), name=str(number))
    dialled = []
    now = 0.0
    while (wake := candidates.next_due(now)) is not None and wake <= 1.0 + 1e-6:
        now = wake
        for address in candidates.due(now):
            dialled.append(address)
            candidates.failed(address, now)
    assert len(dialled) == 2 * DIALS_PER_SECOND  # the burst, and one second's worth
    assert now == pytest.approx(1.0)


def test_dials_in_flight() -> None:
    candidates = Candidates()
    for number in range(2 * DIALS_IN_FLIGHT):
        announce(candidates, Address("10.0.0.1", 60000 + number), name=str(number))
    flying = [address for seconds in range(100) for address in candidates.due(float(seconds))]
    assert len(flying) == DIALS_IN_FLIGHT
    assert candidates.next_due(100.0) is None
    candidates.failed(flying[0], 100.0)
    assert candidates.connected(flying[1], A, 100.0)
    assert len(candidates.due(100.0)) == 2


def test_one_daemon_at_two_addresses_makes_one_connection() -> None:
    candidates = Candidates()
    other = Address("10.0.0.1", 60000)
    assert connect(candidates, NEAR, A, 0.0)
    assert not connect(candidates, other, A, 1.0)
    assert candidates.due(1e6) == []
    candidates.lost(NEAR, 1e6)
    assert candidates.due(1e6) == []
    assert set(candidates.due(1e6 + 1)) == {NEAR, other}


def test_daemons_are_told_apart_by_what_they_proved_not_by_what_they_said() -> None:
    candidates = Candidates()
    rogue = Address("10.0.0.66", 60000)
    candidates.add("honest", A, [NEAR.host], NEAR.port, 0.0)
    candidates.add("rogue", A, [rogue.host], rogue.port, 0.0)
    assert set(candidates.due(0.0)) == {NEAR, rogue}
    candidates.failed(rogue, 0.0, UNTRUSTED_PENALTY)
    assert candidates.connected(NEAR, A, 0.0)
    assert connect(candidates, Address("10.0.0.2", 60000), B, 0.0)


def test_a_steady_connection_is_redialled_at_once_a_short_one_is_not() -> None:
    candidates = Candidates()
    assert connect(candidates, NEAR, A, 0.0)
    candidates.lost(NEAR, 29.0)
    assert candidates.next_due(29.0) == 59.0
    assert candidates.due(59.0) == [NEAR]
    assert candidates.connected(NEAR, B, 59.0)  # restarted, so it has another id
    candidates.lost(NEAR, 200.0)
    assert candidates.next_due(200.0) == 201.0
    candidates.lost(NEAR, 201.0)  # once lost is lost
    assert candidates.next_due(201.0) == 201.0


def test_withdrawal_stops_new_dials_only() -> None:
    candidates = Candidates()
    other = Address("10.0.0.1", 60000)
    announce(candidates, other, name="other")
    announce(candidates, NEAR, name="near")
    candidates.removed("other")
    assert candidates.due(0.0) == [NEAR]
    candidates.removed("near")  # in mid-dial
    candidates.removed("never heard of")
    assert candidates.connected(NEAR, A, 0.0)
    assert NEAR in candidates
    candidates.lost(NEAR, 100.0)
    assert candidates.due(1e6) == []
    assert len(candidates) == 0


def test_a_withdrawn_address_keeps_its_other_names() -> None:
    candidates = Candidates()
    announce(candidates, NEAR, name="one")
    announce(candidates, NEAR, name="two")
    candidates.removed("one")
    assert candidates.due(0.0) == [NEAR]


def test_a_flood_is_bounded_and_an_honest_daemon_gets_through() -> None:
    candidates = Candidates()
    friend = Address("192.168.1.9", 60000)
    assert connect(candidates, friend, A, 0.0)
    for number in range(10_000):
        port = 1024 + number
        candidates.add(f"fake-{number}", None, ["10.6.6.6"], port, 1.0)
    assert len(candidates) == KEPT
    announce(candidates, NEAR, 1.0, name="honest")
    assert len(candidates) == KEPT
    now = 1.0
    while NEAR not in (dialled := candidates.due(now)):
        for address in dialled:
            candidates.failed(address, now)
        wake = candidates.next_due(now)
        assert wake is not None
        now = wake
    assert now < 3.0
    assert friend in candidates


def test_an_honest_daemon_is_dialled_soon_behind_many_hosts_that_do_not_answer() -> None:
    """As many as there is room for, announced before it, each silent until the dial is given up."""
    candidates = Candidates()
    for number in range(KEPT - 1):
        announce(candidates, Address(f"10.6.6.{number}", 60000), name=f"fake-{number}")
    announce(candidates, NEAR, name="honest")
    now = 0.0
    given_up: list[tuple[float, Address]] = []  # soonest first: all have the same time
    while NEAR not in (dialled := candidates.due(now)):
        given_up += [(now + 3.0, address) for address in dialled]
        wake = candidates.next_due(now)
        now = given_up[0][0] if wake is None else min(wake, given_up[0][0])
        while given_up and given_up[0][0] <= now:
            candidates.failed(given_up.pop(0)[1], now)
    assert now < 27.0


def test_failed_ones_give_way_before_those_never_tried() -> None:
    candidates = Candidates()
    for number in range(KEPT):
        announce(candidates, Address("10.0.0.1", 2000 + number), name=str(number))
    tried = candidates.due(0.0)
    for address in tried:
        candidates.failed(address, 0.0)
    first = Address("10.0.0.1", 2000 + len(tried))
    for number in range(len(tried)):
        announce(candidates, Address("10.0.0.2", 2000 + number), name=f"new{number}")
    assert not any(address in candidates for address in tried)
    assert first in candidates
    announce(candidates, Address("10.0.0.3", 2000), name="one more")
    assert first not in candidates


def test_nothing_gives_way_when_all_are_connected() -> None:
    candidates = Candidates()
    for number in range(KEPT):
        address = Address("10.0.0.1", 2000 + number)
        assert connect(candidates, address, number.to_bytes(16, "big"), float(number))
    candidates.add("late", None, [NEAR.host], NEAR.port, 1e6)
    assert NEAR not in candidates


def test_a_named_server_is_neither_filtered_nor_dropped_and_comes_first() -> None:
    candidates = Candidates()
    named = Address("node.example", 22)
    announce(candidates, NEAR, 0.0)
    candidates.add_named(named, 0.0)
    candidates.add_named(named, 0.0)
    assert candidates.due(0.0) == [named, NEAR]
    now, waits = 0.0, []
    for _ in range(8):
        candidates.failed(named, now)
        candidates.failed(NEAR, now)
        wake = candidates.next_due(now)
        assert wake is not None
        waits.append(wake - now)
        now = wake
        assert named in candidates.due(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    for number in range(2 * KEPT):
        announce(candidates, Address("10.0.0.1", 2000 + number), name=str(number))
    assert named in candidates


def test_a_named_server_found_as_well_stays_when_withdrawn() -> None:
    candidates = Candidates()
    candidates.add_named(NEAR, 0.0)
    announce(candidates, NEAR, 0.0)
    candidates.removed("n")
    assert candidates.due(0.0) == [NEAR]


def test_reports_about_strangers_do_no_harm() -> None:
    candidates = Candidates()
    candidates.failed(NEAR, 0.0)
    candidates.lost(NEAR, 0.0)
    assert candidates.next_due(0.0) is None
    assert candidates.connected(NEAR, A, 0.0)
    candidates.lost(NEAR, 100.0)
    assert len(candidates) == 0


def test_a_daemon_that_starts_again_does_not_wait_out_the_failures_of_its_absence() -> None:
    candidates = Candidates()
    announce(candidates, NEAR, 0.0, "first")
    assert candidates.due(0.0) == [NEAR]
    assert candidates.connected(NEAR, A, 0.0)
    candidates.lost(NEAR, 1000.0)
    assert candidates.due(1001.0) == [NEAR]
    candidates.failed(NEAR, 1001.0)
    announce(candidates, NEAR, 1002.0, "first")
    assert candidates.next_due(1002.0) == 1031.0
    announce(candidates, NEAR, 1002.0, "second")
    assert candidates.due(1005.9) == []
    assert candidates.due(1006.0) == [NEAR]


def test_new_names_do_not_excuse_an_impostor() -> None:
    candidates = Candidates()
    announce(candidates, NEAR, 0.0, "first")
    assert candidates.due(0.0) == [NEAR]
    assert candidates.connected(NEAR, A, 0.0)
    candidates.lost(NEAR, 1000.0)
    assert candidates.due(1001.0) == [NEAR]
    candidates.failed(NEAR, 1001.0, UNTRUSTED_PENALTY)
    announce(candidates, NEAR, 1010.0, "second")
    assert candidates.next_due(1010.0) == 1001.0 + UNTRUSTED_PENALTY
