"""Stock: the countable things of one machine, such as GPUs, and who has how much of them.

Several schedulers may take from one stock: those of a daemon's sessions. None of them sees the jobs
of another, so what is in use is counted here, and so is the order in which they wait: what somebody
waits for is given to nobody behind him, not even if he himself has just given it back. Who waits is
told (``on_freed``) when something has come back or when somebody before him has left.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias

__all__ = ["Amounts", "Stock"]

Amounts: TypeAlias = tuple[tuple[str, int], ...]
"""How much of which things; each name once."""

_OUT_OF_TURN = 2.0
"""What ``strain`` says to those who are not next."""


class Stock:
    """What one machine has.

    Args:
        has: how much there is, by name.
        on_freed: called when those who wait should ask again, which must not be done at once;
            None if only one scheduler takes from it.

    Attributes:
        used: how much of it is in use.
    """

    __slots__ = ("_on_freed", "_waiting", "has", "used")

    def __init__(
        self, has: Mapping[str, int] | None = None, on_freed: Callable[[], object] | None = None
    ) -> None:
        self.has = dict(has or {})
        self.used = dict.fromkeys(self.has, 0)
        self._on_freed = on_freed
        # Who waits for which things, the first one first.
        self._waiting: dict[Hashable, frozenset[str]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether others may take from it who do not see who waits."""
        return self._on_freed is not None

    def lacks(self, amounts: Amounts) -> str | None:
        """Return why so much can never be had, in words; None if it can."""
        for name, amount in amounts:
            if name not in self.has:
                offered = ", ".join(f"{it}={much}" for it, much in sorted(self.has.items()))
                return f"offers no {name}" + (f" (it offers: {offered})" if offered else "")
            if amount > self.has[name]:
                return f"has {self.has[name]} {name}, not {amount}"
        return None

    def strain(self, amounts: Amounts, who: Hashable) -> float:
        """Return which part of it would be in use with these amounts, where it is scarcest.

        More than 1 if they cannot be had now.
        """
        if not amounts:
            return 0.0
        if self._waiting and self._is_behind(amounts, who):
            return _OUT_OF_TURN
        return max((self.used[name] + amount) / self.has[name] for name, amount in amounts)

    def _is_behind(self, amounts: Amounts, who: Hashable) -> bool:
        """Whether somebody else who waits for any of these things is before him."""
        names = {name for name, _ in amounts}
        for other, things in self._waiting.items():
            if other == who:
                return False
            if not names.isdisjoint(things):
                return True
        return False

    def count(self, amounts: Amounts, times: int) -> None:
        """Take these amounts so many times, or give them back if that is less than 0."""
        for name, amount in amounts:
            self.used[name] = self.used.get(name, 0) + times * amount
        if times < 0 and amounts:
            self._tell()

    def wait(self, who: Hashable, things: frozenset[str]) -> None:
        """Somebody waits for these things from now on; he keeps his place if he has one."""
        before = self._waiting.get(who, frozenset())
        if things:
            self._waiting[who] = things
        else:
            self._waiting.pop(who, None)
        if before - things:
            self._tell()

    def _tell(self) -> None:
        if self._waiting and self._on_freed is not None:
            self._on_freed()

    def is_waiting(self, who: Hashable) -> bool:
        """Whether somebody waits, and will be told."""
        return who in self._waiting
