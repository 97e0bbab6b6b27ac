"""Progress: which job a worker is running, written where its parent can read it afterwards.

A worker that dies has no time to say what it was doing, and results that it held back are lost
with it. So it notes the number of each job that it starts in memory shared with its parent. The
parent blames that job for the death, and no other.
"""

from __future__ import annotations

import mmap
import os

__all__ = ["SIZE", "Progress"]

SIZE = 8
"""Bytes of the shared memory: one number."""


class Progress:
    """The note of one worker, at either end.

    Args:
        descriptor: a file of ``SIZE`` bytes that both ends have; closed here.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        os.close(descriptor)
        self._number = memoryview(self._memory).cast("Q")
        self._last: int | None = None

    def note(self, job: int) -> None:
        """A job is about to be started."""
        self._number[0] = job + 1

    def last(self) -> int | None:
        """Return the job that was started last; None if none was."""
        if not self._memory.closed:
            self._last = self._number[0] - 1 if self._number[0] else None
        return self._last

    def close(self) -> None:
        """Give the memory back; what was noted last stays known."""
        self.last()
        self._number.release()
        self._memory.close()
