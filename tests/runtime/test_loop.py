"""LoopThread: the event loop in a thread, and the way in for others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppnext.runtime.loop import LoopThread, new_loop

PATIENCE = 20.0


class Counting(LoopThread):
    """Counts how often the loop looks for calls."""

    wakes = 0

    def _make_calls(self) -> None:
        self.wakes += 1
        super()._make_calls()


@pytest.fixture
def thread() -> Iterator[Counting]:
    thread = Counting("test-loop")
    yield thread
    thread.stop()


def test_calls_are_made_in_the_order_in_which_they_were_posted(thread: Counting) -> None:
    made: list[int] = []
    for number in range(10_000):
        thread.post(made.append, number)
    assert thread.ask(lambda: list(made)) == list(range(10_000))


def test_a_burst_wakes_the_loop_once(thread: Counting) -> None:
    entered, proceed = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert proceed.wait(PATIENCE)

    thread.post(hold)
    assert entered.wait(PATIENCE)
    turns: list[int] = []
    for _ in range(1000):
        thread.post(lambda: turns.append(1))
    proceed.set()
    assert thread.ask(lambda: len(turns)) == 1000
    assert thread.wakes <= 3


def test_many_threads_post_and_nothing_is_lost(thread: Counting) -> None:
    made: list[tuple[int, int]] = []

    def post(who: int) -> None:
        for number in range(2000):
            thread.post(made.append, (who, number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(post, range(4)))
    seen = thread.ask(lambda: list(made))
    for who in range(4):
        assert [number for its, number in seen if its == who] == list(range(2000))


def test_a_call_may_post(thread: Counting) -> None:
    done = threading.Event()
    thread.post(thread.post, done.set)
    assert done.wait(PATIENCE)


def test_a_call_that_raises_does_not_hold_up_those_behind_it(thread: Counting) -> None:
    told: list[object] = []
    done = threading.Event()
    entered, proceed = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert proceed.wait(PATIENCE)

    def fail() -> None:
        raise ValueError("on purpose")

    thread.ask(
        lambda: thread.loop.set_exception_handler(lambda loop, what: told.append(what["exception"]))
    )
    thread.post(hold)
    assert entered.wait(PATIENCE)
    thread.post(fail)
    thread.post(done.set)
    proceed.set()
    assert done.wait(PATIENCE)
    assert isinstance(thread.ask(lambda: told[0]), ValueError)


def test_ask_returns_and_raises(thread: Counting) -> None:
    assert thread.ask(lambda: threading.current_thread().name) == "test-loop"
    assert thread.ask(lambda: thread.is_current)
    assert not thread.is_current
    with pytest.raises(KeyError):
        thread.ask(lambda: {}["missing"])


def test_stop_cancels_the_tasks_and_waits_for_the_thread(thread: Counting) -> None:
    started, cleaned = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # cleaning up may take a turn
            cleaned.set()

    thread.post(lambda: thread.spawn(work()))
    assert started.wait(PATIENCE)
    thread.stop()
    assert cleaned.is_set()
    assert thread.loop.is_closed()


def test_stop_may_be_called_again_and_posts_are_ignored_afterwards(thread: Counting) -> None:
    made: list[int] = []
    thread.post(made.append, 1)
    thread.stop()
    thread.stop()
    thread.post(made.append, 2)
    assert made == [1]


def test_posting_while_the_loop_is_stopped_is_harmless() -> None:
    for _ in range(20):
        thread = LoopThread("test-loop")
        go = threading.Event()

        def post(thread: LoopThread = thread, go: threading.Event = go) -> None:
            go.set()
            while not thread.loop.is_closed():
                thread.post(int)
            thread.post(int)

        with ThreadPoolExecutor(1) as pool:
            posting = pool.submit(post)
            assert go.wait(PATIENCE)
            thread.stop()
            posting.result(PATIENCE)


def test_a_new_loop_watches_sockets() -> None:
    loop = new_loop()
    try:
        assert hasattr(loop, "add_reader")
        assert loop.run_until_complete(asyncio.sleep(0, "runs")) == "runs"
    finally:
        loop.close()
