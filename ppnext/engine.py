"""The engine: the owner of a scheduler. Events in, actions carried out.

One engine serves a client's ``Server``, one each session of a daemon; they differ only in where
jobs come from and who is told how they end (``Audience``). The engine lives on one event loop and
is touched by its thread alone.

Follow one job: ``submit`` keeps the call and tells the scheduler; the scheduler answers with an
``Assign``; ``_act`` sends the function, if the node does not have it yet, and the job over the
node's link; ``on_result`` asks the scheduler whether the result is wanted, forgets the call and
hands the result to the audience.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Protocol

from ppnext.nodes.link import Call, Link
from ppnext.sched.actions import (
    Action,
    Assign,
    Cause,
    End,
    Release,
    Retract,
    Withdrawn,
)
from ppnext.sched.model import JobId, JobState, Mishap, NodeId
from ppnext.sched.policy import Policy
from ppnext.sched.scheduler import Scheduler
from ppnext.wire.messages import Died, Result, Returned

__all__ = ["Audience", "Engine"]

_KEPT = 256
"""Most functions that are kept although no job calls them."""

_KEPT_BYTES = 64 << 20
"""Most bytes of functions above which those go that no job calls."""


class Audience(Protocol):
    """Who is told how jobs end: the futures of a client, or the session of a daemon."""

    def job_started(self, job: int, attempt: int, link: Link) -> None:
        """The job was sent to a node, where it runs now or soon."""

    def job_finished(self, job: int, result: Result, payload: bytes, link: Link) -> None:
        """The job has ended by itself."""

    def job_ended(self, job: int, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        """The job has ended without a result."""

    def job_lost(self, link: Link) -> None:
        """An attempt at a job was lost, with its worker or with the node."""

    def job_withdrawn(self, job: int, withdrawn: bool) -> None:
        """The answer to ``withdraw``: the job is given back unstarted, or it stays."""

    def need(self, digest: bytes) -> None:
        """The engine does not have a function; it is to be fetched and given to ``provide``."""

    def node_joined(self, link: Link) -> None:
        """A node can take jobs."""

    def node_resized(self, link: Link) -> None:
        """A node runs more or fewer jobs at a time."""

    def node_gone(self, link: Link, cause: str | None) -> None:
        """A node has been lost, or was let go (None)."""


class Engine:
    """Runs jobs on nodes.

    Args:
        audience: who is told.
        policy: the scheduler's numbers.
    """

    def __init__(self, audience: Audience, policy: Policy | None = None) -> None:
        self.links: dict[NodeId, Link] = {}
        self._audience = audience
        self._scheduler = Scheduler(policy)
        self._calls: dict[int, Call] = {}
        # Cancelled jobs that a node may still hold: their calls are kept until it does not.
        self._cancelled: set[int] = set()
        # Functions by content hash, with the number of jobs here that call them; a function
        # that no job calls stays until _KEPT newer ones do not need it either.
        self._functions: dict[bytes, bytes] = {}
        self._functions_size = 0
        self._users: dict[bytes, int] = {}
        # Nodes that wait for a function which has to be fetched first.
        self._missing: dict[bytes, list[NodeId]] = {}
        self._numbers = count(1)
        self._acting = False

    def new_node(self) -> NodeId:
        """Return a number that no node has had."""
        return NodeId(next(self._numbers))

    # Jobs.

    def submit(self, job: int, call: Call, function: bytes | None = None) -> None:
        """Run a job.

        Args:
            job: a number that no job here has.
            call: what to run.
            function: the function's payload, if the engine may not have it.
        """
        self._calls[job] = call
        self._users[call.function] = self._users.get(call.function, 0) + 1
        if function is not None and call.function not in self._functions:
            self.provide(call.function, function)
        self._scheduler.on_submit(JobId(job), call.once)
        self._act()

    def provide(self, digest: bytes, payload: bytes) -> None:
        """Keep a function; nodes that wait for it get it now."""
        self._functions_size += len(payload) - len(self._functions.pop(digest, b""))
        self._functions[digest] = payload
        self._trim_functions(digest)
        for node in self._missing.pop(digest, ()):
            if node in self.links:
                self.links[node].define(digest, payload)

    def cancel(self, job: int) -> None:
        """Nobody wants the job any more; nobody will be told how it ends."""
        self._scheduler.on_cancel(JobId(job))
        self._cancelled.add(job)
        self._act()

    def withdraw(self, jobs: Iterable[int]) -> None:
        """Give back those of these jobs that have not been started; each is answered."""
        for job in jobs:
            self._scheduler.on_withdraw(JobId(job))
        self._act()

    # What the nodes report.

    def on_joined(self, link: Link) -> None:
        self.links[link.node] = link
        self._scheduler.on_node_joined(link.node, link.name, link.kind, link.slots, link.latency)
        self._audience.node_joined(link)
        self._act()

    def on_result(self, link: Link, result: Result, payload: bytes) -> None:
        job = JobId(result.job)
        if self._scheduler.on_finished(link.node, job, result.attempt, result.seconds):
            self._forget(job)
            self._audience.job_finished(job, result, payload, link)
        self._act()

    def on_died(self, link: Link, died: Died) -> None:
        self._audience.job_lost(link)
        self._scheduler.on_died(link.node, JobId(died.job), died.attempt, died.cause)
        self._act()

    def on_returned(self, link: Link, returned: Returned) -> None:
        self._scheduler.on_returned(
            link.node,
            [(JobId(job), attempt) for job, attempt in returned.jobs],
            [(JobId(job), attempt) for job, attempt in returned.kept],
        )
        self._act()

    def on_need(self, link: Link, digest: bytes) -> None:
        payload = self._functions.get(digest)
        if payload is not None:
            link.define(digest, payload)
        else:
            self._missing.setdefault(digest, []).append(link.node)
            self._audience.need(digest)

    def on_resized(self, link: Link) -> None:
        if link.node in self.links:
            self._scheduler.on_latency(link.node, link.latency)
            self._scheduler.on_node_resized(link.node, link.slots)
            self._audience.node_resized(link)
            self._act()

    def on_draining(self, link: Link) -> None:
        if link.node in self.links:
            self._scheduler.on_node_draining(link.node)
            self._act()

    def on_lost(self, link: Link, cause: str) -> None:
        if self.links.pop(link.node, None) is not None:
            for _ in range(self._scheduler.lost_with(link.node)):
                self._audience.job_lost(link)
            self._scheduler.on_node_lost(link.node, cause)
            self._audience.node_gone(link, cause)
            self._act()

    # What the scheduler decides.

    def _act(self) -> None:
        if self._acting:
            return  # what this event asks for comes after what earlier ones did
        self._acting = True
        try:
            while actions := self._scheduler.take_actions():
                for action in actions:
                    self._carry_out(action)
        finally:
            self._acting = False
        for job in [job for job in self._cancelled if job not in self._scheduler.jobs]:
            self._cancelled.remove(job)
            self._forget(job)

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Assign):
            self._assign(action)
        elif isinstance(action, Retract):
            if action.node in self.links:
                self.links[action.node].retract(action.jobs)
        elif isinstance(action, End):
            self._forget(action.job)
            self._audience.job_ended(action.job, action.cause, action.mishaps)
        elif isinstance(action, Release):
            link = self.links.pop(action.node)
            self._audience.node_gone(link, None)
            link.close("not needed any more")
        else:
            withdrawn = isinstance(action, Withdrawn)
            if withdrawn:
                self._forget(action.job)
            self._audience.job_withdrawn(action.job, withdrawn)

    def _assign(self, action: Assign) -> None:
        link = self.links.get(action.node)
        call = self._calls.get(action.job)
        if link is None or call is None:
            return  # overtaken by a later event; the scheduler knows, its next action follows
        if not link.knows(call.function):
            payload = self._functions.get(call.function)
            if payload is not None:
                link.define(call.function, payload)
        link.run(action.job, action.attempt, call)
        self._audience.job_started(action.job, action.attempt, link)

    def _forget(self, job: int) -> None:
        call = self._calls.pop(job, None)
        if call is None:
            return
        users = self._users[call.function] - 1
        if users:
            self._users[call.function] = users
        else:
            del self._users[call.function]
            self._trim_functions(b"")

    def _trim_functions(self, newest: bytes) -> None:
        """Drop the oldest functions that no job calls, beyond those that are likely to return.

        The newest stays in any case: the job that calls it comes next.
        """
        if len(self._functions) <= _KEPT and self._functions_size <= _KEPT_BYTES:
            return
        for digest in list(self._functions):
            if digest not in self._users and digest != newest:
                self._functions_size -= len(self._functions.pop(digest))
            if len(self._functions) <= _KEPT and self._functions_size <= _KEPT_BYTES:
                return

    def clear(self) -> None:
        """Forget all jobs and functions, once nobody wants any of them."""
        self._calls.clear()
        self._users.clear()
        self._functions.clear()
        self._functions_size = 0
        self._missing.clear()

    # Questions.

    def state_of(self, job: int) -> JobState | None:
        """What the scheduler knows of a job; None when it has ended."""
        return self._scheduler.jobs.get(JobId(job))

    def waiting_before(self, job: int) -> int:
        """How many jobs will be placed before this one."""
        return self._scheduler.waiting_before(JobId(job))

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return len(self._scheduler.jobs)

    @property
    def rescheduled(self) -> int:
        """How many attempts were lost and followed by another."""
        return self._scheduler.rescheduled
