"""Outbox: jobs of a client that the scheduler has not been told of, by priority.

The scheduler is told of as many as it needs to choose from; what it knows of a job costs more than
the job. How many wait there already is counted for each priority, so that no job has to wait for
those that come after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush

from ppnext.job import Job

__all__ = ["Outbox", "Room"]


class Room:
    """How many more jobs the scheduler should have, asked from the highest priority down.

    Args:
        few: jobs that may wait there, of a priority and all that are higher.
        waiting: how many do, of each priority, the highest last; used up.
        is_open: whether there are slots for jobs of one kind or another: then any are wanted.
    """

    def __init__(self, few: int, waiting: list[tuple[int, int]], is_open: bool) -> None:
        self._few = few
        self._waiting = waiting
        self._is_open = is_open
        self._ahead = 0

    def has(self, priority: int, taken: int) -> bool:
        """Whether jobs of a priority are wanted, besides so many that are taken already."""
        waiting = self._waiting
        while waiting and waiting[-1][0] >= priority:
            self._ahead += waiting.pop()[1]
        return self._is_open or self._ahead + taken < self._few


class Outbox:
    """Jobs in the order in which they are to be run."""

    def __init__(self) -> None:
        # None is empty: a program may give each job a priority of its own.
        self._queues: dict[int, deque[Job]] = {}
        # Its keys, negated: a heap.
        self._order: list[int] = []
        # Almost always the only one.
        self._plain = deque[Job]()

    def extend(self, jobs: Iterable[Job], special: bool = True) -> None:
        """Add jobs; each goes behind those of the same priority.

        Args:
            special: whether any of them may have a priority.
        """
        if special:
            for job in jobs:
                self._queue(job.terms.priority).append(job)
        else:
            self._plain.extend(jobs)
            if self._plain:
                self._queue(0)

    def _queue(self, priority: int) -> deque[Job]:
        """Return the queue of a priority, which must not stay empty."""
        queue = self._queues.get(priority)
        if queue is None:
            queue = self._queues[priority] = deque() if priority else self._plain
            heappush(self._order, -priority)
        return queue

    def take(self, most: int, has_room: Callable[[int, int], bool]) -> list[Job]:
        """Take the next jobs, of one priority after the other, the highest first.

        Args:
            most: how many at most.
            has_room: whether jobs of a priority are wanted, besides so many that are taken already;
                if not, none of a lower one are.
        """
        jobs: list[Job] = []
        while self._order and len(jobs) < most and has_room(-self._order[0], len(jobs)):
            priority = -self._order[0]
            queue = self._queues[priority]
            jobs += [queue.popleft() for _ in range(min(len(queue), most - len(jobs)))]
            if not queue:
                heappop(self._order)
                del self._queues[priority]
        return jobs

    def before(self, job: Job) -> int:
        """How many jobs are taken before this one. Takes time in proportion."""
        priority = job.terms.priority
        ahead = sum(len(queue) for other, queue in self._queues.items() if other > priority)
        return ahead + self._queues[priority].index(job)

    def clear(self) -> None:
        """Forget all."""
        self._queues.clear()
        self._order.clear()
        self._plain.clear()

    def __bool__(self) -> bool:
        return bool(self._order)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Job]:
        for queue in self._queues.values():
            yield from queue

    def __contains__(self, job: Job) -> bool:
        return job in self._queues.get(job.terms.priority, ())
