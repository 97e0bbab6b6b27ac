"""Groups: how many jobs of each group have not ended, and who waits until there are none.

Jobs are counted on the event loop; callbacks, which count as long as they have not returned, in
the thread that runs them. Whoever waits is woken when a group becomes empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from threading import TIMEOUT_MAX, Condition

from ppnext.job import Job

__all__ = ["Groups"]


class Groups:
    """The groups of one server.

    Args:
        on_end: called with the number of jobs that have ended.
    """

    def __init__(self, on_end: Callable[[int], object]) -> None:
        self._on_end = on_end
        # On the loop: jobs that have not ended.
        self._jobs: dict[str, int] = {}
        # Callbacks that have not returned; the condition guards them.
        self._calling: Counter[str] = Counter()
        self._changed = Condition()
        self._waiting = 0

    # On the loop.

    def enter(self, jobs: Iterable[Job]) -> None:
        """Jobs count from now on."""
        for job in jobs:
            job.is_counted = True
        for group, number in _runs(jobs):
            self._jobs[group] = self._jobs.get(group, 0) + number

    def leave(self, jobs: Iterable[Job]) -> None:
        """Jobs count no more; those that do not count already are passed over."""
        counted = [job for job in jobs if job.is_counted]
        for job in counted:
            job.is_counted = False
        for group, number in _runs(counted):
            left = self._jobs.get(group, 0) - number
            if left > 0:
                self._jobs[group] = left
            else:
                self._jobs.pop(group, None)
                self._tell()
        if counted:
            self._on_end(len(counted))

    def clear(self) -> None:
        """No job counts any more."""
        self._jobs.clear()
        with self._changed:
            self._changed.notify_all()

    def _tell(self) -> None:
        if self._waiting:  # else whoever comes next sees for itself
            with self._changed:
                self._changed.notify_all()

    # From any thread.

    def calling(self, group: str) -> None:
        """A callback of the group is going to be called."""
        with self._changed:
            self._calling[group] += 1

    def called(self, group: str) -> None:
        """A callback of the group has returned."""
        with self._changed:
            self._calling[group] -= 1
            if not self._calling[group]:
                del self._calling[group]
                self._changed.notify_all()

    def wait(self, group: str | None, timeout: float | None) -> bool:
        """Wait until nothing of the group, or of any, counts. Return whether that is so."""

        def nothing_left() -> bool:
            if group:
                return group not in self._jobs and group not in self._calling
            return not self._jobs and not self._calling

        # As ``Job.wait`` takes it: infinity is for ever, and what is no number no time.
        seconds = None if timeout is None else min(max(0.0, timeout), TIMEOUT_MAX)
        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(nothing_left, seconds)
            finally:
                self._waiting -= 1


def _runs(jobs: Iterable[Job]) -> list[tuple[str, int]]:
    """How many jobs there are of each group, in runs of the same."""
    runs: list[tuple[str, int]] = []
    present, number = None, 0
    for job in jobs:
        if job.group is present:
            number += 1
            continue
        if present is not None:
            runs.append((present, number))
        present, number = job.group, 1
    if present is not None:
        runs.append((present, number))
    return runs
