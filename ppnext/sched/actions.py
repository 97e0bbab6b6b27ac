"""Actions: what the scheduler asks its owner to do, in this order."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from ppnext.sched.model import JobId, Mishap, NodeId

__all__ = ["Action", "Assign", "Cause", "End", "Kept", "Release", "Retract", "Withdrawn"]


class Cause(Enum):
    """Why a job ends without having ended by itself."""

    POISONED = "its worker died under it too often"
    WORKER_DIED = "its worker died, and it may not be run again"
    NODE_LOST = "its node was lost, and it may not be run again"
    LOST_TOO_OFTEN = "its nodes were lost too often"


class Assign(NamedTuple):
    """Send this attempt of a job to a node."""

    node: NodeId
    job: JobId
    attempt: int


class Retract(NamedTuple):
    """Ask a node to give back those of these (job, attempt) that it has not started."""

    node: NodeId
    jobs: tuple[tuple[JobId, int], ...]


class End(NamedTuple):
    """The job has ended without a result; tell whoever waits for it."""

    job: JobId
    cause: Cause
    mishaps: tuple[Mishap, ...]


class Withdrawn(NamedTuple):
    """The job that was to be withdrawn has not started and is forgotten."""

    job: JobId


class Kept(NamedTuple):
    """The job that was to be withdrawn has started, or has ended: it stays."""

    job: JobId


class Release(NamedTuple):
    """The draining node holds nothing any more and is forgotten; it may be closed."""

    node: NodeId


Action: TypeAlias = Assign | Retract | End | Withdrawn | Kept | Release
