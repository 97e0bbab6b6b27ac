"""What is left: processes, descriptors, shared memory, and memory that only ever grows.

Everything is read from ``/proc`` and psutil, and compared with what was there before.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import psutil

from tests.running import is_running

__all__ = [
    "MARK",
    "Growth",
    "Slope",
    "Vigil",
    "descriptors",
    "end_all",
    "family",
    "marked",
    "own_memory",
    "segments",
]

MARK = "TESTS_CHAOS_MARK"
"""Variable by which processes are known that belong to a laboratory."""

WARM_UP = 30.0
"""Seconds at the beginning of a process that say nothing about how it grows."""

_ENOUGH = 60.0
"""Seconds of a process, after its warm-up, from which a line can be fitted."""


_SEGMENT = "/memfd:ppnext (deleted)"
"""A segment, as the system shows it; the file of units has another name, and stays."""


def family(pid: int) -> list[psutil.Process]:
    """Return the processes below one."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def marked(mark: str) -> list[psutil.Process]:
    """Return the other running processes that carry a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # not ours, or gone: it cannot be read
            carries = process.pid != os.getpid() and process.environ().get(MARK) == mark
            if carries and is_running(process):
                found.append(process)
    return found


def descriptors(pid: int) -> list[str]:
    """Return what the descriptors of a process are."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # it was closed meanwhile
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def segments(pid: int) -> int:
    """Return how many segments of shared memory a process holds or maps."""
    held = sum(_SEGMENT in it for it in descriptors(pid))
    with open(f"/proc/{pid}/maps") as maps:
        return held + sum(_SEGMENT in line for line in maps)


class Vigil:
    """Watches over processes that have to end.

    Args:
        grace: seconds that a process has.

    Attributes:
        violations: those that did not end, one line each.
    """

    def __init__(self, grace: float) -> None:
        self.violations: list[str] = []
        self._grace = grace
        self._awaited: dict[psutil.Process, tuple[float, str]] = {}

    def expect(self, processes: Iterable[psutil.Process], now: float, why: str) -> None:
        """From now on these have to end."""
        for process in processes:
            self._awaited.setdefault(process, (now + self._grace, why))

    def look(self, now: float) -> None:
        """Forget those that have ended, and blame those whose time is over."""
        for process, (until, why) in list(self._awaited.items()):
            if not is_running(process):
                del self._awaited[process]
            elif is_stopped(process):
                self._awaited[process] = (now + self._grace, why)  # it cannot end, nor be blamed
            elif now > until:
                del self._awaited[process]
                self.violations.append(
                    f"{describe(process)} still runs {self._grace:g} s after {why}"
                )
                process.kill()

    def __len__(self) -> int:
        return len(self._awaited)


def is_stopped(process: psutil.Process) -> bool:
    """Whether a process hangs, for SIGSTOP."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


def describe(process: psutil.Process) -> str:
    """Return the process number and the command, as far as they can be read."""
    with suppress(psutil.Error):
        return f"process {process.pid} ({' '.join(process.cmdline())[:120]})"
    return f"process {process.pid}"


def end_all(processes: Iterable[psutil.Process]) -> None:
    """End processes, hanging ones too."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def own_memory(process: psutil.Process) -> int:
    """Return how many bytes a process has for itself.

    Payloads on their way are shared: they come and go with the jobs; ``segments`` tells what stays.
    """
    info = process.memory_info()
    return int(info.rss - info.shared)


class Slope(NamedTuple):
    """How the memory of a process has grown.

    Attributes:
        who: the process.
        seconds: for how long it was watched, after its warm-up.
        per_minute: the slope of a line fitted to its own memory, in bytes a minute.
        error: standard error of the slope.
        grown: by how much the line has risen, in bytes.
    """

    who: str
    seconds: float
    per_minute: float
    error: float
    grown: float


class Growth:
    """Own memory of processes over time."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)

    def sample(self, who: str, pid: int, now: float) -> None:
        """Note how much memory a process has."""
        with suppress(psutil.Error):
            self.add(who, pid, now, own_memory(psutil.Process(pid)))

    def add(self, who: str, pid: int, now: float, size: int) -> None:
        """Note that a process had so many bytes."""
        self._samples[who, pid].append((now, size))

    def slopes(self) -> list[Slope]:
        """Return the slope of each process that was watched for long enough."""
        found = []
        for (who, pid), samples in self._samples.items():
            warm = [it for it in samples if it[0] >= samples[0][0] + WARM_UP]
            if warm and warm[-1][0] - warm[0][0] >= _ENOUGH:
                found.append(_fitted(f"{who} (process {pid})", warm))
        return found


def _fitted(who: str, samples: list[tuple[float, int]]) -> Slope:
    """Fit a line by least squares."""
    count = len(samples)
    middle = sum(at for at, _ in samples) / count
    mean = sum(size for _, size in samples) / count
    spread = sum((at - middle) ** 2 for at, _ in samples)
    slope = sum((at - middle) * (size - mean) for at, size in samples) / spread
    rest = sum((size - mean - slope * (at - middle)) ** 2 for at, size in samples)
    error = (rest / max(1, count - 2) / spread) ** 0.5
    seconds = samples[-1][0] - samples[0][0]
    return Slope(who, seconds, slope * 60, error * 60, slope * seconds)
