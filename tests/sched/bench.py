"""Bench: a scheduler with short names for its events, and for what it asks to be done."""

from __future__ import annotations

from typing import NamedTuple

from ppnext.sched.actions import Action, Assign, Failed, Retract
from ppnext.sched.invariants import check
from ppnext.sched.model import JobId, JobState, NodeId, NodeKind, Verdict
from ppnext.sched.policy import Policy
from ppnext.sched.scheduler import Scheduler

__all__ = ["LATENCY", "Bench", "Sent", "assigned", "hoarder", "retract"]

LATENCY = 0.0001


class Sent(NamedTuple):
    """What an Assign says, with the numbers and attempts of its jobs."""

    node: int
    jobs: list[tuple[int, int]]


class Bench:
    """A scheduler with short names for its events; checks the invariants after each.

    Attributes:
        failed: attempts that failed, as the scheduler said; not among what is to be done.
    """

    def __init__(self, **numbers: float) -> None:
        self.policy = Policy(**numbers)  # type: ignore[arg-type]  # numbers by name
        self.scheduler = Scheduler(self.policy)
        self.failed: list[Failed] = []

    def done(self) -> list[Action | Sent]:
        check(self.scheduler, self.policy)
        actions = self.scheduler.take_actions()
        self.failed += [action for action in actions if isinstance(action, Failed)]
        return [
            Sent(action.node, [(state.id, state.attempt) for state in action.jobs])
            if isinstance(action, Assign)
            else action
            for action in actions
            if not isinstance(action, Failed)
        ]

    def submit(
        self, *jobs: int, once: bool = False, retries: int | None = None
    ) -> list[Action | Sent]:
        self.scheduler.on_submit(
            [JobState(JobId(job), f"call {job}", once, retries=retries) for job in jobs]
        )
        return self.done()

    def state(self, job: int) -> JobState:
        return self.scheduler.jobs[JobId(job)]

    def worker(self, node: int, latency: float = LATENCY) -> list[Action | Sent]:
        name = f"w{node}"
        self.scheduler.on_node_joined(NodeId(node), name, NodeKind.WORKER, 1, latency)
        return self.done()

    def daemon(self, node: int, slots: int = 2, latency: float = LATENCY) -> list[Action | Sent]:
        name = f"d{node}"
        self.scheduler.on_node_joined(NodeId(node), name, NodeKind.DAEMON, slots, latency)
        return self.done()

    def finish(
        self, node: int, job: int, attempt: int = 1, seconds: float = 1.0
    ) -> tuple[bool, list[Action | Sent]]:
        [state] = self.scheduler.on_finished(NodeId(node), [(JobId(job), attempt, seconds)])
        assert state is None or (state.id, state.call) == (job, f"call {job}")
        return state is not None, self.done()

    def finish_all(
        self, node: int, *results: tuple[int, int], seconds: float = 1.0
    ) -> tuple[list[int | None], list[Action | Sent]]:
        states = self.scheduler.on_finished(
            NodeId(node), [(JobId(job), attempt, seconds) for job, attempt in results]
        )
        return [None if state is None else state.id for state in states], self.done()

    def died(
        self, node: int, job: int, attempt: int = 1, verdict: Verdict | None = None
    ) -> list[Action | Sent]:
        self.scheduler.on_died(NodeId(node), JobId(job), attempt, "killed", verdict)
        return self.done()

    def lost(
        self, node: int, running: int | None = None, verdict: Verdict | None = None
    ) -> list[Action | Sent]:
        job = None if running is None else JobId(running)
        self.scheduler.on_node_lost(NodeId(node), "gone", job, verdict)
        return self.done()

    def cancel(self, job: int, grace: float = 0.0) -> list[Action | Sent]:
        self.scheduler.on_cancel(JobId(job), grace)
        return self.done()

    def withdraw(self, job: int) -> list[Action | Sent]:
        self.scheduler.on_withdraw(JobId(job))
        return self.done()

    def drain(self, node: int) -> list[Action | Sent]:
        self.scheduler.on_node_draining(NodeId(node))
        return self.done()

    def resize(self, node: int, slots: int) -> list[Action | Sent]:
        self.scheduler.on_node_resized(NodeId(node), slots)
        return self.done()

    def returned(self, node: int, *back: tuple[int, int], kept: tuple = ()) -> list[Action | Sent]:
        self.scheduler.on_returned(NodeId(node), back, kept)  # type: ignore[arg-type]  # plain numbers for ids
        return self.done()

    def held(self, node: int) -> list[int]:
        return list(self.scheduler.nodes[NodeId(node)].held)


def assigned(node: int, *jobs: int, attempt: int = 1) -> list[Action | Sent]:
    return [Sent(node, [(job, attempt) for job in jobs])] if jobs else []


def retract(node: int, *jobs: int, attempt: int = 1) -> Retract:
    return Retract(NodeId(node), [(JobId(job), attempt) for job in jobs])


def hoarder(*jobs: int) -> Bench:
    """A worker 1 of short jobs, far away, that holds all of ``jobs``."""
    bench = Bench()
    bench.worker(1, latency=1.0)
    bench.submit(100)
    bench.finish(1, 100, seconds=0.01)
    assert bench.submit(*jobs) == assigned(1, *jobs)
    return bench
