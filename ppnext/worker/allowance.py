"""Allowance: what the system is told of a job's limits, in the worker that runs it.

The parent watches how much memory a job has. A job that takes it faster than the parent looks is
held up by the system itself: what goes far beyond its limit is not given, and Python code sees a
``MemoryError``. A job that gives way to others does so by the niceness of the whole process, which
an ordinary user cannot take back: such a worker is replaced, and jobs that were sent ahead to it
and start before it is may give way as well. That comes on top of what the worker gives way from its
start, as those of a daemon do (``ppnext.runtime.niceness``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ppnext.errors import JobMemoryExceeded
from ppnext.wire.messages import Limits
from ppnext.worker.threads import threads
from ppnext.worker.units import units

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # looked for before it is used

__all__ = ["allowance"]

_SLACK = 1.25
"""How far beyond its limit the system lets a job go: the parent sees it first if it can."""


@contextmanager
def allowance(limits: Limits) -> Iterator[None]:
    """Hold this process to the limits of the job that it runs now.

    Raises:
        JobMemoryExceeded: instead of the job's ``MemoryError``.
    """
    with (
        _given_way(limits.nice),
        _kept_within(limits.memory),
        threads(limits.threads),
        units(limits.resources),
    ):
        yield


@contextmanager
def _given_way(nice: int) -> Iterator[None]:
    if not nice or not hasattr(os, "setpriority"):
        yield
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, before + nice)
    try:
        yield
    finally:
        with suppress(PermissionError):  # of an ordinary user: the worker is replaced
            os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def _kept_within(memory: int) -> Iterator[None]:
    if not memory or resource is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    soft = _least(_data_now() + int(memory * _SLACK), sys.maxsize, *before)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
        yield
    except MemoryError as error:
        raise JobMemoryExceeded(
            f"the job asked for more memory than its limit of {memory} bytes"
        ) from error
    finally:
        # The job may have lowered what cannot be raised again.
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (_least(before[0], hard), hard))


def _least(*limits: int) -> int:
    """Return the lowest of some limits: one that is there already is not raised."""
    none = resource.RLIM_INFINITY
    return min((it for it in limits if it != none), default=none)


def _data_now() -> int:
    """Return how many bytes of data this process has asked for; 0 where that is not known."""
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[5])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * resource.getpagesize()
