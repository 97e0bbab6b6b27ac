"""Progress: what a worker was doing can be read after its end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from ppnext.runtime.progress import SIZE, Progress


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


def test_the_descriptor_is_closed() -> None:
    with tempfile.TemporaryFile() as note:
        note.truncate(SIZE)
        descriptor = os.dup(note.fileno())
        progress = Progress(descriptor)
        with pytest.raises(OSError):
            os.fstat(descriptor)
        progress.note(1)
        assert progress.last() == 1
