"""Durations: what is known of a function's calls, and of how many functions."""

from __future__ import annotations

import pytest

from ppnext.durations import Durations

F, G = b"f" * 32, b"g" * 32


def test_nobody_knows_how_long_what_was_never_called_takes() -> None:
    assert Durations().longest(F) is None


def test_too_long_is_twice_the_mean_and_a_second() -> None:
    durations = Durations()
    durations.note(F, 4.0)
    assert durations.longest(F) == 9.0
    durations.note(F, 2.0)
    assert durations.longest(F) == 7.0
    assert durations.longest(G) is None


def test_the_latest_calls_count_most() -> None:
    durations = Durations()
    for seconds in [100.0] * 50 + [1.0] * 100:
        durations.note(F, seconds)
    longest = durations.longest(F)
    assert longest == pytest.approx(3.0, abs=0.1)


def test_few_functions_are_remembered_and_those_called_last() -> None:
    durations = Durations()
    for number in range(300):
        durations.note(F, 1.0)
        durations.note(number.to_bytes(32, "big"), 1.0)
    assert durations.longest(F) == 3.0
    assert durations.longest((0).to_bytes(32, "big")) is None
    assert durations.longest((299).to_bytes(32, "big")) == 3.0
