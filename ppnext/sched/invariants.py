"""Invariants: what must hold in a scheduler after every event.

Used by the tests and the simulation, which call ``check`` after each step; a scheduler in service
does not pay for it.
"""

from __future__ import annotations

from collections import Counter

from ppnext.sched.claim import Claim
from ppnext.sched.host import Host
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
    for host in {node.host for node in scheduler.nodes.values()}:
        _check_host(scheduler, host)
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
    if pool.claim is not None:
        _check_room(scheduler, pool, pool.claim)
        return
    for node in scheduler.nodes.values():
        is_open = node.id in fitting and len(node.held) < node.credit
        assert loads.slots.get(node.id, 0) == (node.slots if is_open else 0), (
            "a node is open by mistake"
        )
        assert not (waiting and is_open), "a job waits while a node that can run it has room"


def _check_host(scheduler: Scheduler, host: Host) -> None:
    """What jobs have taken of a machine is what they claim, and no more than there is."""
    nodes = {node.id: node for node in scheduler.nodes.values() if node.host is host}
    assert host.nodes == nodes, "a machine does not know its nodes"
    extra, things = 0, Counter[str]()
    for node in nodes.values():
        claims = [scheduler.pools.of(state.need).claim for state in node.held.values()]
        assert node.extra == sum(it.slots - 1 for it in claims if it), "slots are counted wrong"
        extra += node.extra
        for claim in claims:
            things.update(dict(claim.resources if claim else ()))
    assert host.extra == extra, "slots that are claimed are counted wrong"
    for name, amount in things.items():
        used, there = host.stock.used[name], host.stock.has[name]
        assert amount <= used <= there, f"{used} {name} are in use of {there}, here {amount}"
    if scheduler.pools.claiming and nodes:
        assert host.used == host.busy(), "slots in use are counted wrong"
    if not scheduler.pools.claiming:
        assert not host.cleared, "a machine is cleared for nobody"


def _check_room(scheduler: Scheduler, pool: Pool, claim: Claim) -> None:
    """A job waits only if its machine has no room for it, or what it needs is held for another."""
    if not pool.backlog.waiting:
        return
    for node in scheduler.nodes.values():
        if node.draining or not node.slots or pool.reason(node) is not None:
            continue
        if node.host.stock.is_waiting(node.host):
            continue  # it will be told when others have given something back
        if node.host.strain(claim, node) <= 1.0:
            others = [it for _, _, it in scheduler.pools.ready() if it is not pool and it.claim]
            assert any(it.reason(node) is None for it in others), "a job waits where it has room"
