"""Audience: who is told how an engine's jobs end, and what it asks on behalf of its nodes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ppnext.nodes.link import Link
from ppnext.sched.actions import Cause
from ppnext.sched.model import JobState, Mishap
from ppnext.wire.messages import Outcome, Unfit
from ppnext.wire.payloads import Payload

__all__ = ["Audience", "Finished"]


class Finished(NamedTuple):
    """A job that has ended by itself."""

    job: JobState
    outcome: Outcome
    payload: Payload


class Audience(Protocol):
    """Who is told how jobs end: the futures of a client, or the session of a daemon."""

    def jobs_started(self, jobs: Sequence[JobState], link: Link) -> None:
        """The jobs were sent to a node, where they run now or soon."""

    def jobs_finished(self, jobs: Sequence[Finished], link: Link) -> None:
        """The jobs have ended by themselves."""

    def attempt_failed(self, job: JobState, mishap: Mishap) -> None:
        """An attempt did not end by itself; the job is run again, or ends now."""

    def job_ended(self, job: JobState, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        """The job has ended without a result."""

    def job_lost(self, link: Link) -> None:
        """An attempt at a job was lost, with its worker or with the node."""

    def job_withdrawn(self, job: int, withdrawn: bool) -> None:
        """The answer to ``withdraw``: the job is given back unstarted, or it stays."""

    def job_unfit(self, job: JobState, link: Link, unfit: Unfit) -> Hashable | None:
        """A node cannot run a job at all, and has not started it.

        Returns:
            what the job needs from now on, which that node has not; None if it is not to be run by
            this engine any more, and nobody else is told how it ends.
        """

    def facts_of(self, link: Link) -> object:
        """Return what needs of jobs are compared with, for a node that joins."""

    def need(self, digest: bytes) -> None:
        """The engine does not have a function; it is to be fetched and given to ``provide``."""

    def sought(self, link: Link, module: str) -> None:
        """A job on a node looks for a module; to be answered with ``link.found``."""

    def told(self, link: Link, versions: Mapping[str, str]) -> None:
        """A node said which versions of some distributions it has."""

    def node_joined(self, link: Link) -> None:
        """A node can take jobs."""

    def node_resized(self, link: Link) -> None:
        """A node runs more or fewer jobs at a time."""

    def node_gone(self, link: Link, cause: str | None) -> None:
        """A node has been lost, or was let go (None)."""
