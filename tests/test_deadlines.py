"""Deadlines: a job that was not started in time ends, unless it has been started after all."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

from ppnext.deadlines import Deadlines
from ppnext.errors import NoNodes
from ppnext.job import Job, mark_sent
from ppnext.terms import Terms


class Loop:
    """An event loop whose time passes when it is told to."""

    def __init__(self) -> None:
        self.later_calls: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.later_calls.append((seconds, call))

    def pass_time(self) -> None:
        """Make all calls that were to be made later."""
        calls, self.later_calls = self.later_calls, []
        for _, call in calls:
            call()


class Engine:
    """Knows which jobs it has, and notes which are to come back."""

    def __init__(self) -> None:
        self.jobs: dict[int, object] = {}
        self.withdrawn: list[int] = []
        self.answer: Callable[[int], None] | None = None

    def state_of(self, job: int) -> object | None:
        return self.jobs.get(job)

    def withdraw(self, jobs: list[int]) -> None:
        self.withdrawn += jobs
        if self.answer is not None:
            for job in jobs:
                self.answer(job)


class Definition:
    """The function of a job."""

    uses = ()


class Story:
    """What happens to jobs with deadlines."""

    def __init__(self) -> None:
        self.loop, self.engine = Loop(), Engine()
        self.failed: list[tuple[Job, NoNodes]] = []
        self.tried: list[Job] = []
        # A job that has not ended is kept elsewhere.
        self.open: list[Job] = []
        self.deadlines = Deadlines(
            self.loop,
            self.engine,  # type: ignore[arg-type]  # as much of an engine as is asked
            self.tried.__contains__,
            lambda job: f"job {job.tid} stands in a queue",
            lambda job, error: self.failed.append((job, error)),
        )

    def enters(self, deadline: float | None = 0.5, is_out: bool = True) -> Job:
        """A job is submitted, and given to the engine or not."""
        job = Job(None, 3, "", None, Definition(), b"", terms=Terms(deadline=deadline))  # type: ignore[arg-type]  # neither owner nor function is asked
        self.open.append(job)
        if is_out:
            self.engine.jobs[job.tid] = object()
        self.deadlines.enter(job)
        return job


@pytest.fixture
def story() -> Story:
    """Nothing has happened yet."""
    return Story()


def test_a_job_without_a_deadline_is_not_watched(story: Story) -> None:
    story.enters(None)
    assert not story.loop.later_calls


def test_it_is_looked_at_when_its_time_is_up_and_not_before(story: Story) -> None:
    story.enters(2.5)
    assert [seconds for seconds, _ in story.loop.later_calls] == [2.5]
    assert not story.engine.withdrawn


def test_one_that_no_node_was_told_of_ends_at_once_and_says_where_it_stood(story: Story) -> None:
    job = story.enters(is_out=False)
    story.loop.pass_time()
    [(failed, error)] = story.failed
    assert failed is job and not story.engine.withdrawn
    assert str(error) == "job 3 was not started within 0.5 s: job 3 stands in a queue"


def test_one_that_is_out_is_taken_back_first(story: Story) -> None:
    job = story.enters()
    story.loop.pass_time()
    assert story.engine.withdrawn == [3] and not story.failed
    story.deadlines.withdrawn(3, True)
    [(failed, error)] = story.failed
    assert failed is job
    assert str(error) == "job 3 was not started within 0.5 s: job 3 stands in a queue"


def test_the_answer_may_come_before_the_question_has_returned(story: Story) -> None:
    story.engine.answer = lambda job: story.deadlines.withdrawn(job, True)
    job = story.enters()
    story.loop.pass_time()
    assert [it for it, _ in story.failed] == [job]


def test_one_that_has_been_started_goes_on(story: Story) -> None:
    story.enters()
    story.loop.pass_time()
    story.deadlines.withdrawn(3, False)
    assert not story.failed


def test_one_that_has_ended_in_time_is_let_alone(story: Story) -> None:
    job = story.enters()
    job.mark_failed(KeyError())
    story.loop.pass_time()
    assert not story.failed and not story.engine.withdrawn


def test_one_that_ended_while_it_was_taken_back_does_not_end_twice(story: Story) -> None:
    job = story.enters()
    story.loop.pass_time()
    job.mark_failed(KeyError())
    story.deadlines.withdrawn(3, True)
    assert not story.failed


def test_one_that_waits_to_be_run_again_has_met_its_deadline(story: Story) -> None:
    job = story.enters(is_out=False)
    mark_sent([job], "node")
    story.loop.pass_time()
    assert not story.failed and not story.engine.withdrawn


def test_one_that_waits_in_the_queue_for_another_attempt_has_met_its_deadline(
    story: Story,
) -> None:
    story.tried.append(story.enters())
    story.loop.pass_time()
    assert not story.failed and not story.engine.withdrawn


def test_a_job_that_nobody_has_any_more_is_not_kept_until_its_deadline(story: Story) -> None:
    job = story.enters(86_400.0)
    gone = weakref.ref(job)
    story.open.clear()
    del job
    gc.collect()
    assert gone() is None
    story.loop.pass_time()
    assert not story.failed
