"""Backlog: the jobs that wait to be placed, first come first served.

A job that ends while it waits stays in the queue and is passed over; such jobs are swept out when
they outnumber the rest. So every operation takes constant time per job, but for ``before``,
``older``, ``remove`` and ``insert``, which look at the whole queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat, starmap

from ppnext.sched.model import WAITING, JobId, JobState

__all__ = ["Backlog"]


class Backlog:
    """A queue of jobs.

    Attributes:
        waiting: how many jobs wait.
    """

    __slots__ = ("_queue", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._queue: deque[JobState] = deque()

    def append(self, jobs: Sequence[JobState]) -> None:
        """Put jobs at the end."""
        self._queue.extend(jobs)
        self.waiting += len(jobs)

    def put_first(self, job: JobState) -> None:
        """Put a job that had been taken out at the front."""
        self._queue.appendleft(job)
        self.waiting += 1

    def take(self, number: int) -> list[JobState]:
        """Take out the first ``number`` jobs; so many must wait."""
        take = self._queue.popleft
        taken: list[JobState] = []
        if number > 1 and len(self._queue) == self.waiting:  # none has ended: all in one go
            taken += starmap(take, repeat((), number))
        self.waiting -= number
        while len(taken) < number:
            job = take()
            if job.status is WAITING:
                taken.append(job)
        return taken

    def take_before(self, number: int, limit: JobId | None) -> list[JobState]:
        """Take out the first job, and after it up to ``number`` in all while older than ``limit``.

        One must wait. None as the limit: all are.
        """
        queue, left = self._queue, min(number, self.waiting)
        taken: list[JobState] = []
        while len(taken) < left:
            job = queue[0]
            if job.status is WAITING:
                if taken and limit is not None and job.id > limit:
                    break
                taken.append(job)
            queue.popleft()
        self.waiting -= len(taken)
        return taken

    def front(self) -> JobId:
        """Return the number of the first job; one must wait."""
        queue = self._queue
        while queue[0].status is not WAITING:
            queue.popleft()
        return queue[0].id

    def remove(self, jobs: Sequence[JobState]) -> None:
        """Take out jobs that wait here."""
        gone = {job.id for job in jobs}
        self._queue = deque(
            job for job in self._queue if job.status is WAITING and job.id not in gone
        )
        self.waiting -= len(gone)

    def insert(self, jobs: Sequence[JobState]) -> None:
        """Put jobs where they would be if all had come here in the order of their numbers."""
        waiting = [job for job in self._queue if job.status is WAITING]
        self._queue = deque(sorted([*waiting, *jobs], key=lambda job: job.id))
        self.waiting += len(jobs)

    def drop(self) -> None:
        """One of the jobs has ended."""
        self.waiting -= 1
        # Without nodes nothing else empties the queue.
        if len(self._queue) > 2 * self.waiting + 64:
            self._queue = deque(job for job in self._queue if job.status is WAITING)

    def before(self, number: JobId) -> int:
        """How many jobs will be taken before this one. Takes time in proportion."""
        ahead = 0
        for job in self._queue:
            if job.id == number:
                break
            ahead += job.status is WAITING
        return ahead

    def older(self, number: JobId) -> int:
        """How many jobs that wait have a smaller number. Takes time in proportion."""
        return sum(job.status is WAITING and job.id < number for job in self._queue)

    def __len__(self) -> int:
        """How many jobs are kept, those that have ended included."""
        return len(self._queue)
