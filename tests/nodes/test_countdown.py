"""Seconds that can be held up. Time passes when the test says so."""

from __future__ import annotations

import pytest

from ppnext.nodes.countdown import Countdown
from tests.nodes.clock import Clock


class Countdowns(Clock):
    """Time, and what has happened when."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[float] = []

    def call(self) -> None:
        self.called.append(self.now)

    def countdown(self, seconds: float, is_held: bool = False) -> Countdown:
        return Countdown(seconds, self.call, self.later, is_held)  # type: ignore[arg-type]  # a fake timer


@pytest.fixture
def clock() -> Countdowns:
    return Countdowns()


def test_the_call_comes_when_the_seconds_have_passed(clock: Countdowns) -> None:
    clock.countdown(5)
    clock.forward(10)
    assert clock.called == [5]


def test_those_held_up_do_not_count(clock: Countdowns) -> None:
    countdown = clock.countdown(5)
    clock.forward(2)
    countdown.hold(clock.now)
    clock.forward(100)
    countdown.hold(clock.now)  # twice is once
    countdown.go_on()
    clock.forward(100)
    assert clock.called == [105]


def test_it_may_be_held_up_from_the_start(clock: Countdowns) -> None:
    countdown = clock.countdown(5, is_held=True)
    clock.forward(10)
    countdown.go_on()
    clock.forward(10)
    assert clock.called == [15]


@pytest.mark.parametrize("is_held", [True, False])
def test_no_call_when_it_is_cancelled(clock: Countdowns, is_held: bool) -> None:
    clock.countdown(5, is_held).cancel()
    clock.forward(10)
    assert clock.called == []
