"""Roles: what a link needs of the jobs that it sends and of the owner whom it tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ppnext.sched.model import Verdict
from ppnext.wire.messages import Began, Died, JobRef, Limits, Outcome, Returned, Unfit
from ppnext.wire.payloads import Payload

if TYPE_CHECKING:
    from ppnext.nodes.link import Link

__all__ = ["Call", "Definition", "Owner"]


class Definition(Protocol):
    """A function, or another object that jobs use, by its content."""

    @property
    def digest(self) -> bytes:
        """Content hash of the payload."""

    @property
    def payload(self) -> Payload | None:
        """None where it has not arrived yet."""

    @property
    def is_held(self) -> bool:
        """Whether nodes keep it until they are told to drop it."""

    @property
    def uses(self) -> Sequence[object]:
        """Definitions of the objects that it refers to."""


class Call(Protocol):
    """What is needed to run a job, all of it opaque."""

    @property
    def definition(self) -> Definition:
        """The function."""

    @property
    def arguments(self) -> Payload:
        """The arguments."""

    @property
    def uses(self) -> Sequence[object]:
        """Definitions of the objects that the arguments refer to, as far as that is known."""

    @property
    def limits(self) -> Limits | None:
        """What it may use; None if that is not limited."""


class Owner(Protocol):
    """Who is told what links report: an engine."""

    def on_joined(self, link: Link) -> None:
        """The node can take jobs."""

    def on_results(
        self, link: Link, outcomes: Sequence[Outcome], payloads: Sequence[Payload]
    ) -> None:
        """Jobs ended by themselves."""

    def on_began(self, link: Link, began: Began) -> None:
        """A worker has started a job that has limits."""

    def on_died(self, link: Link, died: Died) -> None:
        """An attempt has no outcome: its worker is gone, or it went beyond a limit."""

    def on_returned(self, link: Link, returned: Returned) -> None:
        """The node gave jobs back, or said which it keeps."""

    def on_unanswered(self, link: Link, asked: Sequence[JobRef]) -> None:
        """A worker here was asked for jobs a while ago, and may be too busy to answer."""

    def on_need(self, link: Link, digest: bytes) -> None:
        """The node does not have a function that it was told to run."""

    def on_unfit(self, link: Link, unfit: Unfit) -> None:
        """The node has not started a job, because it cannot run such jobs."""

    def on_facts(self, link: Link, versions: Mapping[str, str]) -> None:
        """The node said which versions of some distributions it has."""

    def on_seek(self, link: Link, module: str) -> None:
        """A job there looks for a module; to be answered with ``Link.found``."""

    def held_by(self, link: Link) -> Collection[object]:
        """Return the jobs that are the node's, also those that it is about to be sent."""

    def attempt_at(self, link: Link, job: int) -> int | None:
        """Return which attempt at a job a node holds; None if it holds none."""

    def on_resized(self, link: Link) -> None:
        """The node's ``slots`` or ``latency`` have changed."""

    def on_draining(self, link: Link) -> None:
        """The node is to get no more jobs, and to be closed when it has none."""

    def on_here(self, slots: int | None = None) -> None:
        """This machine has so many slots from now on; None: countable things may have come back."""

    def on_stopped(self, link: Link, job: JobRef, verdict: Verdict) -> None:
        """A worker has ended a job that it was told to stop, for going beyond a limit."""

    def on_lost(
        self, link: Link, cause: str, running: int | None, verdict: Verdict | None = None
    ) -> None:
        """The node is gone; its link is closed.

        Args:
            running: the job that it has started last, if that is known.
            verdict: why that job was stopped, and the worker killed for it.
        """
