"""Claims: what the jobs of a session take, and whether the daemon has it.

In a session's scheduler a job needs nothing but what it takes: the claim is its need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import cast

from ppnext.sched.claim import Claim, claimed
from ppnext.sched.fairshare import Lump
from ppnext.sched.stock import Stock
from ppnext.wire.messages import Limits

__all__ = ["claim_in", "claim_of", "lump", "refusal", "weight"]


def claim_in(limits: Limits | None) -> Claim | None:
    """Return what a job takes that has come with these limits."""
    if limits is None:
        return None
    amounts: Counter[str] = Counter()
    for name, amount in limits.resources:
        amounts[name] += amount  # a client may name one twice
    return claimed(limits.threads, tuple(sorted(amounts.items())))


def claim_of(need: Hashable) -> Claim:
    """Return what jobs of a need take; for the scheduler of a session."""
    return cast(Claim, need)


def refusal(claim: Claim, slots: int, stock: Stock) -> str | None:
    """Return why a job can never run here, in words; None if it can."""
    if claim.slots > slots:
        return f"it takes {claim.slots} slots, and there are {slots}"
    why = stock.lacks(claim.resources)
    return None if why is None else f"it claims what is not here: this ppserver {why}"


def weight(jobs: int, claims: Mapping[Claim, int]) -> int:
    """Return how many slots jobs take together.

    Args:
        jobs: how many there are.
        claims: what those of them take that take more than a slot, and how many do.
    """
    return jobs + sum((claim.slots - 1) * number for claim, number in claims.items())


def lump(jobs: int, claims: Mapping[Claim, int]) -> Lump | None:
    """Return how many slots the smallest and the largest of these jobs take; None if one."""
    sizes = [claim.slots for claim in claims]
    if max(sizes, default=1) == 1:
        return None
    return Lump(1 if jobs > sum(claims.values()) else min(sizes), max(sizes))
