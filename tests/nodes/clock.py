"""Time that passes when a test says so, and calls that are to be made in it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Clock", "Timer"]


class Timer:
    """A call that is to be made."""

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call, self.is_cancelled = due, call, False

    def cancel(self) -> None:
        self.is_cancelled = True

    def when(self) -> float:
        return self.due


class Clock:
    """An event loop whose time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now + seconds, call))
        return self._timers[-1]

    @property
    def pending(self) -> list[Timer]:
        """The calls that are still to be made, the next one first."""
        self._timers = [it for it in self._timers if not it.is_cancelled]
        return sorted(self._timers, key=Timer.when)

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (pending := self.pending) and pending[0].due <= end:
            self._timers.remove(pending[0])
            self.now = pending[0].due
            pending[0].call()
        self.now = end
