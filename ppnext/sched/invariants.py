"""Invariants: what must hold in a scheduler after every event.

Used by the tests and the simulation, which call ``check`` after each step; a scheduler in service
does not pay for it.
"""

from __future__ import annotations

from ppnext.sched.model import Status
from ppnext.sched.policy import Policy
from ppnext.sched.scheduler import Scheduler

__all__ = ["check"]


def check(scheduler: Scheduler, policy: Policy | None = None) -> None:
    """Raise AssertionError if the scheduler's state contradicts itself or its promises."""
    policy = policy or Policy()
    held = [state for node in scheduler.nodes.values() for state in node.held.values()]
    assert len({state.id for state in held}) == len(held), "a job is held by two nodes"
    waiting = [state for state in scheduler.jobs.values() if state.status is Status.WAITING]
    assert len(waiting) == scheduler.waiting, "the count of waiting jobs is wrong"
    assert len(waiting) + len(held) == len(scheduler.jobs), "a job is neither waiting nor held"
    for node in scheduler.nodes.values():
        for job, state in node.held.items():
            assert scheduler.jobs.get(job) is state, "a node holds a job that has ended"
            assert state.node == node.id, "a job does not know which node holds it"
            assert state.status in (Status.ASSIGNED, Status.RETRACTING), state.status
            assert state.attempt >= 1, "a job was placed without an attempt"
        asked = {job for job, state in node.held.items() if state.status is Status.RETRACTING}
        assert node.asked == asked, "a node was asked for something else than is being retracted"
    for state in scheduler.jobs.values():
        assert state.deaths < policy.poison_limit, "a poisoned job is still there"
        assert state.losses < policy.loss_limit, "a job that was lost too often is still there"
        if state.status is Status.WAITING:
            assert state.node is None, "a waiting job is on a node"
    _check_loads(scheduler, policy)
    if scheduler.waiting:
        for node in scheduler.nodes.values():
            assert len(node.held) >= policy.credit(node), "a job waits while a node has room"


def _check_loads(scheduler: Scheduler, policy: Policy) -> None:
    for node in scheduler.nodes.values():
        assert node.credit == policy.credit(node), "a node's credit is out of date"
        is_open = len(node.held) < node.credit
        assert node.open_slots == (node.slots if is_open else 0), "a node is open by mistake"
