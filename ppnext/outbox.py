"""Outbox: jobs of a client that the scheduler has not been told of, by priority.

The scheduler is told of as many as it needs to choose from; what it knows of a job costs more than
the job. How many wait there already is counted for each priority, so that no job has to wait for
those that come after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ppnext.job import Job

__all__ = ["Outbox"]


class Outbox:
    """Jobs in the order in which they are to be run."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Job]] = {}
        # Almost always the only one.
        self._plain = self._queues[0] = deque[Job]()

    def extend(self, jobs: Iterable[Job], special: bool = True) -> None:
        """Add jobs; each goes behind those of the same priority.

        Args:
            special: whether any of them may have a priority.
        """
        if special:
            for job in jobs:
                self._queues.setdefault(job.terms.priority, deque()).append(job)
        else:
            self._plain.extend(jobs)

    def take(self, most: int, has_room: Callable[[int], bool]) -> list[Job]:
        """Take the next jobs, all of one priority; none if there is no room for any.

        Args:
            most: how many at most.
            has_room: whether jobs of a priority are wanted.
        """
        for priority in sorted(self._queues, reverse=True):
            queue = self._queues[priority]
            if queue and has_room(priority):
                return [queue.popleft() for _ in range(min(len(queue), most))]
        return []

    def before(self, job: Job) -> int:
        """How many jobs are taken before this one. Takes time in proportion."""
        priority = job.terms.priority
        ahead = sum(len(queue) for other, queue in self._queues.items() if other > priority)
        return ahead + self._queues[priority].index(job)

    def clear(self) -> None:
        """Forget all."""
        for queue in self._queues.values():
            queue.clear()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Job]:
        for queue in self._queues.values():
            yield from queue

    def __contains__(self, job: Job) -> bool:
        return job in self._queues.get(job.terms.priority, ())
