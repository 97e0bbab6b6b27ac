"""The inbox: jobs wait in it, are given back when asked, and functions are picked out of it."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from ppnext.runtime.sharing import Sharing
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import (
    Define,
    JobRef,
    Message,
    Need,
    Outcome,
    Result,
    Retract,
    Returned,
    Run,
    Setup,
    Start,
    Stop,
)
from ppnext.wire.payloads import Payload, view_of
from ppnext.worker.inbox import Inbox, Task

DIGEST = b"d" * 32
OTHER = b"o" * 32


def run(*jobs: int, digest: bytes = DIGEST, size: int = 0) -> Run:
    return Run(digest, [Start(job, 1, size) for job in jobs])


def task(job: int, arguments: bytes = b"", digest: bytes = DIGEST) -> Task:
    return Task(digest, job, 1, False, arguments)


class Parent:
    """An inbox in this process, and the other ends of its channels."""

    def __init__(self) -> None:
        self.jobs, jobs = socket.socketpair()
        self.control, control = socket.socketpair()
        self.ended = threading.Event()
        self.kept: dict[bytes, bytes] = {}
        self.stopped: list[JobRef] = []
        self.heeded_after = 1
        self.inbox = Inbox(jobs, control, self.ended.set, Sharing(), self.keep, self.stop)
        self._sockets = (self.jobs, self.control, jobs, control)
        self._out = {id(s): Connection(monotonic()) for s in (self.jobs, self.control)}
        for one in (self.jobs, self.control):
            one.settimeout(20)

    def keep(self, message: Message, payload: Payload) -> bool:
        if isinstance(message, Define):
            self.kept[message.digest] = bytes(view_of(payload))
        return isinstance(message, Define)

    def stop(self, job: JobRef) -> bool:
        self.stopped.append(job)
        return len(self.stopped) < self.heeded_after

    def has(self, digest: bytes = DIGEST) -> bool:
        return digest in self.kept

    def send(self, channel: socket.socket, message: Message, payload: bytes = b"") -> None:
        connection = self._out[id(channel)]
        connection.send(message, (payload,) if payload else ())
        while buffers := connection.data_to_send(0.0).buffers:
            channel.sendall(b"".join(buffers))

    def receive(self, channel: socket.socket) -> Received:
        while True:
            received = self._out[id(channel)].receive_data(channel.recv(1 << 16), 0.0)
            if received:
                return received[0]

    def close(self) -> None:
        for one in (*self._sockets, self.inbox._wake, self.inbox._woken):
            one.close()


@pytest.fixture
def parent() -> Iterator[Parent]:
    made = Parent()
    yield made
    made.close()


@pytest.fixture
def watched(parent: Parent) -> Iterator[Parent]:
    """With the watching thread."""
    thread = threading.Thread(target=parent.inbox.watch, args=(None, lambda: None))
    thread.start()
    yield parent
    parent.control.close()
    thread.join(20)
    assert not thread.is_alive()
    assert parent.ended.is_set()


def test_messages_come_in_order(parent: Parent) -> None:
    sent = [
        (Define(DIGEST), b"function"),
        (run(1, size=4), b"call"),
        (run(2, 3, size=2), b"2233"),
        (Define(OTHER), b"another"),
        (run(4), b""),
    ]
    for message, payload in sent:
        parent.send(parent.jobs, message, payload)
    assert [parent.inbox.next() for _ in range(4)] == [
        task(1, b"call"),
        task(2, b"22"),
        task(3, b"33"),
        task(4),
    ]
    assert parent.kept == {DIGEST: b"function", OTHER: b"another"}


def test_a_large_payload_is_waited_for(parent: Parent) -> None:
    payload = bytes(1 << 21)
    sender = threading.Thread(
        target=parent.send, args=(parent.jobs, run(1, size=len(payload)), payload), daemon=True
    )
    sender.start()
    received = parent.inbox.next()
    assert isinstance(received, Task)
    assert (received.job, bytes(view_of(received.arguments))) == (1, payload)
    sender.join()


def test_the_end_comes_after_what_was_sent(parent: Parent) -> None:
    parent.send(parent.jobs, run(1))
    parent.jobs.close()
    assert parent.inbox.next() == task(1)
    assert parent.inbox.next() is None
    assert not parent.inbox.wait_until(parent.has)


def test_a_parent_that_goes_without_reading_has_gone(parent: Parent) -> None:
    # The kernel reports that as a reset connection, not as its end.
    parent.inbox.send(Need(DIGEST))
    parent.jobs.close()
    assert parent.inbox.next() is None


def test_a_parent_that_goes_without_reading_the_answer_has_gone(parent: Parent) -> None:
    parent.send(parent.control, Retract([(1, 1)]))
    parent.control.shutdown(socket.SHUT_RD)
    parent.inbox.watch(None, lambda: None)
    assert parent.ended.is_set()


def test_messages_of_the_worker(parent: Parent) -> None:
    parent.inbox.send(Need(DIGEST))
    assert parent.receive(parent.jobs) == Received(Need(DIGEST), b"")


def test_what_is_kept_overtakes_jobs_and_the_rest_comes_in_its_turn(parent: Parent) -> None:
    for message in (run(1, size=1), Setup("n", [], 5), Define(OTHER), run(2, size=1)):
        parent.send(parent.jobs, message, b"" if isinstance(message, Setup) else b"x")
    parent.send(parent.jobs, Define(DIGEST), b"function")
    assert parent.inbox.wait_until(parent.has)
    assert parent.kept == {OTHER: b"x", DIGEST: b"function"}
    assert [type(parent.inbox.next()) for _ in range(3)] == [Task, Received, Task]


def test_jobs_that_were_not_started_are_given_back(watched: Parent) -> None:
    for job in range(1, 5):
        watched.send(watched.jobs, run(job))
    first = watched.inbox.next()
    assert first is not None
    watched.send(watched.control, Retract([(1, 1), (3, 1), (4, 1), (9, 1), (2, 7)]))
    assert watched.receive(watched.control).message == Returned(
        [(3, 1), (4, 1)], [(1, 1), (2, 7), (9, 1)]
    )
    assert watched.inbox.next() == task(2)


def test_functions_stay_when_their_jobs_go(watched: Parent) -> None:
    watched.send(watched.jobs, Define(DIGEST), b"function")
    watched.send(watched.jobs, run(1))
    watched.send(watched.control, Retract([(1, 1)]))
    assert watched.receive(watched.control).message == Returned([(1, 1)], [])
    assert watched.kept == {DIGEST: b"function"}


def test_nothing_is_lost_however_jobs_are_asked_back(watched: Parent) -> None:
    count = 300
    started: list[int] = []

    def take() -> None:
        while (received := watched.inbox.next()) is not None:
            assert isinstance(received, Task)
            started.append(received.job)

    taker = threading.Thread(target=take)
    taker.start()
    back: list[int] = []
    for job in range(count):
        watched.send(watched.jobs, run(job, size=100), b"x" * 100)
        if job % 3 == 2:
            watched.send(watched.control, Retract([(job - 1, 1), (job, 1)]))
            answer = watched.receive(watched.control).message
            assert isinstance(answer, Returned)
            assert sorted([*answer.jobs, *answer.kept]) == [(job - 1, 1), (job, 1)]
            back += [number for number, _ in answer.jobs]
    watched.jobs.close()
    taker.join(20)
    assert sorted(started + back) == list(range(count))


def test_a_job_that_the_watching_thread_has_read_is_started(watched: Parent) -> None:
    # Asked for other jobs, that thread may read a job while the main thread waits for it.
    started: queue.Queue[int | None] = queue.Queue()

    def take() -> None:
        while (received := watched.inbox.next()) is not None:
            assert isinstance(received, Task)
            started.put(received.job)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        for job in range(3000):
            watched.send(watched.control, Retract([(9999, 1)]))
            watched.send(watched.jobs, run(job))
            assert watched.receive(watched.control).message == Returned([], [(9999, 1)])
            assert started.get(timeout=5) == job
    finally:
        watched.jobs.close()
        taker.join(20)


def test_other_messages_on_the_control_channel_are_passed_by(watched: Parent) -> None:
    watched.send(watched.control, Need(DIGEST))
    watched.send(watched.control, Retract([(1, 1)]))
    assert watched.receive(watched.control).message == Returned([], [(1, 1)])


def test_a_job_that_does_not_notice_is_stopped_again_until_it_does(watched: Parent) -> None:
    watched.heeded_after = 5
    watched.send(watched.control, Stop(1, 1, 2.0))
    until = monotonic() + 20
    while len(watched.stopped) < 5:
        assert monotonic() < until
        threading.Event().wait(0.005)
    watched.send(watched.control, Retract([(7, 1)]))
    assert watched.receive(watched.control).message == Returned([], [(7, 1)])
    assert watched.stopped == [(1, 1)] * 5


def test_the_tick_comes_again_and_again(parent: Parent) -> None:
    ticks: list[float] = []
    enough = threading.Event()

    def tick() -> None:
        ticks.append(monotonic())
        if len(ticks) >= 3:
            enough.set()

    thread = threading.Thread(target=parent.inbox.watch, args=(0.01, tick))
    thread.start()
    assert enough.wait(20)
    parent.control.close()
    thread.join(20)
    assert parent.ended.is_set()


# What goes back.


def report(parent: Parent, job: int, now: float = 0.0, urgent: bool = False) -> None:
    parent.inbox.reports.add(Outcome(job, 1, 1, False, 0.0), b"x", now, urgent)


def reported(parent: Parent) -> list[int]:
    message = parent.receive(parent.jobs).message
    assert isinstance(message, Result)
    return [outcome.job for outcome in message.outcomes]


def test_results_leave_before_anybody_waits_for_the_next_job(parent: Parent) -> None:
    for job in (1, 2):
        parent.send(parent.jobs, run(job))
    assert parent.inbox.next() == task(1)
    report(parent, 1)
    assert parent.inbox.next() == task(2)
    report(parent, 2)
    parent.jobs.setblocking(False)
    with pytest.raises(BlockingIOError):
        parent.jobs.recv(1)
    parent.jobs.settimeout(20)
    taking = threading.Thread(target=parent.inbox.next)
    taking.start()
    assert reported(parent) == [1, 2]
    parent.send(parent.jobs, run(3))
    taking.join(20)
    assert not taking.is_alive()


def test_results_leave_before_what_is_said_after_them(parent: Parent) -> None:
    report(parent, 1)
    parent.inbox.send(Need(DIGEST))
    data = parent.jobs.recv(1 << 16)
    arrived = Connection(0.0).receive_data(data, 0.0)
    assert [type(it.message) for it in arrived] == [Result, Need]


def test_results_leave_before_a_function_is_waited_for(parent: Parent) -> None:
    report(parent, 1)
    waiting = threading.Thread(target=parent.inbox.wait_until, args=(parent.has,))
    waiting.start()
    assert reported(parent) == [1]
    parent.send(parent.jobs, Define(DIGEST), b"function")
    waiting.join(20)
    assert not waiting.is_alive()


def test_threads_of_jobs_wait_beside_the_next_job_and_one_reads_for_all(parent: Parent) -> None:
    """Whatever order things come in, each thread gets what it waits for."""
    digests = [bytes([place]) * 32 for place in range(4)]
    found: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def wait(digest: bytes) -> None:
        assert parent.inbox.wait_until(lambda: parent.has(digest))
        found.put(parent.kept[digest])

    threads = [threading.Thread(target=wait, args=(digest,)) for digest in digests]
    jobs: list[Task | Received | None] = []
    threads.append(threading.Thread(target=lambda: jobs.append(parent.inbox.next())))
    for thread in threads:
        thread.start()
    for digest in reversed(digests):
        parent.send(parent.jobs, Define(digest), digest[:1])
        assert found.get(timeout=20) == digest[:1]
    parent.send(parent.jobs, run(7))
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert jobs == [task(7)]


def test_the_watching_thread_sends_what_a_long_job_would_keep(watched: Parent) -> None:
    for job in range(1, 4):
        report(watched, job, monotonic())
        assert reported(watched) == [job]


def test_two_threads_that_send_do_not_mix_what_they_say(watched: Parent) -> None:
    """The watching thread sends old results, the other one more results and other messages."""
    rounds, large = 300, b"x" * 300_000

    def work() -> None:
        for job in range(rounds):
            watched.inbox.reports.add(
                Outcome(job, 1, len(large), False, 0.0), large, monotonic(), False
            )
            watched.inbox.send(Need(DIGEST))

    working = threading.Thread(target=work)
    working.start()
    connection = Connection(0.0)
    seen: list[Message] = []
    while len(seen) < 2 * rounds:
        data = watched.jobs.recv(1 << 16)
        assert data
        seen += [received.message for received in connection.receive_data(data, 0.0)]
    working.join(20)
    jobs = [it.outcomes[0].job for it in seen if isinstance(it, Result)]
    assert jobs == list(range(rounds))


# In a worker process.


def test_a_running_job_stays_and_those_behind_it_come_back(worker: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    started = tmp_path / "started"
    os.mkfifo(gate)
    os.mkfifo(started)

    def hold(started: str, gate: str) -> str:
        with open(started, "w"):
            pass
        with open(gate) as held:
            return held.read()

    running = worker.start(hold, str(started), str(gate))
    waiting = [worker.start(lambda n: n, n) for n in range(4)]
    started.read_text()  # returns when the job runs
    answer = worker.retract(running, *waiting[1:])
    assert answer == Returned([(job, 1) for job in waiting[1:]], [(running, 1)])
    gate.write_text("open")
    assert worker.finish().value == "open"
    assert worker.finish().value == 0
    assert worker.retract(running) == Returned([], [(running, 1)])
    assert worker.value(lambda: "nothing else was run") == "nothing else was run"


def test_jobs_are_given_back_while_a_function_is_awaited(worker: Any) -> None:
    worker.run_call(DIGEST, 50, b"")
    assert isinstance(worker.jobs.receive().message, Need)
    behind = worker.start(lambda: 1)
    assert worker.retract(50, behind) == Returned([(behind, 1)], [(50, 1)])
