"""Policy: the numbers behind the scheduler's decisions."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ppnext.sched.model import NodeState

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How much a node may hold and how often a job is tried again.

    Attributes:
        poison_limit: a job whose worker died under it this often is not run again.
        loss_limit: a job whose node was lost this often is not run again. Counted apart from
            dead workers, so that a laboratory that reboots poisons nothing.
        horizon: seconds of work that a node may hold beyond what it runs.
        worth_hiding: share of a job's time that the way to the node and back must take before
            jobs are sent ahead.
        prefetch_limit: most jobs sent ahead for each slot.
        prefetch_most: most jobs sent ahead to one node.
        smoothing: weight of the newest duration in a node's running mean.
    """

    poison_limit: int = 3
    loss_limit: int = 10
    horizon: float = 0.002
    worth_hiding: float = 0.02
    prefetch_limit: int = 128
    prefetch_most: int = 1024
    smoothing: float = 0.2

    def credit(self, node: NodeState) -> int:
        """Return how many jobs a node may hold: those that it runs and those sent ahead."""
        if node.draining:
            return 0
        mean = node.mean_seconds
        if mean is None or node.latency < self.worth_hiding * mean:
            return node.slots
        limit = min(node.slots * self.prefetch_limit, self.prefetch_most)
        ahead = node.slots * (self.horizon + node.latency)
        if ahead >= mean * limit:
            return node.slots + limit
        return node.slots + ceil(ahead / mean)

    def smooth(self, mean: float | None, seconds: float) -> float:
        """Return the running mean after one more job took ``seconds``."""
        return seconds if mean is None else mean + self.smoothing * (seconds - mean)
