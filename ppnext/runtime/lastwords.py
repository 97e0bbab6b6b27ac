"""Last words: what a worker process has left when it died, told apart. Pure.

What it wrote last is there, from C libraries too; if it died of a signal, ``faulthandler`` has
added where all its threads were.
"""

from __future__ import annotations

from typing import NamedTuple

from ppnext.runtime.progress import stack_in

__all__ = ["MOST", "LastWords", "last_words"]

MOST = 1 << 16
"""Bytes, from the end of what it wrote, that are looked at."""

_KEPT = 2000
"""Characters of its words that are kept."""

_CALLS = 8
"""Calls that are kept, the innermost."""

_DUMP = "Fatal Python error: "
_OF_SIGNALS = {"Segmentation fault", "Aborted", "Bus error", "Illegal instruction"}
_OF_SIGNALS |= {"Floating-point exception", "Floating point exception"}


class LastWords(NamedTuple):
    """What a process has left.

    Attributes:
        words: what it wrote, without what Python itself said of its end by a signal.
        stack: where its job was, one line for each call, the innermost last; empty if not known.
    """

    words: str
    stack: str


def last_words(written: bytes) -> LastWords:
    """Tell apart what a process wrote last.

    Args:
        written: the end of it.
    """
    text = written.decode(errors="backslashreplace").strip()
    before, found, dump = text.rpartition(f"\n{_DUMP}" if f"\n{_DUMP}" in text else _DUMP)
    if not found:
        return LastWords(text[-_KEPT:], "")
    what, _, threads = dump.partition("\n")
    words = before.strip() if what in _OF_SIGNALS else text
    calls = stack_in(threads).splitlines()
    return LastWords(words[-_KEPT:], "\n".join(calls[-_CALLS:]))
