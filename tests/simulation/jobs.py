"""Jobs of the simulated world: what each will do, and what has become of it.

What a job does is decided when it is made: how long it takes, whether it returns, raises, or takes
its worker with it. It travels as bytes: its arguments name it, and the result that comes back names
the execution that it is of. So the world can tell whether a user was given the right answer, and an
answer that was still wanted.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from functools import lru_cache

from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import Definition
from ppnext.shipping.outcomes import encode_exception, encode_result
from ppnext.wire.messages import Limits

__all__ = ["BUNDLES", "Execution", "Plan", "Register", "definition"]

_NAME = struct.Struct("<II")

_CONTENTS = [b"bundle %d" % number + bytes(1000 * number) for number in range(3)]

BUNDLES = {hashlib.sha256(content).digest(): content for content in _CONTENTS}
"""What clients have for workers that ask for it, by content hash: modules, in earnest."""


@dataclass(slots=True)
class Plan:
    """A job: what it does, and what has become of it.

    Attributes:
        client: number of the client whose job it is.
        number: the client's number of it.
        seconds: how long it runs.
        once: it must not be started twice.
        poison: it kills whatever worker it runs on, half way through.
        raises: it raises an exception.
        padding: bytes of its arguments and of its result, besides their names.
        function: which of the functions there are it calls.
        bundle: content hash of what the worker has to fetch from the client before; empty for none.
        threads: how many slots it takes.
        gpus: how many of the machine's it takes.
        submitted: when it was.
        starts: when workers began to run it.
        kills: how many workers it has killed by itself: while nobody was stopping it.
        twins_lost: second attempts that were lost with their nodes.
        told: what the client was told of its end; the contract is: exactly one thing.
        ended: when it was told so.
        cancelled: whether the client has cancelled it.
    """

    client: int
    number: int
    seconds: float
    once: bool = False
    poison: bool = False
    raises: bool = False
    padding: int = 0
    function: int = 0
    bundle: bytes = b""
    threads: int = 1
    gpus: int = 0
    submitted: float = 0.0
    starts: list[float] = field(default_factory=list)
    kills: int = 0
    twins_lost: int = 0
    told: list[str] = field(default_factory=list)
    ended: float | None = None
    cancelled: bool = False

    @property
    def limits(self) -> Limits | None:
        """What daemons and workers are told of it."""
        if self.threads == 1 and not self.gpus:
            return None
        return Limits(threads=self.threads, resources=(("gpu", self.gpus),) if self.gpus else ())

    @property
    def arguments(self) -> bytes:
        """What is sent to the worker."""
        return _NAME.pack(self.client, self.number) + bytes(self.padding)

    def __str__(self) -> str:
        kind = " ".join(word for word in ("once", "poison", "raises") if getattr(self, word))
        takes = f", {self.threads} slots, {self.gpus} gpus" if self.limits else ""
        kind = f" {kind}" if kind else ""
        return f"job {self.client}.{self.number} ({self.seconds:.3f} s{takes}{kind})"


@dataclass(slots=True)
class Execution:
    """One time that a job was run.

    Attributes:
        plan: the job.
        attempt: its client's attempt.
        is_twin: whether it was started while another was thought to run.
    """

    plan: Plan
    attempt: int
    is_twin: bool = False


class Register:
    """All jobs and all their executions."""

    def __init__(self) -> None:
        self.plans: dict[tuple[int, int], Plan] = {}
        self.executions: list[Execution] = []
        self.start_order: list[tuple[int, int]] = []

    def add(self, plan: Plan) -> None:
        """A job is about to be submitted."""
        self.plans[plan.client, plan.number] = plan

    def named(self, arguments: bytes | memoryview) -> Plan:
        """Return the job whose arguments these are."""
        return self.plans[_NAME.unpack_from(arguments)]

    def started(self, execution: Execution, now: float) -> int:
        """A worker begins to run a job. Return the number of this execution."""
        plan = execution.plan
        plan.starts.append(now)
        if plan.once and len(plan.starts) > 1:
            raise AssertionError(f"{plan} was started twice though it is to be run once")
        self.start_order.append((plan.client, plan.number))
        self.executions.append(execution)
        return len(self.executions) - 1

    def outcome(self, number: int) -> bytes:
        """Return what an execution gives, as bytes."""
        plan = self.executions[number].plan
        if plan.raises:
            return _raised(number)
        return joined(encode_result((number, bytes(plan.padding)), 5))


@lru_cache(maxsize=4096)
def _raised(number: int) -> bytes:
    return encode_exception(ValueError(number), "in the simulation", 5)


@lru_cache(maxsize=16)
def definition(number: int, size: int) -> Definition:
    """Return a function to be called, as it is shipped."""
    payload = struct.pack("<I", number) + bytes(size)
    return Definition(hashlib.sha256(payload).digest(), payload)
