"""Letters: a scheduler of nodes that have letters, and of jobs that need one.

A job that needs "a" runs on a node that has "abc". A number behind the letter is its priority.
"""

from __future__ import annotations

from ppnext.sched.actions import Action, Assign, Failed, Retract
from ppnext.sched.invariants import check
from ppnext.sched.model import JobId, JobState, Need, NodeId, NodeKind
from ppnext.sched.policy import Policy
from ppnext.sched.scheduler import Scheduler

__all__ = ["Bench", "hoarder", "letters", "priority", "told"]


def letters(need: Need, facts: object) -> str | None:
    """A node fits a job whose letter is among its own."""
    letter = str(need)[0]
    return None if letter in str(facts or "") else f"has no {letter}"


def priority(need: Need) -> int:
    """Return the number behind a need's letter; 0 if there is none."""
    return int(str(need)[1:] or 0)


class Bench:
    """A scheduler of jobs and nodes with letters; checks the invariants after each event."""

    def __init__(self) -> None:
        self.policy = Policy()
        self.scheduler = Scheduler(self.policy, letters, priority)

    def done(self) -> list[tuple[str, int, list[int]]]:
        """Return what is to be done: sent to or asked from which node, which jobs."""
        check(self.scheduler, self.policy)
        actions = self.scheduler.take_actions()
        return [told(action) for action in actions if not isinstance(action, Failed)]

    def node(
        self, node: int, facts: str | None, slots: int = 1, latency: float = 0.0001
    ) -> list[tuple[str, int, list[int]]]:
        self.scheduler.on_node_joined(
            NodeId(node), f"n{node}", NodeKind.DAEMON, slots, latency, facts
        )
        return self.done()

    def submit(self, *jobs: tuple[int, str | None]) -> list[tuple[str, int, list[int]]]:
        self.scheduler.on_submit([JobState(JobId(job), None, need=need) for job, need in jobs])
        return self.done()

    def finish(self, node: int, *jobs: int, seconds: float = 1.0) -> list[tuple]:
        held = self.scheduler.nodes[NodeId(node)].held
        results = [(JobId(job), held[JobId(job)].attempt, seconds) for job in jobs]
        assert None not in self.scheduler.on_finished(NodeId(node), results)
        return self.done()

    def unfit(self, node: int, job: int, need: Need, attempt: int = 1) -> list[tuple]:
        self.scheduler.on_unfit(NodeId(node), JobId(job), attempt, need)
        return self.done()

    def need(self, need: Need, *jobs: int) -> list[tuple]:
        self.scheduler.on_need([JobId(job) for job in jobs], need)
        return self.done()

    def facts(self, node: int, facts: str | None) -> list[tuple]:
        self.scheduler.on_facts(NodeId(node), facts)
        return self.done()

    def returned(self, node: int, *jobs: int, kept: tuple[int, ...] = ()) -> list[tuple]:
        held = self.scheduler.nodes[NodeId(node)].held
        back, stay = (
            [(JobId(job), held[JobId(job)].attempt) for job in which] for which in (jobs, kept)
        )
        self.scheduler.on_returned(NodeId(node), back, stay)
        return self.done()

    def held(self, node: int) -> list[int]:
        return list(self.scheduler.nodes[NodeId(node)].held)


def told(action: Action) -> tuple[str, int, list[int]]:
    if isinstance(action, Assign):
        return ("run", action.node, [state.id for state in action.jobs])
    assert isinstance(action, Retract)
    return ("ask", action.node, [job for job, _ in action.jobs])


def hoarder(facts: str, *jobs: tuple[int, str | None]) -> Bench:
    """A node 1 of short jobs, far away, that holds all of ``jobs``."""
    bench = Bench()
    bench.node(1, facts, latency=1.0)
    bench.submit((100, None))
    bench.finish(1, 100, seconds=0.01)
    assert bench.submit(*jobs) == [("run", 1, [job for job, _ in jobs])]
    return bench
