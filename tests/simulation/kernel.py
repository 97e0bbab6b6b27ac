"""The kernel: virtual time, one source of chance, and a trace of what happened.

Everything in the simulated world happens in a call that was put on this heap. Two calls for the
same moment are made in the order in which they were put there. Nothing else decides anything: no
thread, no clock, no hash, no address in memory. So a seed is a life, and can be lived again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

__all__ = ["Kernel"]

_Call = tuple[float, int, Callable[..., object], tuple[Any, ...]]


class Kernel:
    """Virtual time.

    Args:
        seed: of all chance.
        tell: takes each line of the trace; None if nobody reads it.

    Attributes:
        now: seconds since the world began, on no machine's clock.
        random: decides everything.
        happened: how often what happened, for assertions that something sometimes does.
        events: calls that were made.
    """

    def __init__(self, seed: int, tell: Callable[[str], object] | None = None) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.happened: Counter[str] = Counter()
        self.events = 0
        self._tell = tell
        self._heap: list[_Call] = []
        self._order = count()
        self._digest = hashlib.sha256()

    def at(self, delay: float, call: Callable[..., object], *args: object) -> None:
        """Have a call made so many seconds from now."""
        heappush(self._heap, (self.now + delay, next(self._order), call, args))

    def step(self) -> bool:
        """Make the next call. Return whether there was one."""
        if not self._heap:
            return False
        self.now, _, call, args = heappop(self._heap)
        self.events += 1
        call(*args)
        return True

    def run_until(self, time: float) -> None:
        """Make all calls that are due by then."""
        while self._heap and self._heap[0][0] <= time:
            self.step()
        self.now = max(self.now, time)

    def chance(self, share: float) -> bool:
        """Whether something happens that does so in this share of all cases."""
        return self.random.random() < share

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        line = f"{self.now:11.6f} {text}"
        self._digest.update(line.encode())
        if self._tell is not None:
            self._tell(line)

    def remark(self, text: str) -> None:
        """Add a line for readers, that is no part of the digest."""
        if self._tell is not None:
            self._tell(f"{self.now:11.6f} {text}")

    @property
    def is_told(self) -> bool:
        """Whether anybody reads the trace."""
        return self._tell is not None

    def digest(self) -> str:
        """Return a hash of everything that happened; of what was decided by chance as well."""
        ending = f"{self.events} {self.random.getstate()[1]!r}"
        return hashlib.sha256(self._digest.digest() + ending.encode()).hexdigest()
