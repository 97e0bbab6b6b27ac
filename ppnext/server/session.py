"""Session: one authenticated client of the daemon, and the workers that run its jobs.

A session owns an engine and a pool of worker processes that no other session uses. It translates:
what the client sends becomes events of the engine; how jobs end becomes messages. A worker that
dies ends its job here (the policy's poison limit is one): the client is told and decides whether
and where to try again, since it alone knows what happened to the job elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, cast

from ppnext.audience import Finished
from ppnext.engine import Engine
from ppnext.errors import ProtocolError
from ppnext.nodes.greeting import check_protocol
from ppnext.nodes.link import Link
from ppnext.nodes.local import WorkerPool
from ppnext.runtime.listener import Admitted
from ppnext.runtime.loop import Turn
from ppnext.runtime.sharing import WORTH_SHARING, Shared, Sharing
from ppnext.runtime.streams import Stream
from ppnext.sched.actions import Cause
from ppnext.sched.fairshare import Lump
from ppnext.sched.model import JobId, JobState, Mishap
from ppnext.sched.policy import Policy
from ppnext.sched.stock import Stock
from ppnext.server.answers import Answers
from ppnext.server.calls import ClientCall
from ppnext.server.claims import claim_in, claim_of, lump, refusal, weight
from ppnext.server.guests import Guests
from ppnext.server.inquiries import Inquiries
from ppnext.server.results import Results, died
from ppnext.server.shelf import Shelf
from ppnext.server.slots import SlotsInUse
from ppnext.wire.connection import Connection, Heartbeat, Received
from ppnext.wire.messages import (
    Ask,
    Define,
    Died,
    Drop,
    Found,
    Hello,
    Hold,
    Message,
    Need,
    Offer,
    Retract,
    Run,
    Stop,
    Unfit,
)
from ppnext.wire.payloads import Payload, split, view_of

__all__ = ["JOBS_LIMIT", "Session", "SessionOwner"]

_log = logging.getLogger("ppnext.server")

JOBS_LIMIT = 10_000
"""Most unfinished jobs that a client may have here."""

_WARM = 60.0
"""Seconds that workers are kept when there are no jobs."""


class SessionOwner(Protocol):
    """Who is told what a session does: the daemon."""

    def on_demand(self, session: Session) -> None:
        """The session could use more or fewer slots than before, or has let workers go."""

    def on_closed(self, session: Session) -> None:
        """The client is gone, and so are its workers."""


class Session:
    """One client of the daemon. Lives on the daemon's event loop.

    Args:
        turn: of the event loop.
        owner: who is told.
        client: the client, as the listener admitted it.
        hello: what the daemon says of itself; its slots are the first offer.
        path: where workers look for modules.
        environment: for workers.
        restart: start every job in a new worker process.
        heartbeat: when a silent client is given up.
        shelf: what clients of this key have brought before.
        stock: countable things of the machine, of which jobs of all sessions take.
    """

    def __init__(
        self,
        turn: Turn,
        owner: SessionOwner,
        client: Admitted,
        hello: Hello,
        path: list[str],
        environment: Mapping[str, str],
        restart: bool,
        heartbeat: Heartbeat,
        shelf: Shelf,
        stock: Stock | None = None,
    ) -> None:
        self.key = client.key
        self.label = f"{client.peer}, key {client.key.label}, session {client.session_id.hex()}"
        self.jobs_done = 0
        self._loop = loop = turn.loop
        self._owner = owner
        self._offered = hello.slots
        self._greeted = self._draining = self._closed = self._leaving = False
        self._cooling: asyncio.TimerHandle | None = None
        # The client's attempt number of each job that has not ended here.
        self._attempts: dict[int, int] = {}
        # The highest number that an attempt had here at a job that has ended.
        self._latest = 0
        self._slots = SlotsInUse(loop, hello.slots, self._weight, partial(owner.on_demand, self))
        self._answers = Answers(loop, self._send)
        self._inquiries = Inquiries(loop, self._send, path)
        self._shelf = shelf
        # Functions and modules that the client was asked for.
        self._needed: set[bytes] = set()
        # A worker that ends after each job must not hold others that would have to be taken back.
        policy = Policy.of_session(0 if restart else None)
        self._engine = Engine(self, policy, claim_of=claim_of, stock=stock)
        engine, sharing = self._engine, Sharing(on_idle=lambda: turn.soon(self.pool.trim))
        self.pool = WorkerPool(
            turn, engine, engine.new_node, hello.name, path, 5, environment, sharing, restart
        )
        self.guests = Guests(engine, self.pool, self._attempts)
        connection = Connection(loop.time(), heartbeat, allocate=self.pool.sharing.allocate)
        self._stream = Stream(turn, client.socket, connection, self._on_messages, self._on_end)
        self._hello, self._leftover = hello, client.leftover

    # The daemon's side.

    def begin(self) -> None:
        """Greet the client and read what it has said so far; it may have left already."""
        self._stream.send(self._hello)
        self._stream.feed(self._leftover)

    @property
    def demand(self) -> int:
        """How many slots the session could use, now or in the moment that a next job takes."""
        return self._slots.demand

    @property
    def lump(self) -> Lump | None:
        """How many slots its jobs take that take several."""
        return lump(len(self._attempts), self._engine.pools.claims())

    @property
    def occupied(self) -> int:
        """How many slots its workers and their jobs occupy."""
        return max(self.pool.active, self._engine.here.busy())

    @property
    def jobs_here(self) -> int:
        """How many jobs of the client have not ended here."""
        return len(self._attempts)

    def look_again(self) -> None:
        """Jobs of other sessions may have given back what jobs here wait for."""
        self._engine.on_here()

    def offer(self, slots: int) -> None:
        """Tell the client how many jobs run here at a time for it."""
        if slots != self._offered and not self._draining:
            self._offered = slots
            self._stream.send(Offer(slots))

    def drain(self) -> None:
        """Take no more jobs, hand back those that have not started, finish the others and go."""
        if self._draining:
            return
        self._draining = True
        self._stream.send(Offer(0))
        self.guests.hand_back()
        self._leave_if_drained()

    def close(self, reason: str) -> None:
        """End the session and its workers, now."""
        if not self._closed:
            self._stream.say_bye(reason)
            self._end(reason)

    # The client's side.

    def _on_messages(self, arrived: list[Received]) -> None:
        for message, payload in arrived:
            if not self._closed:
                self._on_message(message, payload)

    def _on_message(self, message: Message, payload: Payload) -> None:
        if isinstance(message, Hello):
            self._on_hello(message)
        elif not self._greeted:
            raise ProtocolError(f"the client said {type(message).__name__} before Hello")
        elif isinstance(message, Run):
            self._on_run(message, payload)
        elif isinstance(message, Define):
            self._on_define(message.digest, payload)
        elif isinstance(message, Hold):
            self._engine.provide(message.digest, self._shared(payload), hold=True)
        elif isinstance(message, Drop):
            self._needed.discard(message.digest)
            self._engine.drop(message.digest)
        elif isinstance(message, Retract):
            self._on_retract(message)
        elif isinstance(message, Stop):
            if self._attempts.get(message.job) == message.attempt:
                self._engine.stop(message.job, message.grace)
            else:
                self._answers.await_unwanted((message.job, message.attempt))
        elif isinstance(message, Ask):
            self._inquiries.ask(message.distributions)
        elif isinstance(message, Found):
            self._inquiries.found(message)
        else:
            raise ProtocolError(f"the client said {type(message).__name__}, which only we may")

    def _send(self, message: Message) -> None:
        self._stream.send(message)

    def _on_define(self, digest: bytes, payload: Payload) -> None:
        if hashlib.sha256(view_of(payload)).digest() != digest:
            raise ProtocolError("the client sent a function under a false content hash")
        if digest in self._needed:
            self._needed.discard(digest)
            self._shelf.put(self.key.kid, digest, bytes(view_of(payload)))
        self._engine.provide(digest, payload)

    def _shared(self, payload: Payload) -> Payload:
        """An object as memory that all workers map, if that can be."""
        if len(payload) < WORTH_SHARING or isinstance(payload, Shared):
            return payload
        return self.pool.sharing.share([view_of(payload)]) or payload

    def _on_hello(self, hello: Hello) -> None:
        if self._greeted:
            raise ProtocolError("the client said Hello twice")
        check_protocol(hello, "the client")
        self._greeted = True
        _log.info("client connected: %s, ppnext %s on %r", self.label, hello.version, hello.name)

    def _on_run(self, run: Run, payload: Payload) -> None:
        if len(self._attempts) + len(run.jobs) > JOBS_LIMIT:
            raise ProtocolError(f"the client sent more than {JOBS_LIMIT} jobs at a time")
        arguments = split(payload, [job.size for job in run.jobs])
        claim = claim_in(run.limits)
        refused = claim and refusal(claim, self._hello.slots, self._engine.here.stock)
        definition = self._engine.definition(run.function)
        states = []
        for job, part in zip(run.jobs, arguments, strict=True):
            if job.job in self._attempts:
                raise ProtocolError(f"the client sent job {job.job} twice")
            if self._draining or self._answers.is_unwanted((job.job, job.attempt)):
                self._answers.returned((job.job, job.attempt))
                continue
            if refused:
                self._stream.send(Died(job.job, job.attempt, refused[:1024]))
                continue
            self._attempts[job.job] = job.attempt
            call = ClientCall(definition, part, run.limits)
            states.append(state := JobState(JobId(job.job), call, job.once, claim))
            if job.attempt > 1:
                state.attempt = self._latest  # what is said late of one before is not meant of this
        _log.debug("%d jobs accepted: %s", len(states), self.label)
        self._engine.submit(states)
        self._demand_changed()

    def _on_retract(self, retract: Retract) -> None:
        for job, attempt in set(retract.jobs) - self._attempts.items():
            self._answers.kept((job, attempt))
        self._engine.withdraw([it for it, n in retract.jobs if self._attempts.get(it) == n])

    def _on_end(self, cause: str | None) -> None:
        self._end(cause or self._stream.connection.farewell or "it said goodbye")

    def _end(self, cause: str) -> None:
        if self._closed:
            return
        self._closed = True
        if self._cooling is not None:
            self._cooling.cancel()
        self._slots.close()
        self.pool.close()
        self._inquiries.close()
        self._engine.clear()
        for job in self._engine.states():
            # Its memory is given back now, not when the garbage collector finds the session.
            cast(ClientCall, job.call).arguments = b""
        _log.info("client gone: %s: %s; %d jobs done", self.label, cause, self.jobs_done)
        self._owner.on_closed(self)

    # The engine's audience.

    def jobs_started(self, jobs: Sequence[JobState], link: Link) -> None:
        """Of no interest to the client."""

    def jobs_finished(self, jobs: Sequence[Finished], link: Link) -> None:
        if not jobs:
            return
        self.jobs_done += len(jobs)
        results = Results(self._stream.send)
        for job, it, payload in jobs:
            attempt = self._left(job)
            arguments = cast(ClientCall, job.call).arguments
            if isinstance(arguments, Shared):
                self.pool.sharing.take_back(arguments, it.freed and job.attempt == 1)
            results.add(job.id, attempt, it, payload)
        results.send()
        self._demand_changed()

    def job_ended(self, job: JobState, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        self._stream.send(died(job.id, self._left(job), mishaps[-1]))
        self._demand_changed()

    def attempt_failed(self, job: JobState, mishap: Mishap) -> None:
        """Told by ``job_ended``, like the next."""

    def job_lost(self, link: Link) -> None: ...

    def job_withdrawn(self, job: int, withdrawn: bool) -> None:
        attempt = self._attempts.get(job)
        if attempt is None:
            return  # it ended while it was asked for; the client hears that it has
        if withdrawn:
            del self._attempts[job]
            self._answers.returned((job, attempt))
            self._demand_changed()
        else:
            self._answers.kept((job, attempt))

    def job_unfit(self, job: JobState, link: Link, unfit: Unfit) -> None:
        self._stream.send(Unfit(job.id, self._left(job), unfit.why, unfit.arguments))
        self._demand_changed()

    def need(self, digest: bytes) -> None:
        content = self._shelf.get(self.key.kid, digest)
        if content is not None:
            self._engine.provide(digest, content)
            return
        arriving = self._stream.connection.is_arriving
        if not arriving(Define(digest)) and not arriving(Hold(digest)):
            self._needed.add(digest)
            self._stream.send(Need(digest))

    def facts_of(self, link: Link) -> None:
        """All workers are the same."""

    def sought(self, link: Link, module: str) -> None:
        self._inquiries.seek(link, module)

    def told(self, link: Link, versions: Mapping[str, str]) -> None:
        """Workers are not asked."""

    def node_joined(self, link: Link) -> None:
        """The pool has grown as it was told to."""

    def node_resized(self, link: Link) -> None:
        """Workers do not change their size."""

    def node_gone(self, link: Link, cause: str | None) -> None:
        # Not at once: the link is still closing, and its slot is free only afterwards.
        self._loop.call_soon(self._owner.on_demand, self)

    def _weight(self) -> int:
        return weight(len(self._attempts), self._engine.pools.claims())

    def _left(self, job: JobState) -> int:
        """Return the client's number of an attempt that has ended here."""
        self._latest = max(self._latest, job.attempt)
        return self._attempts.pop(job.id)

    def _demand_changed(self) -> None:
        self._slots.note()
        self._owner.on_demand(self)
        if self._cooling is not None:
            self._cooling.cancel()
            self._cooling = None
        if not self._attempts:
            self._cooling = self._loop.call_later(_WARM, self.pool.resize, 0)
        self._leave_if_drained()

    def _leave_if_drained(self) -> None:
        if self._draining and not self._attempts and not self._leaving:
            self._leaving = True
            # After the answers of this turn, which say what is handed back.
            self._loop.call_soon(self._finish)

    def _finish(self) -> None:
        if not self._closed:
            self._stream.finish("the daemon is being shut down")
