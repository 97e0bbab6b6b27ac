"""Pressure: whether a machine runs short of memory, and which job is to be stopped for it. Pure.

A machine is short when less than a small part of its memory is left; there is room again when twice
as much is. What is looked at is the machine and each control group with a limit of its own.

One job at a time is stopped: of those that are nearly as large as the largest, the one that has
begun last, for it has least to lose, and mostly was the last straw. Jobs that are small are let
alone, since to stop them would help nobody: then others than jobs of ours have the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ppnext.runtime.memory import Room

__all__ = ["Sized", "has_room", "least", "newest_large", "short_of"]

_PART = 0.03
_LEAST = 256 << 20
"""At least so much is to be left: this part, or so many bytes if that is more."""

_SMALL = 0.1
"""But no more than this part, where there is little altogether."""

_NEARLY = 0.5
"""Nearly as large as the largest is a job with this part of its memory."""

_WORTH = 64 << 20
"""Bytes that a job must have for it to be stopped."""


class Sized(NamedTuple):
    """A job that runs.

    Attributes:
        size: bytes of memory of its own.
        began: when it began, on any scale.
    """

    size: int
    began: float


def least(total: int) -> int:
    """Return how many of so many bytes are to be left."""
    return int(max(_PART * total, min(_LEAST, _SMALL * total)))


def short_of(rooms: Iterable[Room]) -> Room | None:
    """Return where there is too little memory left; None if that is nowhere."""
    return next((room for room in rooms if room.available < least(room.total)), None)


def has_room(rooms: Iterable[Room]) -> bool:
    """Whether there is enough for another job to be started."""
    return all(room.available >= 2 * least(room.total) for room in rooms)


def newest_large(jobs: Sequence[Sized]) -> int | None:
    """Return the place of the job that is to be stopped; None if none is worth it."""
    largest = max((job.size for job in jobs), default=0)
    if largest < _WORTH:
        return None
    large = [place for place, job in enumerate(jobs) if job.size >= _NEARLY * largest]
    return max(large, key=lambda place: (jobs[place].began, jobs[place].size))
