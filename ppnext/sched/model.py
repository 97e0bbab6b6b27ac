"""Model: what jobs and nodes are to the scheduler.

States of a job::

    WAITING ──place──► ASSIGNED ──retract──► RETRACTING
       ▲                  │  ▲                  │  │
       │                  │  └──── kept ────────┘  │
       ├── node lost ─────┴────────────────────────┤
       └── returned, refused ──────────────────────┘
    any of them ──finished, died too often, cancelled, withdrawn──► ENDED (and forgotten)

``TRANSITIONS`` is that picture as a table; the picture in the documentation is made from it, and
``JobState.move`` refuses everything else. The two transitions that every job makes are read from
the table once, as ``PLACED`` and ``FINISHED``: the scheduler sets them itself where it has just
seen that the job may make them.

States and intents have names in this module too, because reading a member off an ``Enum`` costs
six times as much as reading a name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, NewType, TypeAlias

from ppnext.sched.host import Host

if TYPE_CHECKING:
    from ppnext.sched.claim import ClaimOf

__all__ = [
    "ASSIGNED",
    "CANCEL",
    "DAEMON",
    "ENDED",
    "FINISHED",
    "NOBODY",
    "PLACED",
    "RETRACTING",
    "RUN",
    "TRANSITIONS",
    "WAITING",
    "WITHDRAW",
    "WORKER",
    "Intent",
    "JobId",
    "JobState",
    "Limit",
    "Mishap",
    "Need",
    "NodeId",
    "NodeKind",
    "NodeState",
    "Ran",
    "Ref",
    "Status",
    "Verdict",
    "first_twice",
]

JobId = NewType("JobId", int)
NodeId = NewType("NodeId", int)

NOBODY = JobId(-1)
"""No job: the number of none."""

Ref: TypeAlias = tuple[JobId, int]
"""A job's number and the attempt that is meant."""

Ran: TypeAlias = tuple[JobId, int, float]
"""A job's number, the attempt, and how many seconds it ran."""

Need: TypeAlias = Hashable
"""What a job asks of its node; the owner's, never looked at here. None: any node will do."""


class Status(Enum):
    """Where a job stands."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    RETRACTING = "retracting"
    ENDED = "ended"


WAITING, ASSIGNED, RETRACTING, ENDED = Status

TRANSITIONS: dict[Status, dict[str, Status]] = {
    WAITING: {
        "placed": ASSIGNED,
        "cancelled": ENDED,
        "withdrawn": ENDED,
    },
    ASSIGNED: {
        "asked back": RETRACTING,
        "node lost": WAITING,
        "worker died": WAITING,
        "returned": WAITING,
        "refused": WAITING,
        "cancelled": ENDED,
        "withdrawn": ENDED,
        "finished": ENDED,
        "given up": ENDED,
    },
    RETRACTING: {
        "kept": ASSIGNED,
        "returned": WAITING,
        "refused": WAITING,
        "node lost": WAITING,
        "worker died": WAITING,
        "cancelled": ENDED,
        "withdrawn": ENDED,
        "finished": ENDED,
        "given up": ENDED,
    },
    ENDED: {},
}
"""What may happen to a job in each state, and the state it is in afterwards."""

PLACED = TRANSITIONS[WAITING]["placed"]
FINISHED = TRANSITIONS[ASSIGNED]["finished"]


class Intent(Enum):
    """What is to become of a job when its node gives it back."""

    RUN = "run"
    CANCEL = "cancel"
    WITHDRAW = "withdraw"


RUN, CANCEL, WITHDRAW = Intent


class NodeKind(Enum):
    """What dies with a node.

    WORKER: one process that runs its jobs one after another; if it dies, the job it was running
    is blamed. DAEMON: a whole machine or the way to it; nobody is blamed.
    """

    WORKER = "worker"
    DAEMON = "daemon"


WORKER, DAEMON = NodeKind


class Limit(Enum):
    """What a job may go beyond, and is then stopped."""

    TIMEOUT = "it ran longer than its timeout"
    MEMORY = "it had more memory than it may"
    PRESSURE = "its machine ran short of memory"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an attempt was stopped where it ran.

    Attributes:
        limit: what it went beyond.
        cause: the same in words.
        stack: where it was, as text, the innermost call last; empty if that is not known.
        peak: most bytes of memory that it was seen to have; 0 if nobody looked.
    """

    limit: Limit
    cause: str
    stack: str = ""
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Mishap:
    """One attempt that did not end by itself.

    Attributes:
        attempt: its number.
        node: the name of the node.
        cause: what happened, in words.
        blamed: whether the job is to blame for the death of its worker.
        verdict: why it was stopped, if it was.
    """

    attempt: int
    node: str
    cause: str
    blamed: bool
    verdict: Verdict | None = None


class JobState:
    """A job that has not ended. Written out by hand: a million of them are made and kept.

    Attributes:
        id: its number.
        call: what to run; the owner's, never looked at here.
        retries: how often it may be placed again after an attempt that may have started; None for
            as often as the policy has it.
        need: what it asks of its node; None: nothing. Changed by the scheduler alone.
        status: where it stands.
        intent: what is to become of it when its node gives it back.
        attempt: number of the present or latest placement; fences what arrives late.
        node: the node that holds it.
        kept: its node was asked for it and kept it: it has started, so it is not asked again.
        mishaps: attempts that did not end by themselves.
    """

    __slots__ = (
        "attempt",
        "call",
        "id",
        "intent",
        "kept",
        "mishaps",
        "need",
        "node",
        "retries",
        "status",
    )

    def __init__(
        self,
        id: JobId,
        call: object,
        once: bool = False,
        need: Need = None,
        retries: int | None = None,
    ) -> None:
        self.id = id
        self.call = call
        self.retries = 0 if once else retries
        self.need = need
        self.status = WAITING
        self.intent = RUN
        self.attempt = 0
        self.node: NodeId | None = None
        self.kept = False
        self.mishaps: tuple[Mishap, ...] = ()

    def __repr__(self) -> str:
        return f"JobState({self.id}, attempt {self.attempt}, {self.status.value})"

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
    def once(self) -> bool:
        """Whether it must not be started a second time."""
        return self.retries == 0

    @property
    def deaths(self) -> int:
        """How many workers have died under this job by its fault."""
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
    facts: object = None
    """What jobs may ask of it; the owner's, never looked at here."""
    host: Host = field(default_factory=Host)
    """The machine that it is, or is on."""
    claim_of: ClaimOf | None = None
    """What jobs with a need take; None if all take one slot."""
    held: dict[JobId, JobState] = field(default_factory=dict)
    """The jobs assigned to it, in the order in which they were sent and will be started."""
    asked: set[JobId] = field(default_factory=set)
    """Those that it has been asked to give back; empty unless an answer is outstanding."""
    needs: dict[Need, int] = field(default_factory=dict)
    """How many of the jobs it holds have which need; those that need nothing are left out."""
    mean_seconds: float | None = None
    """Running mean of its jobs' durations; None before the first."""
    credit: int = 0
    """How many jobs it may hold, as ``Policy.credit`` has it."""
    extra: int = 0
    """Slots that its jobs take beyond one each."""

    @property
    def is_daemon(self) -> bool:
        """Whether it is a whole machine."""
        return self.kind is DAEMON

    @property
    def busy(self) -> int:
        """How many of its slots are in use, not counting what jobs take beyond one each."""
        return len(self.held) if self.kind is DAEMON else min(len(self.held), self.slots)

    @property
    def surplus(self) -> int:
        """How many jobs it holds beyond what it can run now."""
        return max(0, len(self.held) - (0 if self.draining else self.slots))

    def holds(self, need: Need) -> int:
        """Return how many of the jobs that it holds have this need."""
        if need is not None:
            return self.needs.get(need, 0)
        return len(self.held) - sum(self.needs.values())

    def count(self, need: Need, change: int) -> None:
        """It holds so many more jobs with a need, or fewer."""
        if need is None:
            return
        now = self.needs.get(need, 0) + change
        if now:
            self.needs[need] = now
        else:
            del self.needs[need]
        claim = None if self.claim_of is None else self.claim_of(need)
        if claim is not None:
            self.extra += (claim.slots - 1) * change
            self.host.count(claim, change)

    def spare(self, need: Need) -> Iterator[JobState]:
        """Yield the jobs with this need that it may not have started, the latest first.

        If it holds others as well, only those behind as many as it runs at a time: the latest with
        this need may be running while others wait.
        """
        behind = self.surplus if self.needs else None
        for job in islice(reversed(self.held.values()), behind):
            if job.need == need and job.intent is RUN and not job.kept:
                yield job

    def find(self, jobs: Iterable[Ref]) -> list[JobState]:
        """Return those of the named attempts that it does hold; others are named too late."""
        states = ((self.held.get(job), attempt) for job, attempt in jobs)
        found = (state for state, attempt in states if state and state.attempt == attempt)
        return list(dict.fromkeys(found))  # the other end may name one twice

    def started(self, running: JobId | None) -> int:
        """Return how many of the jobs it holds may have been started; they are the oldest.

        Args:
            running: the one that it has started last, if that is known of a worker; ``NOBODY`` if
                it runs none of them.
        """
        if self.kind is DAEMON:
            return len(self.held)
        if running == NOBODY:
            return 0
        places = (place for place, job in enumerate(self.held, 1) if job == running)
        return next(places, min(len(self.held), 1))

    def release(self, job: JobState) -> None:
        """It holds a job no longer."""
        del self.held[job.id]
        self.asked.discard(job.id)
        self.count(job.need, -1)
        job.node = None
        job.kept = False


def first_twice(known: Container[JobId], jobs: Iterable[JobState]) -> JobId:
    """Return the first number of jobs that is known already or comes again."""
    times = Counter(state.id for state in jobs)
    return next(job for job in times if job in known or times[job] > 1)
