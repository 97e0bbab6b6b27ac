"""Link: a connected node, as the engine drives it.

A worker process and a daemon speak the same messages; a link differs from another by its streams
and its capacity. To a worker there are two: one for jobs, which the worker reads between jobs,
and one for what cannot wait until then. To a daemon both are the same.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast
from weakref import ref

from ppnext.errors import ProtocolError
from ppnext.nodes.greeting import check_protocol
from ppnext.nodes.guard import Guard, GuardedProcess
from ppnext.nodes.roles import Call, Definition, Owner
from ppnext.runtime.sharing import WORTH_SHARING, Shared, Sharing
from ppnext.runtime.streams import Stream
from ppnext.sched.model import JobState, NodeId, NodeKind, Verdict
from ppnext.wire.connection import Received
from ppnext.wire.frames import CHUNK_LIMIT
from ppnext.wire.messages import (
    BATCH_LIMIT,
    OLDEST,
    SINCE,
    Ask,
    Began,
    Define,
    Died,
    Drop,
    Facts,
    Found,
    Freed,
    Hello,
    Hold,
    JobRef,
    Limits,
    Message,
    Need,
    Offer,
    Outcome,
    Result,
    Retract,
    Returned,
    Run,
    Seek,
    Start,
    Stop,
    Unfit,
)
from ppnext.wire.payloads import Payload, split, view_of

__all__ = ["Link"]


class Link:
    """A connected node.

    Args:
        node: number that no other link of this owner has or had.
        name: what users call the node.
        kind: what dies with it.
        owner: who is told.
        latency: seconds from the end of a job there to the start of one sent in answer.
        on_closed: called once when the link has been closed, whoever closed it.
        sharing: passes large payloads on as memory; None if the node is on another machine.
        soon: has the owner's loop make a call; from any thread at any time.
        later: has it make a call after so many seconds.
    """

    def __init__(
        self,
        node: NodeId,
        name: str,
        kind: NodeKind,
        owner: Owner,
        latency: float,
        on_closed: Callable[[Link], None],
        sharing: Sharing | None = None,
        soon: Callable[[Callable[[], None]], object] | None = None,
        later: Callable[[float, Callable[[], None]], TimerHandle] | None = None,
    ) -> None:
        self.node = node
        self.name = name
        self.kind = kind
        self.latency = latency
        self.hello: Hello | None = None  # what the node said of itself
        self.slots = 0
        self.held = 0  # jobs that were sent there and have neither ended nor been given back
        self._owner = owner
        self._on_closed = on_closed
        self._sharing = sharing
        self._soon = soon
        self._later = later
        self._shared: dict[int, Shared] = {}  # large arguments that are shared from here, by job
        self._jobs: Stream | None = None
        self._control: Stream | None = None
        self.guard: Guard | None = None  # what stops the jobs of a worker here
        self._defined: set[bytes] = set()  # content hashes of what the node has been sent
        self._closed = False

    def attach(self, jobs: Stream, control: Stream, process: GuardedProcess | None = None) -> None:
        """Give the link its streams, before anything is sent or received.

        Args:
            process: the worker, if it is one of this machine.
        """
        self._jobs, self._control = jobs, control
        if process is not None and self._later is not None:
            self.guard = Guard(process, self._later, control.send)

    @property
    def jobs(self) -> Stream | None:
        """The stream on which jobs and results travel."""
        return self._jobs

    # What the engine asks for.

    def define(self, definition: Definition) -> None:
        """Send a function or an object, and what it refers to, if it is here."""
        digest, payload = definition.digest, definition.payload
        if payload is None:
            return
        self._defined.add(digest)
        self._define_all(definition.uses)
        message = Hold(digest) if definition.is_held else Define(digest)
        self._stream(self._jobs).send(message, (payload,))

    def drop(self, digest: bytes) -> None:
        """Tell the node that an object is not used any more."""
        self._defined.discard(digest)
        self._stream(self._jobs).send(Drop(digest))

    def may_have(self, digest: bytes) -> bool:
        """Whether the node has been sent a function or an object, and not told to drop it."""
        return digest in self._defined

    def run(self, jobs: Sequence[JobState]) -> None:
        """Send jobs, each with the function that it calls if the node may not have it.

        The ``call`` of each is a ``Call``.
        """
        self.held += len(jobs)
        definition: Definition | None = None
        limits: Limits | None = None
        starts: list[Start] = []
        arguments: list[Payload] = []
        room = 0
        calls = cast("list[Call]", [job.call for job in jobs])
        for job, call in zip(jobs, calls, strict=True):
            payload = call.arguments
            size = len(payload)
            if size >= WORTH_SHARING and self._sharing is not None:
                payload = self._share(job.id, payload)
            room -= size
            # Jobs share a message if they call the same function and none is large.
            if (
                room < 0
                or call.definition is not definition
                or call.limits is not limits
                or type(payload) is not bytes
            ):
                if definition is not None:
                    self._send_run(definition, limits, starts, arguments)
                    starts, arguments = [], []
                definition, limits = call.definition, call.limits
                room = CHUNK_LIMIT - size if type(payload) is bytes else 0
            if call.uses:
                self._define_all(call.uses)
            starts.append(Start(job.id, job.attempt, size, job.retries == 0))
            arguments.append(payload)
        if definition is not None:
            self._send_run(definition, limits, starts, arguments)

    def _define_all(self, used: Sequence[object]) -> None:
        for definition in cast("Sequence[Definition]", used):
            if definition.digest not in self._defined:
                self.define(definition)

    def _share(self, job: int, payload: Payload) -> Payload:
        """Return large arguments as memory that the node can map, if that can be."""
        if self._sharing is None or isinstance(payload, Shared):
            return payload
        shared = self._sharing.share([view_of(payload)])
        if shared is None:
            return payload
        self._shared[job] = shared
        return shared

    def _send_run(
        self,
        definition: Definition,
        limits: Limits | None,
        starts: list[Start],
        arguments: list[Payload],
    ) -> None:
        digest = definition.digest
        if digest not in self._defined:
            self.define(definition)
        for first in range(0, len(starts), BATCH_LIMIT):
            part = slice(first, first + BATCH_LIMIT)
            self._stream(self._jobs).send(Run(digest, starts[part], limits), arguments[part])

    def retract(self, jobs: Iterable[JobRef]) -> None:
        """Ask for jobs that have not been started."""
        asked = list(jobs)
        self._stream(self._control).send(Retract(asked))
        if self.guard is not None:
            self.guard.expect(partial(self._owner.on_unanswered, self, asked))

    def stop(self, job: JobRef, grace: float) -> None:
        """Stop a job that has been started.

        Args:
            grace: seconds that it has to end by itself.
        """
        if self.guard is not None:
            self.guard.stop(job, grace)
        elif self._knows(Stop):
            self._stream(self._control).send(Stop(*job, grace))

    def watch(self, began: Began, limits: Limits) -> None:
        """Hold a job that a worker here has begun to its limits."""
        if self.guard is not None:
            self.guard.begin(began, limits)

    def ask(self, distributions: Sequence[str]) -> None:
        """Ask which versions of some distributions are there."""
        self._stream(self._jobs).send(Ask(list(distributions)))

    def found(self, module: str, digest: bytes, why: str = "") -> None:
        """Answer a job there that looks for a module; with no digest if there is none."""
        self._stream(self._jobs).send(Found(module, digest, why))

    def _knows(self, message: type[Message]) -> bool:
        """Whether the node understands such a message."""
        return self.hello is not None and self.hello.protocol >= SINCE.get(message, OLDEST)

    def close(self, reason: str) -> None:
        """Say Bye and close. The owner is not told."""
        if self._closed:
            return
        self._closed = True
        self._shared.clear()
        if self.guard is not None:
            self.guard.close()
        for stream in self._streams():
            stream.say_bye(reason)
        self._on_closed(self)

    def lose(self, cause: str, running: int | None = None) -> None:
        """The node is gone: close, and tell the owner.

        Args:
            running: the job that it has started last, if that is known.
        """
        if self._closed:
            return
        self._closed = True
        self._shared.clear()
        for stream in self._streams():
            stream.close()
        verdict: Verdict | None = None
        if self.guard is not None:
            running = self.guard.running(running)
            verdict = self.guard.ended()
        if self.hello is not None:
            self._owner.on_lost(self, cause, running, verdict)
        self._on_closed(self)

    # What the node says.

    def on_messages(self, arrived: Sequence[Received]) -> None:
        """Handle messages from the node; results that stand together are told together.

        Raises:
            ProtocolError: the node may not say that, or not yet.
        """
        outcomes: list[Outcome] = []
        payloads: list[Payload] = []
        for message, payload in arrived:
            if self._closed:
                return  # its streams are still being closed; nobody knows the node any more
            if isinstance(message, Result) and self.hello is not None:
                outcomes += message.outcomes
                payloads += self._split(message.outcomes, payload)
                continue
            if outcomes:
                self._tell_results(outcomes, payloads)
                outcomes, payloads = [], []
            if not self._closed:  # whoever was told the results may have closed it
                self._on_message(message)
        if outcomes and not self._closed:
            self._tell_results(outcomes, payloads)

    def _on_message(self, message: Message) -> None:
        if isinstance(message, Hello):
            self._on_hello(message)
        elif self.hello is None:
            raise ProtocolError(f"{self.name} said {type(message).__name__} before Hello")
        elif isinstance(message, Need):
            self._owner.on_need(self, message.digest)
        elif isinstance(message, Returned):
            self.held -= len(message.jobs)
            for job, _ in message.jobs:
                self._take_back(job, False)
            if self.guard is not None:
                self.guard.returned(message.jobs)
            self._owner.on_returned(self, message)
        elif isinstance(message, Died):
            self.held -= 1
            self._owner.on_died(self, message)
        elif isinstance(message, Began):
            self._owner.on_began(self, message)
        elif isinstance(message, Unfit):
            if self.guard is not None:
                self.guard.close()
            self.held -= 1
            self._take_back(message.job, False)
            self._owner.on_unfit(self, message)
        elif isinstance(message, Facts):
            self._owner.on_facts(self, message.versions)
        elif isinstance(message, Seek):
            self._owner.on_seek(self, message.module)
        elif isinstance(message, Offer):
            self.slots = message.slots
            self._owner.on_resized(self)
        else:
            raise ProtocolError(f"{self.name} said {type(message).__name__}, which only we may")

    def _split(self, outcomes: list[Outcome], payload: Payload) -> list[Payload]:
        for outcome in outcomes:
            if self._shared:
                self._take_back(outcome.job, outcome.freed)
            if outcome.output > outcome.size:
                raise ProtocolError(f"{self.name} sent a result that is shorter than its output")
        if len(outcomes) == 1 and outcomes[0].size == len(payload):
            if isinstance(payload, Shared) and payload.is_received:
                # Whoever has the result does not keep the link, and all that is behind it.
                payload.when_free(partial(_free_later, ref(self), outcomes[0]))
            return [payload]
        return split(payload, [outcome.size for outcome in outcomes])

    def _take_back(self, job: int, reusable: bool) -> None:
        """The node does not need the arguments of a job any more, if they were shared here."""
        shared = self._shared.pop(job, None)
        if shared is not None and self._sharing is not None:
            self._sharing.take_back(shared, reusable)

    def _tell_results(self, outcomes: list[Outcome], payloads: list[Payload]) -> None:
        if self.guard is not None and self.guard.job is not None:
            self._judge(outcomes, payloads)
        if outcomes and not self._closed:
            self.held -= len(outcomes)
            self._owner.on_results(self, outcomes, payloads)

    def _judge(self, outcomes: list[Outcome], payloads: list[Payload]) -> None:
        """If the job that the guard watches has ended: if it had been stopped, that is how."""
        for place, it in enumerate(outcomes):
            if self.guard is not None and self.guard.job == (it.job, it.attempt):
                verdict = self.guard.ended()
                if verdict is not None:
                    del outcomes[place], payloads[place]
                    self.held -= 1
                    self._owner.on_stopped(self, (it.job, it.attempt), verdict)
                return

    def free_later(self, freed: Freed) -> None:
        """Nothing here uses a shared result any more. Called in any thread at any time."""
        if self._soon is not None and not self._closed:
            self._soon(partial(self._free, freed))

    def _free(self, freed: Freed) -> None:
        if not self._closed:
            self._stream(self._control).send(freed)

    def _on_hello(self, hello: Hello) -> None:
        if self.hello is not None:
            raise ProtocolError(f"{self.name} said Hello twice")
        check_protocol(hello, self.name)
        self.hello = hello
        self.slots = hello.slots
        self._owner.on_joined(self)

    def _streams(self) -> list[Stream]:
        """Its streams, each once, always in the same order."""
        return [it for it in dict.fromkeys((self._jobs, self._control)) if it is not None]

    def _stream(self, stream: Stream | None) -> Stream:
        if stream is None:
            raise AssertionError("a link is used before it has its streams")
        return stream


def _free_later(link: ref[Link], outcome: Outcome, reusable: bool) -> None:
    if (known := link()) is not None:
        known.free_later(Freed(outcome.job, outcome.attempt, reusable))
