"""Guests: the jobs of one session on a machine whose owner comes first.

While he needs the machine, some of them are suspended. A job that has waited for too long is ended
and handed back to its client, which has it run elsewhere: nobody is to blame, nothing was lost but
time. A job that must not be started twice is never ended. It is continued, and gives way as far
as the system lets it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ppnext.engine import Engine
from ppnext.nodes.local import WorkerPool
from ppnext.nodes.workers import Worker
from ppnext.sched.model import NOBODY, RUN

__all__ = ["Guests"]

_log = logging.getLogger("ppnext.server")


class Guests:
    """Jobs of a session.

    Args:
        engine: the session's.
        pool: its workers.
        attempts: the client's attempt number of each job that has not ended here.
    """

    def __init__(self, engine: Engine, pool: WorkerPool, attempts: Mapping[int, int]) -> None:
        self._engine = engine
        self._pool = pool
        self._attempts = attempts

    @property
    def running(self) -> list[Worker]:
        """Workers that run jobs and may be suspended."""
        return [it for it in self._pool.workers if it.is_running]

    @property
    def suspended(self) -> list[Worker]:
        """Workers that are suspended."""
        return [it for it in self._pool.workers if it.suspended_since is not None]

    @property
    def waiting(self) -> list[Worker]:
        """Workers that have no slot for the job that they have begun."""
        return [it for it in self._pool.workers if it.stays or it.suspended_since is not None]

    @property
    def busy(self) -> int:
        """How many slots the jobs that run take."""
        return sum(self.slots_of(worker) for worker in self.running)

    @property
    def excess(self) -> int:
        """How many more slots they take than the session is to have."""
        return self.busy - self._pool.wanted

    def slots_of(self, worker: Worker) -> int:
        """Return how many slots the job of a worker takes."""
        node = self._engine.here.nodes.get(worker.link.node)
        return 1 if node is None else 1 + node.extra

    def hand_back(self) -> None:
        """Give the client back what has not been started, and has not been asked for already."""
        states = filter(None, map(self._engine.state_of, list(self._attempts)))
        self._engine.withdraw([it.id for it in states if not it.kept and it.intent is RUN])

    def suspend(self, now: float) -> int:
        """Suspend one job; return how many slots it takes.

        Args:
            now: the time of the loop.
        """
        worker = self.running[-1]
        _log.info("worker process %d is suspended: its machine is needed", worker.process.pid)
        self._pool.suspend(worker, now)
        return self.slots_of(worker)

    def proceed(self, worker: Worker) -> None:
        """Have the job of a worker that waits go on in a slot."""
        self._pool.proceed(worker)

    def give_up(self, before: float) -> None:
        """Let go of jobs that have been suspended for too long.

        Args:
            before: those that were suspended before this time.
        """
        for worker in self.suspended:
            if worker.suspended_since is not None and worker.suspended_since <= before:
                self._give_up(worker)

    def _give_up(self, worker: Worker) -> None:
        last = worker.last_started()
        state = self._engine.state_of(NOBODY if last is None else last)
        if state is not None and state.once and state.node == worker.link.node:
            _log.info("worker process %d goes on: its job runs once", worker.process.pid)
            worker.stay()
            return
        _log.info("worker process %d is given up: its machine is needed", worker.process.pid)
        worker.give_up("its machine is needed by others")
        self.hand_back()
