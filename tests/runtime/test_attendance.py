"""Attendance: a thread that waits reads the stream itself; whatever else ends the wait wakes it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppnext.runtime import watch
from ppnext.runtime.attendance import Attendance, _bell
from ppnext.runtime.loop import LoopThread
from ppnext.runtime.streams import Stream
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Message, Offer

PATIENCE = 20.0

pytestmark = pytest.mark.skipif(not watch.is_possible, reason="this system has no such watch")


class Stage:
    """A loop with a stream, and the other end of it."""

    def __init__(self) -> None:
        self.thread = LoopThread("test-loop")
        self.other, sock = socket.socketpair()
        sock.setblocking(False)
        self.readers: list[threading.Thread] = []
        self.received: list[Message] = []
        self.wanted: dict[int, Attendance] = {}
        self.ended = threading.Event()

        def make() -> Stream:
            connection = Connection(0.0)
            return Stream(self.thread.turn, sock, connection, self._heard, self._end, passing=True)

        self.stream = self.thread.ask(make)

    def _heard(self, arrived: list[Received]) -> None:
        for message, _ in arrived:
            self.readers.append(threading.current_thread())
            self.received.append(message)
            if isinstance(message, Offer) and message.slots in self.wanted:
                self.wanted[message.slots].release()

    def _end(self, cause: str | None) -> None:
        self.ended.set()
        for attendance in self.wanted.values():
            attendance.release()

    def say(self, *numbers: int) -> None:
        """Send something from the other end."""
        end = Connection(0.0)
        for number in numbers:
            end.send(Offer(number))
        self.other.sendall(b"".join(end.data_to_send(0.0).buffers))

    def attend(self, number: int, served: bool = True) -> Attendance:
        """Make what waits for this number."""
        found = self.stream if served else None
        self.wanted[number] = Attendance(self.thread, lambda: found)
        return self.wanted[number]

    def close(self) -> None:
        self.thread.stop()
        self.other.close()
        self.stream._socket.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def waits_for_nothing() -> bool:
    """Whether nothing is left behind of what this thread has waited for."""
    return _bell.poll.poll(0) == []


def test_whoever_waits_reads_what_it_waits_for(stage: Stage) -> None:
    for number in range(200):
        attendance = stage.attend(number)
        stage.say(number)
        assert attendance.acquire(timeout=PATIENCE)
    assert stage.received == [Offer(number) for number in range(200)]
    # The loop may have been faster, or awake; not every time.
    assert threading.current_thread() in stage.readers
    assert waits_for_nothing()


def test_afterwards_the_loop_reads_again(stage: Stage) -> None:
    attendance = stage.attend(1)
    stage.say(1)
    assert attendance.acquire(timeout=PATIENCE)
    heard = threading.Event()
    stage.wanted[2] = Attendance(stage.thread, lambda: None)
    stage.wanted[2].release = heard.set  # type: ignore[method-assign]  # a fake sleeper
    stage.say(2)
    assert heard.wait(PATIENCE)
    assert stage.readers[-1] is not threading.current_thread()


@pytest.mark.parametrize("served", [True, False])
def test_a_wait_ends_in_time_and_leaves_nothing(stage: Stage, served: bool) -> None:
    for timeout in (0.0, 0.01):
        assert not stage.attend(1, served).acquire(timeout=timeout)
        assert waits_for_nothing()
    stage.say(7)
    stage.attend(8, served)
    stage.say(8)
    assert stage.wanted[8].acquire(timeout=PATIENCE)
    assert stage.received == [Offer(7), Offer(8)]


def test_a_wait_may_be_longer_than_the_system_can_wait_at_a_time(stage: Stage) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stage.attend(1).acquire, timeout=threading.TIMEOUT_MAX)
        stage.say(1)
        assert waiting.result(PATIENCE) is True


@pytest.mark.parametrize("served", [True, False])
def test_whatever_else_ends_it_wakes_whoever_waits(stage: Stage, served: bool) -> None:
    for _ in range(50):
        attendance = stage.attend(1, served)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(attendance.acquire)
            attendance.release()
            assert waiting.result(PATIENCE) is True
            assert pool.submit(waits_for_nothing).result(PATIENCE)


def test_what_has_happened_before_is_not_waited_for(stage: Stage) -> None:
    attendance = stage.attend(1)
    attendance.release()
    assert attendance.acquire()
    assert waits_for_nothing()


def test_one_attends_and_the_others_sleep_and_all_are_woken(stage: Stage) -> None:
    number = 8
    with ThreadPoolExecutor(number) as pool:
        waiting = [pool.submit(stage.attend(it).acquire, timeout=PATIENCE) for it in range(number)]
        for it in reversed(range(number)):
            stage.say(it)
        assert all(it.result(PATIENCE) for it in waiting)


def test_the_end_of_the_stream_is_the_loops_business(stage: Stage) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stage.attend(1).acquire)
        stage.other.close()
        assert waiting.result(PATIENCE) is True
        assert stage.ended.is_set()
        assert pool.submit(waits_for_nothing).result(PATIENCE)


def test_nonsense_on_the_stream_ends_it(stage: Stage) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stage.attend(1).acquire)
        stage.other.sendall(b"\xff" * 16)
        assert waiting.result(PATIENCE) is True
        assert stage.ended.is_set()
        assert pool.submit(waits_for_nothing).result(PATIENCE)


def test_the_end_of_the_loop_leaves_nothing(stage: Stage) -> None:
    with ThreadPoolExecutor(1) as pool:
        lent = threading.Event()

        def find() -> Stream:
            lent.set()
            return stage.stream

        while True:
            attendance = Attendance(stage.thread, find)
            waiting = pool.submit(attendance.acquire)
            if lent.wait(0.1):
                break
            attendance.release()  # the loop was awake, so nothing was lent
        stage.thread.stop()
        attendance.release()
        assert waiting.result(PATIENCE) is True
        stage.stream._socket.close()
        assert pool.submit(waits_for_nothing).result(PATIENCE)


def test_a_stream_that_cannot_be_lent_is_read_by_the_loop(stage: Stage) -> None:
    assert stage.thread.ask(stage.stream.lend)
    try:
        assert not stage.thread.ask(stage.stream.lend)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(stage.attend(1).acquire, timeout=PATIENCE)
            stage.thread.ask(stage.stream.take_back)
            stage.say(1)
            assert waiting.result(PATIENCE) is True
    finally:
        stage.thread.ask(stage.stream.take_back)


def test_many_threads_wait_again_and_again(stage: Stage) -> None:
    rounds, threads = 100, 4
    asked: list[int] = []
    more = threading.Condition()

    def answer() -> None:
        for _ in range(rounds * threads):
            with more:
                assert more.wait_for(lambda: asked, PATIENCE)
                number = asked.pop()
            stage.say(number)

    def work(who: int) -> bool:
        for it in range(rounds):
            number = who * rounds + it
            attendance = stage.attend(number)
            with more:
                asked.append(number)
                more.notify()
            if not attendance.acquire(timeout=PATIENCE):
                return False
        return waits_for_nothing()

    with ThreadPoolExecutor(threads + 1) as pool:
        answering = pool.submit(answer)
        assert all(pool.map(work, range(threads)))
        answering.result(PATIENCE)
