"""Dispatcher: gives waiting jobs to nodes, and asks for them back where others could run them.

Which job is next: of all that wait, of those at the front of their pool and for which a node is
open, the one with the highest priority, and of equals the smallest number. Which node takes it: the
least loaded that can run it. It takes as many from this pool as is its part (``Loads.part``), but
none that is younger than the next job of another pool of the same priority.

A node that has room where no other has is the rule while jobs wait. It is given what it can run,
from all pools by the numbers of the jobs, without any other node being looked at.

While jobs have claims, or machines are limited by such jobs, there is another way: one pass over
all that wait, by their turns, in which machines are looked at as a whole; see ``clearing``.

After ``settle`` and ``place`` no job waits that an open node can run, so a node with a free slot
has no use for any job that waits, and jobs to be run there can only come from other nodes
(``level``). Only jobs that it can run are asked for. An answer that brings some makes one of them
start; one that brings none marks them as kept, and they are not asked for again. So this comes to
an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice

from ppnext.sched.actions import Action, Assign, Release, Retract
from ppnext.sched.claim import Claim
from ppnext.sched.clearing import Clearing
from ppnext.sched.host import Host
from ppnext.sched.model import ASSIGNED, PLACED, RUN, JobId, JobState, NodeId, NodeState
from ppnext.sched.policy import Policy
from ppnext.sched.pool import Pool
from ppnext.sched.pools import Pools, Turn, turn_of

__all__ = ["Dispatcher"]

_LIMIT = 1024
"""Most jobs named in one action, so that a message to any node fits into a frame."""

_MOVES = 2
"""How often a job with a claim is moved from one daemon to another, at most."""

_Batches = dict[NodeId, list[JobState]]
"""The latest batch for each node, to which more may be added."""


class Dispatcher:
    """Gives jobs to nodes and asks for them back.

    Attributes:
        actions: what is to be done, in this order.
    """

    __slots__ = (
        "_backlog",
        "_clearing",
        "_general",
        "_loads",
        "_nodes",
        "_policy",
        "_pools",
        "actions",
    )

    def __init__(self, nodes: dict[NodeId, NodeState], pools: Pools, policy: Policy) -> None:
        self.actions: list[Action] = []
        self._nodes = nodes
        self._pools = pools
        self._general = pools.general
        self._backlog = pools.general.backlog
        self._loads = pools.general.loads
        self._policy = policy
        self._clearing = Clearing(nodes, pools, policy)

    def settle(self, node: NodeState) -> None:
        """After a node has changed: put it where it belongs, then use what it can do."""
        pools, loads = self._pools, self._loads
        backlog = self._backlog
        if node.draining and not node.held:
            del self._nodes[node.id]
            pools.forget(node)
            self.actions.append(Release(node.id))
            if self._clearing.is_on:
                self._clearing.refresh(node.host)
        elif self._clearing.is_on:
            self._clearing.changed(node)
        else:
            node.credit = self._policy.credit(node)
            room = node.credit - len(node.held)
            if room > 0 and loads.open_slots == loads.slots.get(node.id, 0):
                # The only open node, as most often when jobs wait: no need to look for it.
                if pools.special:
                    self._fill(node, room)
                elif backlog.waiting:
                    self._give(node, backlog.take(min(room, backlog.waiting)), {})
            loads.update(node)
            if pools.noting:
                pools.note(node)
        if loads.open_slots or self._clearing.is_on:
            self.place()
            self.level()

    def look_again(self, host: Host | None = None) -> None:
        """Place and level what can be, whatever has changed.

        Args:
            host: a machine that may have more than before, or less.
        """
        if host is not None and self._clearing.is_on:
            self._clearing.refresh(host)
        self.place()
        self.level()

    def place(self) -> None:
        """Give waiting jobs to open nodes, to each its part of them, the least loaded first."""
        if self._clearing.is_on:
            self._place_with_claims()
            return
        if self._pools.special:
            self._place_by_number()
            return
        backlog, loads = self._backlog, self._loads
        batches: _Batches = {}
        while backlog.waiting:
            node = loads.least()
            if node is None:
                return
            self._give(node, backlog.take(loads.part(node, backlog.waiting)), batches)
            self._pools.update(node)

    def level(self) -> None:
        """Where a slot is free, ask for unstarted jobs that it could run, where most are held."""
        if self._pools.claiming:
            for pool in self._pools.special.values():
                if pool.claim is not None and not pool.backlog.waiting:
                    self._level_claim(pool, pool.claim)
        least = self._loads.least()
        if least is None or len(least.held) >= least.slots:
            return
        self._level(self._general)
        for pool in self._pools.special.values():
            if pool.claim is None:
                self._level(pool)

    def ask(self, node: NodeState, states: list[JobState]) -> None:
        """Ask a node to give jobs back, unless it has started them or has been asked already."""
        for state in states:
            if state.status is ASSIGNED and not state.kept:
                state.move("asked back")
                node.asked.add(state.id)
                self._retract(node.id, state)
        if node.asked:
            self._pools.asked(node)

    def recall(self, node: NodeState) -> None:
        """Ask a node for those of its jobs that it cannot run, now that facts or needs changed."""
        pools = self._pools
        if self._clearing.is_on:
            self._clearing.changed(node)
        unfit = {need for need in node.needs if pools.of(need).reason(node) is not None}
        if unfit:
            self.ask(node, [state for state in node.held.values() if state.need in unfit])

    def _fill(self, node: NodeState, room: int) -> None:
        """Give a node what it can run of what waits, the oldest first."""
        pools = self._pools
        ready = [turn for turn in pools.ready() if turn[2].reason(node) is None]
        heapify(ready)
        batches: _Batches = {}
        while room and ready:
            pool = heappop(ready)[2]
            given = pool.backlog.take_before(room, _limit(pool, ready[:1]))
            self._give(node, given, batches)
            room -= len(given)
            if pool.backlog.waiting:
                heappush(ready, turn_of(pool))

    def _place_by_number(self) -> None:
        """Place as ``place`` does, from all pools by the numbers of the jobs."""
        pools = self._pools
        ready = pools.ready()
        heapify(ready)
        batches: _Batches = {}
        while ready and self._loads.open_slots:
            pool = ready[0][2]
            backlog, loads = pool.backlog, pools.current(pool)
            node = loads.least()
            if node is None:
                heappop(ready)
                continue
            limit = _limit(pool, ready[1:3])
            given = backlog.take_before(loads.part(node, backlog.waiting), limit)
            self._give(node, given, batches)
            pools.update(node)
            if backlog.waiting:
                heapreplace(ready, turn_of(pool))
            else:
                heappop(ready)

    def _place_with_claims(self) -> None:
        """Place as ``_place_by_number`` does, where some jobs take more than a slot."""
        pools, clearing = self._pools, self._clearing
        clearing.begin()
        ready = pools.ready()
        heapify(ready)
        before: list[Pool] = []
        while ready:
            pool = ready[0][2]
            if pool.claim is None:
                is_done = self._place_part(pool, _limit(pool, ready[1:3]), before)
            else:
                is_done = self._place_one(pool, pool.claim, before)
            if is_done or not pool.backlog.waiting:
                heappop(ready)
            else:
                heapreplace(ready, turn_of(pool))
        clearing.end()

    def _place_part(self, pool: Pool, limit: JobId | None, before: list[Pool]) -> bool:
        """Place jobs of a pool without a claim; return whether there is no room for more."""
        loads = self._pools.current(pool)
        node = loads.least()
        if node is None:
            before.append(pool)
            return True
        waiting = pool.backlog.waiting
        self._give(node, pool.backlog.take_before(loads.part(node, waiting), limit), {})
        self._clearing.changed(node)
        return False

    def _place_one(self, pool: Pool, claim: Claim, before: list[Pool]) -> bool:
        """Place a job of a pool with a claim; return whether there is no room for it."""
        found = self._clearing.nearest(pool, claim)
        if found is None:
            return True
        node, strain = found
        if strain > 1.0:
            if not self._clearing.wait(pool, claim, node, before):
                before.append(pool)
            return True
        [state] = given = pool.backlog.take(1)
        if pool.left.pop(state.id, None) == node.id:
            node = self._clearing.other(pool, claim, node) or node
        self._give(node, given, {})
        self._clearing.given(node)
        if node.is_daemon and state.attempt <= _MOVES:
            self._note_sent(pool, state.id, node)
        return False

    def _note_sent(self, pool: Pool, job: JobId, node: NodeState) -> None:
        """A daemon was sent a job with a claim, which may have to wait there."""
        sent = pool.sent
        sent[job] = node.id
        if len(sent) > 2 * pool.jobs + 64:
            there = {job for node in self._nodes.values() for job in node.held}
            pool.sent = {job: node for job, node in sent.items() if job in there}

    def _give(self, node: NodeState, given: list[JobState], batches: _Batches) -> None:
        """Assign jobs that have been taken from one pool to a node."""
        held, here = node.held, node.id
        for state in given:
            state.status = PLACED  # what is taken from a backlog is waiting
            state.attempt += 1
            state.node = here
            held[state.id] = state
        if given[0].need is not None:
            node.count(given[0].need, len(given))
        batch = batches.get(here)
        if batch is not None and len(batch) + len(given) <= _LIMIT:
            batch += given
            return
        for start in range(0, len(given), _LIMIT):
            batches[here] = batch = given[start : start + _LIMIT]
            self.actions.append(Assign(here, batch))

    def _level(self, pool: Pool) -> None:
        loads = self._pools.current(pool)
        while not pool.backlog.waiting:
            idle = loads.least()
            if idle is None or len(idle.held) >= idle.slots:
                return
            node = loads.longest()
            if node is None:
                return
            loads.asked(node)
            self.ask(node, list(islice(node.spare(pool.need), (node.surplus + 1) // 2)))

    def _level_claim(self, pool: Pool, claim: Claim) -> None:
        """Where there is room for a job, ask for one that waits at a daemon for what others have.

        Which of its jobs wait is not known here, nor what others have elsewhere: a job is asked for
        once at each place, and no more when it has been at a few.
        """
        taker = self._clearing.room(pool, claim) if pool.sent else None
        if taker is None:
            return
        has_another = self._clearing.room(pool, claim, taker) is not None
        for job, where in [*reversed(pool.sent.items())]:
            if where == taker.id and not has_another:
                continue
            del pool.sent[job]
            node = self._nodes.get(where)
            state = None if node is None else node.held.get(job)
            if node is not None and state is not None and state.intent is RUN:
                if len(pool.left) > pool.jobs:
                    pool.left.clear()  # most of those have been kept there
                pool.left[job] = where
                self.ask(node, [state])
                return

    def _retract(self, node: NodeId, state: JobState) -> None:
        """Ask a node for a job, in the same message as for the one before if possible."""
        last = self.actions[-1] if self.actions else None
        if not isinstance(last, Retract) or last.node != node or len(last.jobs) == _LIMIT:
            last = Retract(node, [])
            self.actions.append(last)
        last.jobs.append((state.id, state.attempt))


def _limit(pool: Pool, following: Iterable[Turn]) -> JobId | None:
    """Return before which job's number the turn of a pool ends; None if none of equals follows."""
    return min((job for priority, job, _ in following if -priority == pool.priority), default=None)
