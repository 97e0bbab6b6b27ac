"""Admission: slots, bucket, penalties, sessions, log lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.wire.admission import Admission, AdmissionLimits, Offence, Refusal, same_source

HOST = "192.0.2.1"
KID = b"k" * 16


def fill(door: Admission, count: int, now: float = 0.0) -> None:
    """Take ``count`` slots from as many different addresses."""
    for number in range(count):
        assert door.admit(f"198.51.100.{number}", now) is None


def test_defaults_are_the_documented_ones() -> None:
    limits = AdmissionLimits()
    assert (limits.total, limits.per_source, limits.loopback, limits.reserved) == (64, 8, 32, 8)
    assert (limits.rate, limits.burst, limits.sources) == (50.0, 100, 4096)
    assert [limits.penalty(offence) for offence in Offence] == [5.0, 1.0, 1.0]
    assert (limits.refuse_at, limits.penalty_cap, limits.log_interval) == (15.0, 300.0, 10.0)
    assert (limits.sessions, limits.sessions_per_key) == (256, 64)


def test_slots_per_source_come_back() -> None:
    door = Admission()
    assert [door.admit(HOST, 0.0) for _ in range(9)] == [None] * 8 + [Refusal.SOURCE_FULL]
    assert door.admit("192.0.2.2", 0.0) is None
    door.release(HOST)
    assert door.admit(HOST, 0.0) is None
    assert door.counters == {"admitted": 10, "source full": 1}


def test_total_slots() -> None:
    door = Admission()
    fill(door, 64)
    assert door.admit(HOST, 0.0) is Refusal.FULL
    door.release("198.51.100.0")
    assert door.admit(HOST, 0.0) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_one_source_with_more_slots(address: str) -> None:
    door = Admission()
    for _ in range(16):
        assert door.admit("127.0.0.1", 0.0) is None
        assert door.admit("::1", 0.0) is None
    assert door.admit(address, 0.0) is Refusal.SOURCE_FULL


def test_reserved_slots_are_for_the_unpenalised() -> None:
    door = Admission()
    fill(door, 56)
    door.penalise(HOST, Offence.NO_ATTEMPT, 0.0)
    assert door.admit(HOST, 0.5) is Refusal.RESERVED
    assert door.admit("192.0.2.2", 0.5) is None
    assert door.admit(HOST, 1.0) is None  # the penalty has run off


def test_the_rate_comes_before_the_slots() -> None:
    # Whoever gives way to newcomers does so at this rate at most.
    door = Admission(AdmissionLimits(per_source=1, burst=1, rate=1.0))
    assert door.admit(HOST, 0.0) is None
    assert door.admit(HOST, 0.5) is Refusal.RATE
    assert door.admit(HOST, 1.0) is Refusal.SOURCE_FULL


def test_sources() -> None:
    assert same_source("127.0.0.1", "::1")
    assert same_source("2001:db8::1", "2001:db8::2")
    assert not same_source("192.0.2.1", "192.0.2.2")


def test_bucket() -> None:
    door = Admission(AdmissionLimits(total=1000))
    fill(door, 100)
    assert door.admit(HOST, 0.0) is Refusal.RATE
    assert door.admit(HOST, 0.019) is Refusal.RATE
    assert door.admit(HOST, 0.0200001) is None
    assert door.admit(HOST, 0.03) is Refusal.RATE
    # An hour of quiet gives the burst and no more.
    other = [door.admit(f"203.0.113.{number}", 3600.0) for number in range(101)]
    assert other == [None] * 100 + [Refusal.RATE]


def test_refused_connections_leave_the_bucket_alone() -> None:
    door = Admission()
    for _ in range(8):
        door.admit(HOST, 0.0)
    for _ in range(1000):
        assert door.admit(HOST, 0.0) is Refusal.SOURCE_FULL
    assert door.admit("192.0.2.2", 0.0) is None


def test_penalties_add_up_and_run_off() -> None:
    door = Admission()
    for _ in range(3):
        assert door.admit(HOST, 0.0) is None
        door.penalise(HOST, Offence.BAD_PROOF, 0.0)
        door.release(HOST)
    assert door.admit(HOST, 0.0) is Refusal.PENALISED
    assert door.admit(HOST, 0.01) is None
    assert door.counters["bad proof"] == 3
    assert door.counters["penalised"] == 1


def test_penalties_are_capped() -> None:
    door = Admission()
    for _ in range(1000):
        door.penalise(HOST, Offence.BAD_PROOF, 0.0)
    assert door.admit(HOST, 285.0) is Refusal.PENALISED
    assert door.admit(HOST, 285.1) is None


def test_small_offences_add_up_too() -> None:
    door = Admission()
    for _ in range(8):
        door.penalise(HOST, Offence.BAD_TLS, 0.0)
        door.penalise(HOST, Offence.NO_ATTEMPT, 0.0)
    assert door.admit(HOST, 1.0) is Refusal.PENALISED
    assert door.admit(HOST, 1.1) is None


def test_row_16_three_bad_keys_do_not_lock_out_the_good_one() -> None:
    door = Admission()
    for attempt in range(3):
        assert door.admit(HOST, float(attempt)) is None
        door.penalise(HOST, Offence.BAD_PROOF, float(attempt))
        door.release(HOST)
    assert door.admit(HOST, 20.0) is None
    assert door.admit(HOST, 2.0) is None


def test_row_16_loopback_is_counted_but_never_refused_for_it() -> None:
    door = Admission()
    for _ in range(100):
        door.penalise("127.0.0.1", Offence.BAD_PROOF, 0.0)
    assert door.counters["bad proof"] == 100
    fill(door, 56)
    assert door.admit("127.0.0.1", 0.0) is None


def test_ipv6_is_grouped_by_64_and_mapped_ipv4_is_ipv4() -> None:
    door = Admission()
    for number in range(8):
        assert door.admit(f"2001:db8:0:1::{number + 1:x}", 0.0) is None
    assert door.admit("2001:db8:0:1:ffff::1", 0.0) is Refusal.SOURCE_FULL
    assert door.admit("2001:db8:0:2::1", 0.0) is None
    assert door.admit("fe80::1%eth0", 0.0) is None
    for _ in range(8):
        assert door.admit(HOST, 0.0) is None
    assert door.admit(f"::ffff:{HOST}", 0.0) is Refusal.SOURCE_FULL


def test_the_table_forgets_the_least_recently_used() -> None:
    door = Admission(AdmissionLimits(sources=2))
    for number in (1, 2):
        for _ in range(3):
            door.penalise(f"192.0.2.{number}", Offence.BAD_PROOF, 0.0)
    assert door.admit("192.0.2.1", 0.0) is Refusal.PENALISED  # and now recently used
    assert door.may_log("192.0.2.3", 0.0)
    assert door.admit("192.0.2.1", 0.0) is Refusal.PENALISED
    assert door.admit("192.0.2.2", 0.0) is None


def test_sessions_per_key_and_in_total() -> None:
    door = Admission(AdmissionLimits(sessions=3, sessions_per_key=2))
    assert [door.authenticated(KID) for _ in range(3)] == [None, None, Refusal.KEY_FULL]
    assert door.authenticated(b"other") is None
    assert door.authenticated(b"third") is Refusal.SESSIONS_FULL
    door.departed(KID)
    assert door.authenticated(b"third") is None
    assert door.counters == {"key full": 1, "sessions full": 1}


def test_nothing_can_be_given_back_twice() -> None:
    door = Admission()
    door.admit(HOST, 0.0)
    door.release(HOST)
    with pytest.raises(ValueError, match=HOST):
        door.release(HOST)
    door.authenticated(KID)
    door.departed(KID)
    with pytest.raises(ValueError, match=KID.hex()):
        door.departed(KID)


def test_one_log_line_per_source_and_interval() -> None:
    door = Admission()
    assert door.may_log(HOST, 100.0)
    assert not door.may_log(HOST, 109.9)
    assert door.may_log("192.0.2.2", 109.9)
    assert door.may_log(HOST, 110.0)
    assert door.counters == {"log suppressed": 1}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from(["admit", "release", "penalise"]),
            st.floats(0.0, 5.0),
        )
    )
)
def test_limits_hold_whatever_happens(events: list[tuple[int, str, float]]) -> None:
    limits = AdmissionLimits(total=6, per_source=2, loopback=3, reserved=2, sources=4)
    door = Admission(limits)
    slots: list[str] = []
    now = 0.0
    for number, event, gap in events:
        now += gap
        address = f"192.0.2.{number}" if number else "127.0.0.1"
        if event == "admit" and door.admit(address, now) is None:
            slots.append(address)
        elif event == "release" and address in slots:
            slots.remove(address)
            door.release(address)
        elif event == "penalise":
            door.penalise(address, Offence.BAD_PROOF, now)
        assert len(slots) <= limits.total
        assert all(slots.count(each) <= (2 if number else 3) for each in slots if each == address)
