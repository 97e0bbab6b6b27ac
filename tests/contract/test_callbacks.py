"""Callbacks run once each, in the order in which jobs ended, and can spoil nothing."""

from __future__ import annotations

import logging
import threading

import pytest


def test_each_callback_runs_once_with_its_arguments_and_the_result(server):
    got = []
    jobs = [
        server.submit(abs, (-x,), callback=lambda *it: got.append(it), callbackargs=("a", x))
        for x in range(30)
    ]
    assert server.wait(timeout=20)
    assert sorted(got) == [("a", x, x) for x in range(30)]
    assert [job() for job in jobs] == list(range(30))


def test_callbacks_run_in_the_order_in_which_jobs_end(server, gate):
    order = []
    last = server.submit(gate.way, ("last",), callback=order.append)
    gate.wait_for(1)
    first = server.submit(abs, (-1,), callback=order.append)
    assert first() == 1
    second = server.submit(abs, (-2,), callback=order.append)
    assert second() == 2
    gate.release(1)
    assert server.wait(timeout=20)
    assert order == [1, 2, "last"] and last.finished


def test_a_raising_callback_is_logged_and_nothing_hangs(server, caplog, counter):
    def run():
        add()
        return 5

    def spoil(result):
        raise RuntimeError("spoilt")

    add = counter.add
    job = server.submit(run, callback=spoil)
    assert job() == 5
    assert server.wait(timeout=20)
    got = []
    assert server.submit(abs, (-1,), callback=got.append)() == 1
    assert server.wait(timeout=20)
    assert got == [1] and counter.value == 1
    records = [it for it in caplog.records if it.name == "ppnext.callbacks"]
    assert len(records) == 1 and records[0].levelno == logging.ERROR
    assert "spoilt" in str(records[0].exc_info[1])


def test_no_callback_for_a_job_that_raises(server):
    got = []
    job = server.submit(lambda: 1 / 0, callback=got.append)
    assert isinstance(job.exception(), ZeroDivisionError)
    assert server.wait(timeout=20)
    assert got == []


def test_wait_returns_after_the_callbacks(server):
    begun, go_on, got = threading.Event(), threading.Event(), []

    def slow(result):
        begun.set()
        go_on.wait(20)
        got.append(result)

    job = server.submit(abs, (-1,), callback=slow)
    assert job() == 1
    assert begun.wait(20)
    assert not server.wait(timeout=0.01)
    go_on.set()
    assert server.wait(timeout=20)
    assert got == [1]


def test_a_callback_may_submit_jobs_and_wait_takes_them_in(server):
    results = []

    def more(result):
        results.append(result)
        if result < 3:
            server.submit(lambda x: x + 1, (result,), callback=more)

    server.submit(abs, (0,), callback=more)
    assert server.wait(timeout=20)
    assert results == [0, 1, 2, 3]


def test_a_callback_that_waits_for_its_own_server_is_told(server):
    told = []

    def wait(result):
        with pytest.raises(RuntimeError, match="it would wait for itself"):
            server.wait()
        told.append(result)

    server.submit(abs, (-1,), callback=wait)
    assert server.wait(timeout=20)
    assert told == [1]


def test_a_callback_may_ask_for_the_result_of_its_job(server):
    got = []
    ready = threading.Event()

    def ask(result):
        ready.wait(20)
        got.append((result, job()))

    job = server.submit(abs, (-4,), callback=ask)
    ready.set()
    assert server.wait(timeout=20)
    assert got == [(4, 4)]


def test_done_callbacks_of_futures_get_the_job(server):
    got = []
    done = threading.Event()
    job = server.submit(abs, (-1,))
    job.add_done_callback(lambda it: (got.append(it), done.set()))
    assert done.wait(20)
    assert got == [job]


def test_done_callbacks_added_after_the_servers_end_are_called(server):
    done = threading.Event()
    job = server.submit(abs, (-1,))
    assert job() == 1
    server.destroy()
    job.add_done_callback(lambda it: done.set())
    assert done.wait(20)


def test_a_callback_that_destroys_the_server_does_not_hang(server):
    done = threading.Event()
    server.submit(abs, (-1,), callback=lambda result: (server.destroy(), done.set()))
    assert done.wait(20)
