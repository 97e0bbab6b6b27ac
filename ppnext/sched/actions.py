"""Actions: what the scheduler asks its owner to do, in this order."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from ppnext.sched.model import JobId, JobState, Mishap, NodeId, Ref

__all__ = [
    "Action",
    "Assign",
    "Cause",
    "End",
    "Failed",
    "Kept",
    "Release",
    "Retract",
    "Stop",
    "Withdrawn",
]


class Cause(Enum):
    """Why a job ends without having ended by itself."""

    POISONED = "its worker died under it too often"
    WORKER_DIED = "its worker died, and it may not be run again"
    NODE_LOST = "its node was lost, and it may not be run again"
    LOST_TOO_OFTEN = "its nodes were lost too often"
    LIMIT = "it went beyond a limit"


class Assign(NamedTuple):
    """Send these jobs to a node, in this order; each state says which attempt it is.

    To be carried out before the next event is reported. An owner that cannot must leave out
    what is not on that node any more (``JobState.node``).
    """

    node: NodeId
    jobs: list[JobState]


class Retract(NamedTuple):
    """Ask a node to give back those of these (job, attempt) that it has not started."""

    node: NodeId
    jobs: list[Ref]


class Stop(NamedTuple):
    """Stop a job that a node has started, and that nobody wants any more."""

    node: NodeId
    job: Ref
    grace: float
    """Seconds after which its process may be killed."""


class End(NamedTuple):
    """The job has ended without a result; tell whoever waits for it."""

    job: JobState
    cause: Cause
    mishaps: tuple[Mishap, ...]


class Failed(NamedTuple):
    """An attempt did not end by itself; an End follows if it was the last."""

    job: JobState
    mishap: Mishap


class Withdrawn(NamedTuple):
    """The job that was to be withdrawn has not started and is forgotten."""

    job: JobState


class Kept(NamedTuple):
    """The job that was to be withdrawn has started, or has ended: it stays. It may not be known."""

    job: JobId


class Release(NamedTuple):
    """The draining node holds nothing any more and is forgotten; it may be closed."""

    node: NodeId


Action: TypeAlias = Assign | Retract | Stop | Failed | End | Withdrawn | Kept | Release
