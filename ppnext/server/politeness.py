"""Politeness: how many slots the owner of a machine leaves to his guests. Pure.

Readings in, a number of slots out. A reading is how much processor time others have used so far;
what they use is smoothed over a few seconds, and what is less than a part of a core is the noise of
any machine. A slot is given back as soon as the others need its core. It is taken again when they
have not needed it for a while, nor nearly: somebody who stops to think is not away, and a load
that lies on the edge must not suspend and continue jobs all the time.
"""

from __future__ import annotations

from math import exp, floor

__all__ = ["Politeness"]

_NOISE = 0.25
"""Cores that others may use before one counts as used."""

_MARGIN = 0.15
"""Cores that others must use less than that before one counts as free again."""


class Politeness:
    """Slots that are left.

    Args:
        slots: how many there are when nobody else uses the machine.
        cores: processors that the machine has.
        smoothing: seconds over which the use of others is smoothed.
        patience: seconds for which a core must have been free before it is taken again.

    Attributes:
        slots: how many there are now.
        load: how many cores others use.
    """

    def __init__(
        self, slots: int, cores: int, smoothing: float = 2.0, patience: float = 10.0
    ) -> None:
        self.slots = self._most = slots
        self.load = 0.0
        # With more slots than cores, each that others use costs a slot all the same.
        self._cores = max(cores, slots)
        self._smoothing = smoothing
        self._patience = patience
        self._last: tuple[float, float] | None = None
        # Since when the first of the slots that are given back could have been taken again, and
        # each of those behind it; as many as there are.
        self._free_since: list[float] = []

    def note(self, now: float, used: float) -> None:
        """Take a reading.

        Args:
            now: when, in seconds.
            used: processor time that others have used so far, in seconds.
        """
        last, self._last = self._last, (now, used)
        if last is None or now <= last[0]:
            return
        seconds = now - last[0]
        weight = 1.0 - exp(-seconds / self._smoothing)
        self.load += weight * ((used - last[1]) / seconds - self.load)
        self._decide(now)

    def _decide(self, now: float) -> None:
        self.slots = min(self.slots, self._left(self.load))
        free = max(0, self._left(self.load + _MARGIN) - self.slots)
        since = self._free_since[:free]
        since += [now] * (free - len(since))
        taken = sum(now - it >= self._patience for it in since)
        self.slots += taken
        self._free_since = since[taken:]

    def _left(self, load: float) -> int:
        return max(0, min(self._most, floor(self._cores - load + _NOISE)))
