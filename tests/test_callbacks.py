"""The thread in which users' callbacks run."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ppnext.callbacks import CallbackThread


@pytest.fixture
def callbacks() -> Iterator[CallbackThread]:
    """A thread for callbacks."""
    callbacks = CallbackThread()
    yield callbacks
    callbacks.stop()


def finished(callbacks: CallbackThread) -> None:
    """Wait until all that was posted has been called."""
    done = threading.Event()
    callbacks.post(done.set)
    assert done.wait(20)


def test_calls_are_made_in_order_and_in_one_other_thread(callbacks):
    seen = []
    for number in range(50):
        callbacks.post(lambda n: seen.append((n, threading.current_thread())), number)
    finished(callbacks)
    assert [number for number, _ in seen] == list(range(50))
    assert len({thread for _, thread in seen} | {threading.current_thread()}) == 2


@pytest.mark.parametrize("error", [ValueError("spoilt"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_is_logged_and_what_follows_is_done(callbacks, caplog, error):
    def spoil():
        raise error

    seen = []
    callbacks.post(spoil, afterwards=lambda: seen.append("afterwards"))
    callbacks.post(seen.append, "next")
    finished(callbacks)
    assert seen == ["afterwards", "next"]
    assert [record.exc_info[1] for record in caplog.records] == [error]
    assert "spoil" in caplog.text


def test_a_callback_knows_that_it_is_one(callbacks):
    seen = []
    assert not callbacks.is_current
    callbacks.post(lambda: seen.append(callbacks.is_current))
    finished(callbacks)
    assert seen == [True]


def test_calls_posted_before_the_stop_are_made():
    callbacks, done = CallbackThread(), threading.Event()
    callbacks.post(done.set)
    callbacks.stop()
    assert done.wait(20)


def test_calls_posted_after_the_stop_are_made_too():
    callbacks = CallbackThread()
    for _ in range(3):
        callbacks.stop()
        done = threading.Event()
        callbacks.post(done.set)
        assert done.wait(20)


def test_no_thread_without_a_callback():
    before = threading.active_count()
    callbacks = CallbackThread()
    callbacks.stop()
    assert threading.active_count() == before
