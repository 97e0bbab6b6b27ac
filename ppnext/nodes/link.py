"""Link: a connected node, as the engine drives it.

A worker process and a daemon speak the same messages; a link differs from another by its streams
and its capacity. To a worker there are two: one for jobs, which the worker reads between jobs,
and one for what cannot wait until then. To a daemon both are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from ppnext.errors import ProtocolError
from ppnext.runtime.streams import Stream
from ppnext.sched.model import NodeId, NodeKind
from ppnext.wire.connection import Received
from ppnext.wire.messages import (
    PROTOCOL,
    Define,
    Died,
    Hello,
    JobRef,
    Need,
    Offer,
    Result,
    Retract,
    Returned,
    Run,
)

__all__ = ["Call", "Link", "Owner", "check_protocol"]


class Call(NamedTuple):
    """What is needed to run a job, all of it opaque."""

    function: bytes
    """Content hash of the function."""
    arguments: bytes
    once: bool = False


class Owner(Protocol):
    """Who is told what links report: an engine."""

    def on_joined(self, link: Link) -> None:
        """The node can take jobs."""

    def on_result(self, link: Link, result: Result, payload: bytes) -> None:
        """A job ended by itself."""

    def on_died(self, link: Link, died: Died) -> None:
        """A job's worker, somewhere behind the node, is gone."""

    def on_returned(self, link: Link, returned: Returned) -> None:
        """The node gave jobs back, or said which it keeps."""

    def on_need(self, link: Link, digest: bytes) -> None:
        """The node does not have a function that it was told to run."""

    def on_resized(self, link: Link) -> None:
        """The node's ``slots`` or ``latency`` have changed."""

    def on_draining(self, link: Link) -> None:
        """The node is to get no more jobs, and to be closed when it has none."""

    def on_lost(self, link: Link, cause: str) -> None:
        """The node is gone; its link is closed."""


def check_protocol(hello: Hello, name: str) -> None:
    """Refuse an end that speaks another version of the protocol.

    Raises:
        ProtocolError: it does; the message names both versions.
    """
    if hello.protocol != PROTOCOL:
        raise ProtocolError(
            f"{name} (ppnext {hello.version}) speaks version {hello.protocol} of the protocol, "
            f"this end version {PROTOCOL}; install the same version of ppnext on both"
        )


class Link:
    """A connected node.

    Args:
        node: number that no other link of this owner has or had.
        name: what users call the node.
        kind: what dies with it.
        owner: who is told.
        latency: seconds from the end of a job there to the start of one sent in answer.
        on_closed: called once when the link has been closed, whoever closed it.
    """

    def __init__(
        self,
        node: NodeId,
        name: str,
        kind: NodeKind,
        owner: Owner,
        latency: float,
        on_closed: Callable[[Link], None],
    ) -> None:
        self.node = node
        self.name = name
        self.kind = kind
        self.latency = latency
        self.hello: Hello | None = None
        """What the node said of itself; None until it did."""
        self.slots = 0
        self.held = 0
        """Jobs that were sent there and have neither ended nor been given back."""
        self._owner = owner
        self._on_closed = on_closed
        self._jobs: Stream | None = None
        self._control: Stream | None = None
        # Content hashes of the functions that the node has been sent.
        self._defined: set[bytes] = set()
        self._closed = False

    def attach(self, jobs: Stream, control: Stream) -> None:
        """Give the link its streams, before anything is sent or received."""
        self._jobs, self._control = jobs, control

    # What the engine asks for.

    def knows(self, digest: bytes) -> bool:
        """Whether the node has been sent the function of this content hash."""
        return digest in self._defined

    def define(self, digest: bytes, payload: bytes) -> None:
        """Send a function."""
        self._defined.add(digest)
        self._stream(self._jobs).send(Define(digest), payload)

    def run(self, job: int, attempt: int, call: Call) -> None:
        """Send a job. The function it calls has been sent before."""
        self.held += 1
        self._stream(self._jobs).send(Run(job, attempt, call.function, call.once), call.arguments)

    def retract(self, jobs: Iterable[JobRef]) -> None:
        """Ask for jobs that have not been started."""
        self._stream(self._control).send(Retract(list(jobs)))

    def close(self, reason: str) -> None:
        """Say Bye and close. The owner is not told."""
        if self._closed:
            return
        self._closed = True
        for stream in {self._jobs, self._control} - {None}:
            self._stream(stream).say_bye(reason)
        self._on_closed(self)

    def lose(self, cause: str) -> None:
        """The node is gone: close, and tell the owner."""
        if self._closed:
            return
        self._closed = True
        for stream in {self._jobs, self._control} - {None}:
            self._stream(stream).close()
        if self.hello is not None:
            self._owner.on_lost(self, cause)
        self._on_closed(self)

    # What the node says.

    def on_message(self, received: Received) -> None:
        """Handle a message from the node.

        Raises:
            ProtocolError: the node may not say that, or not yet.
        """
        if self._closed:
            return  # its streams are still being closed; nobody knows the node any more
        message, payload = received
        if isinstance(message, Hello):
            self._on_hello(message)
        elif self.hello is None:
            raise ProtocolError(f"{self.name} said {type(message).__name__} before Hello")
        elif isinstance(message, Result):
            if message.output > len(payload):
                raise ProtocolError(f"{self.name} sent a result that is shorter than its output")
            self.held -= 1
            self._owner.on_result(self, message, payload)
        elif isinstance(message, Need):
            self._owner.on_need(self, message.digest)
        elif isinstance(message, Returned):
            self.held -= len(message.jobs)
            self._owner.on_returned(self, message)
        elif isinstance(message, Died):
            self.held -= 1
            self._owner.on_died(self, message)
        elif isinstance(message, Offer):
            self.slots = message.slots
            self._owner.on_resized(self)
        else:
            raise ProtocolError(f"{self.name} said {type(message).__name__}, which only we may")

    def _on_hello(self, hello: Hello) -> None:
        if self.hello is not None:
            raise ProtocolError(f"{self.name} said Hello twice")
        check_protocol(hello, self.name)
        self.hello = hello
        self.slots = hello.slots
        self._owner.on_joined(self)

    def _stream(self, stream: Stream | None) -> Stream:
        if stream is None:
            raise AssertionError("a link is used before it has its streams")
        return stream
