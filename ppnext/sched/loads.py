"""Loads: which node is to take the next job, and which has jobs to spare.

Open is a node that may take another job: it holds less than its credit. The least loaded comes
first, load being jobs held for each slot; of equals a worker on this machine before a daemon.
Laden is a node that holds jobs which it cannot run now, unless it owes an answer; the longest
queue in seconds comes first. Who is laden is asked only when nothing waits and a slot is free, so
the nodes that have changed are merely noted and put in their places when it is asked. Each pool
(``ppnext.sched.pool``) has loads of its own: of the nodes that can run its jobs, of which those are
laden that hold any of them.

How many of the waiting jobs a node is given at once (``part``): as many as its slots are of the
slots of all open nodes, rounded down; but one at least, and no more than its credit. That never
lifts the least loaded node above the load at which all open nodes would be level. For if it has
load L, then so has every other at least, and w jobs that wait for S slots suffice to lift all of
them to a level of L + w / S or more, while its part lifts it to L + w / S or less. One job more is
what it would get in any case. So jobs given out in parts end up as evenly as given one by one,
and no slot stays free while another node is given jobs that it cannot run.
"""

from __future__ import annotations

from ppnext.sched.model import DAEMON, Need, NodeId, NodeState
from ppnext.sched.ranking import Ranking

__all__ = ["Loads"]


class Loads:
    """Nodes by load, as those see them who have jobs with one need.

    Attributes:
        open_slots: slots of all open nodes together.
        slots: those of each node while it is open, otherwise 0 or left out.
    """

    __slots__ = ("_changed", "_laden", "_need", "_nodes", "_open", "open_slots", "slots")

    def __init__(self, nodes: dict[NodeId, NodeState], need: Need = None) -> None:
        self.open_slots = 0
        self._nodes = nodes
        self._need = need
        self.slots: dict[NodeId, int] = {}
        self._open = Ranking()
        self._laden = Ranking()
        self._changed: set[NodeId] = set()

    def update(self, node: NodeState) -> None:
        """A node has changed: its jobs, its slots or its credit."""
        here, held = node.id, len(node.held)
        slots = node.slots if held < node.credit else 0
        before = self.slots.get(here, 0)
        if slots:
            self._open.put(here, held / slots, node.kind is DAEMON)
        elif before:
            self._open.discard(here)
        if slots != before:
            self.open_slots += slots - before
            self.slots[here] = slots
        self._changed.add(here)

    def asked(self, node: NodeState) -> None:
        """A node has been asked to give jobs back, or could not be."""
        self._changed.discard(node.id)
        self._laden.discard(node.id)

    def forget(self, node: NodeState) -> None:
        """A node is gone, or may not run such jobs any more."""
        self._open.discard(node.id)
        self.open_slots -= self.slots.pop(node.id, 0)
        self.asked(node)

    def least(self) -> NodeState | None:
        """Return the open node that is to take the next job."""
        first = self._open.first()
        return None if first is None else self._nodes[first]

    def part(self, node: NodeState, waiting: int) -> int:
        """Return how many of the waiting jobs an open node is given at once."""
        return min(waiting * node.slots // self.open_slots or 1, node.credit - len(node.held))

    def longest(self) -> NodeState | None:
        """Return the laden node with the longest queue."""
        for changed in self._changed:
            self._sort_in(self._nodes[changed])
        self._changed.clear()
        first = self._laden.first()
        return None if first is None else self._nodes[first]

    def _sort_in(self, node: NodeState) -> None:
        surplus = node.surplus
        if surplus and not node.asked and node.holds(self._need):
            mean = 1.0 if node.mean_seconds is None else node.mean_seconds
            self._laden.put(node.id, -surplus * mean / (node.slots or 1))
        else:
            self._laden.discard(node.id)
