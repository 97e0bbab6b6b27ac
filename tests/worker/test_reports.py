"""Reports: when results leave, and with which others."""

from __future__ import annotations

import threading

import pytest

from ppnext.wire.frames import CHUNK_LIMIT
from ppnext.wire.messages import Outcome, Result
from ppnext.wire.payloads import Block, Payload
from ppnext.worker.reports import HELD_FOR, Reports


class Desk:
    """Where reports go; notes how often somebody was asked to watch."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.payloads: list[list[Payload]] = []
        self.watches = 0
        self.reports = Reports(self._send, self._watch)

    def _send(self, result: Result, payloads: list[Payload]) -> None:
        assert [it.size for it in result.outcomes] == [len(payload) for payload in payloads]
        self.sent.append([outcome.job for outcome in result.outcomes])
        self.payloads.append(payloads)

    def _watch(self) -> None:
        self.watches += 1

    def add(
        self, job: int, now: float = 0.0, urgent: bool = False, payload: Payload = b"x"
    ) -> None:
        self.reports.add(Outcome(job, 1, len(payload), False, 0.0), payload, now, urgent)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_follows_quickly_is_held_back(desk: Desk) -> None:
    for job in range(10):
        desk.add(job, job * HELD_FOR / 10)
    assert desk.sent == []
    desk.reports.send_all()
    assert desk.sent == [list(range(10))]
    desk.reports.send_all()
    assert len(desk.sent) == 1


def test_what_is_urgent_takes_the_others_with_it(desk: Desk) -> None:
    desk.add(1)
    desk.add(2, urgent=True)
    assert desk.sent == [[1, 2]]
    assert desk.watches == 1
    desk.add(3, urgent=True)
    assert desk.sent == [[1, 2], [3]]
    assert desk.watches == 1


def test_what_has_waited_long_enough_goes_with_the_next(desk: Desk) -> None:
    desk.add(1, 5.0)
    desk.add(2, 5.0 + HELD_FOR)
    assert desk.sent == []
    desk.add(3, 5.0 + 2 * HELD_FOR)
    assert desk.sent == [[1, 2, 3]]
    desk.add(4, 5.0 + 2 * HELD_FOR)  # counts from its own time
    assert len(desk.sent) == 1


def test_many_are_not_held_back(desk: Desk) -> None:
    for job in range(300):
        desk.add(job)
    assert [len(jobs) for jobs in desk.sent] == [128, 128]
    desk.reports.send_all()
    assert sum(desk.sent, []) == list(range(300))  # noqa: RUF017  # short lists


def test_large_ones_are_not_held_back(desk: Desk) -> None:
    desk.add(1, payload=b"x" * 40_000)
    assert desk.sent == []
    desk.add(2, payload=b"x" * 40_000)
    assert desk.sent == [[1, 2]]
    desk.add(3, payload=b"x" * 40_000)
    assert len(desk.sent) == 1


@pytest.mark.parametrize(
    ("payloads", "messages"),
    [
        ([b"x", b"x" * CHUNK_LIMIT], [[0], [1]]),
        ([b"x" * (CHUNK_LIMIT + 1)], [[0]]),
        ([b"", b"x", Block(5)], [[0, 1], [2]]),
        ([Block(10)], [[0]]),
    ],
)
def test_what_does_not_fit_or_is_large_has_a_message_of_its_own(
    desk: Desk, payloads: list[Payload], messages: list[list[int]]
) -> None:
    for job, payload in enumerate(payloads):
        desk.add(job, payload=payload)
    desk.reports.send_all()
    assert desk.sent == messages


def test_nobody_shares_with_a_large_payload_that_is_in_front(desk: Desk) -> None:
    desk.reports._held.append((Outcome(1, 1, 5, False, 0.0), Block(5)))
    desk.add(2)
    desk.reports.send_all()
    assert desk.sent == [[1], [2]]


# The second thread.


def test_somebody_watches_while_results_are_held_back(desk: Desk) -> None:
    desk.add(1, 0.0)
    desk.add(2, 0.0)
    assert desk.watches == 1
    assert desk.reports.send_old(HELD_FOR / 2) is True
    assert desk.sent == []
    assert desk.reports.send_old(2 * HELD_FOR) is True
    assert desk.sent == [[1, 2]]
    assert desk.reports.send_old(3 * HELD_FOR) is False
    desk.add(3, 1.0)
    assert desk.watches == 2


def test_nobody_is_asked_to_watch_what_leaves_at_once(desk: Desk) -> None:
    desk.add(1, urgent=True)
    desk.add(2, payload=b"x" * CHUNK_LIMIT)
    assert desk.watches == 0
    assert desk.reports.send_old(9.0) is False


def test_two_threads_lose_nothing_and_keep_the_order(desk: Desk) -> None:
    number, done = 20_000, threading.Event()

    def watch() -> None:
        now = 0.0
        while not done.is_set():
            now += 1.0
            desk.reports.send_old(now)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for job in range(number):
            desk.add(job)
        desk.reports.send_all()
    finally:
        done.set()
        watching.join(20)
    assert [job for jobs in desk.sent for job in jobs] == list(range(number))
