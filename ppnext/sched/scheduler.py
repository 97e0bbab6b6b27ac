"""The scheduler: which job runs on which node.

Rule 1: an owner reports what happened with one of the ``on_<event>`` methods and then carries
out what ``take_actions`` returns, in order. Nothing else changes the state.
Rule 2: no clock, no randomness: the same events give the same actions.
Rule 3: every job that is submitted ends exactly once: with ``on_finished`` giving its state back,
or with one ``End`` or ``Withdrawn`` action, or with ``on_cancel``.
Rule 4: what comes together is handled together. Jobs are submitted, assigned and finished in
batches, and a node is looked at once for each batch, so that what is not the job's own work costs
the less the more there is to do.

Theory of operation. Jobs wait in one queue. A node pulls by credit: it may hold as many jobs as
it has slots, and a few more when its jobs are so short that fetching the next one would leave it
idle (``Policy.credit``). The node that is least loaded takes the next jobs; of equals a worker on
this machine before a daemon. When no job waits and a node has a free slot, the node with the
longest queue of unstarted jobs is asked to give back half of them. It answers with those that
it had not started; they go to the front of the queue and are placed like any other.

How many it takes at once is its part of those that wait (``Loads.part``): while many wait, a node
gets many in one message; the last few go one by one to whoever has least; and no slot stays free
while another node is sent jobs for later.

A node that is lost gives its jobs back as well. If it was a worker, the job it was running is
blamed for its death: a worker runs its jobs in the order in which they were sent, so that is the
oldest one it holds, unless it is known to have been a later one; then those before it have been
run too, and only their results are lost. A job that was blamed too often ends as poisoned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from itertools import islice

from ppnext.sched.actions import Action, Assign, End, Kept, Release, Retract, Withdrawn
from ppnext.sched.backlog import Backlog
from ppnext.sched.loads import Loads
from ppnext.sched.model import (
    ASSIGNED,
    CANCEL,
    FINISHED,
    PLACED,
    RUN,
    WAITING,
    WITHDRAW,
    WORKER,
    JobId,
    JobState,
    Mishap,
    NodeId,
    NodeKind,
    NodeState,
    Ran,
    Ref,
)
from ppnext.sched.policy import Policy

__all__ = ["Scheduler"]

_LIMIT = 1024
"""Most jobs named in one action, so that a message to any node fits into a frame."""


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
        self._backlog = Backlog()
        self._loads = Loads(self.nodes)

    def take_actions(self) -> list[Action]:
        """Return what is to be done since the last call."""
        actions, self._actions = self._actions, []
        return actions

    @property
    def waiting(self) -> int:
        """How many jobs wait to be placed."""
        return self._backlog.waiting

    def waiting_before(self, job: JobId) -> int:
        """How many waiting jobs will be placed before this one. Takes time in proportion."""
        return self._backlog.before(job)

    def lost_with(self, node: NodeId, running: JobId | None = None) -> int:
        """How many attempts would be lost with a node; ``running`` as in ``on_node_lost``."""
        return self.nodes[node].started(running)

    # Events: jobs.

    def on_submit(self, jobs: Sequence[JobState]) -> None:
        """Jobs are to be run; their states are new and belong to the scheduler from now on."""
        new = {state.id: state for state in jobs}
        if len(new) != len(jobs) or not self.jobs.keys().isdisjoint(new):
            raise AssertionError(f"job {_twice(self.jobs, jobs)} was submitted twice")
        self.jobs.update(new)
        self._backlog.append(jobs)
        if self._loads.open_slots:
            self._place()

    def on_finished(self, node: NodeId, results: Sequence[Ran]) -> list[JobState | None]:
        """Results arrived together.

        Returns:
            for each the job's state if the result is wanted; None if it is to be dropped.
        """
        held_by = self.nodes[node]
        held, asked, jobs = held_by.held, held_by.asked, self.jobs
        wanted: list[JobState | None] = []
        count, total = 0, 0.0
        for job, attempt, seconds in results:
            state = held.get(job)
            if state is None or state.attempt != attempt:
                wanted.append(None)
                continue
            del held[job], jobs[job]
            state.node = None
            state.status = FINISHED  # what a node holds is assigned or being retracted
            count += 1
            total += seconds
            if asked:
                asked.discard(job)
            if state.intent is WITHDRAW:
                self._answer_kept(state)
            wanted.append(None if state.intent is CANCEL else state)
        self.dropped += wanted.count(None)
        if count:
            held_by.mean_seconds = self._policy.smooth(held_by.mean_seconds, total / count, count)
            self._settle(held_by)
        return wanted

    def on_died(self, node: NodeId, job: JobId, attempt: int, cause: str) -> None:
        """A daemon reports that the worker that ran this attempt is gone."""
        held_by = self.nodes[node]
        state = held_by.held.get(job)
        if state is None or state.attempt != attempt:
            self.dropped += 1
            return
        held_by.release(state)
        self._retry(state, Mishap(attempt, held_by.name, cause, blamed=True))
        self._settle(held_by)

    def on_cancel(self, job: JobId) -> None:
        """Nobody wants the job any more: it is not started if that can be helped."""
        state = self.jobs.get(job)
        if state is None:
            return
        if state.status is WAITING:
            self._end_waiting(state, "cancelled")
            return
        self._answer_kept(state)
        state.intent = CANCEL
        self._ask(self._node_of(state), [state])

    def on_withdraw(self, job: JobId) -> None:
        """The owner wants the job back, unstarted. Answered by one Withdrawn or Kept action."""
        state = self.jobs.get(job)
        if state is None or state.kept or state.intent is not RUN:
            self._actions.append(Kept(job))
            return
        if state.status is WAITING:
            self._end_waiting(state, "withdrawn")
            self._actions.append(Withdrawn(state))
            return
        state.intent = WITHDRAW
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

    def on_returned(self, node: NodeId, returned: Iterable[Ref], kept: Iterable[Ref] = ()) -> None:
        """A node gives jobs back, asked or unasked.

        Args:
            returned: those that it has not started, and now will not.
            kept: those that it was asked for and has started, or does not know.
        """
        held_by = self.nodes[node]
        for state in held_by.find(kept):
            self._note_kept(state, held_by)
        # Oldest first at the front of the queue, where they came from.
        back = held_by.find(returned)
        for state in sorted(back, key=lambda state: state.id, reverse=True):
            held_by.release(state)
            self._give_back(state)
        self._settle(held_by)

    def on_node_lost(self, node: NodeId, cause: str, running: JobId | None = None) -> None:
        """A node is gone, with all that it held.

        Args:
            running: the job that a worker has started last, if that is known; it is blamed, and
                older ones have ended unheard. Otherwise the oldest one is blamed.
        """
        lost = self.nodes.pop(node)
        self._loads.forget(lost)
        started = lost.started(running)
        for place, state in reversed(list(enumerate(lost.held.values(), 1))):
            lost.release(state)
            if place <= started:
                blamed = lost.kind is WORKER and place == started
                self._retry(state, Mishap(state.attempt, lost.name, cause, blamed))
            else:
                self._give_back(state)
        self._place()
        self._rebalance()

    # Decisions.

    def _place(self) -> None:
        """Give waiting jobs to open nodes, to each its part of them, the least loaded first."""
        backlog, loads = self._backlog, self._loads
        batches: dict[NodeId, list[JobState]] = {}
        while backlog.waiting:
            node = loads.least()
            if node is None:
                return
            self._give(node, loads.part(node, backlog.waiting), batches)
            loads.update(node)

    def _give(self, node: NodeState, number: int, batches: dict[NodeId, list[JobState]]) -> None:
        """Assign the first ``number`` waiting jobs to a node."""
        held, here = node.held, node.id
        given = self._backlog.take(number)
        for state in given:
            state.status = PLACED  # what is taken from the backlog is waiting
            state.attempt += 1
            state.node = here
            state.kept = False
            held[state.id] = state
        batch = batches.get(here)
        if batch is not None and len(batch) + number <= _LIMIT:
            batch += given
            return
        for start in range(0, number, _LIMIT):
            batches[here] = batch = given[start : start + _LIMIT]
            self._actions.append(Assign(here, batch))

    def _rebalance(self) -> None:
        """If nothing waits and a slot is free, ask for unstarted jobs where most are held."""
        while not self._backlog.waiting:
            idle = self._loads.least()
            if idle is None or len(idle.held) >= idle.slots:
                return
            node = self._loads.longest()
            if node is None:
                return
            spare = (
                state
                for state in reversed(node.held.values())
                if state.intent is RUN and not state.kept
            )
            self._loads.asked(node)
            self._ask(node, list(islice(spare, (node.surplus + 1) // 2)))

    def _ask(self, node: NodeState, states: list[JobState]) -> None:
        """Ask a node to give jobs back, unless it has started them or has been asked already."""
        for state in states:
            if state.status is ASSIGNED and not state.kept:
                state.move("asked back")
                node.asked.add(state.id)
                self._retract(node.id, state)
        if node.asked:
            self._loads.asked(node)

    def _retract(self, node: NodeId, state: JobState) -> None:
        """Ask a node for a job, in the same message as for the one before if possible."""
        last = self._actions[-1] if self._actions else None
        if not isinstance(last, Retract) or last.node != node or len(last.jobs) == _LIMIT:
            last = Retract(node, [])
            self._actions.append(last)
        last.jobs.append((state.id, state.attempt))

    def _note_kept(self, state: JobState, node: NodeState) -> None:
        """A node was asked for a job and has started it."""
        if state.id not in node.asked:
            return
        state.move("kept")
        state.kept = True
        node.asked.discard(state.id)
        self._answer_kept(state)

    def _answer_kept(self, state: JobState) -> None:
        if state.intent is WITHDRAW:
            state.intent = RUN
            self._actions.append(Kept(state.id))

    def _give_back(self, state: JobState) -> None:
        """A job has not been started where it was: what now?"""
        if state.intent is CANCEL:
            self._end(state, "cancelled")
        elif state.intent is WITHDRAW:
            self._end(state, "withdrawn")
            self._actions.append(Withdrawn(state))
        else:
            state.move("returned")
            self._backlog.put_first(state)

    def _retry(self, state: JobState, mishap: Mishap) -> None:
        """An attempt ended without a result: run the job again, or give it up."""
        state.mishaps += (mishap,)
        if state.intent is CANCEL:
            self._end(state, "cancelled")
            return
        self._answer_kept(state)
        cause = self._policy.reason_to_give_up(state)
        if cause is None:
            self.rescheduled += 1
            state.move("worker died" if mishap.blamed else "node lost")
            self._backlog.put_first(state)
        else:
            self._end(state, "given up")
            self._actions.append(End(state, cause, state.mishaps))

    # Bookkeeping.

    def _node_of(self, state: JobState) -> NodeState:
        if state.node is None:
            raise AssertionError(f"job {state.id} is {state.status} but on no node")
        return self.nodes[state.node]

    def _end(self, state: JobState, event: str) -> None:
        state.move(event)
        del self.jobs[state.id]

    def _end_waiting(self, state: JobState, event: str) -> None:
        self._end(state, event)
        self._backlog.drop()

    def _settle(self, node: NodeState) -> None:
        """After a node has changed: put it where it belongs, then use what it can do."""
        backlog, loads = self._backlog, self._loads
        if node.draining and not node.held:
            del self.nodes[node.id]
            loads.forget(node)
            self._actions.append(Release(node.id))
        else:
            node.credit = self._policy.credit(node)
            room = node.credit - len(node.held)
            if room > 0 and loads.open_slots == node.open_slots and backlog.waiting:
                # The only open node, as most often when jobs wait: no need to look for it.
                self._give(node, min(room, backlog.waiting), {})
            loads.update(node)
        if loads.open_slots:
            if backlog.waiting:
                self._place()
            self._rebalance()


def _twice(known: Container[JobId], jobs: Iterable[JobState]) -> JobId:
    """Return the first number that is known or comes again."""
    times = Counter(state.id for state in jobs)
    return next(job for job in times if job in known or times[job] > 1)
