"""Standing: where a job is, or why it waits, in one line. On the event loop."""

from __future__ import annotations

from collections.abc import Mapping

from ppnext.engine import Engine
from ppnext.job import Job
from ppnext.outbox import Outbox
from ppnext.retrying import Retrying
from ppnext.sched.model import JobState, Status
from ppnext.twins import Twins

__all__ = ["Standing"]


class Standing:
    """Knows where jobs of one client are.

    Args:
        engine: has those that the scheduler was told of.
        outbox: has those that come next.
        retrying: has those that wait to be run again.
        twins: second attempts at them.
    """

    def __init__(self, engine: Engine, outbox: Outbox, retrying: Retrying, twins: Twins) -> None:
        self._engine = engine
        self._outbox = outbox
        self._retrying = retrying
        self._twins = twins

    def describe(self, job: Job, nodes: Mapping[str, int], troubles: Mapping[str, str]) -> str:
        """Say where a job is.

        Args:
            nodes: how many jobs each connected node runs at a time.
            troubles: why servers that were tried are not connected, by address.
        """
        if job.done():
            return "finished"
        if self._retrying.waits(job):
            return f"waiting to be run again, after attempt {job.attempts}"
        state, twin = self._engine.state_of(job.tid), self._twins.node_of(job)
        if state is not None:
            also = f", also on {twin}" if twin is not None else ""
            again = f"; {len(state.mishaps)} attempts were lost" if state.mishaps else ""
            return self._describe(job, state, nodes, troubles) + also + again
        if twin is not None:
            return f"on {twin}, attempt {job.attempts}"
        if job not in self._outbox:
            return "about to be sent"
        ahead = self._engine.pools.waiting_from(job.terms.priority) + self._outbox.before(job)
        return f"waiting: {ahead} jobs before it"

    def _describe(
        self, job: Job, state: JobState, nodes: Mapping[str, int], troubles: Mapping[str, str]
    ) -> str:
        if state.status is not Status.WAITING:
            node = None if state.node is None else self._engine.links.get(state.node)
            return f"on {job.node if node is None else node.name}, attempt {state.attempt}"
        if not nodes:
            return "; ".join(["waiting: no node is connected", *troubles.values()])
        unfit = self._engine.why_not(job.tid)
        if {name for name, _ in unfit} >= nodes.keys():
            lacks = dict.fromkeys(f"{name} {why}" for name, why in unfit)
            bound = "".join(f"; {reason}" for reason in job.definition.reasons)
            return f"waiting: no node can run it: {'; '.join(lacks)}{bound}"
        ahead, slots = self._engine.waiting_before(job.tid), sum(nodes.values())
        taken = f"all {slots} slots are taken"
        if (wanted := _claimed(job)) is not None:
            taken = f"no node has {wanted} free for it"
        return f"waiting: {ahead} jobs before it, {taken}"


def _claimed(job: Job) -> str | None:
    """Say what a job takes; None if that is one slot."""
    limits = job.terms.limits
    if limits is None or (limits.threads == 1 and not limits.resources):
        return None
    slots = "a slot" if limits.threads == 1 else f"{limits.threads} slots"
    return " and ".join([slots, *(f"{amount} {name}" for name, amount in limits.resources)])
