"""Progress: what a worker was doing can be read after its end."""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
from collections.abc import Iterator

import pytest

from ppnext.runtime import progress
from ppnext.runtime.progress import SIZE, Progress, stack_in

PACKAGE = os.path.dirname(os.path.dirname(progress.__file__))


@pytest.fixture
def ends() -> Iterator[tuple[Progress, Progress]]:
    """The worker's end and the parent's."""
    with tempfile.TemporaryFile() as note:
        note.truncate(SIZE)
        yield Progress(os.dup(note.fileno())), Progress(os.dup(note.fileno()))


def test_nothing_was_started(ends: tuple[Progress, Progress]) -> None:
    assert ends[1].last() is None


@pytest.mark.parametrize("job", [0, 1, 2**63 - 1])
def test_the_other_end_sees_what_was_noted(ends: tuple[Progress, Progress], job: int) -> None:
    worker, parent = ends
    for other in (5, job):
        worker.note(other)
    assert parent.last() == job


def test_the_last_job_is_known_when_the_descriptor_is_closed(
    ends: tuple[Progress, Progress],
) -> None:
    worker, parent = ends
    worker.note(1)
    parent.close()
    assert parent.last() == 1


def test_where_a_process_is(ends: tuple[Progress, Progress]) -> None:
    worker, parent = ends
    since = parent.written()
    assert parent.stack(since) == ""
    worker.answer_signals()
    try:
        os.kill(os.getpid(), signal.SIGURG)
        first = parent.stack(since)
        assert first.splitlines()[-1].endswith(" in test_where_a_process_is")
        since = parent.written()
        os.kill(os.getpid(), signal.SIGURG)
        assert parent.stack(since) != first  # it is in another line
    finally:
        faulthandler.unregister(signal.SIGURG)


TOLD = f"""\
Thread 0x00007fcbe7c2e6c0 (most recent call first):
  File "/home/anna/sim.py", line 4 in helper
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x00007fcbe8839b80 (most recent call first):
  File "/home/anna/sim.py", line 9 in inner
  File "/home/anna/ppnext/sim.py", line 12 in step
  File "{PACKAGE}/shipping/chunks.py", line 40 in __call__
  File "{PACKAGE}/worker/main.py", line 120 in _execute
  File "{PACKAGE}/worker/main.py", line 99 in _run_job
  File "<string>", line 1 in <module>

Thread 0x00007fcbe7c2e7d0 (most recent call first):
  File "/home/anna/sim.py", line 6 in other
"""


def test_the_thread_of_the_job_is_told_of_without_the_worker() -> None:
    assert stack_in(TOLD).splitlines() == [
        '  File "/home/anna/ppnext/sim.py", line 12 in step',
        '  File "/home/anna/sim.py", line 9 in inner',
    ]


def test_a_stack_too_deep_to_be_told_is_that_of_the_oldest_thread() -> None:
    told = TOLD.replace(" in _run_job", " in so_deep")
    assert stack_in(told).endswith(" in other")
    assert stack_in("") == stack_in("nothing known") == ""
