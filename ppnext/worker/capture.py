"""Capture: what a job writes to its standard output and error, also from C code and children.

Descriptors 1 and 2 of a worker are one file, made by its parent and opened for appending. After
each job its content is taken and the file is emptied. A file, unlike a pipe, never makes the job
wait for somebody to read, and the parent can read the last words of a worker that has crashed.

What is kept of one job is bounded: the beginning and the end. While a job runs, ``trim`` is
called from time to time so that the file cannot grow without limit.
"""

from __future__ import annotations

import os
import sys
from threading import Lock
from typing import NamedTuple, TextIO

__all__ = ["KEPT", "Capture", "Output"]

KEPT = 1 << 20
"""Most bytes of one job's output that are kept; half from its beginning, half from its end."""


class Output(NamedTuple):
    """What one job has written."""

    text: bytes
    dropped: int
    """Bytes that were left out of the middle."""


class Capture:
    """The file behind descriptors 1 and 2.

    Args:
        kept: most bytes of one job's output to keep.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._half = kept // 2
        # Descriptors of our own, which jobs cannot close by their well-known numbers.
        self._file = os.dup(1)
        os.dup2(self._file, 2)
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        # The beginning of a long output, once it has been cut, and what was cut. The lock
        # belongs to the thread that trims and the one that takes.
        self._lock = Lock()
        self._head = b""
        self._dropped = 0

    def take(self) -> Output | None:
        """Return what was written since the last call, None if nothing; and mend 1 and 2."""
        out, err = self._streams
        whole = sys.stdout is out and sys.stderr is err and _flush(out) and _flush(err)
        if not whole:
            for stream in (sys.stdout, sys.stderr, out, err):
                _flush(stream)
        os.dup2(self._file, 1)
        os.dup2(self._file, 2)
        if not whole:
            self._mend_streams()
        with self._lock:
            size = os.lseek(self._file, 0, os.SEEK_END)
            if not size and not self._head:
                return None
            self._cut(size)
            tail = os.pread(self._file, 2 * self._half, 0)
            output = Output(self._head + tail, self._dropped)
            os.ftruncate(self._file, 0)
            self._head, self._dropped = b"", 0
            return output

    def trim(self) -> None:
        """Keep the file from growing without limit. Called by another thread while a job runs."""
        with self._lock:
            self._cut(os.fstat(self._file).st_size)

    def _cut(self, size: int) -> None:
        """If there is too much in the file, keep the beginning of it once, and its end."""
        if size <= 2 * self._half and not self._head:
            return
        if size <= self._half:
            return
        at = 0
        if not self._head:
            self._head = os.pread(self._file, self._half, 0)
            at = len(self._head)
        keep_from = max(at, size - self._half)
        tail = os.pread(self._file, self._half, keep_from)
        os.ftruncate(self._file, 0)
        os.write(self._file, tail)
        self._dropped += keep_from - at

    def _mend_streams(self) -> None:
        """Have sys.stdout and sys.stderr write to 1 and 2 again, whatever the job made of them.

        A stream that the job has replaced is made anew: what replaced it may close it one day.
        """
        out, err = self._streams
        # Hence "noqa": they are not closed here, but are the worker's streams from now on.
        if sys.stdout is not out or not _flush(out):
            sys.stdout = out = open(1, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
        if sys.stderr is not err or not _flush(err):
            sys.stderr = err = open(2, "w", 1, closefd=False, errors="backslashreplace")  # noqa: SIM115
        self._streams = (out, err)


def _flush(stream: TextIO) -> bool:
    """Flush a stream; return False if that cannot be done any more."""
    try:
        stream.flush()
    # The job may have closed it, or put there an object of its own, which raises what it likes.
    except Exception:
        return False
    return True
