"""A lab: an engine with twins, nodes that are played by the test, and time that it lets pass.

What a client does with what its engine reports is done here in a few lines, and noted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from ppnext.audience import Finished
from ppnext.engine import Engine
from ppnext.fitting import priority_of, why_not
from ppnext.job import Job, mark_finished, mark_sent
from ppnext.needs import Facts, Need
from ppnext.nodes.link import Link
from ppnext.rescue import Rescue
from ppnext.sched.actions import Cause
from ppnext.sched.model import JobId, JobState, Mishap, NodeKind, Verdict
from ppnext.terms import Terms
from ppnext.twins import FIRST_NUMBER, Twins
from ppnext.wire.messages import Died, Outcome, Unfit

__all__ = ["Lab", "Node", "Owner", "function"]


class Definition:
    """A function."""

    payload, uses = b"code", ()

    def __init__(self, digest: bytes) -> None:
        self.digest = digest


def function(name: str = "f") -> Definition:
    """Return a function to be called."""
    return Definition(name.encode() * 32)


class Clock:
    """An event loop whose time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self._due.append((self.now + seconds, call))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is going to happen."""
        return not self._due

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and make the calls that become due."""
        until = self.now + seconds
        while due := [it for it in self._due if it[0] <= until]:
            first = min(due, key=lambda it: it[0])
            self._due.remove(first)
            self.now = first[0]
            first[1]()
        self.now = until


class Stream:
    """What a node is heard over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = clock.now
        self.is_well = True
        self.probes = 0

    def silent_for(self) -> float:
        return self._clock.now - self._heard

    def probe(self) -> None:
        self.probes += 1
        if self.is_well:
            self.hear()

    def hear(self) -> None:
        """The node says something, in a moment."""
        self._heard = self._clock.now + 0.001


class Owner:
    """Whom jobs ask."""

    def attend(self, job: Job) -> None:
        return None

    def cancelled(self, job: Job, grace: float) -> None:
        """Told to the twins by the test."""


class Node:
    """A node that runs what it is sent when the test says so, and keeps what it is asked for."""

    hello, guard = None, None

    def __init__(self, lab: Lab, name: str, slots: int, kind: NodeKind) -> None:
        self._lab = lab
        self.node = lab.engine.new_node()
        self.name, self.kind, self.slots, self.latency = name, kind, slots, 0.001
        self.jobs = Stream(lab.clock) if kind is NodeKind.DAEMON else None
        self.sent: list[tuple[int, int]] = []
        self.stopped: list[int] = []

    @property
    def _link(self) -> Link:
        return cast(Link, self)

    def run(self, jobs: Sequence[JobState]) -> None:
        self.sent += [(job.id, job.attempt) for job in jobs]

    def retract(self, jobs: Sequence[tuple[int, int]]) -> None:
        self.stopped += [job for job, _ in jobs]

    @property
    def numbers(self) -> list[int]:
        """What it was sent and has not ended, twins as the negative number of their order."""
        return [job if job < FIRST_NUMBER else FIRST_NUMBER - 1 - job for job, _ in self.sent]

    def answers(self, *places: int, raised: bool = False, seconds: float = 0.1) -> None:
        """End jobs by their places among those that were sent; the first if none is named."""
        refs = [self.sent[place] for place in places or (0,)]
        self.sent = [ref for ref in self.sent if ref not in refs]
        outcomes = [Outcome(job, attempt, 4, raised, seconds) for job, attempt in refs]
        self._lab.engine.on_results(self._link, outcomes, [b"done" for _ in refs])

    def dies(self, verdict: Verdict | None = None) -> None:
        """The worker of the job that was sent first is gone, or has stopped it."""
        job, attempt = self.sent.pop(0)
        if verdict is None:
            self._lab.engine.on_died(self._link, Died(job, attempt, "killed"))
        else:
            self._lab.engine.on_stopped(self._link, (job, attempt), verdict)

    def refuses(self) -> None:
        """It cannot run the job that was sent first."""
        job, attempt = self.sent.pop(0)
        self._lab.engine.on_unfit(self._link, Unfit(job, attempt, "too old"))

    def is_lost(self) -> None:
        """The way to it is cut."""
        self.sent.clear()
        self._lab.engine.on_lost(self._link, "cut off", None)


class Lab:
    """An engine whose jobs may have twins; it is its own audience."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.engine = Engine(cast(Any, self), None, why_not, priority_of)
        self.twins = Twins(self.engine, self.job_ended)
        self.rescue = Rescue(self.clock, self.clock.time, self.engine, self.twins)
        self.ended: list[tuple[int, str]] = []
        self.lost = 0
        self.settled: Callable[[list[Job]], object] = len
        self._tids = 0

    def node(self, name: str, slots: int = 1, kind: NodeKind = NodeKind.DAEMON) -> Node:
        """Have another node."""
        node = Node(self, name, slots, kind)
        self.engine.on_joined(cast(Link, node))
        return node

    def submit(
        self, called: Definition | None = None, need: Need | None = None, **terms: Any
    ) -> Job:
        """Submit a job."""
        agreed = Terms(**terms)
        arguments = b"arguments"
        definition = cast(Any, called or function())
        job = Job(cast(Any, Owner()), self._tids, "", None, definition, arguments, terms=agreed)
        self._tids += 1
        state = JobState(JobId(job.tid), job, need=need, retries=agreed.retries)
        self.engine.submit([state])
        return job

    def start_twin(self, job: Job) -> None:
        """Give a job that runs a twin."""
        state = self.engine.state_of(job.tid)
        assert state is not None and state.node is not None
        assert self.twins.may_have(state)
        self.twins.start([state], [self.engine.links[state.node].name])

    # The audience.

    def jobs_started(self, jobs: Sequence[JobState], link: Link) -> None:
        mark_sent([cast(Job, state.call) for state in jobs], link.name)
        self.rescue.watch()

    def jobs_finished(self, jobs: Sequence[Finished], link: Link) -> None:
        jobs = self.twins.settle(jobs, link)
        own = [cast(Job, it.job.call) for it in jobs]
        self.settled(own)
        mark_finished(own, jobs)
        self.ended += [(job.tid, f"done on {job.node}") for job in own]

    def job_ended(self, job: JobState, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        if not self.twins.outlives(job, cause, mishaps):
            self.ended.append((job.id, cause.name))

    def attempt_failed(self, job: JobState, mishap: Mishap) -> None:
        """An End tells of the last."""

    def job_lost(self, link: Link) -> None:
        self.lost += 1

    def job_unfit(self, job: JobState, link: Link, unfit: Unfit) -> Need | None:
        return None if self.twins.refused(job) else Need(python="9.9")

    def facts_of(self, link: Link) -> Facts:
        return Facts("3.12.0", name=link.name)

    def need(self, digest: bytes) -> None:
        """Nothing is asked for here."""

    def node_joined(self, link: Link) -> None:
        """The test knows."""

    node_gone = node_resized = lambda self, *args: None
