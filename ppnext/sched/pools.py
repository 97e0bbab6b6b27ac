"""Pools: the waiting jobs and the nodes that can run them, need by need.

A pool is there while any job with its need has not ended. It is then set aside, and forgotten when
more than a few others have been set aside since; until then jobs that come one at a time do not
make the nodes be judged anew each time. While no need was ever seen, there is but the pool of the
jobs that need nothing, and a change of a node concerns that one alone.

Nodes that have changed are noted in the order of their latest change. Whoever asks a pool goes
back over this list as far as the pool has not seen it; that is once at most for each change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from ppnext.sched.claim import Claim, ClaimOf
from ppnext.sched.host import Host
from ppnext.sched.loads import Loads
from ppnext.sched.model import WAITING, JobId, JobState, Need, NodeId, NodeState
from ppnext.sched.pool import Fits, Pool, PriorityOf

__all__ = ["ASIDE", "Pools", "Turn", "turn_of"]

ASIDE = 16
"""Most pools kept that have no jobs."""


Turn: TypeAlias = tuple[int, JobId, Pool]
"""When it is a pool's turn, the smallest first: by its priority, then by its first job's number."""


class Pools:
    """All pools.

    Attributes:
        general: the jobs that need nothing, and all nodes.
        special: the others that have jobs, by need.
        noting: whether there are others at all, so that changes of nodes are to be noted.
        claiming: how many of those that have jobs have a claim.
    """

    __slots__ = (
        "_aside",
        "_changes",
        "_claim_of",
        "_fits",
        "_latest",
        "_nodes",
        "_priority_of",
        "claiming",
        "general",
        "noting",
        "special",
    )

    def __init__(
        self,
        nodes: dict[NodeId, NodeState],
        fits: Fits | None,
        priority_of: PriorityOf | None = None,
        claim_of: ClaimOf | None = None,
    ) -> None:
        self.general = Pool(nodes, None, None)
        self.special: dict[Need, Pool] = {}
        self.noting = False
        self.claiming = 0
        self._nodes = nodes
        self._fits = fits
        self._priority_of = priority_of
        self._claim_of = claim_of
        self._aside: dict[Need, Pool] = {}
        self._changes: dict[NodeId, int] = {}
        self._latest = 0

    # Jobs.

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        special = sum(pool.backlog.waiting for pool in self.special.values())
        return self.general.backlog.waiting + special

    def waiting_from(self, priority: int) -> int:
        """How many jobs wait that have this priority or a higher one."""
        pools = (self.general, *self.special.values())
        return sum(pool.backlog.waiting for pool in pools if pool.priority >= priority)

    def waiting_by_priority(self) -> list[tuple[int, int]]:
        """Return the priorities of jobs that wait, with their numbers, the highest last."""
        numbers: dict[int, int] = {}
        for pool in (self.general, *self.special.values()):
            numbers[pool.priority] = numbers.get(pool.priority, 0) + pool.backlog.waiting
        return sorted(numbers.items())

    def append(self, jobs: Sequence[JobState]) -> None:
        """New jobs wait."""
        for job in jobs:
            if job.need is not None:
                break
        else:
            self.general.backlog.append(jobs)
            return
        for need, states in _by_need(jobs).items():
            pool = self.enter(need, len(states))
            pool.backlog.append(states)

    def put_first(self, job: JobState) -> None:
        """A job waits again."""
        self.of(job.need).backlog.put_first(job)

    def drop(self, job: JobState) -> None:
        """A waiting job has ended."""
        self.of(job.need).backlog.drop()

    def enter(self, need: Need, number: int) -> Pool:
        """Return the pool of a need that so many more jobs have."""
        if need is None:
            return self.general
        pool = self.special.get(need)
        if pool is None:
            pool = self._aside.pop(need) if need in self._aside else self._new(need)
            self.special[need] = pool
            self.noting = True
            if pool.claim is not None:
                self._enter_claim(pool)
        pool.jobs += number
        return pool

    def _enter_claim(self, pool: Pool) -> None:
        """There are jobs with a claim again; until now nobody has looked at machines as a whole."""
        self.claiming += 1
        for host in dict.fromkeys(node.host for node in self._nodes.values()):
            host.recount()
        for node in self._nodes.values():
            pool.update(node)
        pool.seen = self._latest

    def leave(self, need: Need, number: int = 1) -> None:
        """So many jobs with this need, which is not None, have ended or have another now."""
        pool = self.special[need]
        pool.jobs -= number
        if not pool.jobs:
            self._aside[need] = self.special.pop(need)
            self.claiming -= pool.claim is not None
            if len(self._aside) > ASIDE:
                del self._aside[next(iter(self._aside))]

    def change(self, jobs: Sequence[JobState], need: Need) -> None:
        """Jobs have another need from now on; those that wait keep their turn."""
        waiting = [job for job in jobs if job.status is WAITING]
        for old, states in _by_need(waiting).items():
            self.of(old).backlog.remove(states)
        for job in jobs:
            self._relabel(job, need)
        if waiting:
            self.of(need).backlog.insert(waiting)

    def _relabel(self, job: JobState, need: Need) -> None:
        old, job.need = job.need, need
        self.enter(need, 1)
        if job.node is not None:
            node = self._nodes[job.node]
            node.count(old, -1)
            node.count(need, 1)
            self.update(node)
        if old is not None:
            self.leave(old)

    def of(self, need: Need) -> Pool:
        """Return the pool of a need that a job has."""
        return self.general if need is None else self.special[need]

    def ready(self) -> list[Turn]:
        """Return the pools in which jobs wait, in no order, each with its turn."""
        pools = (self.general, *self.special.values())
        return [turn_of(pool) for pool in pools if pool.backlog.waiting]

    def claims(self) -> dict[Claim, int]:
        """Return what jobs take that take more than a slot, and how many of them there are."""
        claims: dict[Claim, int] = {}
        for pool in self.special.values():
            if pool.claim is not None:
                claims[pool.claim] = claims.get(pool.claim, 0) + pool.jobs
        return claims

    def before(self, job: JobState) -> int:
        """How many jobs will be taken before one that waits. Takes time in proportion."""
        own, ahead = self.of(job.need), 0
        for _, _, pool in self.ready():
            if pool is own:
                ahead += pool.backlog.before(job.id)
            elif pool.priority >= own.priority and self._compete(own, pool):
                over = pool.priority > own.priority
                ahead += pool.backlog.waiting if over else pool.backlog.older(job.id)
        return ahead

    # Nodes.

    def update(self, node: NodeState) -> None:
        """A node has changed: its jobs, its slots or its credit."""
        self.general.loads.update(node)
        if self.noting:
            self.note(node)

    def note(self, node: NodeState) -> None:
        """A node has changed; those who need to know will ask."""
        self._latest += 1
        self._changes.pop(node.id, None)
        self._changes[node.id] = self._latest

    def asked(self, node: NodeState) -> None:
        """A node has been asked to give jobs back."""
        self.general.loads.asked(node)
        if self.noting:
            self.note(node)

    def why_not(self, need: Need) -> list[tuple[str, str]]:
        """Return the names of the nodes that cannot run jobs with a need, with the reasons."""
        pool = self.of(need)
        reasons = [(node.name, pool.reason(node)) for node in self._nodes.values()]
        return [(name, reason) for name, reason in reasons if reason is not None]

    def judge_again(self, node: NodeState) -> None:
        """A node's facts have changed."""
        for pool in (*self.special.values(), *self._aside.values()):
            pool.judge_again(node)

    def resized(self, host: Host) -> None:
        """A machine has another number of slots: it can run other jobs that take several."""
        for pool in (*self.special.values(), *self._aside.values()):
            if pool.claim is not None:
                for node in host.nodes.values():
                    pool.judge_again(node)

    def forget(self, node: NodeState) -> None:
        """A node is gone."""
        node.host.nodes.pop(node.id, None)
        self._changes.pop(node.id, None)
        for pool in (self.general, *self.special.values(), *self._aside.values()):
            pool.forget(node)

    def current(self, pool: Pool) -> Loads:
        """Return the loads of a pool's nodes as they are now."""
        if pool.seen < self._latest and pool is not self.general:
            for node, change in reversed(self._changes.items()):
                if change <= pool.seen:
                    break
                pool.update(self._nodes[node])
            pool.seen = self._latest
        return pool.loads

    def _new(self, need: Need) -> Pool:
        priority = 0 if self._priority_of is None else self._priority_of(need)
        claim = None if self._claim_of is None else self._claim_of(need)
        pool = Pool(self._nodes, need, self._fits, priority, claim)
        if claim is not None:
            return pool  # it is not one of which the nodes can be seen one by one
        for node in self._nodes.values():
            pool.update(node)
        pool.seen = self._latest
        return pool

    def _compete(self, one: Pool, other: Pool) -> bool:
        """Tell whether any node can run the jobs of both."""
        nodes = self._nodes.values()
        return any(one.reason(node) is None and other.reason(node) is None for node in nodes)


def turn_of(pool: Pool) -> Turn:
    """Return when it is the turn of a pool in which jobs wait."""
    return -pool.priority, pool.backlog.front(), pool


def _by_need(jobs: Iterable[JobState]) -> dict[Need, list[JobState]]:
    sorted_out: dict[Need, list[JobState]] = {}
    for job in jobs:
        sorted_out.setdefault(job.need, []).append(job)
    return sorted_out
