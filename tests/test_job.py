"""A job: a future that can be called, and keeps its result pickled until somebody asks."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import CancelledError, TimeoutError, wait

import pytest

from ppnext.callbacks import CallbackThread
from ppnext.errors import JobCancelled, NodeLost, RemoteError
from ppnext.job import Job
from ppnext.shipping.outcomes import encode_exception, encode_result
from ppnext.wire.messages import Result


class Owner:
    """Stands for the client."""

    def __init__(self) -> None:
        self.callbacks = CallbackThread()
        self.gone: list[Job] = []

    def describe(self, job: Job) -> str:
        return f"job {job.tid} is somewhere"

    def cancelled(self, job: Job) -> None:
        self.gone.append(job)


@pytest.fixture
def owner() -> Iterator[Owner]:
    """Stands for the client."""
    owner = Owner()
    yield owner
    owner.callbacks.stop()


@pytest.fixture
def job(owner) -> Job:
    """A job that has not been sent."""
    return Job(owner, 7, "group", object())


def finish(job, value, output=b"", dropped=0):
    job.mark_finished(
        Result(job.tid, 1, False, 0.1, len(output), dropped), output + encode_result(value, 5)
    )


def fail(job, error):
    job.mark_finished(Result(job.tid, 1, True, 0.1), encode_exception(error, "on node1", 5))


def test_a_new_job(job):
    assert (job.tid, job.group, job.node, job.attempts, job.output) == (7, "group", None, 0, "")
    assert not job.finished and not job.running() and not job.done()
    assert repr(job) == "<Job 7 unfinished>"
    assert job.status() == "job 7 is somewhere"


def test_each_sending_is_counted_and_the_latest_node_named(job):
    job.mark_sent("node1")
    assert job.running() and (job.node, job.attempts) == ("node1", 1)
    job.mark_sent("node2")
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
    job.mark_sent("local")
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
    job.mark_finished(Result(7, 1, False, 0.1), b"no pickle at all")
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


def test_cancelling_twice_is_cancelling_once(job, owner):
    assert job.cancel() and job.cancel()
    assert owner.gone == [job]


@pytest.mark.parametrize("happened", [lambda job: job.mark_sent("local"), lambda j: finish(j, 1)])
def test_what_has_been_sent_or_has_ended_is_not_cancelled(job, owner, happened):
    happened(job)
    assert not job.cancel() and not job.cancelled()
    assert owner.gone == []


def test_a_cancelled_job_stays_so_whatever_arrives(job):
    job.cancel()
    job.mark_sent("local")
    finish(job, 1)
    job.mark_failed(NodeLost("late"))
    assert job.cancelled()
    with pytest.raises(JobCancelled):
        job()


def test_done_callbacks_run_in_the_callback_thread(job, owner):
    import threading

    seen, done = [], threading.Event()

    def note(it):
        seen.append((it, owner.callbacks.is_current))
        done.set()

    job.add_done_callback(note)
    finish(job, 1)
    assert done.wait(20)
    assert seen == [(job, True)]
