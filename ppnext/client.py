"""Client: the jobs of a ``Server`` that are out, and what becomes of them.

Between the user's threads and the engine. Threads put jobs into an inbox; on the event loop, or in
a visit to it, the client takes all that are there to the engine at once. As the engine's audience
it turns what happened into the ends of futures, keeps the statistics and starts callbacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Semaphore
from typing import cast

from ppnext.audience import Finished
from ppnext.broadcasting import Broadcasts, Buffer
from ppnext.callbacks import CallbackThread
from ppnext.deadlines import Deadlines
from ppnext.endings import destroyed, destroyed_already, given_up
from ppnext.engine import Engine
from ppnext.errors import JobError
from ppnext.fitting import Fitting, claim_of, priority_of, why_not
from ppnext.groups import Groups
from ppnext.history import History
from ppnext.job import Job, mark_finished, mark_sent, unended
from ppnext.needs import Facts, Need
from ppnext.nodes.link import Link
from ppnext.outbox import Outbox, Room
from ppnext.provisions import Provisions
from ppnext.retrying import Raised, Retrying
from ppnext.roster import Roster
from ppnext.runtime.attendance import Attendance
from ppnext.runtime.loop import LoopStopped, LoopThread
from ppnext.runtime.sharing import Shared, Sharing
from ppnext.runtime.watch import is_possible as can_watch
from ppnext.sched.actions import Cause
from ppnext.sched.model import JobState, Mishap
from ppnext.sched.policy import Policy
from ppnext.shipping.outcomes import decode_exception
from ppnext.shipping.outfit import Outfitter
from ppnext.standing import Standing
from ppnext.stats import format_stats
from ppnext.terms import DEFAULT
from ppnext.twins import Twins
from ppnext.wire.messages import Unfit
from ppnext.wire.payloads import Payload, view_of

__all__ = ["Client"]

_FEW_WAIT = 8192
"""Jobs that wait in the scheduler before it is told of more."""


class Client:
    """The jobs of one server.

    Args:
        thread: the event loop.
        policy: the scheduler's numbers.
        outfitter: the user's own modules.
        sharing: how large objects get to workers.
        backlog: most jobs that have not ended before ``submit`` waits; None for no limit.
    """

    def __init__(
        self,
        thread: LoopThread,
        policy: Policy,
        outfitter: Outfitter,
        sharing: Sharing,
        backlog: int | None = None,
    ) -> None:
        self._callbacks = CallbackThread()
        self.engine = Engine(self, policy, why_not, priority_of, claim_of)
        self.fitting = Fitting(self.engine)
        self.twins = Twins(self.engine, self.job_ended)
        self.watchers: list[Callable[[], None]] = []  # called when jobs have been sent
        self._provisions = Provisions(outfitter, self.engine, thread.post)
        # Why servers that were tried are not connected, by address.
        self.troubles: dict[str, str] = {}
        self.sharing = sharing
        self.broadcasts = Broadcasts(self._share, self._drop)
        self._thread = thread
        self._room = None if backlog is None else Semaphore(backlog)
        self._inbox: deque[Job] = deque()
        self._is_posted = self._is_taking = False
        self._backlog = Outbox()
        self.history = History()
        self._retrying = Retrying(thread.turn, self._run_again, self.history.raised)
        self._standing = Standing(self.engine, self._backlog, self._retrying, self.twins)
        tried = self.history.tried
        self._deadlines = Deadlines(thread.turn, self.engine, tried, self._describe, self._fail)
        self._groups = Groups(self._make_room)
        self.roster = Roster()
        self._destroyed = self._ended = False

    # From any thread.

    @property
    def callbacks(self) -> CallbackThread:
        return self._callbacks

    def submit(self, job: Job, eager: bool = False) -> None:
        """Hand a job over, in the caller's thread if a worker is free and the loop sleeps.

        Args:
            eager: do so also if no worker is free: jobs like this one are few and long.

        Raises:
            DestroyedServerError: it is too late, also if that happened while there was no room.
        """
        if self._destroyed:
            raise destroyed_already()
        if self._room is not None:
            self._room.acquire()
            if self._destroyed:
                self._room.release()  # for the next one who waits
                raise destroyed_already()
        self._inbox.append(job)
        if self._destroyed:
            self._fail_inbox()
        elif not self._is_posted:
            with self._thread.shield:
                is_idle = eager or self.engine.unfinished < self.roster.slots
                if is_idle and self._thread.visit(self._take_inbox):
                    return
                self._is_posted = True
                self._thread.post(self._take_inbox)

    def cancelled(self, job: Job, grace: float) -> None:
        """A job was cancelled by its user, who gives it so many seconds to clean up."""
        self._thread.post(self._cancel, job, grace)

    def attend(self, job: Job) -> Attendance | None:
        """Return what a thread that waits for the job should sleep on; None for a lock.

        With few jobs out it serves the stream on which the job will end. With many, the loop is
        awake all the time, and to share its work costs more than it saves.
        """
        if not can_watch or self.engine.unfinished > self.roster.slots:
            return None
        return Attendance(self._thread, lambda: self.engine.stream_of(job.tid))

    def wait(self, group: str | None, timeout: float | None) -> bool:
        """Wait until no job of the group, or of any, is left. Return whether that is so.

        Raises:
            RuntimeError: called by a callback, which is one of those that are waited for.
        """
        if self._callbacks.is_current:
            raise RuntimeError("a callback cannot wait for jobs: it would wait for itself")
        with suppress(LoopStopped):
            self._thread.ask(lambda: None)  # all that was submitted before counts
        return self._groups.wait(group, timeout)

    def wait_for_nodes(self, number: int, timeout: float | None) -> bool:
        """Wait until this many nodes are connected, this machine being one if it has workers."""
        return self.roster.wait_for(number, timeout, lambda: self._destroyed)

    def stats_table(self, elapsed: float, ncpus: int) -> str:
        """Return what each node has done, as a table; see ``format_stats``."""
        nodes, rescheduled = self.roster.stats(), self.engine.rescheduled
        return format_stats(nodes, elapsed, self.unfinished, ncpus, rescheduled)

    def open_jobs(self, group: str | None) -> list[Job]:
        """Return the jobs that have not ended, of a group or of all."""
        jobs: dict[Job, None] = {}
        with suppress(LoopStopped):
            jobs = dict.fromkeys(self._thread.ask(self._open_jobs))
        return [job for job in jobs if not job.done() and group in (None, job.group)]

    def _open_jobs(self) -> list[Job]:
        out = [cast(Job, state.call) for state in self.engine.states()]
        return [*out, *self._retrying, *self._backlog, *self._inbox]

    def describe(self, job: Job) -> str:
        """Say in one line where a job is."""
        if job.cancelled():
            return "cancelled"
        if job.done():
            where = f" on {job.node}" if job.node else ""
            return f"finished{where}, attempt {job.attempts}"
        with suppress(LoopStopped):
            return self._thread.ask(lambda: self._describe(job))
        return "its server was destroyed"

    def destroy(self) -> None:
        """End all jobs that have not ended, and wake everybody who waits for one."""
        self._destroyed = True
        self._provisions.close()
        if self._room is not None:
            self._room.release()
        self._thread.post(self._end_all)

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended."""
        if self._ended:
            return 0
        out = self.engine.unfinished - len(self.twins) + len(self._retrying)
        return out + len(self._backlog) + len(self._inbox)

    def _fail_inbox(self) -> None:
        """End the jobs that came too late to be taken to the engine."""
        while self._inbox:
            try:
                job = self._inbox.popleft()
            except IndexError:  # another thread was faster
                return
            job.mark_failed(destroyed())

    # On the loop.

    def _take_inbox(self) -> None:
        self._is_taking = True
        self._is_posted = False
        inbox = self._inbox
        jobs = [inbox.popleft() for _ in range(len(inbox))]
        if self._ended:
            for job in jobs:
                job.mark_failed(destroyed())
        else:
            self._groups.enter(jobs)
            special = [job for job in jobs if job.terms is not DEFAULT]
            self._backlog.extend(jobs, bool(special))
            self._feed()
            for job in special:
                self._deadlines.enter(job)
        self._is_taking = False

    def _feed(self) -> None:
        """Tell the scheduler of more jobs, as long as few wait there.

        It needs some to choose from; what it knows of a job costs more than the job. Those that
        wait there may wait for nodes of another kind than those that are free.
        """
        engine = self.engine

        def room() -> Room:
            return Room(_FEW_WAIT, engine.pools.waiting_by_priority(), engine.open_slots > 0)

        while self._backlog and (jobs := self._backlog.take(_FEW_WAIT, room().has)):
            wanted = unended(jobs)
            engine.submit(self.fitting.states_of(wanted))
            if len(wanted) < len(jobs):
                self._groups.leave([it for it in jobs if it.done()])

    def _run_again(self, job: Job, attempt: int) -> None:
        """A job is to be run again that has ended with an exception."""
        state = self.fitting.states_of([job])[0]
        state.attempt = attempt  # what still comes of the last one is of the past
        self.engine.submit([state])

    def _fail(self, job: Job, error: JobError) -> None:
        """A job has ended without a result."""
        job.mark_failed(error)
        self._groups.leave([job])

    def _cancel(self, job: Job, grace: float) -> None:
        self.twins.cancel(job, grace)
        self._retrying.forget(job)
        self._groups.leave([job])

    def _end_all(self) -> None:
        self._fail_inbox()
        self._ended = True
        for state in self.engine.states():
            cast(Job, state.call).mark_failed(destroyed())
        for job in (*self._backlog, *self._retrying.close()):
            job.mark_failed(destroyed())
        self._backlog.clear()
        self._groups.clear()
        self.roster.wake()

    def _make_room(self, number: int) -> None:
        """So many jobs have ended."""
        if self._room is not None:
            self._room.release(number)

    def _called(self, group: str) -> None:  # in the callbacks' thread
        if self._inbox or self._is_posted or self._is_taking:
            # What it has submitted counts before it counts no more.
            with suppress(LoopStopped):  # nothing counts any more
                self._thread.ask(lambda: None)
        self._groups.called(group)

    def _share(self, buffers: Sequence[Buffer]) -> Payload:
        return self.sharing.share(buffers) or b"".join(buffers)

    def _drop(self, name: bytes) -> None:
        """Nobody uses a broadcast object any more; called in any thread at any time."""
        self._thread.turn.soon(partial(self.engine.drop, name))

    def _describe(self, job: Job) -> str:
        return self._standing.describe(job, self.roster.active(), self.troubles)

    # The engine's audience; on the loop.

    def jobs_started(self, jobs: Sequence[JobState], link: Link) -> None:
        self.roster.node(link.name).attempts += len(jobs)
        mark_sent(cast("list[Job]", [state.call for state in jobs]), link.name)
        for watch in self.watchers:
            watch()

    def jobs_finished(self, jobs: Sequence[Finished], link: Link) -> None:
        if self._ended:
            return
        jobs = self.twins.settle(jobs, link)
        stats = self.roster.node(link.name)
        stats.njobs += len(jobs)
        stats.time += sum([it.outcome.seconds for it in jobs])
        if True in [it.outcome.raised for it in jobs]:  # quicker than any()
            jobs = [it for it in jobs if not self._is_considered(it)]
        self._accept(jobs)

    def _is_considered(self, it: Finished) -> bool:
        """Whether it is looked at if a job is to be run again that has ended by itself."""
        job = cast(Job, it.job.call)
        if not (it.outcome.raised and job.terms.retry_on):
            return False
        content = bytes(view_of(it.payload)[: it.outcome.size - it.outcome.output])
        error = partial(decode_exception, content)
        accept = partial(self._accept, [it])
        self._retrying.consider(Raised(job, it.job.attempt, error, accept))
        return True

    def _accept(self, jobs: Sequence[Finished]) -> None:
        """Jobs have ended in this way."""
        own = cast("list[Job]", [it.job.call for it in jobs])
        called: list[Job] = []
        for job, it in zip(own, jobs, strict=True):
            if job.callback is not None and not it.outcome.raised:
                called.append(job)
                self._groups.calling(job.group)
            if type(job.arguments) is Shared and job.attempts == 1:
                # Else they are dropped: who else was given them may have them, or have forked.
                self.sharing.take_back(job.arguments, it.outcome.freed)
        mark_finished(own, jobs)
        self._groups.leave(own)
        for job in called:
            self._call_back(job)
        if self._backlog:
            self._feed()

    def _call_back(self, job: Job) -> None:
        self._callbacks.post(job.call_back, afterwards=lambda: self._called(job.group))

    def job_ended(self, job: JobState, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        if self._ended or self.twins.outlives(job, cause, mishaps):
            return
        ended, error = cast(Job, job.call), given_up(job.id, cause, mishaps)
        accept = partial(self._fail, ended, error)
        if cause is Cause.POISONED:
            self.history.isolate(ended, cause.value)
        if ended.terms.retry_on and cause is Cause.LIMIT:
            self._retrying.consider(Raised(ended, job.attempt, lambda: error, accept, True))
        else:
            accept()
        self._feed()

    def attempt_failed(self, job: JobState, mishap: Mishap) -> None:
        self.history.failed(cast(Job, job.call), mishap)

    def job_lost(self, link: Link) -> None:
        self.roster.node(link.name).lost += 1

    def job_withdrawn(self, job: int, withdrawn: bool) -> None:
        self._deadlines.withdrawn(job, withdrawn)

    def job_unfit(self, job: JobState, link: Link, unfit: Unfit) -> Need | None:
        need = self.fitting.refused(cast(Job, job.call), link, unfit.arguments)
        self._thread.post(self._feed)
        return None if self.twins.refused(job) else need

    def facts_of(self, link: Link) -> Facts:
        return self.fitting.facts_of(link)

    def told(self, link: Link, versions: Mapping[str, str]) -> None:
        self.fitting.told(link, versions)
        self._feed()

    def need(self, digest: bytes) -> None:
        self._provisions.provide(digest)

    def sought(self, link: Link, module: str) -> None:
        self._provisions.seek(link, module)

    def node_joined(self, link: Link) -> None:
        self.fitting.joined(link)
        self.roster.recount(link.name, self.engine.links.values())
        self._feed()

    def node_resized(self, link: Link) -> None:
        self.roster.recount(link.name, self.engine.links.values())

    def node_gone(self, link: Link, cause: str | None) -> None:
        self.fitting.gone(link)
        self.roster.recount(link.name, self.engine.links.values())
