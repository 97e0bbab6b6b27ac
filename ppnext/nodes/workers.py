"""Workers: a worker process as its pool keeps it.

It may be suspended, with all that its job has started, when somebody else needs the machine. Nobody
takes it for dead then: its parent answers for it. The time of its job does not run meanwhile.
"""

from __future__ import annotations

from ppnext.nodes.link import Link
from ppnext.runtime.processes import WorkerProcess
from ppnext.runtime.streams import Stream
from ppnext.sched.model import NOBODY

__all__ = ["Worker"]


class Worker:
    """A worker process and its link.

    Args:
        process: it.
        link: as the engine drives it.

    Attributes:
        jobs: the stream of its jobs and results.
        leaving: whether it is to go when it has no job.
        exit_watched: whether its end is told by the system, or waited for.
        suspended_since: when it was suspended; None if it is not.
        stays: whether it runs beside the slots there are, and is not suspended for that.
        is_replaced: whether another may take its slot, as it is about to go, or has none.
    """

    def __init__(self, process: WorkerProcess, link: Link) -> None:
        self.process = process
        self.link = link
        self.jobs: Stream | None = None
        self.leaving = False
        self.exit_watched = False
        self.suspended_since: float | None = None
        self.stays = False
        self.is_replaced = False

    @property
    def is_idle(self) -> bool:
        """Whether it has no jobs and is not about to go."""
        return not self.leaving and self.link.held == 0

    @property
    def is_running(self) -> bool:
        """Whether it has jobs, and could be suspended."""
        return self.link.held > 0 and self.suspended_since is None and not self.stays

    def suspend(self, now: float) -> None:
        """Have it wait.

        Args:
            now: the time of the loop.
        """
        self.suspended_since = now
        self.process.suspend()
        if self.link.guard is not None:
            self.link.guard.hold(now)

    def proceed(self) -> None:
        """Have it go on, with a slot of its own."""
        self.stays = False
        if self.suspended_since is not None:
            self._go_on()

    def _go_on(self) -> None:
        self.suspended_since = None
        if self.link.guard is not None:
            self.link.guard.go_on()
        self.process.proceed()

    def last_started(self) -> int | None:
        """Return the job that it has started last, once what it has sent of others is read."""
        if self.jobs is not None:
            self.jobs.drain()
        return self.process.last_started()

    def stay(self) -> None:
        """Have it go on without a slot, giving way to all; it runs no more jobs after this one."""
        self.stays = True
        self.process.give_way()
        if self.link.guard is not None:
            self.link.guard.is_spent = True
        self._go_on()

    def give_up(self, why: str) -> None:
        """End it; the jobs that it had are as if they had not been started."""
        self.link.lose(why, NOBODY)
