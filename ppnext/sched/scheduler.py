"""The scheduler: which job runs on which node.

Rule 1: an owner reports what happened with one of the ``on_<event>`` methods and then carries
out what ``take_actions`` returns, in order. Nothing else changes the state.
Rule 2: no clock, no randomness: the same events give the same actions.
Rule 3: every job that is submitted ends exactly once: with ``on_finished`` giving its state back,
or with one ``End`` or ``Withdrawn`` action, or with ``on_cancel``.
Rule 4: what comes together is handled together, and a node is looked at once for each batch, so
that what is not the job's own work costs the less the more there is to do.

Theory of operation. Jobs wait in one queue. A node pulls by credit: it may hold as many jobs as
it has slots, and a few more when its jobs are so short that fetching the next one would leave it
idle (``Policy.credit``). The node that is least loaded takes the next jobs; of equals a worker on
this machine before a daemon. When no job waits and a node has a free slot, the node with the
longest queue of unstarted jobs is asked to give back half of them, to the front of the queue.

Jobs may have needs, and nodes facts; the owner says whether they fit (``Fits``). All jobs with one
need are in a pool with a queue of its own (``ppnext.sched.pool``). A job is on a node that does not
fit only while it is asked back, or if it had been started before it was. A job that no node fits
waits, and holds up nobody. What jobs take of a machine besides a slot is counted for the machine
(``ppnext.sched.host``), and room for them is made in turn (``ppnext.sched.clearing``).

A node that is lost gives its jobs back as well. If it was a worker, the job it was running is
blamed for its death: a worker runs its jobs in the order in which they were sent, so that is the
oldest one it holds, unless it is known to have been a later one; then those before it have been
run too, and only their results are lost. A job that was blamed too often ends as poisoned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppnext.sched.actions import Action, Kept, Withdrawn
from ppnext.sched.aftermath import Aftermath
from ppnext.sched.claim import ClaimOf
from ppnext.sched.dispatcher import Dispatcher
from ppnext.sched.host import Host
from ppnext.sched.model import (
    CANCEL,
    FINISHED,
    RUN,
    WAITING,
    WITHDRAW,
    WORKER,
    JobId,
    JobState,
    Mishap,
    Need,
    NodeId,
    NodeKind,
    NodeState,
    Ran,
    Ref,
    Verdict,
    first_twice,
)
from ppnext.sched.policy import Policy
from ppnext.sched.pool import Fits, PriorityOf
from ppnext.sched.pools import Pools

__all__ = ["Scheduler"]


class Scheduler:
    """Decides which job runs where.

    Args:
        policy: the numbers behind its decisions.
        fits: why a node cannot run jobs with a need; without it all can run all.
        priority_of: the priority of jobs with a need; without it, and without a need, it is 0.
        claim_of: what jobs with a need take of their machine; without it, one slot each.
        here: the machine that all workers are on.

    Attributes:
        jobs: the jobs that have not ended, by number.
        nodes: the nodes that are connected, by number.
        pools: the waiting jobs and the nodes that can run them, need by need.
        dropped: how many results were refused because their attempt was no longer wanted.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        fits: Fits | None = None,
        priority_of: PriorityOf | None = None,
        claim_of: ClaimOf | None = None,
        here: Host | None = None,
    ) -> None:
        self.jobs: dict[JobId, JobState] = {}
        self.nodes: dict[NodeId, NodeState] = {}
        self.dropped = 0
        self._here = here or Host()
        self.pools = Pools(self.nodes, fits, priority_of, claim_of)
        self._claim_of = claim_of
        self._loads = self.pools.general.loads
        self._policy = policy or Policy()
        self._dispatcher = Dispatcher(self.nodes, self.pools, self._policy)
        self._aftermath = Aftermath(self.jobs, self.pools, self._dispatcher, self._policy)

    def take_actions(self) -> list[Action]:
        """Return what is to be done since the last call."""
        actions, self._dispatcher.actions = self._dispatcher.actions, []
        return actions

    @property
    def rescheduled(self) -> int:
        """How many attempts ended without a result and were followed by another."""
        return self._aftermath.rescheduled

    @property
    def waiting(self) -> int:
        """How many jobs wait to be placed."""
        return self.pools.waiting

    @property
    def open_slots(self) -> int:
        """Slots of the nodes that would take another job; none that waits is for them."""
        return self._loads.open_slots

    def waiting_before(self, job: JobId) -> int:
        """How many waiting jobs will be placed before this one. Takes time in proportion.

        Those that only other nodes can run do not count. Of a job that does not wait: all.
        """
        state = self.jobs.get(job)
        if state is None or state.status is not WAITING:
            return self.pools.waiting
        return self.pools.before(state)

    def why_not(self, job: JobId) -> list[tuple[str, str]]:
        """Return the names of the nodes that cannot run a job that has not ended, and why."""
        state = self.jobs.get(job)
        return [] if state is None else self.pools.why_not(state.need)

    def lost_with(self, node: NodeId, running: JobId | None = None) -> int:
        """How many attempts would be lost with a node; ``running`` as in ``on_node_lost``."""
        return self.nodes[node].started(running)

    # Events: jobs.

    def on_submit(self, jobs: Sequence[JobState]) -> None:
        """Jobs are to be run; their states are new and belong to the scheduler from now on."""
        new = {state.id: state for state in jobs}
        if len(new) != len(jobs) or not self.jobs.keys().isdisjoint(new):
            raise AssertionError(f"job {first_twice(self.jobs, jobs)} was submitted twice")
        self.jobs.update(new)
        self.pools.append(jobs)
        if self._loads.open_slots or self.pools.claiming:
            self._dispatcher.place()

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
            if state.need is not None:
                held_by.count(state.need, -1)
                self.pools.leave(state.need)
            if state.intent is WITHDRAW:
                self._aftermath.answer_kept(state)
            if state.intent is CANCEL:
                self._aftermath.finished(job)
                wanted.append(None)
            else:
                wanted.append(state)
        self.dropped += wanted.count(None)
        if count:
            held_by.mean_seconds = self._policy.smooth(held_by.mean_seconds, total / count, count)
            self._dispatcher.settle(held_by)
        return wanted

    def on_died(
        self,
        node: NodeId,
        job: JobId,
        attempt: int,
        cause: str,
        verdict: Verdict | None = None,
    ) -> None:
        """A node that is still there reports that an attempt was begun and has no outcome.

        Args:
            cause: what happened, in words.
            verdict: why it was stopped; None if its worker is gone, for which it is blamed.
        """
        held_by = self.nodes[node]
        state = held_by.held.get(job)
        if state is None or state.attempt != attempt:
            self.dropped += 1
            return
        held_by.release(state)
        mishap = Mishap(attempt, held_by.name, cause, verdict is None, verdict)
        self._aftermath.retry(state, mishap)
        self._dispatcher.settle(held_by)

    def on_cancel(self, job: JobId, grace: float = 0.0) -> None:
        """Nobody wants the job any more: it is not started, or is stopped where it runs.

        Whether it was stopped is not told. It may be called again with a shorter grace.

        Args:
            grace: seconds that it has to end by itself when it is stopped.
        """
        state = self.jobs.get(job)
        if state is None:
            return
        if state.status is WAITING:
            self._aftermath.end_waiting(state, "cancelled")
            return
        self._aftermath.cancel(state, self._node_of(state), grace)

    def on_blamed(self, job: JobId, mishaps: tuple[Mishap, ...]) -> None:
        """A job is to blame for deaths under another number; they count as its own."""
        state = self.jobs.get(job)
        if state is not None:
            node = None if state.node is None else self._node_of(state)
            self._aftermath.blame(state, node, mishaps)

    def on_withdraw(self, job: JobId) -> None:
        """The owner wants the job back, unstarted. Answered by one Withdrawn or Kept action."""
        state = self.jobs.get(job)
        if state is None or state.kept or state.intent is not RUN:
            self._dispatcher.actions.append(Kept(job))
            return
        if state.status is WAITING:
            self._aftermath.end_waiting(state, "withdrawn")
            self._dispatcher.actions.append(Withdrawn(state))
            return
        state.intent = WITHDRAW
        self._dispatcher.ask(self._node_of(state), [state])

    def on_need(self, jobs: Iterable[JobId], need: Need) -> None:
        """Jobs have another need from now on; those that have ended are passed over.

        Those that wait keep their turn; those on a node that does not fit are asked back.
        """
        states = [self.jobs[job] for job in dict.fromkeys(jobs) if job in self.jobs]
        states = [state for state in states if state.need != need]
        self.pools.change(states, need)
        for node in dict.fromkeys(state.node for state in states if state.node is not None):
            self._dispatcher.recall(self.nodes[node])
        self._dispatcher.look_again()

    def on_unfit(self, node: NodeId, job: JobId, attempt: int, need: Need) -> None:
        """A node cannot run a job, as it has turned out: the attempt ended before it began.

        That is no mishap: the job goes back to the front of the queue.

        Args:
            need: what the job needs from now on, and this node lacks. Jobs with this need are
                not placed there, whatever its facts are, until they change.
        """
        held_by = self.nodes[node]
        state = held_by.held.get(job)
        if state is None or state.attempt != attempt:
            self.dropped += 1
            return
        if need is None:
            raise AssertionError(f"job {job} was refused, so it does need something")
        self.pools.change([state], need)
        self.pools.of(need).exclude(held_by)
        held_by.release(state)
        self._aftermath.give_back(state, "refused")
        self._dispatcher.recall(held_by)
        self._dispatcher.settle(held_by)

    # Events: nodes.

    def on_node_joined(
        self,
        node: NodeId,
        name: str,
        kind: NodeKind,
        slots: int,
        latency: float,
        facts: object = None,
        machine: Host | None = None,
    ) -> None:
        """A node is connected and can run ``slots`` jobs at a time.

        Args:
            latency: seconds from the end of a job there to the start of one sent in answer.
            facts: what jobs may ask of it; None: it has not told.
            machine: what it has, if it is a daemon; None: slots and nothing else.
        """
        if node in self.nodes:
            raise AssertionError(f"node {node} joined twice")
        host = self._here if kind is WORKER else machine or Host()
        state = NodeState(node, name, kind, slots, latency, False, facts, host, self._claim_of)
        self.nodes[node] = host.nodes[node] = state
        self._dispatcher.settle(state)

    def on_here(self, slots: int | None = None) -> None:
        """This machine has another number of slots, or things of its stock have come back."""
        if slots is not None:
            self._here.resize(slots)
            self.pools.resized(self._here)
            for node in self._here.nodes.values():
                self._dispatcher.recall(node)
        self._dispatcher.look_again(self._here)

    def on_node_resized(self, node: NodeId, slots: int) -> None:
        """A node runs more or fewer jobs at a time from now on."""
        self.nodes[node].slots = slots
        self._dispatcher.settle(self.nodes[node])

    def on_latency(self, node: NodeId, latency: float) -> None:
        """The way to a node and back has been measured again, in seconds."""
        self.nodes[node].latency = latency
        self._dispatcher.settle(self.nodes[node])

    def on_facts(self, node: NodeId, facts: object) -> None:
        """What jobs may ask of a node is known now, or has changed.

        Those that it does not fit any more and has not started are asked back.
        """
        here = self.nodes[node]
        here.facts = facts
        self.pools.judge_again(here)
        self._dispatcher.recall(here)
        self._dispatcher.settle(here)

    def on_node_draining(self, node: NodeId) -> None:
        """A node takes no more jobs; those that it has not started are asked back.

        Once it holds nothing, a Release action says that it may go.
        """
        leaving = self.nodes[node]
        leaving.draining = True
        self._dispatcher.ask(leaving, list(leaving.held.values()))
        self._dispatcher.settle(leaving)

    def on_returned(self, node: NodeId, returned: Iterable[Ref], kept: Iterable[Ref] = ()) -> None:
        """A node gives jobs back, asked or unasked.

        Args:
            returned: those that it has not started, and now will not.
            kept: those that it was asked for and has started, or does not know.
        """
        held_by = self.nodes[node]
        for state in held_by.find(kept):
            self._aftermath.note_kept(state, held_by)
        # Oldest first at the front of the queue, where they came from.
        back = held_by.find(returned)
        for state in sorted(back, key=lambda state: state.id, reverse=True):
            held_by.release(state)
            self._aftermath.give_back(state)
        self._dispatcher.settle(held_by)

    def on_node_lost(
        self,
        node: NodeId,
        cause: str,
        running: JobId | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """A node is gone, with all that it held.

        Args:
            running: the job that a worker has started last, if that is known; it is blamed, and
                older ones have ended unheard. ``NOBODY`` if none was running; if that is not known
                the oldest one is blamed.
            verdict: why that job was stopped, and its worker killed for it; it is not blamed then.
        """
        lost = self.nodes.pop(node)
        self.pools.forget(lost)
        started = lost.started(running)
        for place, state in reversed(list(enumerate(lost.held.values(), 1))):
            lost.release(state)
            if place <= started:
                mishap = Mishap(state.attempt, lost.name, cause, blamed=False)
                if lost.kind is WORKER and place == started:
                    why = cause if verdict is None else verdict.cause
                    mishap = Mishap(state.attempt, lost.name, why, verdict is None, verdict)
                self._aftermath.retry(state, mishap)
            else:
                self._aftermath.give_back(state)
        self._dispatcher.look_again(lost.host)

    def _node_of(self, state: JobState) -> NodeState:
        if state.node is None:
            raise AssertionError(f"job {state.id} is {state.status} but on no node")
        return self.nodes[state.node]
