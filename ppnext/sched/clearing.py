"""Clearing: where jobs that take more than a slot find room, and how room is made for them.

One pass over the waiting jobs goes by their turns. A job with a claim goes where least would be in
use with it. If it has room nowhere, it waits for the machine that is nearest to having it:

* if a thing that it needs is in use there, nobody behind it is given such a thing on that machine;
  jobs that do not need it go on;
* if only slots are missing, the machine is cleared: nobody behind it is given anything there.

But nothing is held for it while somebody before it waits for a slot of the same machine. What is
held is worked out anew in each pass, so that it changes hands when an older job comes back.

Machines on which jobs take more than a slot, or that are cleared, are ``limited``: the credit of
their nodes depends on what the others do. When the last of them is not any more, and no job has a
claim, nothing here is ever called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ppnext.sched.claim import Claim
from ppnext.sched.host import Host
from ppnext.sched.model import NodeId, NodeState
from ppnext.sched.policy import Policy
from ppnext.sched.pool import Pool
from ppnext.sched.pools import Pools

__all__ = ["Clearing"]

_Limits: TypeAlias = tuple[bool, bool, bool]
"""Whether jobs on a machine take more than a slot, whether it is full, whether it is cleared."""

_UNLIMITED: _Limits = (False, False, False)


class Clearing:
    """Knows which machines are limited, and for whom things are held in the present pass."""

    __slots__ = ("_aside", "_held", "_limited", "_nodes", "_policy", "_pools", "_waiting")

    def __init__(self, nodes: dict[NodeId, NodeState], pools: Pools, policy: Policy) -> None:
        self._nodes = nodes
        self._pools = pools
        self._policy = policy
        self._limited: dict[Host, _Limits] = {}
        # In this pass: the things that are held for somebody on each machine, and the nodes that
        # were passed over for it.
        self._held: dict[Host, set[str]] = {}
        self._aside: list[tuple[Pool, NodeState]] = []
        # Machines for whose things somebody here waits.
        self._waiting: dict[Host, None] = {}

    @property
    def is_on(self) -> bool:
        """Whether machines are to be looked at at all."""
        return bool(self._pools.claiming or self._limited or self._waiting)

    # What changes.

    def changed(self, node: NodeState) -> None:
        """A node has changed: its jobs, its slots or whether it is to go."""
        host = node.host
        host.recount()
        if host.is_stale or _limits(host) != self._limited.get(host, _UNLIMITED):
            self.refresh(host)
        else:
            node.credit = self._policy.credit(node)
            self._pools.update(node)

    def refresh(self, host: Host) -> None:
        """A machine has changed in a way that concerns all its nodes; it may have none any more."""
        host.cleared &= bool(host.nodes)
        host.recount()
        host.is_stale = False
        limits = _limits(host)
        if limits != _UNLIMITED:
            self._limited[host] = limits
        else:
            self._limited.pop(host, None)
        for node in host.nodes.values():
            node.credit = self._policy.credit(node)
            self._pools.update(node)

    # A pass.

    def begin(self) -> None:
        """A pass begins: nothing is held for anybody."""
        for host in [host for host in self._limited if host.cleared]:
            host.cleared = False
            self.refresh(host)

    def nearest(self, pool: Pool, claim: Claim) -> tuple[NodeState, float] | None:
        """Return the node that is to take the next job of a pool, with the strain of it there.

        Nodes on which what the job needs is held for another are left out. None if no other fits.
        """
        self._pools.current(pool)
        while (first := pool.nearest.first()) is not None:
            node = self._nodes[first]
            pool.update(node)  # its neighbours may have changed
            if pool.nearest.first() != first:
                continue
            if self._is_held(node.host, claim):
                pool.nearest.discard(first)
                self._aside.append((pool, node))
                continue
            return node, node.host.strain(claim, node)
        return None

    def other(self, pool: Pool, claim: Claim, node: NodeState) -> NodeState | None:
        """Return another node that has room for a job of a pool, if there is one."""
        pool.nearest.discard(node.id)
        found = self.nearest(pool, claim)
        pool.update(node)
        return found[0] if found is not None and found[1] <= 1.0 else None

    def room(self, pool: Pool, claim: Claim, besides: NodeState | None = None) -> NodeState | None:
        """Return a node that has room for a job of a pool, if there is one. Not during a pass.

        Args:
            besides: not this one.
        """
        self._pools.current(pool)
        if besides is not None:
            pool.nearest.discard(besides.id)
        first = pool.nearest.first()
        if besides is not None:
            pool.update(besides)
        if first is None:
            return None
        node = self._nodes[first]
        has_room = not node.host.cleared and node.host.strain(claim, node) <= 1.0
        return node if has_room else None

    def wait(self, pool: Pool, claim: Claim, node: NodeState, before: Sequence[Pool]) -> bool:
        """Hold what can be held for the next job of a pool.

        Args:
            node: where it waits.
            before: pools that wait for slots and were before it.

        Returns:
            whether it could be.
        """
        if any(other.reason(node) is None for other in before):
            return False
        host = node.host
        if claim.resources:
            self._held.setdefault(host, set()).update(name for name, _ in claim.resources)
        if host.has_things(claim):
            host.cleared = True
            self.refresh(host)
        return True

    def given(self, node: NodeState) -> None:
        """A node has been given jobs."""
        node.host.cleared = False
        self.changed(node)

    def end(self) -> None:
        """The pass is over."""
        for pool, node in self._aside:
            pool.update(node)
        self._aside.clear()
        waiting = self._waiting
        self._waiting = {host: None for host in self._held if host.stock.is_shared}
        for host in {**waiting, **self._waiting}:
            host.stock.wait(host, frozenset(self._held.get(host, ())))
        self._held.clear()

    def _is_held(self, host: Host, claim: Claim) -> bool:
        held = self._held.get(host, ())
        return host.cleared or any(name in held for name, _ in claim.resources)


def _limits(host: Host) -> _Limits:
    return host.extra > 0, host.is_full, host.cleared
