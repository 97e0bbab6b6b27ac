"""Fitting: what is known of each node, and what jobs need of one. Lives on the event loop.

A node says its version of Python when it joins. Which distributions it has it is asked when a job
requires them for the first time; until it has answered it does not fit. Workers of this machine
have what this process has.

A function that nodes import from an installed distribution is to be the same function everywhere:
its jobs require the version that is here, unless they say themselves what is good enough.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, cast

from ppnext.needs import Facts, Need, distributions, fits, minor, with_same
from ppnext.sched.claim import Claim, claimed
from ppnext.sched.model import JobId, JobState, NodeId, NodeKind
from ppnext.terms import DEFAULT
from ppnext.wire.messages import SINCE, Limits, Stop

if TYPE_CHECKING:
    from ppnext.engine import Engine
    from ppnext.job import Job
    from ppnext.nodes.link import Link
    from ppnext.shipping.functions import Definition

__all__ = ["Fitting", "claim_of", "priority_of", "why_not"]

_NOTHING = Need()
_UNLIMITED = Limits()


def why_not(need: Hashable, facts: object) -> str | None:
    """Return why a node with these facts cannot run jobs of a need; for the scheduler."""
    return fits(cast(Need, need), cast(Facts, facts))


def priority_of(need: Hashable) -> int:
    """Return the priority of jobs of a need; for the scheduler."""
    return cast(Need, need).priority


def claim_of(need: Hashable) -> Claim | None:
    """Return what jobs of a need take of their machine; for the scheduler."""
    here = cast(Need, need)
    return claimed(here.threads, here.resources)


class Fitting:
    """Which nodes can run which jobs.

    Args:
        engine: whose nodes and jobs they are.

    Attributes:
        has_network: whether there may be nodes that have not what this process has.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # What this process has; written by threads that submit, before the jobs that require it.
        self._own: dict[str, str] = {}
        self._owners: dict[str, tuple[str, str] | None] = {}
        self.has_network = False
        # Distributions that some job has required, and what each daemon has said of them.
        self._asked: set[str] = set()
        self._told: dict[NodeId, dict[str, str]] = {}

    def know(self, requires: tuple[str, ...]) -> None:
        """Find out what this process has of what a job requires. From any thread."""
        unknown = [name for name in distributions(requires) if name not in self._own]
        if unknown:
            from ppnext.runtime.distributions import versions  # only for who uses it

            self._own.update(versions(unknown))

    def as_here(self, requires: tuple[str, ...], module: str) -> tuple[str, ...]:
        """Return requirements of a job whose function nodes import. From any thread.

        Args:
            requires: requirements in their normal form.
            module: the name of the module that the function is in.
        """
        top = module.partition(".")[0]
        if not self.has_network:
            return requires
        if top not in self._owners:
            from ppnext.shipping.installed import owner_of  # only for who uses it

            self._owners[top] = owner_of(top)
        owner = self._owners[top]
        if owner is None:
            return requires
        name, version = owner
        self._own.setdefault(name, version)
        return with_same(requires, name, version)

    # On the loop.

    def need_of(self, job: Job) -> Need | None:
        """Return what a job needs; None if any node can run it."""
        definition, terms = job.definition, job.terms
        if terms is DEFAULT and definition.python is None and not definition.without:
            return None  # as almost all
        if terms.requires:
            self._ask_about(terms.requires)
        # The scheduler is quicker with jobs that need nothing, and workers here have this Python.
        python = definition.python if self.has_network else None
        limits = terms.limits or _UNLIMITED
        need = Need(
            python,
            definition.without,
            terms.requires,
            self.has_network and terms.limits is not None,
            terms.node,
            terms.priority,
            limits.threads,
            limits.resources,
        )
        return None if need == _NOTHING else need

    def states_of(self, jobs: Iterable[Job]) -> list[JobState]:
        """Return what the scheduler is told of jobs."""
        states = []
        plain: Definition | None = None
        for job in jobs:
            terms = job.terms
            if terms is DEFAULT and job.definition is plain:
                states.append(JobState(JobId(job.tid), job))
                continue
            need = self.need_of(job)
            states.append(JobState(JobId(job.tid), job, need=need, retries=terms.retries))
            if terms is DEFAULT and need is None:
                plain = job.definition  # the next one mostly calls the same
        return states

    def refused(self, job: Job, link: Link, arguments: bool) -> Need:
        """A node's Python cannot load a job. Return what the job needs now.

        Args:
            arguments: whether it is not the function, but this job's arguments.
        """
        hello, definition = link.hello, job.definition
        if hello is None:
            raise AssertionError("a node has run jobs before it said who it is")
        here = frozenset({minor(hello.python)})
        if arguments:
            state = self._engine.state_of(job.tid)
            before = cast("Need | None", state.need if state else None) or _NOTHING
            return before._replace(without=before.without | here)
        definition.without |= here
        # The others that call it need not be tried.
        alike: dict[Need | None, list[JobId]] = {}
        for state in self._engine.states():
            other = cast("Job", state.call)
            if other.definition is definition and other is not job:
                alike.setdefault(self.need_of(other), []).append(state.id)
        for need, jobs in alike.items():
            self._engine.change(jobs, need)
        return self.need_of(job) or Need(without=definition.without)

    def facts_of(self, link: Link) -> Facts:
        """Return what is known of a node, which has just joined or told something."""
        hello = link.hello
        if hello is None:
            return Facts("")
        versions = self._own if link.kind is NodeKind.WORKER else self._told.get(link.node, {})
        return Facts(hello.python, dict(versions), SINCE[Stop] <= hello.protocol, link.name)

    def joined(self, link: Link) -> None:
        """A node has joined."""
        if self._asked and link.kind is NodeKind.DAEMON:
            link.ask(sorted(self._asked))

    def told(self, link: Link, versions: Mapping[str, str]) -> None:
        """A node has said which versions it has."""
        # What it was not asked is not kept: a node may say what it likes.
        asked = {name: version for name, version in versions.items() if name in self._asked}
        self._told.setdefault(link.node, {}).update(asked)
        self._engine.learn(link, self.facts_of(link))

    def gone(self, link: Link) -> None:
        """A node is not there any more."""
        self._told.pop(link.node, None)

    def _ask_about(self, requires: tuple[str, ...]) -> None:
        new = [name for name in distributions(requires) if name not in self._asked]
        if not new:
            return
        self._asked.update(new)
        for link in list(self._engine.links.values()):
            if link.kind is NodeKind.WORKER:
                self._engine.learn(link, self.facts_of(link))
            else:
                link.ask(new)
