"""Neighbours: how much processor time others use on this machine.

That is what all processors have done, without what this process has done and all that it has
started. Of a process that has ended, its parent has the time; what a job has set free from its
parents is taken for somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

__all__ = ["Neighbours", "processor_time"]

_NOT_USED = ("idle", "iowait", "steal", "guest", "guest_nice")
"""Times that are nobody's use here, or are in others already."""


class Neighbours:
    """What others use, from the first question on.

    Args:
        machine: says how much time the processors were busy, in seconds.
        family: says how much of it was ours.
    """

    def __init__(
        self,
        machine: Callable[[], float] | None = None,
        family: Callable[[], float] | None = None,
    ) -> None:
        self._machine = machine or _machine
        self._family = family or processor_time
        self._last: tuple[float, float] | None = None
        self._used = 0.0

    def used(self) -> float:
        """Return how much processor time others have used since this was first asked."""
        machine, family = now = self._machine(), self._family()
        if self._last is not None:
            # What a process of ours has set free goes with it, and is no use of others'.
            ours = max(0.0, family - self._last[1])
            self._used += max(0.0, machine - self._last[0] - ours)
        self._last = now
        return self._used


def _machine() -> float:
    import psutil  # takes long to load, and few daemons ask

    times = psutil.cpu_times()._asdict()
    return float(sum(seconds for name, seconds in times.items() if name not in _NOT_USED))


def processor_time() -> float:
    """Return how much of it this process, and what it has started, have used so far, in seconds."""
    import psutil  # as above

    total = 0.0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
