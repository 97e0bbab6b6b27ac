"""Durations: how long calls of each function take, learnt from those that have ended. Pure.

What is known of a function is the mean of its latest calls. Of few functions is anything known, and
those that were called last are: a program that makes a function anew for each call teaches nothing.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Durations"]

_FUNCTIONS = 256
"""Functions that are remembered."""

_SMOOTHING = 0.1
"""Weight, at least, of the latest call in the mean."""

_TIMES = 2.0
_LEAST = 1.0
"""Clearly longer than usual is a call that takes more than so many times the mean, and a second."""


class _Known(NamedTuple):
    calls: int
    mean: float


class Durations:
    """How long calls take, by the content hash of the function."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def note(self, function: bytes, seconds: float) -> None:
        """A call has taken so long."""
        calls, mean = self._known.pop(function, _Known(0, 0.0))
        weight = max(_SMOOTHING, 1.0 / (calls + 1))
        self._known[function] = _Known(calls + 1, mean + weight * (seconds - mean))
        if len(self._known) > _FUNCTIONS:
            del self._known[next(iter(self._known))]

    def longest(self, function: bytes) -> float | None:
        """Return after how many seconds a call takes clearly too long; None if nobody can say."""
        known = self._known.get(function)
        return None if known is None else _TIMES * known.mean + _LEAST
