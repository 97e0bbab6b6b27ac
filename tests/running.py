"""Whether processes run, and that they have ended."""

from __future__ import annotations

from collections.abc import Iterable

import psutil

__all__ = ["assert_gone", "is_running"]


def is_running(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_gone(processes: Iterable[psutil.Process]) -> None:
    """Wait at most five seconds for processes to end."""
    processes = list(processes)
    psutil.wait_procs(processes, timeout=5)
    assert [it for it in processes if is_running(it)] == []
