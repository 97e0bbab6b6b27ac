"""Countdown: seconds that can be held up, such as those of a job whose process is suspended."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable

__all__ = ["Countdown"]


class Countdown:
    """A call that is made when so many seconds have passed, not counting those held up.

    Args:
        seconds: how many.
        call: what is called then.
        later: makes a call after so many seconds.
        is_held: whether it is held up from the start.
    """

    def __init__(
        self,
        seconds: float,
        call: Callable[[], None],
        later: Callable[[float, Callable[[], None]], TimerHandle],
        is_held: bool = False,
    ) -> None:
        self._left = seconds
        self._call = call
        self._later = later
        self._timer: TimerHandle | None = None
        if not is_held:
            self.go_on()

    def hold(self, now: float) -> None:
        """Let no more seconds pass.

        Args:
            now: the time of the loop.
        """
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - now)
            self.cancel()

    def go_on(self) -> None:
        """Let them pass again."""
        if self._timer is None:
            self._timer = self._later(self._left, self._call)

    def cancel(self) -> None:
        """Make no call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
