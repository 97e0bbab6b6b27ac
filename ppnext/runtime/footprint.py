"""Footprint: how much memory a process and its children have of their own.

Memory that is shared with others, such as large arrays that were passed to a worker, does not count
where the system tells it apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psutil import Process

__all__ = ["Footprint"]

_CHILDREN_EVERY = 5
"""Looks at a process between two searches for its children, which go through all processes."""


class Footprint:
    """The memory of one process with its children.

    Args:
        pid: its number.
    """

    def __init__(self, pid: int) -> None:
        import psutil  # takes long to load, and few jobs are measured

        self._gone = (psutil.NoSuchProcess, psutil.AccessDenied)
        self._looks = 0
        self._family: list[Process] = []
        try:
            self._process: Process | None = psutil.Process(pid)
        except self._gone:
            self._process = None

    def measure(self) -> int:
        """Return how many bytes they have; 0 if the process has ended."""
        if self._process is None:
            return 0
        if self._looks % _CHILDREN_EVERY == 0:
            try:
                self._family = [self._process, *self._process.children(recursive=True)]
            except self._gone:
                return 0
        self._looks += 1
        return sum(map(self._own, self._family))

    def _own(self, process: Process) -> int:
        try:
            info = process.memory_info()
        except self._gone:
            return 0
        return int(info.rss - getattr(info, "shared", 0))
