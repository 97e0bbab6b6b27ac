"""Pool: all jobs with one need, and the nodes that can run them.

The pool of the jobs that need nothing has all nodes and is told at once when one changes. The
others are told what has changed when somebody asks them (``Pools.current``), so that a node's
change costs the same however many needs there are.

A pool whose jobs have a claim (``ppnext.sched.claim``) has its nodes in another order: by the part
of their machine that would be in use with one more such job (``nearest``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ppnext.sched.backlog import Backlog
from ppnext.sched.claim import Claim
from ppnext.sched.loads import Loads
from ppnext.sched.model import JobId, Need, NodeId, NodeState
from ppnext.sched.ranking import Ranking

__all__ = ["REFUSED", "Fits", "Pool", "PriorityOf"]

REFUSED = "has refused such a job"
"""Why a node cannot run jobs that it fits."""

Fits: TypeAlias = Callable[[Need, object], "str | None"]
"""Given a need and a node's facts, why the node cannot run such jobs, in words; None if it can.

The same arguments must always give the same answer.
"""


PriorityOf: TypeAlias = Callable[[Need], int]
"""Given a need that is not None, the priority of the jobs that have it: a higher one goes first."""


class Pool:
    """The jobs with one need.

    Attributes:
        need: what they need.
        priority: pools with a higher one are placed first.
        claim: what each of them takes; None if that is one slot.
        backlog: those of them that wait.
        loads: the nodes that can run them, by load; empty if they have a claim.
        nearest: if they have one, the nodes that can run them, by what would be in use there.
        sent: if they have one, those that daemons were sent and that may wait there, with the node;
            some of them may have ended.
        left: of those that were asked back there for another, where that was.
        jobs: how many of them have not ended; not counted for those that need nothing.
        seen: up to which change of a node ``loads`` is current.
    """

    __slots__ = (
        "_fits",
        "_reasons",
        "backlog",
        "claim",
        "jobs",
        "left",
        "loads",
        "nearest",
        "need",
        "priority",
        "seen",
        "sent",
    )

    def __init__(
        self,
        nodes: dict[NodeId, NodeState],
        need: Need,
        fits: Fits | None,
        priority: int = 0,
        claim: Claim | None = None,
    ) -> None:
        self.need = need
        self.priority = priority
        self.claim = claim
        self.nearest = Ranking()
        self.sent: dict[JobId, NodeId] = {}
        self.left: dict[JobId, NodeId] = {}
        self.backlog = Backlog()
        self.loads = Loads(nodes, need)
        self.jobs = 0
        self.seen = 0
        self._fits = fits
        self._reasons: dict[NodeId, str | None] = {}

    def reason(self, node: NodeState) -> str | None:
        """Return why a node cannot run these jobs; None if it can."""
        reasons = self._reasons
        if node.id not in reasons:
            reasons[node.id] = self._judge(node)
        return reasons[node.id]

    def _judge(self, node: NodeState) -> str | None:
        why = None if self._fits is None else self._fits(self.need, node.facts)
        return node.host.lacks(self.claim) if why is None and self.claim is not None else why

    def exclude(self, node: NodeState) -> None:
        """A node has refused such a job; until its facts change it is not tried again."""
        if self.reason(node) is None:
            self._reasons[node.id] = REFUSED

    def update(self, node: NodeState) -> None:
        """A node has changed."""
        claim = self.claim
        if claim is None:
            if self.reason(node) is None:
                self.loads.update(node)
            else:
                self.loads.forget(node)
        elif node.draining or not node.slots or self.reason(node) is not None:
            self.nearest.discard(node.id)
        else:
            self.nearest.put(node.id, node.host.strain(claim, node), node.is_daemon)

    def judge_again(self, node: NodeState) -> None:
        """A node's facts have changed."""
        self._reasons.pop(node.id, None)

    def forget(self, node: NodeState) -> None:
        """A node is gone."""
        self._reasons.pop(node.id, None)
        self.loads.forget(node)
        self.nearest.discard(node.id)
