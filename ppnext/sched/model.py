"""Model: what jobs and nodes are to the scheduler.

States of a job::

    WAITING ──place──► ASSIGNED ──retract──► RETRACTING
       ▲                  │  ▲                  │  │
       │                  │  └──── kept ────────┘  │
       ├── node lost ─────┴────────────────────────┤
       └── returned ───────────────────────────────┘
    any of them ──finished, died too often, cancelled, withdrawn──► ENDED (and forgotten)

``TRANSITIONS`` is that picture as a table; the picture in the documentation is made from it, and
``JobState.move`` refuses everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

__all__ = [
    "TRANSITIONS",
    "Intent",
    "JobId",
    "JobState",
    "Mishap",
    "NodeId",
    "NodeKind",
    "NodeState",
    "Status",
]

JobId = NewType("JobId", int)
NodeId = NewType("NodeId", int)


class Status(Enum):
    """Where a job stands."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    RETRACTING = "retracting"
    ENDED = "ended"


TRANSITIONS: dict[Status, dict[str, Status]] = {
    Status.WAITING: {
        "placed": Status.ASSIGNED,
        "cancelled": Status.ENDED,
        "withdrawn": Status.ENDED,
    },
    Status.ASSIGNED: {
        "asked back": Status.RETRACTING,
        "node lost": Status.WAITING,
        "worker died": Status.WAITING,
        "returned": Status.WAITING,
        "cancelled": Status.ENDED,
        "withdrawn": Status.ENDED,
        "finished": Status.ENDED,
        "given up": Status.ENDED,
    },
    Status.RETRACTING: {
        "kept": Status.ASSIGNED,
        "returned": Status.WAITING,
        "node lost": Status.WAITING,
        "worker died": Status.WAITING,
        "cancelled": Status.ENDED,
        "withdrawn": Status.ENDED,
        "finished": Status.ENDED,
        "given up": Status.ENDED,
    },
    Status.ENDED: {},
}
"""What may happen to a job in each state, and the state it is in afterwards."""


class Intent(Enum):
    """What is to become of a job when its node gives it back."""

    RUN = "run"
    CANCEL = "cancel"
    WITHDRAW = "withdraw"


class NodeKind(Enum):
    """What dies with a node.

    WORKER: one process that runs its jobs one after another; if it dies, the job it was running
    is blamed. DAEMON: a whole machine or the way to it; nobody is blamed.
    """

    WORKER = "worker"
    DAEMON = "daemon"


@dataclass(frozen=True, slots=True)
class Mishap:
    """One attempt that did not end by itself."""

    attempt: int
    node: str
    cause: str
    blamed: bool


@dataclass(slots=True, eq=False)
class JobState:
    """A job that has not ended."""

    id: JobId
    once: bool
    """Started at most once: never placed again after an attempt that may have started."""
    status: Status = Status.WAITING
    intent: Intent = Intent.RUN
    attempt: int = 0
    """Number of the present or latest placement; fences what arrives late."""
    node: NodeId | None = None
    kept: bool = False
    """The node was asked for it and kept it: it has started, so it is not asked again."""
    mishaps: list[Mishap] = field(default_factory=list)

    def move(self, event: str) -> None:
        """Go to the state that the table gives for ``event``.

        Raises:
            AssertionError: the table has no such transition; a bug of the scheduler.
        """
        following = TRANSITIONS[self.status].get(event)
        if following is None:
            raise AssertionError(f"job {self.id}: {event!r} cannot happen while {self.status}")
        self.status = following

    @property
    def deaths(self) -> int:
        """How many workers have died under this job."""
        return sum(mishap.blamed for mishap in self.mishaps)

    @property
    def losses(self) -> int:
        """How many nodes were lost while they held this job."""
        return len(self.mishaps) - self.deaths


@dataclass(slots=True, eq=False)
class NodeState:
    """A node that is connected."""

    id: NodeId
    name: str
    kind: NodeKind
    slots: int
    """Jobs that it runs at a time."""
    latency: float
    """Seconds from the end of a job to the start of one sent in answer."""
    draining: bool = False
    held: dict[JobId, JobState] = field(default_factory=dict)
    """The jobs assigned to it, in the order in which they were sent and will be started."""
    asked: set[JobId] = field(default_factory=set)
    """Those that it has been asked to give back; empty unless an answer is outstanding."""
    mean_seconds: float | None = None
    """Running mean of its jobs' durations; None before the first."""

    @property
    def surplus(self) -> int:
        """How many jobs it holds beyond what it can run now."""
        return max(0, len(self.held) - (0 if self.draining else self.slots))
