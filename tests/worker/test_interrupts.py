"""Interrupts in a worker: the job that runs is stopped, and no other."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

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


def has_noticed(interrupts: Interrupts, job: tuple[int, int]) -> bool:
    """Whether to stop this job raises KeyboardInterrupt in this thread."""
    try:
        interrupts.stop(job)
        # A signal that came late.
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return True
    return False


def call(interrupts: Interrupts, function: Callable[..., object], *args: object) -> object:
    """Call a function as the job JOB."""
    return interrupts.call(JOB, function, args, {})


def test_it_returns_what_the_job_returns(interrupts: Interrupts) -> None:
    assert interrupts.call(JOB, sorted, ["bca"], {"reverse": True}) == ["c", "b", "a"]


def test_it_raises_what_the_job_raises(interrupts: Interrupts) -> None:
    with pytest.raises(ZeroDivisionError):
        call(interrupts, divmod, 1, 0)
    assert not has_noticed(interrupts, JOB)


def test_the_job_that_runs_is_interrupted(interrupts: Interrupts) -> None:
    def runs() -> None:
        interrupts.stop(JOB)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="the job was stopped"):
        call(interrupts, runs)


def test_another_thread_interrupts_a_job_that_waits(interrupts: Interrupts) -> None:
    other = threading.Thread(target=interrupts.stop, args=(JOB,))

    def waits() -> None:
        other.start()
        threading.Event().wait(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        call(interrupts, waits)
    other.join(PATIENCE)
    assert not other.is_alive()


@pytest.mark.parametrize("job", [OTHER, AGAIN])
def test_no_other_job_is_interrupted_nor_another_attempt(
    interrupts: Interrupts, job: tuple[int, int]
) -> None:
    assert not call(interrupts, has_noticed, interrupts, job)
    assert call(interrupts, has_noticed, interrupts, JOB)


def test_a_job_that_has_ended_is_not_interrupted(interrupts: Interrupts) -> None:
    call(interrupts, int)
    assert not interrupts.stop(JOB) and not has_noticed(interrupts, JOB)


def test_a_signal_that_comes_late_does_not_meet_the_next_job(interrupts: Interrupts) -> None:
    interrupts.call(OTHER, int, (), {})
    assert not call(interrupts, has_noticed, interrupts, OTHER)


def test_a_job_is_interrupted_once(interrupts: Interrupts) -> None:
    """What it does to clean up is not interrupted in its turn."""
    noticed = call(interrupts, lambda: [has_noticed(interrupts, JOB) for _ in range(3)])
    assert noticed == [True, False, False]


def test_a_signal_that_nobody_here_has_sent_interrupts_nothing(interrupts: Interrupts) -> None:
    signal.raise_signal(signal.SIGINT)
    call(interrupts, signal.raise_signal, signal.SIGINT)
    assert call(interrupts, has_noticed, interrupts, JOB)


def test_the_job_after_one_that_was_interrupted_can_be_too(interrupts: Interrupts) -> None:
    for job in (JOB, AGAIN, OTHER):
        assert interrupts.call(job, has_noticed, (interrupts, job), {})


@pytest.mark.parametrize(
    "handler", [signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "default"]
)
def test_a_handler_that_a_job_leaves_behind_is_not_the_next_job_s(
    interrupts: Interrupts, handler: Callable[..., object] | signal.Handlers
) -> None:
    call(interrupts, signal.signal, signal.SIGINT, handler)
    interrupts.call(OTHER, list, (), {})
    assert not has_noticed(interrupts, OTHER)  # it has ended

    def run() -> None:
        if not has_noticed(interrupts, JOB):
            raise AssertionError("it was not interrupted")

    call(interrupts, run)


def test_a_job_that_was_stopped_before_it_was_called_is_not(interrupts: Interrupts) -> None:
    assert not interrupts.stop(JOB)
    with pytest.raises(KeyboardInterrupt, match="before it was called"):
        call(interrupts, pytest.fail, "it was called")
    assert interrupts.call(AGAIN, int, (), {}) == 0


def test_an_import_is_not_interrupted(
    interrupts: Interrupts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_imported.py").write_text("stop()\nwhole = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("builtins.stop", lambda: has_noticed(interrupts, JOB), raising=False)

    def imports() -> bool:
        module = importlib.import_module("half_imported")
        return bool(module.whole) and has_noticed(interrupts, JOB)

    try:
        assert call(interrupts, imports)
    finally:
        sys.modules.pop("half_imported", None)


@pytest.mark.parametrize(
    ("module", "is_whole"),
    [
        ("ppnext.worker.inbox", True),
        ("ppnext.runtime.sharing", True),
        ("ppnext.shipping.chunks", False),
        ("ppnext.job", False),
        ("helpers", False),
        (None, False),
    ],
)
def test_what_the_worker_does_for_a_job_is_done_whole(
    interrupts: Interrupts, module: str | None, is_whole: bool
) -> None:
    space: dict[str, object] = {"__name__": module, "has_noticed": has_noticed}
    exec("def f(interrupts, job):\n    return has_noticed(interrupts, job)", space)

    def uses(function: Callable[..., object]) -> list[object]:
        return [function(interrupts, JOB), has_noticed(interrupts, JOB)]

    assert call(interrupts, uses, space["f"]) == [not is_whole, is_whole]
