"""Host: one machine as one scheduler sees it, and how much of it is in use.

All workers of a machine share a host; each daemon has one of its own. As long as no job takes more
than a slot, a host has no say: each node runs as many jobs as it has slots. A job that takes more
runs on one worker like any other, and what it takes beyond one slot (``extra``) is taken from the
host: that many other workers are given nothing. A host is ``cleared`` while a job that is next has
not enough room on it: nothing else is given to it then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ppnext.sched.stock import Stock

if TYPE_CHECKING:
    from ppnext.sched.claim import Claim
    from ppnext.sched.model import NodeId, NodeState

__all__ = ["Host"]

_BUSY = 1.0
"""Strain on a worker that has a job, beyond that on its machine: it cannot be given another."""


class Host:
    """A machine.

    Args:
        slots: how many it has; None for as many as its nodes have.
        stock: its countable things, of which others may take as well.

    Attributes:
        stock: its countable things.
        nodes: its nodes.
        extra: slots that jobs here take beyond one each.
        used: slots in use, as of the latest ``recount``.
        cleared: whether nothing is given to it but the job for which it is cleared.
        is_stale: whether what jobs claim here has changed and nobody has looked at it since.
    """

    __slots__ = ("_slots", "_taken", "cleared", "extra", "is_stale", "nodes", "stock", "used")

    def __init__(self, slots: int | None = None, stock: Stock | None = None) -> None:
        self.stock = Stock() if stock is None else stock
        self.nodes: dict[NodeId, NodeState] = {}
        self.extra = 0
        self.used = 0
        self.cleared = self.is_stale = False
        self._slots = slots
        # What the jobs here have of the stock.
        self._taken: dict[Claim, int] = {}

    @property
    def slots(self) -> int:
        """How many slots it has."""
        if self._slots is None:
            return sum(node.slots for node in self.nodes.values())
        return self._slots

    def offer(self, has: Mapping[str, int]) -> None:
        """It has these countable things. Before any job claims some."""
        self.stock = Stock(has)

    def resize(self, slots: int) -> None:
        """It has so many slots from now on."""
        self._slots = slots

    def recount(self) -> None:
        """Count anew how many slots are in use."""
        self.used = self.busy()

    def busy(self) -> int:
        """Return how many slots are in use."""
        return self.extra + sum([node.busy for node in self.nodes.values()])

    @property
    def is_full(self) -> bool:
        """Whether a worker that has nothing to do is to be given nothing."""
        return self.extra > 0 and self.used >= self.slots

    # What jobs claim.

    def lacks(self, claim: Claim) -> str | None:
        """Return why such a job can never run here, in words; None if it can."""
        if claim.slots > self.slots:
            return f"has {self.slots} slots, not {claim.slots}"
        return self.stock.lacks(claim.resources)

    def strain(self, claim: Claim, node: NodeState) -> float:
        """Return which part of it would be in use with one more such job on a node of it.

        Of slots and things that which is scarcest counts. More than 1 if there is no room now.
        """
        things = self.stock.strain(claim.resources, self)
        if not node.is_daemon:
            there = (self.used + claim.slots) / self.slots
            return max(things, there + _BUSY if node.held else there)
        if not self.used:
            # It offers less than it has while others use it; what it is sent it makes room for.
            return max(things, min(1.0, claim.slots / node.slots))
        return max(things, (self.used + claim.slots) / node.slots)

    def has_things(self, claim: Claim) -> bool:
        """Whether a job can have what it claims now, but for slots."""
        return self.stock.strain(claim.resources, self) <= 1.0

    def count(self, claim: Claim, change: int) -> None:
        """It runs so many more jobs with a claim, or fewer."""
        self.is_stale = True
        self.extra += (claim.slots - 1) * change
        if claim.resources:
            self._taken[claim] = self._taken.get(claim, 0) + change
            if change > 0:
                self.stock.wait(self, frozenset())  # who waits for more goes behind the others
            self.stock.count(claim.resources, change)

    def close(self) -> None:
        """None of its jobs is there any more, nor waits: others can have what they had."""
        for claim, times in self._taken.items():
            self.stock.count(claim.resources, -times)
        self._taken.clear()
        self.stock.wait(self, frozenset())
