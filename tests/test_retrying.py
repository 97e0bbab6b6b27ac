"""Retrying: jobs are run again after the exceptions that their terms name, so often and so late.

The loop is a fake's: its time passes when a test says so, and what another thread gives it to do is
done in the test's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue

import pytest

from ppnext.job import Job
from ppnext.retrying import Raised, Retrying
from ppnext.terms import Terms

PATIENCE = 20.0


class Loop:
    """An event loop that does one thing at a time, when it is told to."""

    def __init__(self) -> None:
        self._soon: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.pauses: list[float] = []
        self._later: list[Callable[[], None]] = []

    def soon(self, call: Callable[[], None]) -> None:
        self._soon.put(call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.pauses.append(seconds)
        self._later.append(call)

    def turn(self) -> None:
        """Do the next thing that a thread gives it."""
        self._soon.get(timeout=PATIENCE)()

    def pass_time(self) -> None:
        """Make all calls that were to be made later."""
        calls, self._later = self._later, []
        for call in calls:
            call()


class Spoilt(type):
    """A class of exceptions that cannot be asked whether an exception is one of them."""

    raises: BaseException

    def __instancecheck__(cls, instance: object) -> bool:
        raise cls.raises


class Story:
    """What happens to jobs that end with exceptions."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.again: list[tuple[int, int]] = []
        self.accepted: list[tuple[int, int]] = []
        self.raised: list[tuple[int, int, str]] = []
        self.retrying = Retrying(
            self.loop,
            lambda job, number: self.again.append((job.tid, number)),
            lambda job, number, kind: self.raised.append((job.tid, number, kind)),
        )

    def fails(self, job: Job, number: int, error: BaseException | None = None) -> None:
        """An attempt has ended with an exception."""
        accept = partial(self.accepted.append, (job.tid, number))
        self.retrying.consider(Raised(job, number, lambda: error or OSError(), accept))

    def fails_until_accepted(self, job: Job) -> int:
        """Let all attempts fail; return how many there were."""
        number = 1
        self.fails(job, number)
        while not self.accepted:
            self.loop.turn()
            self.loop.pass_time()
            if not self.accepted:
                assert self.again[-1] == (job.tid, number)
                number += 1
                self.fails(job, number)
        return number


def made(
    tid: int = 0,
    retries: int | None = None,
    retry_on: tuple[type[BaseException], ...] = (OSError,),
    backoff: float = 0.0,
) -> Job:
    """Return a job that nobody will send anywhere."""
    terms = Terms(retries=retries, retry_on=retry_on, backoff=backoff)
    return Job(None, tid, "", None, None, b"", terms=terms)  # type: ignore[arg-type]  # neither owner nor function is asked


@pytest.fixture
def story() -> Iterator[Story]:
    """Nothing has happened yet."""
    story = Story()
    try:
        yield story
    finally:
        story.retrying.close()


def test_a_job_is_run_again_after_what_it_names(story: Story) -> None:
    job = made()
    story.fails(job, 1, ConnectionError())
    assert story.retrying.waits(job)
    assert list(story.retrying) == [job] and len(story.retrying) == 1
    story.loop.turn()
    assert story.retrying.waits(job) and not story.again
    story.loop.pass_time()
    assert story.again == [(0, 1)] and not story.accepted
    assert not story.retrying.waits(job) and len(story.retrying) == 0


def test_what_the_history_has_already_is_not_told_again(story: Story) -> None:
    job = made()
    story.retrying.consider(Raised(job, 1, OSError, lambda: None, is_known=True))
    story.loop.turn()
    story.loop.pass_time()
    assert story.again == [(0, 1)] and not story.raised


def test_what_it_does_not_name_is_its_end(story: Story) -> None:
    job = made()
    story.fails(job, 1, KeyError())
    story.loop.turn()
    assert story.accepted == [(0, 1)] and not story.retrying.waits(job)
    story.loop.pass_time()
    assert not story.again


@pytest.mark.parametrize(("retries", "attempts"), [(None, 4), (0, 1), (1, 2), (6, 7)])
def test_it_is_run_again_as_often_as_its_terms_say(
    story: Story, retries: int | None, attempts: int
) -> None:
    assert story.fails_until_accepted(made(retries=retries)) == attempts
    assert story.accepted == [(0, attempts)]


def test_that_may_be_very_often(story: Story) -> None:
    assert story.fails_until_accepted(made(retries=1100)) == 1101


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [
        (0.0, [0.0, 0.0, 0.0, 0.0]),
        (0.5, [0.5, 1.0, 2.0, 4.0]),
        (100.0, [100.0, 200.0, 300.0, 300.0]),
        (400.0, [400.0, 400.0, 400.0, 400.0]),
    ],
)
def test_each_pause_is_twice_the_last_up_to_five_minutes(
    story: Story, backoff: float, pauses: list[float]
) -> None:
    story.fails_until_accepted(made(retries=len(pauses), backoff=backoff))
    assert story.loop.pauses == pauses


def test_jobs_are_counted_each_for_itself(story: Story) -> None:
    first, second = made(1, retries=1), made(2, retries=1)
    for job in (first, second):
        story.fails(job, 1)
        story.loop.turn()
    assert len(story.retrying) == 2
    story.loop.pass_time()
    assert story.again == [(1, 1), (2, 1)]


def test_nothing_is_kept_of_a_job_that_ended_well_at_last(story: Story) -> None:
    """Seen by another with its number, which would be counted with it."""
    story.fails(made(retries=1), 1)
    story.loop.turn()
    story.loop.pass_time()
    story.fails(made(retries=1), 1)
    assert not story.accepted


# Exceptions that cannot be told apart.


def test_a_class_that_fails_when_it_is_asked_is_logged_and_the_job_has_ended(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    kind = Spoilt("kind", (Exception,), {"raises": ValueError("spoilt")})
    story.fails(made(retry_on=(kind,)), 1)
    story.loop.turn()
    assert story.accepted == [(0, 1)]
    assert "cannot tell whether job 0 is to be run again" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_nor_does_one_that_wants_to_end_the_program_keep_the_job_from_ending(
    story: Story, error: BaseException
) -> None:
    kind = Spoilt("kind", (Exception,), {"raises": error})
    story.fails(made(retry_on=(kind,)), 1)
    story.fails(made(1), 1, KeyError())  # is looked at next: so nobody waits for what never comes
    story.loop.turn()
    assert story.accepted == [(0, 1)]


def test_an_exception_that_cannot_be_had_is_none_that_is_meant(story: Story) -> None:
    def spoil() -> BaseException:
        raise ValueError("it cannot be unpickled")

    story.retrying.consider(Raised(made(), 1, spoil, lambda: story.accepted.append((0, 1))))
    story.loop.turn()
    assert story.accepted == [(0, 1)]


# Jobs that are not wanted any more.


def test_one_that_is_cancelled_while_it_is_looked_at_is_neither(story: Story) -> None:
    job = made()
    story.fails(job, 1)
    story.retrying.forget(job)
    story.loop.turn()
    story.loop.pass_time()
    assert not story.accepted and not story.again and not story.retrying.waits(job)


def test_one_that_is_cancelled_while_it_waits_is_not_run_again(story: Story) -> None:
    job = made()
    story.fails(job, 1)
    story.loop.turn()
    story.retrying.forget(job)
    story.loop.pass_time()
    assert not story.accepted and not story.again


def test_to_forget_what_is_not_known_does_nothing(story: Story) -> None:
    story.retrying.forget(made())
    assert len(story.retrying) == 0


def test_once_closed_it_gives_back_what_has_not_ended_and_runs_nothing(story: Story) -> None:
    looked_at, waiting = made(1), made(2)
    story.fails(waiting, 1)
    story.loop.turn()
    story.fails(looked_at, 1)
    assert set(story.retrying.close()) == {looked_at, waiting}
    story.loop.turn()
    story.loop.pass_time()
    assert not story.again and not story.accepted and story.retrying.close() == []
