"""Pressure: what becomes of jobs when their machine runs short of memory; nothing really does.

What the machine says of its memory is made up, what jobs have is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppnext import JobMemoryExceeded, Server
from ppnext.nodes.relief import Relief
from ppnext.runtime.memory import Room

PATIENCE = 30.0
GIB = 1 << 30


class Machine:
    """A server on a machine that says of its memory what it is told to."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.available = 8 * GIB
        parts = server._parts
        turn, clock = parts.thread.turn, parts.thread.loop.time
        engine = parts.client.engine
        relief = Relief(
            turn, clock, lambda: [parts.pool], lambda: engine.unfinished > 0, self._read
        )
        parts.client.watchers[:] = [relief.watch]

    def _read(self) -> list[Room]:
        return [Room(16 * GIB, self.available)]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Server(3) as server:
        yield Machine(server)


def has_much(path: Path, size: int) -> int:
    """Have memory, the first time until it is killed."""
    content = bytes(range(256)) * (size // 256)
    with path.open("a") as file:
        file.write("began\n")
    if path.read_text().count("began") == 1:
        time.sleep(600)  # until it is killed
    return len(content)


def until(what: Callable[[], object]) -> None:
    """Wait until something is true that another thread or process makes so."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.01)  # between two looks at what others do


def test_the_large_job_is_run_again_when_there_is_room(machine: Machine, tmp_path: Path) -> None:
    size = 200 << 20
    small = machine.server.submit(time.sleep, (3,))
    job = machine.server.submit(has_much, (tmp_path / "much", size))
    until((tmp_path / "much").exists)
    machine.available = GIB // 8
    until(lambda: machine.server._parts.pool.is_held_back)
    machine.available = 8 * GIB
    assert job.result(PATIENCE) == size
    assert job.attempts == 2 and small.attempts == 1
    assert small.result(PATIENCE) is None
    assert [machine.server.submit(abs, (-x,))() for x in range(5)] == list(range(5))


def test_one_that_may_be_run_once_ends_and_says_why(machine: Machine, tmp_path: Path) -> None:
    job = machine.server.submit(has_much, (tmp_path / "much", 200 << 20), retry=False)
    until((tmp_path / "much").exists)
    machine.available = GIB // 8
    with pytest.raises(JobMemoryExceeded, match="the machine ran short of memory") as caught:
        job.result(PATIENCE)
    assert caught.value.peak > 200 << 20
    assert f"{GIB // 8} of {16 * GIB} bytes were left" in str(caught.value)
