"""Looking: what a thread may do for a moment before it sleeps until something arrives.

To sleep and to be woken takes longer than a short job. Whoever expects an answer within less than
that looks for it again and again, for a moment, and sleeps only then. It costs no more processor
time than the sleep would. Where there is one processor only, the other end needs it to answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

__all__ = ["look"]

T = TypeVar("T")

if hasattr(os, "sched_getaffinity"):
    _is_alone = len(os.sched_getaffinity(0)) == 1
else:
    _is_alone = os.cpu_count() == 1


def look(poll: Callable[[], list[T]], seconds: float) -> list[T]:
    """Call ``poll()`` until it finds something, but not for longer than so many seconds.

    Returns:
        what it found; empty if there was nothing, or if it is not worth while to look.
    """
    if _is_alone:
        return []
    until = perf_counter() + seconds
    while not (found := poll()) and perf_counter() < until:
        pass
    return found
