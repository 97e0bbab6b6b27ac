"""Threads: how many the libraries of a job may start that takes several slots.

Workers are started with variables that keep such libraries to a part of the processors
(``ppnext.runtime.threads``). While a job with ``threads=`` runs, the variables say as many as it
has slots, for what it loads and for its child processes. Libraries that have been loaded read them
no more; those that threadpoolctl knows are told by it, where it is installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ppnext.runtime.threads import VARIABLES

__all__ = ["threads"]


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let libraries start so many threads; no fewer than jobs may that take one slot."""
    if number == 1:
        yield
        return
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update({name: str(_most(number, it)) for name, it in before.items()})
    try:
        with _loaded(_most(number, before["OMP_NUM_THREADS"])):
            yield
    finally:
        # What the job has set itself ends with it.
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _most(number: int, before: str | None) -> int:
    return max(number, int(before)) if before and before.isdecimal() else number


def _loaded(number: int) -> AbstractContextManager[object]:
    """Tell libraries that have been loaded."""
    try:
        from threadpoolctl import threadpool_limits  # only for who uses it
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(limits=number)
    return limits
