"""Uncaught exceptions are found in logs, and ordinary lines are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.logs import surprises

TRACEBACK = """\
handle: <Handle Stream._readable()>
Traceback (most recent call last):
  File "streams.py", line 214, in _readable
    count = self._read()
{error}
2026-11-21 08:21:37,673 - ppnext.network - WARNING - client at 127.0.0.1 not authenticated
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026 - ppnext.workers - WARNING - a worker could not be started: Traceback\n", 0),
        ("x - asyncio - ERROR - Exception in callback f()\n" + TRACEBACK, 1),
        ("Exception in callback f()\n" + TRACEBACK, 1),
        ("Exception in thread Thread-1:\n" + TRACEBACK, 1),
        ("", 0),
    ],
)
def test_surprises(tmp_path: Path, text: str, expected: int) -> None:
    path = tmp_path / "log-a"
    path.write_text(text.format(error="KeyError: 7"))
    found = list(surprises(path))
    assert len(found) == expected
    assert all(line.startswith("log-a, line 1: ") and "KeyError: 7" in line for line in found)


def test_no_memory_is_no_surprise(tmp_path: Path) -> None:
    path = tmp_path / "log-a"
    path.write_text("Exception in callback f()\n" + TRACEBACK.format(error="MemoryError"))
    assert not list(surprises(path))
    assert not list(surprises(tmp_path / "log-b"))
