"""Backlog: first come first served, whatever ends or comes back in between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppnext.sched.backlog import Backlog
from ppnext.sched.model import ENDED, PLACED, WAITING, JobId, JobState


def jobs(*numbers: int) -> list[JobState]:
    return [JobState(JobId(number), None) for number in numbers]


def numbers(states: list[JobState]) -> list[int]:
    return [state.id for state in states]


def test_jobs_are_taken_in_the_order_in_which_they_came() -> None:
    backlog = Backlog()
    backlog.append(jobs(1, 2))
    backlog.append(jobs(3))
    assert backlog.waiting == 3
    assert numbers(backlog.take(2)) == [1, 2]
    assert backlog.waiting == 1


def test_a_job_that_comes_back_is_first() -> None:
    backlog = Backlog()
    backlog.append(jobs(2, 3))
    backlog.put_first(*jobs(1))
    assert numbers(backlog.take(3)) == [1, 2, 3]


def test_a_job_that_has_ended_is_passed_over() -> None:
    backlog = Backlog()
    states = jobs(1, 2, 3)
    backlog.append(states)
    states[1].status = ENDED
    backlog.drop()
    assert [backlog.before(JobId(number)) for number in (1, 3, 9)] == [0, 1, 2]
    assert numbers(backlog.take(2)) == [1, 3]


def test_jobs_that_have_ended_are_swept_out() -> None:
    backlog = Backlog()
    for state in jobs(*range(1000)):
        backlog.append([state])
        state.status = ENDED
        backlog.drop()
        assert len(backlog) <= 65
    assert backlog.waiting == 0


@given(st.lists(st.tuples(st.sampled_from(["append", "put", "take", "end"]), st.integers(0, 9))))
def test_as_a_list_would_have_it(steps: list[tuple[str, int]]) -> None:
    backlog, plain, new = Backlog(), list[JobState](), 0
    for step, size in steps:
        if step == "append":
            more = jobs(*range(new, new + size))
            new += size
            backlog.append(more)
            plain += more
        elif step == "put":
            more = jobs(new)
            new += 1
            backlog.put_first(*more)
            plain = more + plain
        elif step == "take" and size <= len(plain):
            taken = backlog.take(size)
            assert taken == plain[:size]
            assert all(state.status is WAITING for state in taken)
            for state in taken:
                state.status = PLACED
            del plain[:size]
        elif step == "end" and size < len(plain):
            plain.pop(size).status = ENDED
            backlog.drop()
        assert backlog.waiting == len(plain)
        assert [backlog.before(state.id) for state in plain] == list(range(len(plain)))
