"""The outbox: jobs are taken by priority, and among equals in their order."""

from __future__ import annotations

import pytest

from ppnext.job import Job
from ppnext.outbox import Outbox, Room
from ppnext.terms import Terms


def made(tid: int, priority: int = 0) -> Job:
    """Return a job that nobody will send anywhere."""
    return Job(None, tid, "", None, None, b"", terms=Terms(priority=priority))  # type: ignore[arg-type]  # neither owner nor function is asked


def always(priority: int, taken: int) -> bool:
    return True


@pytest.fixture
def outbox() -> Outbox:
    """An outbox without jobs."""
    return Outbox()


def taken(outbox: Outbox) -> list[int]:
    """Take all jobs; return their numbers."""
    numbers = []
    while jobs := outbox.take(2, always):
        numbers += [job.tid for job in jobs]
    return numbers


def test_an_empty_one_gives_nothing(outbox: Outbox) -> None:
    assert outbox.take(5, always) == [] and len(outbox) == 0 and list(outbox) == []


def test_equal_jobs_are_taken_in_their_order(outbox: Outbox) -> None:
    outbox.extend(map(made, range(3)))
    outbox.extend(map(made, range(3, 7)))
    assert taken(outbox) == list(range(7))


def test_those_with_a_higher_priority_are_taken_first(outbox: Outbox) -> None:
    priorities = [0, -5, 3, 0, 7, -5, 3]
    outbox.extend(made(tid, priority) for tid, priority in enumerate(priorities))
    assert taken(outbox) == [4, 2, 6, 0, 3, 1, 5]


def test_no_more_are_taken_than_are_wanted(outbox: Outbox) -> None:
    outbox.extend(map(made, range(5)))
    assert [job.tid for job in outbox.take(3, always)] == [0, 1, 2]
    assert len(outbox) == 2
    assert outbox.take(0, always) == []


def test_without_room_none_is_taken(outbox: Outbox) -> None:
    outbox.extend([made(0), made(1, 2)])
    assert outbox.take(5, lambda priority, taken: False) == []
    assert len(outbox) == 2


def test_jobs_of_several_priorities_are_taken_at_once_as_far_as_there_is_room(
    outbox: Outbox,
) -> None:
    outbox.extend([made(0), made(1, 2), made(2, -1), made(3, 2)])
    asked: list[tuple[int, int]] = []

    def has_room(priority: int, taken: int) -> bool:
        asked.append((priority, taken))
        return priority >= 0

    assert [job.tid for job in outbox.take(5, has_room)] == [1, 3, 0]
    assert asked == [(2, 0), (0, 2), (-1, 3)]
    assert outbox and [job.tid for job in outbox.take(1, always)] == [2]
    assert not outbox


def test_only_what_waits_with_a_higher_or_the_same_priority_takes_room() -> None:
    room = Room(10, [(-3, 100), (0, 4), (2, 3)], is_open=False)
    assert room.has(5, 9) and not room.has(5, 10)
    assert room.has(2, 6) and not room.has(2, 7)
    assert room.has(1, 6) and not room.has(1, 7)
    assert room.has(0, 2) and not room.has(0, 3)
    assert not room.has(-3, 0)
    assert Room(10, [(0, 100)], is_open=True).has(-1, 1000)


def test_as_many_priorities_as_jobs_take_no_time(outbox: Outbox) -> None:
    outbox.extend(made(tid, -tid) for tid in range(20_000))
    looks: list[int] = []
    for _ in range(4):
        jobs = outbox.take(5000, lambda priority, taken: bool(looks.append(priority)) or True)
        assert len(jobs) == 5000
    assert len(looks) == 20_000 and len(outbox) == 0
    assert outbox._queues == {} and outbox._order == []  # nothing is left of them


def test_how_many_are_before_a_job(outbox: Outbox) -> None:
    jobs = [made(0), made(1, 4), made(2), made(3, -4), made(4, 4)]
    outbox.extend(jobs)
    assert [outbox.before(job) for job in jobs] == [2, 0, 3, 4, 1]


def test_what_is_in_it_and_what_is_not(outbox: Outbox) -> None:
    plain, urgent, strange = made(0), made(1, 1), made(2, 2)
    outbox.extend([plain, urgent])
    assert plain in outbox and urgent in outbox
    assert strange not in outbox and made(0) not in outbox
    assert set(outbox) == {plain, urgent} and len(outbox) == 2
    outbox.take(1, always)
    assert urgent not in outbox


def test_once_cleared_it_is_empty_and_takes_jobs_again(outbox: Outbox) -> None:
    outbox.extend([made(0), made(1, 1)])
    outbox.clear()
    assert len(outbox) == 0 and not outbox.take(5, always)
    outbox.extend([made(2), made(3, 1)])
    assert taken(outbox) == [3, 2]
