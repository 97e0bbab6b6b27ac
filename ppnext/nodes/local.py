"""Local nodes: worker processes on this machine.

A pool holds as many workers as it is told to. Each is a node of its own with one slot. A worker
that dies is replaced at once; one that cannot even start is tried again ever more slowly, and its
last words are logged. A pool that shrinks ends idle workers immediately and the others after the
job that they are running; what they had not started goes elsewhere. A pool that is to be quick when
it grows again keeps some of the idle ones: they are parked, which means that they get no jobs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from ppnext.nodes.link import Link
from ppnext.nodes.relief import Running
from ppnext.nodes.roles import Owner
from ppnext.nodes.workers import Worker
from ppnext.runtime.loop import Turn
from ppnext.runtime.processes import WorkerProcess, start_worker
from ppnext.runtime.sharing import Sharing
from ppnext.runtime.streams import Stream
from ppnext.sched.model import NodeId, NodeKind
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Result, Returned, Setup

__all__ = ["WorkerPool"]

_log = logging.getLogger("ppnext.workers")

_LATENCY = 0.0002
"""Seconds between two jobs of a worker when the second is sent after the first has ended."""

_EXIT_GRACE = 1.0
"""Seconds that a worker which has closed its channel has to end by itself."""

_LOOK_EVERY = 1.0
"""Seconds between two looks at a worker of whose end the system does not tell."""

_RETRY_FIRST, _RETRY_MOST = 0.1, 30.0
_RETRY_STEPS = 9
"""Failures in a row that are told apart: the delay is the longest then."""


class WorkerPool:
    """Worker processes that run jobs for one owner. Lives on the owner's event loop.

    Args:
        turn: of the event loop.
        owner: whose nodes the workers are.
        new_node: gives numbers for nodes.
        name: what users call this machine.
        path: where workers look for modules; empty for where they look by themselves.
        protocol: pickle protocol for results.
        environment: see ``worker_environment``.
        sharing: how large payloads get to workers and back; closed with the pool.
        restart: replace each worker after every job.
        started: worker processes to begin with, started with the same environment.
        roots: folders of the user's own modules, if they are on this machine.
    """

    def __init__(
        self,
        turn: Turn,
        owner: Owner,
        new_node: Callable[[], NodeId],
        name: str,
        path: list[str],
        protocol: int,
        environment: Mapping[str, str],
        sharing: Sharing,
        restart: bool = False,
        started: Iterable[WorkerProcess] = (),
        roots: Sequence[str] = (),
    ) -> None:
        self._turn = turn
        self._loop = turn.loop
        self._owner = owner
        self._new_node = new_node
        self._setup = Setup(name, path, protocol, list(roots))
        self._environment = environment
        self._restart = restart
        self._started = list(started)
        self.sharing = sharing
        self._closed = False
        self._trimming: asyncio.TimerHandle | None = None
        self._wanted = self._spare = 0
        # How many there may be while the machine is short of memory.
        self._most: int | None = None
        self._workers: dict[NodeId, Worker] = {}
        # How many of them are replaced by others, and those that are parked.
        self._leaving = 0
        self._parked: list[Worker] = []
        # Workers that failed to start, one after the other, and when the next one is tried.
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None

    @property
    def processes(self) -> list[int]:
        """Process numbers of the workers there are."""
        return [worker.process.pid for worker in self._workers.values()]

    @property
    def workers(self) -> list[Worker]:
        """The workers there are."""
        return list(self._workers.values())

    @property
    def active(self) -> int:
        """How many workers there are that are not parked."""
        return len(self._workers) - len(self._parked)

    @property
    def starting(self) -> list[int]:
        """Process numbers of workers that have been started and are not ready yet."""
        return [it.process.pid for it in self._workers.values() if it.link.hello is None]

    @property
    def wanted(self) -> int:
        """How many workers there are to be."""
        return self._wanted

    def resize(self, wanted: int, spare: int = 0) -> None:
        """Have this many workers from now on.

        Args:
            spare: how many idle ones may be parked beside them.
        """
        self._spare = spare
        if wanted != self._wanted:
            self._wanted = wanted
            self._owner.on_here(wanted)
        for worker in self._parked[spare:]:
            self._park(worker, False)
        self._dismiss_idle()
        self._fill()

    def close(self) -> None:
        """End all workers and whatever their jobs have started, now."""
        self._wanted = 0
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        for worker in self._workers.values():
            worker.process.kill()  # all together: large ones take their time to end
        for worker in list(self._workers.values()):
            worker.link.close("the server is gone")
        if self._trimming is not None:
            self._trimming.cancel()
        self.sharing.close()

    # While the machine is short of memory; see ``Relief``.

    def running(self) -> list[Running]:
        """Return the jobs that workers run."""
        return [it for it in map(self._run_by, self._workers.values()) if it is not None]

    def _run_by(self, worker: Worker) -> Running | None:
        number, guard = worker.process.last_started(), worker.link.guard
        if number is None or guard is None or not worker.link.held:
            return None
        attempt = self._owner.attempt_at(worker.link, number)
        if attempt is None:
            return None
        return Running((number, attempt), guard, worker.process.footprint)

    @property
    def is_held_back(self) -> bool:
        """Whether there are to be fewer workers than are wanted."""
        return self._most is not None

    def hold_back(self, most: int) -> None:
        """Have no more than so many workers for now."""
        self._most = most
        self._dismiss_idle()

    def give_back(self) -> None:
        """Have one more, until there are as many as are wanted."""
        if self._most is not None:
            self._most = self._most + 1 if self._most + 1 < self._wanted else None
            self._fill()

    @property
    def _surplus(self) -> int:
        """How many more workers stay than are wanted; negative if some are missing."""
        wanted = self._wanted if self._most is None else min(self._most, self._wanted)
        return self.active - self._leaving - wanted

    def _dismiss_idle(self) -> None:
        """Let surplus workers go that run nothing; of the others, those that are ready first."""
        idle = [it for it in self._workers.values() if it.is_idle and it not in self._parked]
        # One may be about to be sent a job: that is decided, and is being carried out.
        idle = [it for it in idle if it.link.hello is None or not self._owner.held_by(it.link)]
        # Those that have not joined yet go first.
        idle.sort(key=lambda worker: worker.link.hello is not None)
        for worker in idle[: max(0, self._surplus)]:
            if worker.link.hello is None:
                self._let_go(worker)
                worker.link.close("not needed")
            else:
                self._retire(worker, True)

    def _retire(self, worker: Worker, may_park: bool) -> None:
        """A worker is to get no more jobs, for now if it may be parked."""
        if may_park and len(self._parked) < self._spare:
            self._park(worker, True)
        else:
            self._let_go(worker)
            self._owner.on_draining(worker.link)

    def _park(self, worker: Worker, is_parked: bool) -> None:
        if is_parked:
            self._parked.append(worker)
        else:
            self._parked.remove(worker)
        worker.link.slots = 0 if is_parked else 1
        self._owner.on_resized(worker.link)

    def _let_go(self, worker: Worker) -> None:
        self._leaving += not worker.is_replaced
        worker.leaving = worker.is_replaced = True

    def _fill(self) -> None:
        while self._parked and self._surplus < 0:
            self._park(self._parked[-1], False)
        if self._retry is not None and not self._retry.cancelled():
            return
        for _ in range(-self._surplus):
            try:
                self._start()
            except OSError as error:
                self._start_failed(f"the system refused: {error.strerror or error}")
                return

    def _start(self) -> None:
        process = self._started.pop() if self._started else start_worker(self._environment)
        link = Link(
            self._new_node(),
            self._setup.node,
            NodeKind.WORKER,
            self._owner,
            _LATENCY,
            self._on_closed,
            self.sharing,
            self._turn.soon,
            self._turn.later,
        )
        worker = Worker(process, link)
        now = self._loop.time()

        def on_end(cause: str | None) -> None:
            self._channel_ended(worker)

        def on_messages(arrived: list[Received]) -> None:
            self._on_messages(worker, arrived)

        jobs = Connection(now, in_order=True, adopt=self.sharing.adopt)
        worker.jobs = Stream(self._turn, process.jobs, jobs, on_messages, on_end, True)
        control = Stream(self._turn, process.control, Connection(now), on_messages, on_end)
        link.attach(worker.jobs, control, process)
        self._workers[link.node] = worker
        worker.jobs.send(self._setup)
        self._watch_exit(worker)

    def _on_messages(self, worker: Worker, arrived: list[Received]) -> None:
        is_new = worker.link.hello is None
        surplus = self._restart or self._surplus > 0
        if surplus and not worker.leaving and (ended := _ended(arrived)):
            # Before the result is handed over: that would bring the worker its next job.
            self._retire(worker, not self._restart and worker.link.held == ended)
        worker.link.on_messages(arrived)
        guard = worker.link.guard
        if guard is not None and guard.is_spent and not worker.leaving:
            self._let_go(worker)
            self._owner.on_draining(worker.link)
        if is_new:  # and it was not refused
            self._failures = 0
        if any(isinstance(it.message, Returned) for it in arrived):
            self._dismiss_idle()

    def suspend(self, worker: Worker, now: float) -> None:
        """Have a worker wait until it is continued; afterwards it runs no job but the present one.

        Args:
            now: the time of the loop.
        """
        had_jobs_to_come = not worker.leaving
        self._let_go(worker)
        if had_jobs_to_come:
            self._owner.on_draining(worker.link)
        worker.suspend(now)

    def proceed(self, worker: Worker) -> None:
        """Have a worker that was suspended go on in a slot, which is no other's meanwhile."""
        self._leaving -= worker.is_replaced
        worker.is_replaced = False
        worker.proceed()
        self._dismiss_idle()

    def trim(self) -> None:
        """Give idle memory back when its time has come, and look again until there is none."""
        again = self.sharing.trim()
        if again is not None and not self._closed:
            self._trimming = self._loop.call_later(again, self.trim)

    # The end of a worker.

    def _watch_exit(self, worker: Worker) -> None:
        pidfd = worker.process.pidfd()
        if pidfd is None:
            self._turn.later(_LOOK_EVERY, lambda: self._look(worker))
            return

        def exited() -> None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
            self._exited(worker)

        self._loop.add_reader(pidfd, exited)
        worker.exit_watched = True

    def _look(self, worker: Worker) -> None:
        """See whether a worker has ended: its channels do not tell while a child has them."""
        if worker.exit_watched or self._workers.get(worker.link.node) is not worker:
            return
        if worker.process.is_running():
            self._turn.later(_LOOK_EVERY, lambda: self._look(worker))
        else:
            self._exited(worker)

    def _channel_ended(self, worker: Worker) -> None:
        """The worker has closed a channel: it has ended, or its job has closed what is not its."""
        if worker.exit_watched:
            self._loop.call_later(_EXIT_GRACE, self._exited, worker)
        else:
            worker.exit_watched = True
            ended = self._loop.run_in_executor(None, worker.process.wait, _EXIT_GRACE)
            ended.add_done_callback(lambda _: self._exited(worker))

    def _exited(self, worker: Worker) -> None:
        if self._workers.get(worker.link.node) is not worker:
            return
        if worker.jobs is not None:
            worker.jobs.drain()
        if worker.process.is_running():
            cause = f"worker process {worker.process.pid} closed its channel"
        else:
            cause = worker.process.describe_end()
        if worker.link.hello is None:
            self._start_failed(cause)
        worker.link.lose(cause, worker.process.last_started())

    def _on_closed(self, link: Link) -> None:
        worker = self._workers.pop(link.node)
        self._leaving -= worker.is_replaced
        if worker in self._parked:
            self._parked.remove(worker)
        worker.process.end()
        self._fill()

    def _start_failed(self, cause: str) -> None:
        self._failures = min(self._failures + 1, _RETRY_STEPS)
        delay = min(_RETRY_FIRST * 2**self._failures, _RETRY_MOST)
        _log.warning("a worker could not be started: %s; trying again in %.1f s", cause, delay)
        if self._retry is None:
            self._retry = self._turn.later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._fill()


def _ended(arrived: Sequence[Received]) -> int:
    """Return of how many jobs these messages have the results."""
    messages = (it.message for it in arrived)
    return sum(len(it.outcomes) for it in messages if isinstance(it, Result))
