"""Logs: what daemons and clients wrote that nobody should ever have to read.

A line about a peer that was lost is as it should be. An exception that nobody caught is not,
even where nothing else went wrong; unless it says that there was no memory, and nothing came of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["surprises"]

_SURPRISE = re.compile(
    r"asyncio - ERROR|^Exception (in|ignored)|^Task exception|^Fatal Python error"
)
_EXPECTED = "MemoryError"
_LINES = 40


def surprises(path: Path) -> Iterator[str]:
    """Yield the uncaught exceptions in a log, each with its first and its last line."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for place, line in enumerate(lines):
        if _SURPRISE.search(line):
            last = _last_line(lines[place + 1 : place + _LINES])
            if _EXPECTED not in last:
                yield f"{path.name}, line {place + 1}: {line}: {last}"


def _last_line(lines: list[str]) -> str:
    """The first line behind a traceback that is not indented: the exception."""
    is_inside = False
    for line in lines:
        if is_inside and not line.startswith(" "):
            return line
        is_inside = is_inside or line.startswith("Traceback")
    return ""
