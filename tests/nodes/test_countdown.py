"""Seconds that can be held up. Time passes when the test says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ppnext.nodes.countdown import Countdown


class Timer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call, self.is_cancelled = due, call, False

    def cancel(self) -> None:
        self.is_cancelled = True

    def when(self) -> float:
        return self.due


class Clock:
    """Time, and what has happened when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.called: list[float] = []

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, call))
        return self.timers[-1]

    def call(self) -> None:
        self.called.append(self.now)

    def forward(self, seconds: float) -> None:
        end = self.now + seconds
        for timer in sorted(self.timers, key=Timer.when):
            if timer.due <= end and not timer.is_cancelled:
                self.timers.remove(timer)
                self.now = timer.due
                timer.call()
        self.now = end

    def countdown(self, seconds: float, is_held: bool = False) -> Countdown:
        return Countdown(seconds, self.call, self.later, is_held)  # type: ignore[arg-type]  # a fake timer


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_call_comes_when_the_seconds_have_passed(clock: Clock) -> None:
    clock.countdown(5)
    clock.forward(10)
    assert clock.called == [5]


def test_those_held_up_do_not_count(clock: Clock) -> None:
    countdown = clock.countdown(5)
    clock.forward(2)
    countdown.hold(clock.now)
    clock.forward(100)
    countdown.hold(clock.now)  # twice is once
    countdown.go_on()
    clock.forward(100)
    assert clock.called == [105]


def test_it_may_be_held_up_from_the_start(clock: Clock) -> None:
    countdown = clock.countdown(5, is_held=True)
    clock.forward(10)
    countdown.go_on()
    clock.forward(10)
    assert clock.called == [15]


@pytest.mark.parametrize("is_held", [True, False])
def test_no_call_when_it_is_cancelled(clock: Clock, is_held: bool) -> None:
    clock.countdown(5, is_held).cancel()
    clock.forward(10)
    assert clock.called == []
