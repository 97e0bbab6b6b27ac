"""How much memory a process and its children have of their own.

The processes are real: each takes memory when it is told to, says so, and ends with its input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppnext.runtime.footprint import PROC, Footprint

PATIENCE = 20.0
MIB = 1 << 20

LOOKS = 5
"""Looks after which children are searched for again."""

TAKER = """
import mmap, subprocess, sys

def child(size):
    there = subprocess.Popen([sys.executable, "-c", CODE], stdin=-1, stdout=-1, text=True)
    there.stdin.write(f"own {size}\\n")
    there.stdin.flush()
    there.stdout.readline()
    return there

def shared(size):
    memory = mmap.mmap(-1, size)  # shared with children, so not its own
    memory.write(bytes(size))
    return memory

def own(size):
    return bytearray(b"x") * size

TAKES = {"own": own, "shared": shared, "child": child}
kept = []
for line in sys.stdin:
    what, size = line.split()
    if what == "end":  # of its children
        for it in kept:
            it.stdin.close()
            it.wait()
        kept.clear()
    else:
        kept.append(TAKES[what](int(size)))
    print("done", flush=True)
for it in kept:
    if isinstance(it, subprocess.Popen):
        it.communicate()
"""
CODE = f"CODE = {TAKER!r}\nexec(CODE)"


class Taker:
    """A process that takes memory."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE], stdin=-1, stdout=-1, text=True, bufsize=1
        )
        self.pid = self._process.pid

    def take(self, what: str, size: int = 0) -> None:
        """Return when it has taken so many bytes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{what} {size}\n")
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        """Let it end with its children, and wait for that."""
        if self._process.returncode is None:
            try:
                self._process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()


@pytest.fixture
def taker() -> Iterator[Taker]:
    """A process that takes memory; it is ended after the test."""
    taker = Taker()
    try:
        yield taker
    finally:
        taker.end()


def test_what_a_process_takes_is_seen_at_the_next_look(taker: Taker) -> None:
    footprint = Footprint(taker.pid)
    before = footprint.measure()
    taker.take("own", 50 * MIB)
    assert 0.9 * 50 * MIB < footprint.measure() - before < 60 * MIB


@pytest.mark.parametrize("proc", [PROC, PROC / "nothing"])
def test_its_children_count(taker: Taker, proc: Path) -> None:
    taker.take("child", 50 * MIB)
    assert Footprint(taker.pid, proc).measure() > 50 * MIB


def test_where_processes_say_which_children_they_have_no_others_are_looked_at(
    taker: Taker, tmp_path: Path
) -> None:
    """There may be thousands, and many jobs that are measured. Here one of two threads has one."""
    taker.take("child", 50 * MIB)
    (tmp_path / "thread-self").mkdir()
    (tmp_path / "thread-self" / "children").touch()
    footprint = Footprint(taker.pid, tmp_path)
    alone = footprint.measure()
    assert 0 < alone < 50 * MIB
    other = Taker()
    try:
        other.take("own", 50 * MIB)
        for task, child in (("1", other.pid), ("2", 0)):
            folder = tmp_path / str(taker.pid) / "task" / task
            folder.mkdir(parents=True)
            (folder / "children").write_text(f"{child} " if child else "")
        assert Footprint(taker.pid, tmp_path).measure() > alone + 50 * MIB
    finally:
        other.end()


def test_children_are_searched_for_at_times_only(taker: Taker) -> None:
    footprint = Footprint(taker.pid)
    footprint.measure()
    taker.take("child", 50 * MIB)
    sizes = [footprint.measure() for _ in range(LOOKS)]
    assert max(sizes[:-1]) < 50 * MIB < sizes[-1]


def test_a_child_that_has_ended_counts_no_more(taker: Taker) -> None:
    taker.take("child", 50 * MIB)
    footprint = Footprint(taker.pid)
    assert footprint.measure() > 50 * MIB
    taker.take("end")
    assert 0 < footprint.measure() < 50 * MIB


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere what is shared is not told apart"
)
def test_memory_that_is_shared_does_not_count(taker: Taker) -> None:
    footprint = Footprint(taker.pid)
    before = footprint.measure()
    taker.take("shared", 50 * MIB)
    assert footprint.measure() - before < 10 * MIB


def test_a_process_that_has_ended_has_none(taker: Taker) -> None:
    footprint, unseen = Footprint(taker.pid), Footprint(taker.pid)
    assert footprint.measure() > 0
    taker.end()
    assert [footprint.measure() for _ in range(LOOKS + 1)] == [0] * (LOOKS + 1)
    assert unseen.measure() == 0


def test_nor_has_one_that_had_ended_before_anybody_looked(taker: Taker) -> None:
    taker.end()
    assert Footprint(taker.pid).measure() == 0
