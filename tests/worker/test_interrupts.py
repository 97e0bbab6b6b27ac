"""Interrupts in a worker: the job that runs is stopped, and no other."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from ppnext.worker.interrupts import Interrupts

PATIENCE = 20.0

JOB, AGAIN, OTHER = (1, 1), (1, 2), (2, 1)

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="the system cannot signal a thread"
)


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    """Interrupts of this thread; afterwards SIGINT does what it did before."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield Interrupts()
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(interrupts: Interrupts, job: tuple[int, int]) -> bool:
    """Whether to stop this job raises KeyboardInterrupt in this thread."""
    try:
        interrupts.stop(job)
        # A signal that came late.
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return True
    return False


def test_the_job_that_runs_is_interrupted(interrupts: Interrupts) -> None:
    interrupts.begin(JOB)
    with pytest.raises(KeyboardInterrupt, match="the job was stopped"):
        interrupts.stop(JOB)


def test_another_thread_interrupts_a_job_that_waits(interrupts: Interrupts) -> None:
    interrupts.begin(JOB)
    other = threading.Thread(target=interrupts.stop, args=(JOB,))

    def waits() -> None:
        other.start()
        threading.Event().wait(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        waits()
    other.join(PATIENCE)
    assert not other.is_alive()


@pytest.mark.parametrize("job", [OTHER, AGAIN])
def test_no_other_job_is_interrupted_nor_another_attempt(
    interrupts: Interrupts, job: tuple[int, int]
) -> None:
    interrupts.begin(JOB)
    assert not interrupted(interrupts, job)
    assert interrupted(interrupts, JOB)


def test_a_job_that_has_ended_is_not_interrupted(interrupts: Interrupts) -> None:
    interrupts.begin(JOB)
    interrupts.end()
    assert not interrupted(interrupts, JOB)


def test_a_signal_that_comes_late_does_not_meet_the_next_job(interrupts: Interrupts) -> None:
    interrupts.begin(JOB)
    interrupts.end()
    interrupts.begin(OTHER)
    assert not interrupted(interrupts, JOB)


def test_a_job_is_interrupted_once(interrupts: Interrupts) -> None:
    """What it does to clean up is not interrupted in its turn."""
    interrupts.begin(JOB)
    assert interrupted(interrupts, JOB)
    assert not interrupted(interrupts, JOB)


def test_a_signal_that_nobody_here_has_sent_interrupts_nothing(interrupts: Interrupts) -> None:
    signal.raise_signal(signal.SIGINT)
    interrupts.begin(JOB)
    signal.raise_signal(signal.SIGINT)
    assert interrupted(interrupts, JOB)


def test_the_job_after_one_that_was_interrupted_can_be_too(interrupts: Interrupts) -> None:
    for job in (JOB, AGAIN, OTHER):
        interrupts.begin(job)
        assert interrupted(interrupts, job)
        interrupts.end()
