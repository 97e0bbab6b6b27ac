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


def test_those_before_another_are_taken_but_one_at_least() -> None:
    backlog = Backlog()
    states = jobs(2, 4, 5, 7, 9)
    backlog.append(states)
    states[2].status = ENDED
    backlog.drop()
    assert backlog.front() == 2
    assert numbers(backlog.take_before(9, JobId(1))) == [2]
    assert numbers(backlog.take_before(9, JobId(8))) == [4, 7]
    assert numbers(backlog.take_before(9, None)) == [9]
    assert backlog.waiting == 0


def test_no_more_are_taken_than_wanted() -> None:
    backlog = Backlog()
    backlog.append(jobs(1, 2, 3))
    assert numbers(backlog.take_before(2, None)) == [1, 2]
    assert backlog.waiting == 1


def test_the_front_is_the_first_that_waits() -> None:
    backlog = Backlog()
    states = jobs(1, 2)
    backlog.append(states)
    states[0].status = ENDED
    backlog.drop()
    assert backlog.front() == 2


def test_what_is_put_into_another_queue_keeps_its_turn() -> None:
    one, other = Backlog(), Backlog()
    states = jobs(1, 3, 5, 7)
    one.append(states)
    other.append(jobs(2, 4, 6))
    states[3].status = ENDED
    one.drop()
    one.remove(states[1:3])
    other.insert(states[1:3])
    assert (one.waiting, other.waiting) == (1, 5)
    assert (one.older(JobId(9)), other.older(JobId(5))) == (1, 3)
    assert numbers(one.take(1)) == [1]
    assert numbers(other.take(5)) == [2, 3, 4, 5, 6]


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
