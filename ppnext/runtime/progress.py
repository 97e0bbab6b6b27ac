"""Progress: what a worker is doing, written where its parent can read it, also afterwards.

A worker that dies has no time to say what it was doing, and results that it held back are lost
with it. So it notes the number of each job that it starts in a file that it shares with its parent.
The parent blames that job for the death, and no other.

Behind the number the worker's Python writes where each of its threads is, whenever the parent sends
``STACK_SIGNAL``. That needs neither its interpreter lock nor its help: ``faulthandler`` does it in
the handler of the signal. By default the signal does nothing, so it harms nobody who has not
asked for it.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal

__all__ = ["SIZE", "STACK_SIGNAL", "Progress", "stack_in"]

SIZE = 8
"""Bytes of the file to begin with: one number."""

STACK_SIGNAL: int | None = getattr(signal, "SIGURG", None)
"""None where there are no such signals."""

_MOST = 1 << 16
"""Bytes that are read of what a worker has written; a deep stack in many threads."""

_DEEPEST = 100
"""Most calls told of."""

_OWN = '"' + os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
"""How the files of the worker itself begin."""


class Progress:
    """The file of one worker, at either end.

    Args:
        descriptor: a file of ``SIZE`` bytes that both ends have; closed with this.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, SIZE)
        self._number = memoryview(self._memory).cast("Q")
        self._last: int | None = None

    # The worker's end.

    def note(self, job: int) -> None:
        """A job is about to be started."""
        self._number[0] = job + 1

    def answer_signals(self) -> None:
        """Have this process write where it is whenever it gets ``STACK_SIGNAL``."""
        if STACK_SIGNAL is not None:
            os.lseek(self._descriptor, 0, os.SEEK_END)
            faulthandler.register(STACK_SIGNAL, self._descriptor, all_threads=True)

    # The parent's end.

    def last(self) -> int | None:
        """Return the job that was started last; None if none was."""
        if not self._memory.closed:
            self._last = self._number[0] - 1 if self._number[0] else None
        return self._last

    def written(self) -> int:
        """Return how many bytes the file has now."""
        return os.fstat(self._descriptor).st_size

    def stack(self, since: int) -> str:
        """Return where the worker's job was when it was asked, the innermost call last.

        Args:
            since: what ``written`` said before it was asked.

        Returns:
            one line for each call; nothing if the worker has not answered.
        """
        told = os.pread(self._descriptor, _MOST, since)
        return stack_in(told.decode(errors="backslashreplace"))

    def close(self) -> None:
        """Give the memory back; what was noted last stays known."""
        self.last()
        self._number.release()
        self._memory.close()
        os.close(self._descriptor)


def stack_in(told: str) -> str:
    """Return the calls of the job in what ``faulthandler`` has written of all threads.

    The innermost call is last. Of a thread it has the innermost calls first, and the oldest thread,
    which runs jobs, last. The calls of the worker itself and below are left out.
    """
    threads = told.strip().split("\n\n")
    job = next((thread for thread in threads if " in _run_job" in thread), threads[-1])
    calls = [line for line in job.splitlines() if line.startswith('  File "')]
    if calls and calls[-1].endswith('"<string>", line 1 in <module>'):
        del calls[-1]  # the statement that a worker is started with
    own = [line for line in calls if _OWN not in line]
    return "\n".join(reversed(own[:_DEEPEST]))
