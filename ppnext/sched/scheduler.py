"""The scheduler: which job runs on which node.

Rule 1: an owner reports what happened with one of the ``on_<event>`` methods and then carries
out what ``take_actions`` returns, in order. Nothing else changes the state.
Rule 2: no clock, no randomness: the same events give the same actions.
Rule 3: every job that is submitted ends exactly once: with ``on_finished`` answering True, or
with one ``End`` or ``Withdrawn`` action, or with ``on_cancel``.

Theory of operation. Jobs wait in one queue. A node pulls by credit: it may hold as many jobs as
it has slots, and a few more when its jobs are so short that fetching the next one would leave it
idle (``Policy.credit``). The node that is least loaded takes the next job; of equals a worker on
this machine before a daemon. When no job waits and a node has a free slot, the node with the
longest queue of unstarted jobs is asked to give back half of them. It answers with those that
it had not started; they go to the front of the queue and are placed like any other.

A node that is lost gives its jobs back as well. If it was a worker, the job it was running is
blamed for its death: a worker runs its jobs in the order in which they were sent, so that is the
oldest one it holds. A job that was blamed too often ends as poisoned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ppnext.sched.actions import Action, Assign, Cause, End, Kept, Release, Retract, Withdrawn
from ppnext.sched.model import (
    Intent,
    JobId,
    JobState,
    Mishap,
    NodeId,
    NodeKind,
    NodeState,
    Status,
)
from ppnext.sched.policy import Policy
from ppnext.sched.ranking import Ranking

__all__ = ["Scheduler"]

_RETRACT_LIMIT = 1024
"""Most jobs named in one Retract, so that a message of any node fits into a frame."""


class Scheduler:
    """Decides which job runs where.

    Attributes:
        jobs: the jobs that have not ended, by number.
        nodes: the nodes that are connected, by number.
        rescheduled: how many attempts ended without a result and were followed by another.
        dropped: how many results were refused because their attempt was no longer wanted.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.jobs: dict[JobId, JobState] = {}
        self.nodes: dict[NodeId, NodeState] = {}
        self.rescheduled = 0
        self.dropped = 0
        self._policy = policy or Policy()
        self._actions: list[Action] = []
        # Jobs to be placed, first come first served. A job that ends while it waits stays in
        # here and is passed over; _waiting counts those that do wait.
        self._queue: deque[JobState] = deque()
        self._waiting = 0
        # Nodes that may take another job, least loaded first; nodes that hold unstarted jobs
        # and have no answer outstanding, longest queue first.
        self._open = Ranking()
        self._laden = Ranking()

    def take_actions(self) -> list[Action]:
        """Return what is to be done since the last call."""
        actions, self._actions = self._actions, []
        return actions

    @property
    def waiting(self) -> int:
        """How many jobs wait to be placed."""
        return self._waiting

    def waiting_before(self, job: JobId) -> int:
        """How many waiting jobs will be placed before this one. Takes time in proportion."""
        ahead = 0
        for state in self._queue:
            if state.id == job:
                break
            ahead += state.status is Status.WAITING
        return ahead

    def lost_with(self, node: NodeId) -> int:
        """How many attempts would be lost with a node: what a worker runs, what a daemon holds."""
        held = len(self.nodes[node].held)
        return min(held, 1) if self.nodes[node].kind is NodeKind.WORKER else held

    # Events: jobs.

    def on_submit(self, job: JobId, once: bool = False) -> None:
        """A job is to be run. ``once``: it must not be started a second time."""
        if job in self.jobs:
            raise AssertionError(f"job {job} was submitted twice")
        state = JobState(job, once)
        self.jobs[job] = state
        self._queue.append(state)
        self._waiting += 1
        self._place()

    def on_finished(self, node: NodeId, job: JobId, attempt: int, seconds: float) -> bool:
        """A result arrived. Return whether it is wanted; if not, it is to be dropped.

        Args:
            seconds: how long the job ran.
        """
        held_by = self.nodes[node]
        state = held_by.held.get(job)
        if state is None or state.attempt != attempt:
            self.dropped += 1
            return False
        held_by.mean_seconds = self._policy.smooth(held_by.mean_seconds, seconds)
        wanted = state.intent is not Intent.CANCEL
        if state.intent is Intent.WITHDRAW:
            self._actions.append(Kept(job))
        self._release(state, held_by)
        self._end(state, "finished")
        self._settle(held_by)
        if not wanted:
            self.dropped += 1
        return wanted

    def on_died(self, node: NodeId, job: JobId, attempt: int, cause: str) -> None:
        """A daemon reports that the worker that ran this attempt is gone."""
        held_by = self.nodes[node]
        state = held_by.held.get(job)
        if state is None or state.attempt != attempt:
            self.dropped += 1
            return
        self._release(state, held_by)
        self._retry(state, Mishap(attempt, held_by.name, cause, blamed=True))
        self._settle(held_by)

    def on_cancel(self, job: JobId) -> None:
        """Nobody wants the job any more: it is not started if that can be helped."""
        state = self.jobs.get(job)
        if state is None:
            return
        if state.status is Status.WAITING:
            self._end_waiting(state, "cancelled")
            return
        if state.intent is Intent.WITHDRAW:
            self._actions.append(Kept(job))
        state.intent = Intent.CANCEL
        self._ask(self._node_of(state), [state])

    def on_withdraw(self, job: JobId) -> None:
        """The owner wants the job back, unstarted. Answered by one Withdrawn or Kept action."""
        state = self.jobs.get(job)
        if state is None or state.kept or state.intent is not Intent.RUN:
            self._actions.append(Kept(job))
            return
        if state.status is Status.WAITING:
            self._end_waiting(state, "withdrawn")
            self._actions.append(Withdrawn(job))
            return
        state.intent = Intent.WITHDRAW
        self._ask(self._node_of(state), [state])

    # Events: nodes.

    def on_node_joined(
        self, node: NodeId, name: str, kind: NodeKind, slots: int, latency: float
    ) -> None:
        """A node is connected and can run ``slots`` jobs at a time.

        Args:
            latency: seconds from the end of a job there to the start of one sent in answer.
        """
        if node in self.nodes:
            raise AssertionError(f"node {node} joined twice")
        self.nodes[node] = NodeState(node, name, kind, slots, latency)
        self._settle(self.nodes[node])

    def on_node_resized(self, node: NodeId, slots: int) -> None:
        """A node runs more or fewer jobs at a time from now on."""
        self.nodes[node].slots = slots
        self._settle(self.nodes[node])

    def on_latency(self, node: NodeId, latency: float) -> None:
        """The way to a node and back has been measured again, in seconds."""
        self.nodes[node].latency = latency
        self._settle(self.nodes[node])

    def on_node_draining(self, node: NodeId) -> None:
        """A node takes no more jobs; those that it has not started are asked back.

        Once it holds nothing, a Release action says that it may go.
        """
        leaving = self.nodes[node]
        leaving.draining = True
        self._ask(leaving, list(leaving.held.values()))
        self._settle(leaving)

    def on_returned(
        self,
        node: NodeId,
        returned: Iterable[tuple[JobId, int]],
        kept: Iterable[tuple[JobId, int]] = (),
    ) -> None:
        """A node gives jobs back, asked or unasked.

        Args:
            returned: number and attempt of those that it has not started, and now will not.
            kept: those that it was asked for and has started, or does not know.
        """
        held_by = self.nodes[node]
        for state in self._held(held_by, kept):
            self._note_kept(state, held_by)
        # Oldest first at the front of the queue, where they came from.
        back = sorted(self._held(held_by, returned), key=lambda state: state.id)
        for state in reversed(back):
            self._release(state, held_by)
            self._give_back(state)
        self._settle(held_by)

    def on_node_lost(self, node: NodeId, cause: str) -> None:
        """A node is gone, with all that it held."""
        lost = self.nodes.pop(node)
        self._open.discard(node)
        self._laden.discard(node)
        held = list(lost.held.values())
        blamed = held[0] if held and lost.kind is NodeKind.WORKER else None
        for state in reversed(held):
            self._release(state, lost)
            if lost.kind is NodeKind.DAEMON or state is blamed:
                mishap = Mishap(state.attempt, lost.name, cause, blamed=state is blamed)
                self._retry(state, mishap)
            else:
                self._give_back(state)
        self._place()
        self._rebalance()

    # Decisions.

    def _place(self) -> None:
        """Give waiting jobs to open nodes, the least loaded first."""
        while self._waiting:
            first = self._open.first()
            if first is None:
                return
            node = self.nodes[first[0]]
            state = self._queue.popleft()
            if state.status is not Status.WAITING:
                continue
            self._waiting -= 1
            state.move("placed")
            state.attempt += 1
            state.node = node.id
            state.kept = False
            node.held[state.id] = state
            self._actions.append(Assign(node.id, state.id, state.attempt))
            self._rank(node)

    def _rebalance(self) -> None:
        """If nothing waits and a slot is free, ask for unstarted jobs where most are held."""
        while not self._waiting:
            idle, laden = self._open.first(), self._laden.first()
            if idle is None or laden is None or idle[1][0] >= 1.0:
                return
            node = self.nodes[laden[0]]
            unstarted = [
                state
                for state in reversed(node.held.values())
                if state.intent is Intent.RUN and not state.kept
            ][: (node.surplus + 1) // 2]
            self._laden.discard(node.id)
            if unstarted:
                self._ask(node, unstarted)

    def _ask(self, node: NodeState, states: list[JobState]) -> None:
        """Ask a node to give jobs back, unless it has started them or has been asked already."""
        wanted = [state for state in states if state.status is Status.ASSIGNED and not state.kept]
        for state in wanted:
            state.move("asked back")
            node.asked.add(state.id)
        for start in range(0, len(wanted), _RETRACT_LIMIT):
            batch = wanted[start : start + _RETRACT_LIMIT]
            jobs = tuple((state.id, state.attempt) for state in batch)
            self._actions.append(Retract(node.id, jobs))
        if wanted:
            self._laden.discard(node.id)

    def _note_kept(self, state: JobState, node: NodeState) -> None:
        """A node was asked for a job and has started it."""
        if state.status is not Status.RETRACTING:
            return
        state.move("kept")
        state.kept = True
        node.asked.discard(state.id)
        self._answer_kept(state)

    def _answer_kept(self, state: JobState) -> None:
        if state.intent is Intent.WITHDRAW:
            state.intent = Intent.RUN
            self._actions.append(Kept(state.id))

    def _give_back(self, state: JobState) -> None:
        """A job has not been started where it was: what now?"""
        if state.intent is Intent.CANCEL:
            self._end(state, "cancelled")
        elif state.intent is Intent.WITHDRAW:
            self._end(state, "withdrawn")
            self._actions.append(Withdrawn(state.id))
        else:
            state.move("returned")
            self._queue.appendleft(state)
            self._waiting += 1

    def _retry(self, state: JobState, mishap: Mishap) -> None:
        """An attempt ended without a result: run the job again, or give it up."""
        state.mishaps.append(mishap)
        if state.intent is Intent.CANCEL:
            self._end(state, "cancelled")
            return
        self._answer_kept(state)
        cause = self._reason_to_give_up(state, mishap)
        if cause is None:
            self.rescheduled += 1
            state.move("worker died" if mishap.blamed else "node lost")
            self._queue.appendleft(state)
            self._waiting += 1
        else:
            self._end(state, "given up")
            self._actions.append(End(state.id, cause, tuple(state.mishaps)))

    def _reason_to_give_up(self, state: JobState, mishap: Mishap) -> Cause | None:
        if state.once:
            return Cause.WORKER_DIED if mishap.blamed else Cause.NODE_LOST
        if state.deaths >= self._policy.poison_limit:
            return Cause.POISONED
        if state.losses >= self._policy.loss_limit:
            return Cause.LOST_TOO_OFTEN
        return None

    # Bookkeeping.

    def _held(self, node: NodeState, jobs: Iterable[tuple[JobId, int]]) -> list[JobState]:
        """Those of the named attempts that a node does hold; others came too late."""
        states = ((node.held.get(job), attempt) for job, attempt in jobs)
        found = (state for state, attempt in states if state and state.attempt == attempt)
        return list(dict.fromkeys(found))  # the other end may name one twice

    def _node_of(self, state: JobState) -> NodeState:
        if state.node is None:
            raise AssertionError(f"job {state.id} is {state.status} but on no node")
        return self.nodes[state.node]

    def _release(self, state: JobState, node: NodeState) -> None:
        del node.held[state.id]
        node.asked.discard(state.id)
        state.node = None

    def _end(self, state: JobState, event: str) -> None:
        state.move(event)
        del self.jobs[state.id]

    def _end_waiting(self, state: JobState, event: str) -> None:
        self._waiting -= 1
        self._end(state, event)
        # Swept out when they outnumber the rest: without nodes nothing else empties the queue.
        if len(self._queue) > 2 * self._waiting + 64:
            self._queue = deque(left for left in self._queue if left.status is Status.WAITING)

    def _settle(self, node: NodeState) -> None:
        """After a node has changed: put it where it belongs, then use what it can do."""
        if node.draining and not node.held:
            del self.nodes[node.id]
            self._open.discard(node.id)
            self._laden.discard(node.id)
            self._actions.append(Release(node.id))
        else:
            self._rank(node)
        self._place()
        self._rebalance()

    def _rank(self, node: NodeState) -> None:
        """Put a node into the rankings where it belongs now."""
        held = len(node.held)
        if held < self._policy.credit(node):
            rank = 0.0 if node.kind is NodeKind.WORKER else 1.0
            self._open.put(node.id, (held / node.slots if node.slots else 1.0, rank))
        else:
            self._open.discard(node.id)
        surplus = node.surplus
        if surplus and not node.asked:
            wait = surplus * (node.mean_seconds or 1.0) / (node.slots or 1)
            self._laden.put(node.id, (-wait, 0.0))
        else:
            self._laden.discard(node.id)
