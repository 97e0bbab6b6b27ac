"""LoopThread: the event loop in a thread, and the way in for others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppnext.runtime.loop import LoopStopped, LoopThread, Turn, new_loop

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


def test_who_asks_a_loop_that_ends_before_it_answers_is_told(thread: Counting) -> None:
    end, ending, started = asyncio.Event(), threading.Event(), threading.Event()

    async def linger() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ending.set()
            await end.wait()

    thread.post(lambda: thread.spawn(linger()))
    assert started.wait(PATIENCE)
    thread.stop(timeout=0)
    assert ending.wait(PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(thread.ask, int)
        while not thread._asked:
            time.sleep(0.001)  # nothing tells when another thread has come to wait
        thread.loop.call_soon_threadsafe(end.set)
        with pytest.raises(LoopStopped):
            asking.result(PATIENCE)


def test_who_asks_a_loop_that_has_just_ended_is_told(thread: Counting) -> None:
    thread.stop()
    with pytest.raises(LoopStopped):
        thread.ask(int)


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


# Visits.


def visit_when_it_sleeps(thread: LoopThread, call: Callable[[], object]) -> None:
    """Visit as soon as the loop sleeps; it does at the latest when it has answered."""
    while not thread.visit(call):
        thread.ask(int)


def test_a_visit_is_made_in_the_visitors_own_thread(thread: Counting) -> None:
    where: list[object] = []
    visit_when_it_sleeps(thread, lambda: where.append(threading.current_thread()))
    assert where == [threading.current_thread()]
    assert not thread.is_current


def test_nobody_visits_a_loop_that_is_awake(thread: Counting) -> None:
    entered, proceed = threading.Event(), threading.Event()
    made: list[int] = []

    def hold() -> None:
        entered.set()
        assert proceed.wait(PATIENCE)

    thread.post(hold)
    assert entered.wait(PATIENCE)
    try:
        assert not thread.visit(lambda: made.append(1))
    finally:
        proceed.set()
    visit_when_it_sleeps(thread, lambda: made.append(2))
    assert made == [2]


def test_nobody_visits_before_what_was_posted_has_been_done(thread: Counting) -> None:
    done: list[str] = []

    def visit() -> None:
        # This visitor posts, and is the one who would have to be passed.
        thread.post(done.append, "posted")
        assert not thread.visit(lambda: done.append("second visit"))

    visit_when_it_sleeps(thread, visit)
    visit_when_it_sleeps(thread, lambda: done.append("third visit"))
    assert done == ["posted", "third visit"]


def test_one_visitor_at_a_time(thread: Counting) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        assert leave.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(visit_when_it_sleeps, thread, stay)
        try:
            assert inside.wait(PATIENCE)
            assert not thread.visit(lambda: None)
        finally:
            leave.set()
        first.result(PATIENCE)


def test_the_loop_waits_for_a_visitor_to_leave(thread: Counting) -> None:
    inside, leave = threading.Event(), threading.Event()
    order: list[str] = []

    def stay() -> None:
        inside.set()
        assert leave.wait(PATIENCE)
        order.append("visitor")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(visit_when_it_sleeps, thread, stay)
        assert inside.wait(PATIENCE)
        thread.post(order.append, "loop")
        leave.set()
        first.result(PATIENCE)
    assert thread.ask(lambda: order) == ["visitor", "loop"]


def test_what_is_put_off_in_a_visit_is_done_at_its_end(thread: Counting) -> None:
    order: list[str] = []

    def visit() -> None:
        thread.turn.at_end(lambda: order.append("end"))
        order.append("visit")
        assert thread.turn.is_visit

    visit_when_it_sleeps(thread, visit)
    assert order == ["visit", "end"]
    assert not thread.turn.is_visit


def test_what_is_put_off_may_put_off_more(thread: Counting) -> None:
    order: list[int] = []

    def more(number: int) -> None:
        order.append(number)
        if number < 3:
            thread.turn.at_end(lambda: more(number + 1))

    visit_when_it_sleeps(thread, lambda: more(1))
    assert order == [1, 2, 3]


def test_what_is_put_off_in_the_loops_own_turn_is_done_by_the_loop(thread: Counting) -> None:
    order: list[object] = []
    done = threading.Event()

    def end() -> None:
        order.append(thread.is_current)
        done.set()

    def begin() -> None:
        thread.turn.at_end(end)
        order.append("turn")

    thread.post(begin)
    assert done.wait(PATIENCE)
    assert order == ["turn", True]


@pytest.mark.parametrize("late", [False, True], ids=["in the visit", "in what was put off"])
def test_an_exception_in_a_visit_is_the_visitors_and_releases_everything(
    thread: Counting, late: bool
) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    def visit() -> None:
        if late:
            thread.turn.at_end(fail)
        else:
            fail()

    with pytest.raises(ValueError, match="on purpose"):
        visit_when_it_sleeps(thread, visit)
    assert thread.ask(lambda: thread.turn.is_visit) is False
    made: list[int] = []
    visit_when_it_sleeps(thread, lambda: made.append(1))
    assert made == [1]


def test_what_was_put_off_before_a_failing_visit_ended_is_not_left_over(thread: Counting) -> None:
    made: list[str] = []

    def visit() -> None:
        thread.turn.at_end(lambda: made.append("put off"))
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        visit_when_it_sleeps(thread, visit)
    assert made == ["put off"]


def test_one_failure_does_not_take_what_else_was_put_off_with_it(thread: Counting) -> None:
    done = [threading.Event() for _ in range(2)]

    def visit() -> None:
        thread.turn.at_end(done[0].set)
        thread.turn.at_end(lambda: [][0])
        thread.turn.at_end(done[1].set)

    with pytest.raises(IndexError):
        visit_when_it_sleeps(thread, visit)
    assert done[0].wait(PATIENCE)
    assert done[1].wait(PATIENCE)


def test_a_call_to_the_loop_in_a_visit_wakes_it(thread: Counting) -> None:
    done = threading.Event()
    visit_when_it_sleeps(thread, lambda: thread.loop.call_soon_threadsafe(done.set))
    assert done.wait(PATIENCE)


def test_nobody_visits_a_loop_that_has_been_stopped(thread: Counting) -> None:
    thread.stop()
    made: list[int] = []
    assert not thread.visit(lambda: made.append(1))
    thread.enter(lambda: made.append(2))
    assert made == []


def test_nobody_visits_a_loop_that_does_not_run_yet() -> None:
    class Slow(LoopThread):
        def _run(self) -> None:
            assert begin.wait(PATIENCE)
            super()._run()

    begin = threading.Event()
    thread = Slow("test-loop")
    made: list[int] = []
    try:
        assert not thread.visit(lambda: made.append(1))
        thread.enter(lambda: made.append(2))
    finally:
        begin.set()
        thread.ask(int)
        thread.stop()
    assert made == []


def test_entering_waits_until_the_loop_sleeps(thread: Counting) -> None:
    entered, proceed = threading.Event(), threading.Event()
    made: list[object] = []

    def hold() -> None:
        entered.set()
        assert proceed.wait(PATIENCE)
        made.append("loop")

    thread.post(hold)
    assert entered.wait(PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        entering = pool.submit(thread.enter, lambda: made.append(thread.turn.is_visit))
        proceed.set()
        entering.result(PATIENCE)
    assert made == ["loop", True]


def test_visitors_and_the_loop_are_never_there_at_the_same_time(thread: Counting) -> None:
    """Each adds to a number in a way that loses something as soon as two do it together."""
    inside: list[int] = []
    trouble: list[str] = []
    counted = [0]
    rounds, visitors = 300, 4

    def count() -> None:
        me = threading.get_ident()
        inside.append(me)
        before = counted[0]
        for _ in range(50):
            if inside != [me]:
                trouble.append(f"{inside}")
        counted[0] = before + 1
        inside.remove(me)

    def work(who: int) -> int:
        made = 0
        for number in range(rounds):
            kind = (number + who) % 3
            if kind == 0:
                thread.post(count)
                made += 1
            elif kind == 1:
                made += thread.visit(count)
            else:
                thread.enter(count)
                made += 1
        return made

    with ThreadPoolExecutor(visitors) as pool:
        made = sum(pool.map(work, range(visitors)))
    assert thread.ask(lambda: counted[0]) == made
    assert trouble == []


def test_a_turn_without_visits_is_the_loops() -> None:
    loop = asyncio.new_event_loop()
    try:
        turn, made = Turn(loop), list[int]()
        turn.at_end(lambda: made.append(1))
        assert made == []
        loop.run_until_complete(asyncio.sleep(0))  # one turn of the loop
        assert made == [1]
    finally:
        loop.close()


def test_a_new_loop_watches_sockets() -> None:
    loop = new_loop()
    try:
        assert hasattr(loop, "add_reader")
        assert loop.run_until_complete(asyncio.sleep(0, "runs")) == "runs"
    finally:
        loop.close()


def test_a_timer_that_is_set_in_a_visit_goes_off(thread: Counting) -> None:
    went_off = threading.Event()
    until = time.monotonic() + PATIENCE
    while not thread.visit(lambda: thread.turn.later(0.01, went_off.set)):
        assert time.monotonic() < until
    assert went_off.wait(PATIENCE)
