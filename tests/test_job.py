"""A job: a future that can be called, and keeps its result pickled until somebody asks."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
    TimeoutError,
    as_completed,
    wait,
)

import pytest

from ppnext.audience import Finished
from ppnext.callbacks import CallbackThread
from ppnext.errors import JobCancelled, NodeLost, RemoteError
from ppnext.job import Job, mark_finished, mark_sent
from ppnext.lazyfuture import LazyFuture
from ppnext.nodes.guard import GRACE
from ppnext.sched.model import JobId, JobState
from ppnext.shipping.envelope import joined
from ppnext.shipping.outcomes import encode_exception, encode_result
from ppnext.wire.messages import Outcome
from ppnext.wire.payloads import Block

PATIENCE = 20.0
STATE = JobState(JobId(0), None)


class Owner:
    """Stands for the client."""

    def __init__(self) -> None:
        self.callbacks = CallbackThread()
        self.gone: list[Job] = []
        self.graces: list[float] = []

    def describe(self, job: Job) -> str:
        return f"job {job.tid} is somewhere"

    def cancelled(self, job: Job, grace: float) -> None:
        self.gone.append(job)
        self.graces.append(grace)

    def attend(self, job: Job) -> None:
        """A thread that waits sleeps on a lock."""


class Definition:
    """The function of a job."""

    digest, payload, uses = b"d" * 32, b"function", ()


@pytest.fixture
def owner() -> Iterator[Owner]:
    """Stands for the client."""
    owner = Owner()
    yield owner
    owner.callbacks.stop()


@pytest.fixture
def job(owner) -> Job:
    """A job that has not been sent."""
    return make(owner)


def make(owner, tid=7) -> Job:
    return Job(owner, tid, "group", object(), Definition, b"arguments")


def send(job, node="local"):
    mark_sent([job], node)


def report(job, raised, content, output=b"", dropped=0):
    size = len(content) + len(output)
    outcome = Outcome(job.tid, 1, size, raised, 0.1, len(output), dropped)
    mark_finished([job], [Finished(STATE, outcome, content + output)])


def finish(job, value, output=b"", dropped=0):
    report(job, False, joined(encode_result(value, 5)), output, dropped)


def fail(job, error):
    report(job, True, encode_exception(error, "on node1", 5))


def test_a_new_job(job):
    assert (job.tid, job.group, job.node, job.attempts, job.output) == (7, "group", None, 0, "")
    assert not job.finished and not job.running() and not job.done()
    assert repr(job) == "<Job 7 unfinished>"
    assert job.status() == "job 7 is somewhere"


def test_each_sending_is_counted_and_the_latest_node_named(job):
    send(job, "node1")
    assert job.running() and (job.node, job.attempts) == ("node1", 1)
    send(job, "node2")
    assert job.running() and (job.node, job.attempts) == ("node2", 2)
    assert repr(job) == "<Job 7 unfinished on node2>"


class Loud:
    """Notes each time it is unpickled."""

    loaded = 0

    def __setstate__(self, state):
        Loud.loaded += 1

    def __getstate__(self):
        return {"some": "state"}


def test_the_result_is_unpickled_once_and_when_it_is_asked_for(job):
    Loud.loaded = 0
    send(job)
    finish(job, Loud())
    assert job.done() and job.finished and Loud.loaded == 0
    assert job() is job() is job.result()
    assert Loud.loaded == 1
    assert repr(job) == "<Job 7 finished on local>"


def test_an_exception_is_raised_with_its_story(job):
    fail(job, ValueError("wrong"))
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong") as caught:
            job()
        assert "on node1" in str(caught.value.__cause__)
    assert job.exception() is caught.value


def test_a_result_that_cannot_be_loaded_is_an_error_of_ours(job):
    report(job, False, b"no pickle at all")
    with pytest.raises(RemoteError, match="cannot be rebuilt here"):
        job()


def test_an_end_without_a_result(job):
    job.mark_failed(NodeLost("node1 was lost"))
    with pytest.raises(NodeLost, match="node1 was lost"):
        job()
    assert isinstance(job.exception(), NodeLost)
    assert job.output == ""


def test_waiting_with_a_timeout(job):
    assert job.wait(0) is False
    with pytest.raises(TimeoutError):
        job.result(0)
    with pytest.raises(TimeoutError):
        job.exception(0)
    finish(job, 1)
    assert job.wait() is True
    assert job.result(0) == 1 and job.exception(0) is None


# Output.


def test_output_is_shown_the_first_time_the_result_is_asked_for(job, capsys):
    finish(job, 1, "öffentlich\n".encode())
    assert job.output == "öffentlich\n"
    assert capsys.readouterr().out == ""
    assert job() == job() == 1
    assert capsys.readouterr().out == "öffentlich\n"


def test_bytes_that_are_no_text_are_shown_as_such(job):
    finish(job, 1, b"\xff\xfe\n")
    assert job.output == "\\xff\\xfe\n"


def test_what_was_left_out_of_the_output_is_told(job):
    finish(job, 1, b"start end", dropped=1000)
    assert job.output == "start end\n[ppnext: 1000 bytes of output were left out]\n"


def test_the_raw_result_holds_result_and_output(job):
    finish(job, [1], b"said\n")
    assert pickle.loads(job(raw_result=True)) == ([1], "said\n")


# Cancelling.


def test_cancelling_wakes_those_who_wait(job, owner):
    assert job.cancel() and job.cancelled() and job.finished
    assert owner.gone == [job]
    assert wait([job], timeout=0).done == {job}
    for ask in (job, job.result, job.exception):
        with pytest.raises(JobCancelled, match="job 7 was cancelled") as caught:
            ask()
        assert isinstance(caught.value, CancelledError)
    assert repr(job) == "<Job 7 cancelled>"


def test_who_has_cancelled_can_kill(job, owner):
    send(job)
    assert job.cancel() and job.cancel(kill=True)
    assert owner.gone == [job, job] and owner.graces == [GRACE, 0.0]


def test_what_has_been_sent_is_cancelled_but_not_dropped(job, owner):
    send(job)
    assert not job.drop() and not job.cancelled()
    assert job.cancel() and job.drop() and job.cancelled()
    with pytest.raises(JobCancelled, match="while it was on"):
        job()


def test_what_is_sent_at_that_moment_is_not_dropped(job, owner):
    def look(frame, event, arg):
        if event == "call" and "cancel" in frame.f_code.co_name:
            sys.setprofile(None)
            send(job)

    sys.setprofile(look)
    try:
        assert not job.drop()
    finally:
        sys.setprofile(None)
    assert job.running() and owner.gone == []


def test_cancelling_again_does_not_change_when_it_ended(job):
    job.cancel()
    job.ended = 1.5
    assert job.cancel(kill=True) and job.drop()
    assert job.ended == 1.5


def test_what_has_ended_is_not_cancelled(job, owner):
    finish(job, 1)
    assert not job.cancel() and not job.drop() and not job.cancelled()
    assert owner.gone == []


def test_a_cancelled_job_stays_so_whatever_arrives(job):
    job.cancel()
    send(job)
    finish(job, 1)
    job.mark_failed(NodeLost("late"))
    assert job.cancelled()
    with pytest.raises(JobCancelled):
        job()


def test_a_job_that_was_cancelled_as_its_result_came_has_nothing_to_call_back_with(owner):
    called = []
    job = Job(owner, 7, "group", object(), Definition, b"arguments", (called.append, ()))
    job.cancel()
    finish(job, 5)
    job.call_back()
    assert called == []


def test_done_callbacks_run_in_the_callback_thread(job, owner):
    seen, done = [], threading.Event()

    def note(it):
        seen.append((it, owner.callbacks.is_current))
        done.set()

    job.add_done_callback(note)
    finish(job, 1)
    assert done.wait(20)
    assert seen == [(job, True)]


def test_a_large_result_is_read_where_it_lies(job):
    content = joined(encode_result("x" * 300_000, 5))
    outcome = Outcome(7, 1, len(content) + 5, False, 0.1, 5)
    mark_finished([job], [Finished(STATE, outcome, Block(bytearray(content + b"said\n")))])
    assert job() == "x" * 300_000
    assert job.output == "said\n"


def test_a_job_knows_how_long_it_took(job):
    assert job.seconds is None
    finish(job, 1)
    assert job.seconds == 0.1


def test_arguments_are_let_go_with_the_end(owner):
    for end in (lambda job: finish(job, 1), Job.cancel, lambda job: job.mark_failed(NodeLost("x"))):
        job = make(owner)
        assert job.arguments == b"arguments"
        end(job)
        assert job.arguments == b""


def test_jobs_that_end_together(owner):
    jobs = [make(owner, tid) for tid in range(3)]
    jobs[1].cancel()
    mark_sent(jobs, "node1")
    content = joined(encode_result(5, 5))
    outcome = Outcome(0, 1, len(content), False, 0.1)
    mark_finished(jobs, [Finished(STATE, outcome, content) for _ in jobs])
    assert [job.cancelled() for job in jobs] == [False, True, False]
    assert [job.result(0) for job in (jobs[0], jobs[2])] == [5, 5]


# A future, as soon as somebody asks for one.


def future_state(job) -> set[str]:
    """What there is of a Future's own."""
    return set(vars(job))


def test_a_job_that_is_only_waited_for_and_called_is_no_future(job, owner):
    assert future_state(job) == set()
    send(job)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, PATIENCE)
        finish(job, 5)
        assert waiting.result(PATIENCE) == 5
    assert job() == 5 and job.exception() is None and job.wait() and job.done()
    assert not job.running() and not job.cancelled()
    assert job.node == "local" and job.output == ""
    assert repr(job) and job.status()
    assert future_state(job) == set()


def test_only_the_names_of_a_future_make_one(job):
    for name in ("no_such_thing", "__iter__", "__array_interface__"):
        with pytest.raises(AttributeError, match=name):
            getattr(job, name)
    assert not hasattr(job, "__len__")


PHASES = {
    "pending": [],
    "sent": [send],
    "finished": [send, lambda job: finish(job, 5)],
    "finished before it was sent": [lambda job: finish(job, 5)],
    "raised": [send, lambda job: fail(job, ValueError("wrong"))],
    "failed": [lambda job: job.mark_failed(NodeLost("lost"))],
    "failed after it was sent": [send, lambda job: job.mark_failed(NodeLost("lost"))],
    "cancelled": [Job.cancel],
}


def standing(job):
    """What users see of where a job stands."""
    return job.done(), job.running(), job.cancelled()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("asked_after", range(3))
def test_a_future_is_in_the_phase_of_its_job_whenever_it_is_made(job, owner, phase, asked_after):
    steps = PHASES[phase]
    twin = make(owner)
    for number, step in enumerate([*steps, None]):
        if number == asked_after:
            assert job._condition is not None  # makes the future
        if step is not None:
            step(job)
            step(twin)
    if asked_after > len(steps):
        assert job._condition is not None
    for _ in range(2):
        assert standing(job) == standing(twin)
        # What Future itself says.
        done = Future.done(job)
        assert (done, Future.running(job), Future.cancelled(job)) == standing(twin)
        if done:
            assert wait([job], timeout=0).done == {job}
            assert list(as_completed([job], timeout=0)) == [job]
        else:
            assert wait([job], timeout=0).not_done == {job}
            with pytest.raises(TimeoutError):
                list(as_completed([job], timeout=0))
    for ask in (Job.result, Job.exception):
        answers = []
        for it in (job, twin):
            try:
                answers.append(repr(ask(it, 0)))
            except BaseException as error:  # both are to raise the same, whatever it is
                answers.append(repr(error))
        assert answers[0] == answers[1]


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("end", ["finish", "raise", "fail", "cancel"])
def test_waiting_as_a_future_ends_with_the_job(owner, sent, end):
    if sent and end == "cancel":
        return  # what was sent cannot be cancelled
    jobs = [make(owner, tid) for tid in range(3)]
    ends = {
        "finish": lambda: finish(jobs[1], 5),
        "raise": lambda: fail(jobs[1], ValueError("wrong")),
        "fail": lambda: jobs[1].mark_failed(NodeLost("lost")),
        "cancel": jobs[1].cancel,
    }
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(wait, jobs, PATIENCE, FIRST_COMPLETED)
        completed = pool.submit(lambda: next(as_completed(jobs, PATIENCE)))
        called = threading.Event()
        jobs[1].add_done_callback(lambda job: called.set())
        if sent:
            mark_sent(jobs, "local")
        ends[end]()
        assert first.result(PATIENCE).done == {jobs[1]}
        assert completed.result(PATIENCE) is jobs[1]
        assert called.wait(PATIENCE)


def test_a_done_callback_of_a_job_that_has_ended_is_called_in_the_same_thread(job, owner):
    seen, done = [], threading.Event()

    def note(it):
        seen.append((it, owner.callbacks.is_current))
        done.set()

    finish(job, 1)
    job.add_done_callback(note)
    assert done.wait(PATIENCE)
    assert seen == [(job, True)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", ["finish", "raise", "cancel"])
def test_a_job_may_be_awaited(job, when, end):
    def finish_it():
        if end == "finish":
            finish(job, 5)
        elif end == "raise":
            fail(job, ValueError("wrong"))
        else:
            job.cancel()

    async def main():
        if when == "before":
            finish_it()
        future = asyncio.wrap_future(job)
        if when == "after":
            asyncio.get_running_loop().call_soon(finish_it)
        return await asyncio.wait_for(future, PATIENCE)

    if end == "finish":
        assert asyncio.run(main()) == 5
    else:
        error = ValueError if end == "raise" else asyncio.CancelledError
        with pytest.raises(error):
            asyncio.run(main())


def test_cancelling_what_awaits_a_job_cancels_the_job(job, owner):
    async def main():
        future = asyncio.wrap_future(job)
        future.cancel()
        await asyncio.sleep(0)  # one turn of the loop

    asyncio.run(main())
    assert job.cancelled() and owner.gone == [job]


def test_a_future_that_has_ended_cannot_end_again(job):
    finish(job, 1)
    with pytest.raises(InvalidStateError):
        job.set_result(2)
    assert job() == 1


def test_a_future_is_there_that_another_thread_has_made_meanwhile(job):
    assert job._condition is not None
    assert job.__getattr__("_condition") is job._condition


def test_nobody_sees_a_future_that_is_not_in_its_phase(job):
    # Who sees it locks it, and then makes the next one: that is not to wait for this one.
    seen = []

    def look(frame, event, arg):
        if event == "call" and frame.f_code is Future.set_running_or_notify_cancel.__code__:
            seen.append(future_state(job))

    send(job)
    sys.setprofile(look)
    try:
        assert job._condition is not None
    finally:
        sys.setprofile(None)
    assert seen == [set()]


def test_a_job_may_be_cancelled_while_it_is_told_that_it_was_sent(job):
    wait([job], 0)
    tell, job._tell_future = job._tell_future, lambda: None  # the event loop is held up
    send(job)
    del job._tell_future
    assert job.cancel()
    tell()
    assert Future.cancelled(job) and wait([job], 0).done == {job}


class Raced(Job):
    """Whenever somebody looks what has come back, another thread has just unpickled it."""

    @property
    def _report(self):
        report = LazyFuture._report.__get__(self)
        if report is not None:
            self._outcome = None, "unpickled"
            self._report = None
        return report

    @_report.setter
    def _report(self, report):
        LazyFuture._report.__set__(self, report)


@pytest.mark.parametrize("is_future", [False, True])
def test_the_result_may_be_asked_for_at_the_very_end(owner, is_future):
    job = Raced(owner, 7, "group", object(), Definition, b"arguments")
    if is_future:
        wait([job], 0)
    finish(job, 5)
    assert job.fate == "returned"
    assert job.result(0) == "unpickled" and wait([job], 0).done == {job}


def test_the_future_is_made_once_by_however_many_threads_at_the_very_end(owner):
    for tid in range(200):
        job = make(owner, tid)
        begin = threading.Barrier(5)

        def ask(job=job, begin=begin):
            begin.wait(PATIENCE)
            return wait([job], PATIENCE).done == {job}

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            begin.wait(PATIENCE)
            send(job)
            finish(job, tid)
            assert all(it.result(PATIENCE) for it in asking)
        assert job.result(0) == tid


# Many threads.


def test_everybody_who_waits_is_woken_and_leaves_nothing(job):
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(job.result, PATIENCE) for _ in range(10)]
        calls += [pool.submit(job.wait) for _ in range(5)]
        short = [pool.submit(job.wait, 0.001) for _ in range(5)]
        assert [it.result(PATIENCE) for it in short] == [False] * 5
        finish(job, 5)
        assert [it.result(PATIENCE) for it in calls] == [5] * 10 + [True] * 5
    assert job._sleepers == ()


def test_a_wait_that_timed_out_leaves_nothing_behind(job):
    for timeout in (0, 0.001, -1):
        assert job.wait(timeout) is False
        with pytest.raises(TimeoutError, match="job 7 has not ended"):
            job.result(timeout)
    assert job._sleepers == ()
    assert future_state(job) == set()


def test_a_wait_may_be_longer_than_any_timeout(job):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.wait, 1e300)
        finish(job, 5)
        assert waiting.result(PATIENCE) is True


def test_a_million_queued_jobs_fit_into_memory(owner):
    """Not the promise itself, which is measured: only that nobody makes a job a big thing."""
    job = make(owner, 10**6)
    parts = [job, job.tid, *([job.__dict__] if future_state(job) else [])]
    assert sum(map(sys.getsizeof, parts)) < 600


def test_a_handler_of_signals_may_cancel_a_job_at_any_moment_of_a_wait(owner):
    def wait_and_cancel_at(moment: int) -> bool:
        job, lines = make(owner), 0

        def look(frame, event, argument):
            nonlocal lines
            if frame.f_code.co_name != "_await":
                return None
            lines += event == "line"
            if event == "line" and lines == moment:
                assert job.cancel()
            return look

        sys.settrace(look)
        try:
            job.wait(PATIENCE)
        finally:
            sys.settrace(None)
        assert job.cancelled() == (moment <= lines)
        return moment <= lines

    with ThreadPoolExecutor(1) as pool:
        ended = [pool.submit(wait_and_cancel_at, it).result(PATIENCE) for it in range(1, 6)]
    assert ended == [True] * 5
