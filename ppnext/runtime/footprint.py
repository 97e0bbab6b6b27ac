"""Footprint: how much memory a process and its children have of their own.

Memory that is shared with others, such as large arrays that were passed to a worker, does not count
where the system tells it apart.

On Linux each thread says which children it has. Elsewhere they are found by looking at all
processes of the machine, which takes the longer the more there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psutil import Process

__all__ = ["PROC", "Footprint", "children"]

_CHILDREN_EVERY = 5
"""Looks at a process between two searches for its children."""

PROC = Path("/proc")


class Footprint:
    """The memory of one process with its children.

    Args:
        pid: its number.
        proc: where the system tells of processes, if it does.
    """

    def __init__(self, pid: int, proc: Path = PROC) -> None:
        import psutil  # takes long to load, and few jobs are measured

        self._tasks = proc if (proc / "thread-self" / "children").exists() else None
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
                self._family = [self._process, *self._descendants(self._process)]
            except self._gone:
                return 0
        self._looks += 1
        return sum(map(self._own, self._family))

    def _descendants(self, process: Process) -> list[Process]:
        if self._tasks is None:
            return process.children(recursive=True)
        family, found = [process.pid], []
        for pid in family:  # it grows meanwhile
            for child in children(self._tasks / str(pid) / "task"):
                family.append(child)
                with suppress(*self._gone):
                    found.append(type(process)(child))
        return found

    def _own(self, process: Process) -> int:
        try:
            info = process.memory_info()
        except self._gone:
            return 0
        return int(info.rss - getattr(info, "shared", 0))


def children(tasks: Path) -> Iterator[int]:
    """Yield the children of all threads of a process; of what has ended meanwhile, none.

    Args:
        tasks: the folder of its threads; where the system does not tell, it has no children.
    """
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for task in os.listdir(tasks):
            with suppress(FileNotFoundError, ProcessLookupError):
                yield from map(int, (tasks / task / "children").read_bytes().split())
