"""Looking: for a moment, and no longer; not where it would keep the other end from answering."""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter

import pytest

from ppnext.runtime.looking import look

several = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2 if hasattr(os, "sched_getaffinity") else os.cpu_count() == 1,
    reason="this process may use one processor only",
)


@several
def test_what_is_there_is_found_at_once() -> None:
    assert look(lambda: [1], 60.0) == [1]


@several
def test_what_comes_meanwhile_is_found() -> None:
    answers: list[list[int]] = [[2], [], [], []]
    assert look(lambda: answers.pop(), 60.0) == [2]
    assert answers == []


@several
def test_it_looks_once_and_not_longer_than_it_may() -> None:
    looks: list[int] = []

    def poll() -> list[int]:
        looks.append(1)
        return []

    began = perf_counter()
    assert look(poll, 0.001) == []
    assert looks and perf_counter() - began >= 0.001
    looks.clear()
    assert look(poll, 0.0) == []
    assert len(looks) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_with_one_processor_nobody_looks() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from ppnext.runtime.looking import look\n"
        "assert look(lambda: 1 / 0, 60.0) == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
