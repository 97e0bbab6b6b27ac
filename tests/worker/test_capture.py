"""Capture: whatever a job writes, by whatever means, belongs to that job and is bounded."""

from __future__ import annotations

import ctypes
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ppnext.worker.capture import KEPT

# In a process of its own, with a small bound.

SMALL = """
import fcntl, os, sys, tempfile
sys.path[:0] = {path!r}
report = os.dup(1)
file = tempfile.TemporaryFile("a+b", buffering=0)
fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
os.dup2(file.fileno(), 1)
from ppnext.worker.capture import Capture
capture = Capture(kept=20)
def say(*things): os.write(report, (repr(things) + "\\n").encode())
"""


@pytest.fixture
def captured() -> Callable[[str], list[Any]]:
    """Run source with a ``capture`` that keeps 20 bytes; return what it says."""

    def run(source: str) -> list[Any]:
        prelude = SMALL.format(path=sys.path)
        done = subprocess.run(
            [sys.executable, "-c", prelude + source], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return [
            eval(line, {"Output": lambda text, dropped: (text, dropped)})
            for line in done.stdout.splitlines()
        ]

    return run


def test_nothing_then_something_then_nothing(captured: Callable[[str], list[Any]]) -> None:
    assert captured("""
say(capture.take())
print("abc")
say(capture.take())
say(capture.take())
""") == [(None,), ((b"abc\n", 0),), (None,)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (20, (b"0123456789abcdefghij", 0)),
        (21, (b"0123456789bcdefghijk", 1)),
        (26, (b"0123456789ghijklmnop", 6)),
    ],
)
def test_the_beginning_and_the_end_are_kept(
    size: int, expected: tuple[bytes, int], captured: Callable[[str], list[Any]]
) -> None:
    text = "0123456789abcdefghijklmnop"[:size]
    assert captured(f"os.write(1, {text.encode()!r})\nsay(capture.take())") == [(expected,)]


def test_trimming_while_the_job_goes_on(captured: Callable[[str], list[Any]]) -> None:
    assert captured("""
for i in range(1000):
    os.write(1, b"%04d " % i)
    capture.trim()
    assert os.fstat(1).st_size <= 20
say(capture.take())
os.write(1, b"next")
say(capture.take())
""") == [((b"0000 0001 0998 0999 ", 5000 - 20),), ((b"next", 0),)]


def test_trimming_what_is_short_changes_nothing(captured: Callable[[str], list[Any]]) -> None:
    assert captured("""
capture.trim()
os.write(1, b"short")
capture.trim()
os.write(2, b" and")
say(capture.take())
""") == [((b"short and", 0),)]


# In a worker.


def test_every_way_to_write(worker: Any) -> None:
    def write() -> None:
        print("print")
        print("error", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os.write(1, b"\x00\xff raw\n")
        os.write(2, b"raw error\n")
        subprocess.run(["sh", "-c", "echo child; echo child error >&2"], check=True)
        os.system("echo system")
        ctypes.CDLL(None).puts(b"C")
        ctypes.CDLL(None).fflush(None)

    outcome = worker.run(write)
    assert sorted(outcome.text.split(b"\n")) == sorted(
        b"print|error|\x00\xff raw|raw error|child|child error|system|C|".split(b"|")
    )
    assert outcome.result.dropped == 0


def test_output_belongs_to_its_job_and_has_no_zeros_in_front(worker: Any) -> None:
    for n in (1, 2, 3):
        assert worker.run(lambda n: print("job", n), n).text == b"job %d\n" % n
    assert worker.run(lambda: None).text == b""


def test_the_output_of_a_job_that_raised(worker: Any) -> None:
    outcome = worker.run(lambda: (print("before"), 1 / 0))
    assert outcome.text == b"before\n"
    assert type(outcome.value) is ZeroDivisionError


def test_text_that_cannot_be_encoded_is_the_jobs_affair(worker: Any) -> None:
    worker.run(lambda: print("\udcff"))
    assert worker.run(lambda: print("grün")).text == "grün\n".encode()


@pytest.mark.parametrize("number", [1, 2])
def test_more_than_is_kept(worker: Any, number: int) -> None:
    def write(number: int) -> None:
        os.write(number, b"head")
        for _ in range(8):
            os.write(number, b"x" * (1 << 20))
        os.write(number, b"tail")

    outcome = worker.run(write, number)
    assert len(outcome.text) == KEPT
    assert outcome.result.dropped == 8 * (1 << 20) + 8 - KEPT
    assert outcome.text.startswith(b"headxxx")
    assert outcome.text.endswith(b"xxxtail")
    assert worker.run(lambda: print("next")).text == b"next\n"


def test_descriptors_that_a_job_closes(worker: Any) -> None:
    def close() -> None:
        os.close(1)
        os.close(2)

    worker.run(close)
    assert worker.run(lambda: print("again")).text == b"again\n"
    assert worker.run(lambda: os.write(2, b"error")).text == b"error"


def test_what_was_printed_before_the_descriptor_was_closed(worker: Any) -> None:
    assert worker.run(lambda: (print("said before"), os.close(1))[0]).text == b"said before\n"


def close_stdout() -> None:
    sys.stdout.close()


def remove_stdout() -> None:
    sys.stdout = None  # type: ignore[assignment]  # what a job may do
    sys.stderr = None  # type: ignore[assignment]  # what a job may do


def replace_stdout() -> None:
    sys.stdout = io.StringIO()
    sys.stderr = io.StringIO()
    print("into nowhere")


def wrap_stdout() -> None:
    # A common idiom. The old stream is closed with the new one.
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="latin-1")


def detach_stdout() -> None:
    sys.stdout.detach()


class Raises:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        raise RuntimeError("no flush")


def stdout_that_raises() -> None:
    sys.stdout = Raises()  # type: ignore[assignment]  # what a job may do


@pytest.mark.parametrize(
    "spoil",
    [
        close_stdout,
        remove_stdout,
        replace_stdout,
        wrap_stdout,
        detach_stdout,
        stdout_that_raises,
    ],
)
def test_streams_that_a_job_spoils_are_there_for_the_next(
    spoil: Callable[[], None], worker: Any
) -> None:
    # By value, since the worker cannot import this file.
    spoil.__module__ = "__main__"
    Raises.__module__ = "__main__"
    outcome = worker.run(spoil)
    assert not outcome.result.raised, outcome.value
    assert worker.run(lambda: print("out")).text == b"out\n"
    assert worker.run(lambda: print("err", file=sys.stderr)).text == b"err\n"


def test_a_job_that_redirects_its_output(worker: Any, tmp_path: Any) -> None:
    target = tmp_path / "target"

    def redirect(path: str) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.write(1, b"into the file ")
        print("also")

    assert worker.run(redirect, str(target)).text == b""
    assert target.read_text() == "into the file also\n"
    assert worker.run(lambda: print("back")).text == b"back\n"


def test_a_thread_that_writes_all_the_time(worker: Any) -> None:
    def start() -> None:
        def write() -> None:
            for _ in range(20_000):
                os.write(1, b"noise\n")

        threading.Thread(target=write).start()

    worker.run(start)
    # The text of these is anybody's; that they come back whole is what counts.
    assert [worker.run(lambda n: n, n).value for n in range(50)] == list(range(50))


def test_the_file_is_emptied_while_a_job_runs(worker: Any) -> None:
    def flood() -> int:
        from time import monotonic

        block = b"y" * (1 << 20)
        end = monotonic() + 20
        largest = 0
        # Until it was seen to shrink: the watching thread looks once a second.
        while monotonic() < end and os.fstat(1).st_size >= largest:
            largest = os.fstat(1).st_size
            os.write(1, block)
            __import__("time").sleep(0.02)  # it is to write on, and not to fill the disk
        return largest - os.fstat(1).st_size

    outcome = worker.run(flood)
    assert outcome.value > 0
    assert len(outcome.text) == KEPT
