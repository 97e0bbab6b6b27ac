"""Client: the jobs of a ``Server`` that are out, and what becomes of them.

Between the user's threads and the engine. Threads hand jobs over (``submit``, ``cancelled``); on
the event loop, as the engine's audience, the client turns what happened into the ends of futures,
keeps the statistics and starts callbacks.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Any

from ppnext.callbacks import CallbackThread
from ppnext.engine import Engine
from ppnext.errors import DestroyedServerError, NodeLost, PoisonedJob, WorkerDied
from ppnext.job import Job
from ppnext.nodes.link import Call, Link
from ppnext.runtime.loop import LoopThread
from ppnext.sched.actions import Cause
from ppnext.sched.model import Mishap, Status
from ppnext.sched.policy import Policy
from ppnext.shipping.functions import Definition
from ppnext.stats import NodeStats
from ppnext.wire.messages import Result

__all__ = ["Client"]

_ERRORS = {
    Cause.POISONED: PoisonedJob,
    Cause.WORKER_DIED: WorkerDied,
    Cause.NODE_LOST: NodeLost,
    Cause.LOST_TOO_OFTEN: NodeLost,
}

_FEW_WORDS = 120
"""Characters kept of the cause of each attempt but the last."""


class _Out:
    """A job that has not ended, and what is to be done when it does."""

    __slots__ = ("callback", "callbackargs", "job")

    def __init__(
        self,
        job: Job,
        callback: Callable[..., object] | None,
        callbackargs: tuple[Any, ...],
    ) -> None:
        self.job = job
        self.callback = callback
        self.callbackargs = callbackargs

    def call_back(self) -> None:
        """Hand the result to the user's callback."""
        if self.callback is not None:
            self.callback(*self.callbackargs, self.job.result())

    def __repr__(self) -> str:
        name = getattr(self.callback, "__qualname__", repr(self.callback))
        return f"callback {name} of job {self.job.tid}"


class Client:
    """The jobs of one server.

    Args:
        thread: the event loop.
        policy: the scheduler's numbers.
    """

    def __init__(self, thread: LoopThread, policy: Policy) -> None:
        self._callbacks = CallbackThread()
        self.engine = Engine(self, policy)
        # Why servers that were tried are not connected, by address.
        self.troubles: dict[str, str] = {}
        self._thread = thread
        # On the loop: jobs by number, and what each node has done, by name.
        self._out: dict[int, _Out] = {}
        self._stats: dict[str, NodeStats] = {"local": NodeStats()}
        # Jobs of each group that have not ended or whose callback has not returned; the
        # condition guards it and is notified whenever a group becomes empty.
        self._groups: dict[str, int] = {}
        self._changed = Condition()
        self._destroyed = False

    # From any thread.

    @property
    def callbacks(self) -> CallbackThread:
        """Where users' callbacks run."""
        return self._callbacks

    def submit(
        self,
        job: Job,
        call: Call,
        definition: Definition,
        callback: Callable[..., object] | None,
        callbackargs: tuple[Any, ...],
    ) -> None:
        """Hand a job over.

        Raises:
            DestroyedServerError: it is too late.
        """
        with self._changed:
            if self._destroyed:
                raise DestroyedServerError("the job server has been destroyed and takes no jobs")
            self._groups[job.group] = self._groups.get(job.group, 0) + 1
        out = _Out(job, callback, callbackargs)
        self._thread.post(self._submit, out, call, definition.payload)

    def cancelled(self, job: Job) -> None:
        """A job was cancelled by its user."""
        self._thread.post(self._cancel, job)

    def wait(self, group: str | None, timeout: float | None) -> bool:
        """Wait until no job of the group, or of any, is left. Return whether that is so.

        Raises:
            RuntimeError: called by a callback, which is one of those that are waited for.
        """
        if self._callbacks.is_current:
            raise RuntimeError("a callback cannot wait for jobs: it would wait for itself")

        def nothing_left() -> bool:
            return not (group in self._groups if group else self._groups)

        with self._changed:
            return self._changed.wait_for(nothing_left, timeout)

    def wait_for_nodes(self, number: int, timeout: float | None) -> bool:
        """Wait until this many nodes are connected, this machine being one if it has workers."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._destroyed or len(self.active_nodes()) >= number, timeout
            )
            return not self._destroyed and len(self.active_nodes()) >= number

    def active_nodes(self) -> dict[str, int]:
        """Return how many jobs each connected node runs at a time, by name."""
        # Taken from a copy: the loop may change it while this thread reads.
        return {name: node.ncpus for name, node in list(self._stats.items()) if node.ncpus}

    def stats(self) -> dict[str, NodeStats]:
        """Return what each node has done, by name."""
        return dict(self._stats)

    def describe(self, job: Job) -> str:
        """Say in one line where a job is."""
        if job.cancelled():
            return "cancelled"
        if job.done():
            where = f" on {job.node}" if job.node else ""
            return f"finished{where}, attempt {job.attempts}"
        if self._destroyed:
            return "its server was destroyed"
        return self._thread.ask(lambda: self._describe(job))

    def destroy(self) -> None:
        """End all jobs that have not ended, and wake everybody who waits for one."""
        with self._changed:
            self._destroyed = True
        self._thread.post(self._end_all)

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return len(self._out)

    # On the loop.

    def _submit(self, out: _Out, call: Call, function: bytes) -> None:
        if self._destroyed:
            self._out[out.job.tid] = out
            self._fail(out.job.tid, _destroyed())
        elif out.job.cancelled():
            self._left(out.job.group)
        else:
            self._out[out.job.tid] = out
            self.engine.submit(out.job.tid, call, function)

    def _cancel(self, job: Job) -> None:
        if self._out.pop(job.tid, None) is not None:
            self.engine.cancel(job.tid)
            self._left(job.group)

    def _end_all(self) -> None:
        for tid in list(self._out):
            self._fail(tid, _destroyed())
        with self._changed:
            self._changed.notify_all()

    def _fail(self, tid: int, error: BaseException) -> None:
        out = self._out.pop(tid, None)
        if out is not None:
            out.job.mark_failed(error)
            self._left(out.job.group)

    def _left(self, group: str) -> None:
        """A job of the group has ended, and so has its callback."""
        with self._changed:
            count = self._groups[group] - 1
            if count:
                self._groups[group] = count
            else:
                del self._groups[group]
                self._changed.notify_all()

    def _describe(self, job: Job) -> str:
        state = self.engine.state_of(job.tid)
        if state is None:
            return "about to be sent" if not job.done() else "finished"
        again = f"; {len(state.mishaps)} attempts were lost" if state.mishaps else ""
        if state.status is not Status.WAITING:
            return f"on {job.node}, attempt {state.attempt}{again}"
        nodes = self.active_nodes()
        if not nodes:
            why = "".join(f"; {address}: {what}" for address, what in self.troubles.items())
            return f"waiting: no node is connected{why}{again}"
        ahead = self.engine.waiting_before(job.tid)
        slots = sum(nodes.values())
        return f"waiting: {ahead} jobs before it, all {slots} slots are taken{again}"

    def _node(self, name: str) -> NodeStats:
        return self._stats.setdefault(name, NodeStats())

    def _recount(self, link: Link) -> None:
        """A node came, went or changed: bring its size up to date and wake who waits for it."""
        links = self.engine.links.values()
        slots = sum(other.slots for other in links if other.name == link.name)
        with self._changed:
            self._node(link.name).ncpus = slots
            self._changed.notify_all()

    # The engine's audience; on the loop.

    def job_started(self, job: int, attempt: int, link: Link) -> None:
        self._node(link.name).attempts += 1
        out = self._out.get(job)
        if out is not None:
            out.job.mark_sent(link.name)

    def job_finished(self, job: int, result: Result, payload: bytes, link: Link) -> None:
        stats = self._node(link.name)
        stats.njobs += 1
        stats.time += result.seconds
        out = self._out.pop(job, None)
        if out is None:
            return
        out.job.mark_finished(result, payload)
        if out.callback is None or result.raised:
            self._left(out.job.group)
        else:
            group = out.job.group
            self._callbacks.post(out.call_back, afterwards=lambda: self._left(group))

    def job_ended(self, job: int, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        self._fail(job, _ERRORS[cause](_explain(job, cause, mishaps)))

    def job_lost(self, link: Link) -> None:
        self._node(link.name).lost += 1

    def job_withdrawn(self, job: int, withdrawn: bool) -> None:
        raise AssertionError("a client withdraws no jobs")

    def need(self, digest: bytes) -> None:
        """Of no job: the engine keeps every function for as long as a job calls it."""

    def node_joined(self, link: Link) -> None:
        self._recount(link)

    def node_resized(self, link: Link) -> None:
        self._recount(link)

    def node_gone(self, link: Link, cause: str | None) -> None:
        self._recount(link)


def _destroyed() -> DestroyedServerError:
    return DestroyedServerError("the job server was destroyed before the job had ended")


def _explain(job: int, cause: Cause, mishaps: tuple[Mishap, ...]) -> str:
    # The last one in full, those before it in a few words: they mostly are the same.
    *earlier, last = mishaps
    story = [f"attempt {it.attempt} on {it.node}: {it.cause[:_FEW_WORDS]}" for it in earlier]
    story.append(f"attempt {last.attempt} on {last.node}: {last.cause}")
    return f"job {job} was given up: {cause.value} ({'; '.join(story)})"
