"""The engine: the owner of a scheduler. Events in, actions carried out.

One engine serves a client's ``Server``, one each session of a daemon; they differ only in where
jobs come from and who is told how they end (``Audience``). The engine lives on one event loop and
is touched by its thread, or by a visitor of the loop, alone.

Follow one job: ``submit`` gives it to the scheduler; the scheduler answers with an ``Assign``;
``_act`` sends it over the node's link, with the function if the node does not have it yet;
``on_results`` asks the scheduler whether the result is wanted and hands it to the audience. What
the job is about (``Call``) travels with its state, so nobody has to look it up. Jobs that come
together and results that come together are handled together.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from itertools import count
from typing import cast

from ppnext.audience import Audience, Finished
from ppnext.definitions import Definitions, used_by
from ppnext.nodes.link import Link
from ppnext.nodes.roles import Call, Definition
from ppnext.runtime.streams import Stream
from ppnext.sched.actions import (
    Action,
    Assign,
    End,
    Failed,
    Kept,
    Release,
    Retract,
    Stop,
    Withdrawn,
)
from ppnext.sched.claim import ClaimOf
from ppnext.sched.host import Host
from ppnext.sched.model import RUN, JobId, JobState, Limit, Mishap, NodeId, NodeKind, Verdict
from ppnext.sched.policy import Policy
from ppnext.sched.pool import Fits, PriorityOf
from ppnext.sched.scheduler import Scheduler
from ppnext.sched.stock import Stock
from ppnext.wire.messages import Began, Died, JobRef, Outcome, Returned, Unfit
from ppnext.wire.payloads import Payload

__all__ = ["Engine"]


class Engine:
    """Runs jobs on nodes.

    Args:
        audience: who is told.
        policy: the scheduler's numbers.
        fits: why a node with certain facts cannot run jobs with a need; None if all run all.
        priority_of: the priority of jobs with a need; none has any if None.
        claim_of: what jobs with a need take of their machine; one slot each if None.
        stock: countable things of this machine, of which others may take as well.
        held_most: most bytes of objects that are held, but for the newest.

    Attributes:
        here: this machine: what its workers' jobs take.
        pools: the scheduler's, to be asked what waits.
    """

    def __init__(
        self,
        audience: Audience,
        policy: Policy | None = None,
        fits: Fits | None = None,
        priority_of: PriorityOf | None = None,
        claim_of: ClaimOf | None = None,
        stock: Stock | None = None,
        held_most: int = 1 << 30,
    ) -> None:
        self.links: dict[NodeId, Link] = {}
        self._audience = audience
        self.here = Host(0, stock)  # it hears how many slots there are to be
        self._scheduler = Scheduler(policy, fits, priority_of, claim_of, self.here)
        self.pools = self._scheduler.pools
        self._definitions = Definitions(held_most)
        self._missing: dict[bytes, list[NodeId]] = {}  # who waits for what is to be fetched first
        # Seconds to end in, of jobs that are asked for and are to be stopped if they are kept.
        self._graces: dict[int, float] = {}
        self._numbers = count(1)
        self._acting = False
        # Whether an event was reported while actions were carried out.
        self._overtaken = False

    def new_node(self) -> NodeId:
        """Return a number that no node has had."""
        return NodeId(next(self._numbers))

    # Jobs.

    def submit(self, jobs: Sequence[JobState]) -> None:
        """Run jobs. The ``call`` of each is a ``Call``; no job here has their numbers."""
        for call in cast("list[Call]", [job.call for job in jobs]):
            self._definitions.note(call.definition)
        self._scheduler.on_submit(jobs)
        self._act()

    def definition(self, digest: bytes) -> Definition:
        """Return the function of a content hash; without its payload, if that is not here."""
        return self._definitions.get(digest)

    def provide(self, digest: bytes, payload: Payload, hold: bool = False) -> None:
        """Keep a function or an object; nodes that wait for it get it now.

        Args:
            hold: keep it until ``drop``, if there is room.
        """
        definition = self._definitions.provide(digest, payload, hold)
        for node in self._missing.pop(digest, ()):
            if node in self.links:
                self.links[node].define(definition)

    def drop(self, digest: bytes) -> None:
        """No job uses an object any more, or nobody has it: nodes neither keep nor await it."""
        self._definitions.drop(digest)
        waiting = self._missing.pop(digest, ())
        for node, link in self.links.items():
            if node in waiting or link.may_have(digest):
                link.drop(digest)

    def cancel(self, job: int, grace: float) -> None:
        """Nobody wants the job any more; nobody will be told how it ends.

        Args:
            grace: seconds that it has to end by itself, if it runs.
        """
        self._scheduler.on_cancel(JobId(job), grace)
        self._act()

    def blame(self, job: int, mishaps: tuple[Mishap, ...]) -> None:
        """A job is to blame for deaths of workers under another number."""
        self._scheduler.on_blamed(JobId(job), mishaps)
        self._act()

    def stop(self, job: int, grace: float) -> None:
        """Stop a job that has been started; how it ends is told as always.

        If it is not known whether it has been started, it is asked for first, and given back if it
        has not: its worker may have died since, or an answer was given before the job had come.
        """
        state = self.state_of(job)
        if state is None:
            return
        if state.kept and state.node in self.links:
            self.links[state.node].stop((state.id, state.attempt), grace)
        else:
            self._graces[job] = grace
            if state.intent is RUN:  # else it has been asked for already
                self.withdraw([job])

    def withdraw(self, jobs: Iterable[int]) -> None:
        """Give back those of these jobs that have not been started; each is answered."""
        for job in jobs:
            self._scheduler.on_withdraw(JobId(job))
        self._act()

    def change(self, jobs: Iterable[JobId], need: Hashable) -> None:
        """Jobs need something else from now on."""
        self._scheduler.on_need(jobs, need)
        self._act()

    def learn(self, link: Link, facts: object) -> None:
        """More is known of a node, or something else."""
        if link.node in self.links:
            self._scheduler.on_facts(link.node, facts)
            self._act()

    # What the nodes report.

    def on_joined(self, link: Link) -> None:
        self.links[link.node] = link
        facts, machine = self._audience.facts_of(link), None
        if link.kind is NodeKind.DAEMON and link.hello is not None:
            machine = Host(link.hello.slots, Stock(dict(link.hello.offers)))
        self._scheduler.on_node_joined(
            link.node, link.name, link.kind, link.slots, link.latency, facts, machine
        )
        self._audience.node_joined(link)
        self._act()

    def on_results(
        self, link: Link, outcomes: Sequence[Outcome], payloads: Sequence[Payload]
    ) -> None:
        states = self._scheduler.on_finished(
            link.node, [(JobId(it.job), it.attempt, it.seconds) for it in outcomes]
        )
        finished = [
            Finished(state, outcome, payload)
            for state, outcome, payload in zip(states, outcomes, payloads, strict=True)
            if state is not None
        ]
        # The next jobs leave before anybody looks at what came back.
        self._act()
        self._audience.jobs_finished(finished, link)

    def on_began(self, link: Link, began: Began) -> None:
        state = self._held(link, began.job, began.attempt)
        limits = None if state is None else cast(Call, state.call).limits
        if limits is not None:
            link.watch(began, limits)

    def on_died(self, link: Link, died: Died) -> None:
        limit = Limit.__members__.get(died.limit)
        if limit is not None:
            verdict = Verdict(limit, died.cause, died.stack, died.peak)
            self.on_stopped(link, (died.job, died.attempt), verdict)
            return
        self._audience.job_lost(link)
        self._scheduler.on_died(link.node, JobId(died.job), died.attempt, died.cause)
        self._act()

    def on_stopped(self, link: Link, job: JobRef, verdict: Verdict) -> None:
        self._scheduler.on_died(link.node, JobId(job[0]), job[1], verdict.cause, verdict)
        self._act()

    def on_returned(self, link: Link, returned: Returned) -> None:
        self._scheduler.on_returned(
            link.node,
            [(JobId(job), attempt) for job, attempt in returned.jobs],
            [(JobId(job), attempt) for job, attempt in returned.kept],
        )
        self._act()

    def on_unanswered(self, link: Link, asked: Sequence[JobRef]) -> None:
        if link.guard is not None and (node := self._scheduler.nodes.get(link.node)) is not None:
            self.on_returned(link, Returned([], link.guard.begun(node.held, asked)))

    def on_need(self, link: Link, digest: bytes) -> None:
        definition: Definition | None = self.definition(digest)
        if definition is None or definition.payload is None:
            # Registered under its hash is the newest of several equal ones; another may be in use.
            # Objects are not registered at all.
            jobs = self._scheduler.nodes[link.node].held.values()
            definition = used_by([cast(Call, job.call) for job in jobs], digest)
        if definition is not None:
            link.define(definition)
        else:
            self._missing.setdefault(digest, []).append(link.node)
            self._audience.need(digest)

    def on_unfit(self, link: Link, unfit: Unfit) -> None:
        state = self._held(link, unfit.job, unfit.attempt)
        if state is None:
            return  # said too late
        need = self._audience.job_unfit(state, link, unfit)
        if need is None:
            self._scheduler.on_finished(link.node, [(state.id, state.attempt, 0.0)])
        else:
            self._scheduler.on_unfit(link.node, state.id, state.attempt, need)
        self._act()

    def on_facts(self, link: Link, versions: Mapping[str, str]) -> None:
        self._audience.told(link, versions)

    def on_seek(self, link: Link, module: str) -> None:
        self._audience.sought(link, module)

    def on_resized(self, link: Link) -> None:
        if link.node in self.links:
            self._scheduler.on_latency(link.node, link.latency)
            self._scheduler.on_node_resized(link.node, link.slots)
            self._audience.node_resized(link)
            self._act()

    def on_here(self, slots: int | None = None) -> None:
        self._scheduler.on_here(slots)
        self._act()

    def on_draining(self, link: Link) -> None:
        if link.node in self.links:
            self._scheduler.on_node_draining(link.node)
            self._act()

    def on_lost(
        self, link: Link, cause: str, running: int | None, verdict: Verdict | None = None
    ) -> None:
        if self.links.pop(link.node, None) is not None:
            job = None if running is None else JobId(running)
            for _ in range(self._scheduler.lost_with(link.node, job)):
                self._audience.job_lost(link)
            self._scheduler.on_node_lost(link.node, cause, job, verdict)
            self._audience.node_gone(link, cause)
            self._act()

    # What the scheduler decides.

    def _act(self) -> None:
        if self._acting:
            self._overtaken = True
            return  # what this event asks for comes after what earlier ones did
        self._acting = True
        try:
            while actions := self._scheduler.take_actions():
                for action in actions:
                    self._carry_out(action)
        finally:
            self._acting = self._overtaken = False

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Assign):
            self._assign(action)
        elif isinstance(action, Retract):
            if action.node in self.links:
                self.links[action.node].retract(action.jobs)
        elif isinstance(action, Stop) and action.node in self.links:
            self.links[action.node].stop(action.job, action.grace)
        elif isinstance(action, Failed):
            self._audience.attempt_failed(action.job, action.mishap)
        elif isinstance(action, End):
            self._audience.job_ended(action.job, action.cause, action.mishaps)
        elif isinstance(action, Release):
            link = self.links.pop(action.node)
            self._audience.node_gone(link, None)
            link.close("not needed any more")
        elif isinstance(action, Withdrawn):
            self._graces.pop(action.job.id, None)
            self._audience.job_withdrawn(action.job.id, True)
        elif isinstance(action, Kept):
            self._kept(action.job)
            self._audience.job_withdrawn(action.job, False)

    def _kept(self, job: JobId) -> None:
        """A job stays that was asked for; if it runs, it may have to be stopped."""
        grace, state = self._graces.pop(job, None), self.state_of(job)
        if grace is not None and state is not None and state.kept:
            self.stop(job, grace)

    def _held(self, link: Link, job: int, attempt: int) -> JobState | None:
        """The job, if the node holds this attempt at it."""
        state = self._scheduler.nodes[link.node].held.get(JobId(job))
        return state if state is not None and state.attempt == attempt else None

    def _assign(self, action: Assign) -> None:
        link = self.links.get(action.node)
        if link is None:
            return  # overtaken by a later event; the scheduler knows, its next action follows
        jobs = action.jobs
        if self._overtaken:
            jobs = [job for job in jobs if job.node == action.node]
        link.run(jobs)
        self._audience.jobs_started(jobs, link)

    def clear(self) -> None:
        """Forget all functions and what jobs have taken, once nobody wants any job."""
        self.here.close()
        self._definitions.clear()
        self._missing.clear()

    # Questions.

    def state_of(self, job: int) -> JobState | None:
        """What the scheduler knows of a job; None when it has ended."""
        return self._scheduler.jobs.get(JobId(job))

    def why_not(self, job: int) -> list[tuple[str, str]]:
        """Return the names of the nodes that cannot run a job, each with the reason."""
        return self._scheduler.why_not(JobId(job))

    def waiting_before(self, job: int) -> int:
        """How many jobs will be placed before this one."""
        return self._scheduler.waiting_before(JobId(job))

    def stream_of(self, job: int) -> Stream | None:
        """Return the stream on which a job will end; None if it is not on a worker here."""
        state = self._scheduler.jobs.get(JobId(job))
        link = None if state is None or state.node is None else self.links.get(state.node)
        return link.jobs if link is not None and link.kind is NodeKind.WORKER else None

    def held_by(self, link: Link) -> Collection[JobState]:
        """The jobs that a node holds, in the order in which they were sent."""
        return self._scheduler.nodes[link.node].held.values()

    def attempt_at(self, link: Link, job: int) -> int | None:
        node = self._scheduler.nodes.get(link.node)
        state = None if node is None else node.held.get(JobId(job))
        return None if state is None else state.attempt

    def states(self) -> list[JobState]:
        """The jobs that have not ended."""
        return list(self._scheduler.jobs.values())

    @property
    def open_slots(self) -> int:
        """How many slots would take another job, of one kind or another."""
        return self._scheduler.open_slots

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return len(self._scheduler.jobs)

    @property
    def rescheduled(self) -> int:
        """How many attempts were lost and followed by another."""
        return self._scheduler.rescheduled
