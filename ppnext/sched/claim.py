"""Claim: what a job takes of its machine while it is there, besides one slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ppnext.sched.model import Need

__all__ = ["Claim", "ClaimOf", "claimed"]


class Claim(NamedTuple):
    """What a job takes.

    Attributes:
        slots: how many of them.
        resources: how much of the things that a machine has few of, by name, sorted.
    """

    slots: int = 1
    resources: tuple[tuple[str, int], ...] = ()


ClaimOf: TypeAlias = Callable[[Need], "Claim | None"]
"""Given a need that is not None, what jobs with it take; None if that is one slot."""


def claimed(slots: int, resources: tuple[tuple[str, int], ...]) -> Claim | None:
    """Return what a job takes; None if that is one slot."""
    return Claim(slots, resources) if slots > 1 or resources else None
