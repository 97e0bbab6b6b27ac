"""Model: the table of states, and the counts that follow from a job's mishaps."""

from __future__ import annotations

import pytest

from ppnext.sched.model import (
    ASSIGNED,
    FINISHED,
    PLACED,
    RETRACTING,
    TRANSITIONS,
    WAITING,
    JobId,
    JobState,
    Mishap,
    NodeId,
    NodeKind,
    NodeState,
    Status,
)

EVENTS = sorted({event for events in TRANSITIONS.values() for event in events})


def job(status: Status = Status.WAITING) -> JobState:
    state = JobState(JobId(1), None)
    state.status = status
    return state


def node(slots: int = 2, held: int = 0, draining: bool = False) -> NodeState:
    state = NodeState(NodeId(1), "n", NodeKind.DAEMON, slots, 0.001, draining)
    state.held = {JobId(number): job() for number in range(held)}
    return state


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", EVENTS)
def test_a_job_moves_as_the_table_says_and_not_otherwise(status: Status, event: str) -> None:
    state = job(status)
    following = TRANSITIONS[status].get(event)
    if following is None:
        with pytest.raises(AssertionError, match=f"job 1: '{event}' cannot happen"):
            state.move(event)
        assert state.status is status
    else:
        state.move(event)
        assert state.status is following


def test_the_table_names_every_state_and_nothing_follows_the_end() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert TRANSITIONS[Status.ENDED] == {}


def test_what_the_scheduler_sets_itself_is_in_the_table() -> None:
    assert TRANSITIONS[WAITING]["placed"] is PLACED
    assert TRANSITIONS[ASSIGNED]["finished"] is FINISHED
    assert TRANSITIONS[RETRACTING]["finished"] is FINISHED


def test_a_new_job_waits_and_carries_its_call() -> None:
    call = object()
    state = JobState(JobId(7), call, once=True)
    assert (state.id, state.call, state.once, state.attempt) == (7, call, True, 0)
    assert (state.status, state.node, state.kept, state.mishaps) == (WAITING, None, False, ())
    assert repr(state) == "JobState(7, attempt 0, waiting)"


def test_deaths_and_losses_are_counted_apart() -> None:
    state = job()
    blames = [True, False, False, True, False]
    state.mishaps = tuple(Mishap(n, "n", "gone", blamed) for n, blamed in enumerate(blames))
    assert (state.deaths, state.losses) == (2, 3)


@pytest.mark.parametrize(
    ("slots", "held", "draining", "surplus"),
    [(2, 0, False, 0), (2, 2, False, 0), (2, 5, False, 3), (2, 2, True, 2), (0, 3, False, 3)],
)
def test_surplus_is_what_a_node_holds_and_cannot_run(
    slots: int, held: int, draining: bool, surplus: int
) -> None:
    assert node(slots, held, draining).surplus == surplus


def test_a_node_counts_the_needs_of_what_it_holds() -> None:
    state = node(held=3)
    state.held[JobId(1)].need = "a"
    state.count("a", 1)
    state.count(None, 1)
    assert (state.holds("a"), state.holds("b"), state.holds(None)) == (1, 0, 2)
    held = state.held
    held[JobId(0)].id = JobId(0)
    state.release(held[JobId(0)])
    assert state.holds(None) == 1


def test_what_a_node_can_spare_is_behind_what_it_runs() -> None:
    state = node(slots=1, held=0)
    needs = ["a", None, "a", "a", None]
    jobs = [JobState(JobId(number), None, need=need) for number, need in enumerate(needs)]
    state.held = {job.id: job for job in jobs}
    state.count("a", 3)
    jobs[3].kept = True
    assert [job.id for job in state.spare("a")] == [2]
    assert [job.id for job in state.spare(None)] == [4, 1]
