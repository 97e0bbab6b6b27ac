"""Invariants: what must hold in a scheduler after every event.

Used by the tests and the simulation, which call ``check`` after each step; a scheduler in service
does not pay for it.
"""

from __future__ import annotations

from collections import Counter

from ppnext.sched.model import Intent, Status
from ppnext.sched.policy import Policy
from ppnext.sched.pool import Pool
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
        given_up = state.mishaps and policy.reason_to_give_up(state)
        assert not given_up or state.intent is Intent.CANCEL, (
            f"a job is still there that should have been given up: {given_up}"
        )
        if state.status is Status.WAITING:
            assert state.node is None, "a waiting job is on a node"
            assert not state.kept, "a waiting job is said to have been started"
    for node in scheduler.nodes.values():
        assert node.credit == policy.credit(node), "a node's credit is out of date"
    _check_needs(scheduler)
    for pool in (scheduler.pools.general, *scheduler.pools.special.values()):
        _check_pool(scheduler, pool)


def _check_needs(scheduler: Scheduler) -> None:
    needs = Counter(state.need for state in scheduler.jobs.values() if state.need is not None)
    kept = {need: pool.jobs for need, pool in scheduler.pools.special.items()}
    assert kept == needs, "there is a pool too many or too few, or its jobs are counted wrong"
    for node in scheduler.nodes.values():
        held = Counter(state.need for state in node.held.values() if state.need is not None)
        assert node.needs == held, "what the jobs of a node need is counted wrong"


def _check_pool(scheduler: Scheduler, pool: Pool) -> None:
    states = [state for state in scheduler.jobs.values() if state.need == pool.need]
    waiting = sum(state.status is Status.WAITING for state in states)
    assert waiting == pool.backlog.waiting, "a job waits in the wrong queue"
    fitting = {node.id for node in scheduler.nodes.values() if pool.reason(node) is None}
    for state in states:
        if state.node is not None and state.node not in fitting:
            unstarted = state.status is Status.ASSIGNED and not state.kept
            assert not unstarted, "a job is on a node that cannot run it, and was not asked for"
    loads = scheduler.pools.current(pool)
    for node in scheduler.nodes.values():
        is_open = node.id in fitting and len(node.held) < node.credit
        assert loads.slots.get(node.id, 0) == (node.slots if is_open else 0), (
            "a node is open by mistake"
        )
        assert not (waiting and is_open), "a job waits while a node that can run it has room"
