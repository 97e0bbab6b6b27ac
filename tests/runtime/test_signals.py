"""Shield: handlers are put off, none is lost, and all is as it was afterwards."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from ppnext.runtime.signals import Shield

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread(),
    reason="handlers run in the main thread, and these signals are those of POSIX",
)


class Interrupted(Exception):
    """What the handler raises."""


def interrupt(number: int, frame: object) -> None:
    raise Interrupted(number)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}
    for number in before:
        signal.signal(number, interrupt)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.sigpending()  # returns when the kernel has delivered it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_a_signal_waits_for_the_end_of_the_block(number: int) -> None:
    passed = []

    def block() -> None:
        with Shield():
            send(number)
            passed.append("the signal")

    with pytest.raises(Interrupted):
        block()
    assert passed
    assert signal.getsignal(number) is interrupt


def test_the_end_of_the_outermost_block_counts() -> None:
    shield, passed = Shield(), []

    def blocks() -> None:
        with shield:
            with shield:
                send(signal.SIGINT)
            passed.append("the inner block")

    with pytest.raises(Interrupted):
        blocks()
    assert passed


def test_shields_of_several_servers_may_be_nested() -> None:
    passed = []

    def blocks() -> None:
        with Shield():
            with Shield():
                send(signal.SIGINT)
            passed.append("the inner block")

    with pytest.raises(Interrupted):
        blocks()
    assert passed
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_an_error_of_the_block_comes_through() -> None:
    with pytest.raises(LookupError), Shield():
        raise LookupError
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_what_is_ignored_stays_ignored_and_defaults_stay_defaults() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with Shield():
        send(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_are_not_concerned() -> None:
    shield, inside, leave = Shield(), threading.Event(), threading.Event()

    def stay() -> None:
        with shield:
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert inside.wait(20)
        assert signal.getsignal(signal.SIGINT) is interrupt
        with pytest.raises(Interrupted):
            send(signal.SIGINT)
    finally:
        leave.set()
        thread.join(20)


def test_a_handler_that_raises_as_soon_as_it_is_back_keeps_no_other_from_its_place() -> None:
    shield = Shield()

    def arrive(frame: FrameType, event: str, argument: object) -> None:
        is_back = signal.getsignal(signal.SIGALRM) is interrupt
        if event == "c_return" and frame.f_code.co_name == "_put_back" and is_back:
            sys.setprofile(None)
            raise Interrupted

    with pytest.raises(Interrupted), shield:
        sys.setprofile(arrive)
    assert sys.getprofile() is None
    assert signal.getsignal(signal.SIGINT) is interrupt
    with shield:
        pass
    assert signal.getsignal(signal.SIGALRM) is interrupt


def test_a_handler_may_use_a_shield_as_soon_as_it_is_back() -> None:
    shield = Shield()

    def arrive(frame: FrameType, event: str, argument: object) -> None:
        is_back = signal.getsignal(signal.SIGALRM) is interrupt
        if event == "c_return" and frame.f_code.co_name == "_put_back" and is_back:
            sys.setprofile(None)
            with shield:
                pass

    with shield:
        sys.setprofile(arrive)
    assert sys.getprofile() is None
    for number in (signal.SIGINT, signal.SIGALRM):
        assert signal.getsignal(number) is interrupt


def test_whatever_interrupts_its_beginning_it_shields_the_next_time() -> None:
    shield, lines = Shield(), 0

    def arrive(frame: FrameType, event: str, argument: object) -> object:
        nonlocal lines
        if frame.f_code.co_name not in ("__enter__", "_put_off"):
            return None
        lines -= event == "line"
        if event == "line" and lines == 0:
            sys.settrace(None)
            raise Interrupted
        return arrive

    for lines_before in range(1, 100):
        lines = lines_before
        sys.settrace(arrive)
        try:
            with shield:
                sys.settrace(None)
                break  # it has no more lines
        except Interrupted:
            pass
        assert signal.getsignal(signal.SIGINT) is interrupt
        with shield:
            assert signal.getsignal(signal.SIGINT) is not interrupt
        assert signal.getsignal(signal.SIGINT) is interrupt
    assert 5 < lines_before < 99
