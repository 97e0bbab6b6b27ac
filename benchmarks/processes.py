"""The processes that a run has started, found again wherever they went; their memory and time.

Each carries the run's mark in its environment: daemons that peers put into the background, under
other parents and in other sessions, carry it too. Nothing without the mark is ever ended. Memory
and processor time are read from /proc; elsewhere they are not measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["MARK", "cpu_seconds", "family", "marked", "memory"]

MARK = "PPNEXT_BENCHMARK"

_PROC = Path("/proc")


def marked(mark: str) -> set[int]:
    """Return the processes whose environment has the mark; of ours, without this one."""
    wanted = f"{MARK}={mark}".encode()
    found = set()
    for entry in _PROC.glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:  # it has ended, or is not ours to read
            continue
    return found - {os.getpid()}


def family(root: int, mark: str) -> set[int]:
    """Return a process, all below it, and all that are marked."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, todo = set(), [root]
    while todo:
        pid = todo.pop()
        found.add(pid)
        todo += children.get(pid, [])
    return found | (marked(mark) if mark else set())


def memory(pids: Iterable[int]) -> int:
    """Return the bytes that the processes hold, shared pages counted once: their PSS."""
    total = 0
    for pid in pids:
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that the threads of the processes have had, to the nanosecond."""
    total = 0
    for pid in pids:
        for task in (_PROC / str(pid) / "task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9
