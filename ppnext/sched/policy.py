"""Policy: the numbers behind the scheduler's decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from ppnext.sched.actions import Cause
from ppnext.sched.model import DAEMON, JobState, Limit, NodeState

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How much a node may hold and how often a job is tried again.

    Attributes:
        poison_limit: a job whose worker died under it this often is not run again.
        loss_limit: a job whose node was lost this often is not run again. Counted apart from
            dead workers, so that a laboratory that reboots poisons nothing.
        pressure_limit: how often a job is run again that was stopped because its machine ran
            short of memory.
        horizon: seconds of work that a node may hold beyond what it runs: twice the time for which
            a thread that computes keeps Python to itself, so that a busy client starves nobody.
        worth_hiding: share of a job's time that the way to the node and back must take before
            jobs are sent ahead.
        prefetch_limit: most jobs sent ahead for each slot.
        prefetch_most: most jobs sent ahead to one node.
        smoothing: weight of the newest duration in a node's running mean.
    """

    poison_limit: int = 3
    loss_limit: int = 10
    pressure_limit: int = 3
    horizon: float = 0.01
    worth_hiding: float = 0.005
    prefetch_limit: int = 1024
    prefetch_most: int = 4096
    smoothing: float = 0.2

    @classmethod
    def of_session(cls, prefetch_limit: int | None = None) -> Policy:
        """Return that of a daemon for one client, who decides himself what is run again."""
        policy = cls(poison_limit=1, pressure_limit=0)
        return policy if prefetch_limit is None else replace(policy, prefetch_limit=prefetch_limit)

    def credit(self, node: NodeState) -> int:
        """Return how many jobs a node may hold: those that it runs and those sent ahead."""
        host = node.host
        if node.draining or host.cleared:
            return 0
        if host.extra:
            return self._beside_others(node)
        return self._alone(node)

    def _beside_others(self, node: NodeState) -> int:
        """The credit of a node on a machine where jobs take more than a slot."""
        if node.kind is DAEMON:
            return max(0, self._alone(node) - node.extra)
        if node.extra:
            return node.slots
        return 0 if node.host.is_full and not node.held else self._alone(node)

    def _alone(self, node: NodeState) -> int:
        """The credit of a node by itself."""
        mean = node.mean_seconds
        if mean is None or node.latency < self.worth_hiding * mean:
            return node.slots
        limit = min(node.slots * self.prefetch_limit, self.prefetch_most)
        ahead = node.slots * (self.horizon + node.latency)
        if ahead >= mean * limit:
            return node.slots + limit
        return node.slots + ceil(ahead / mean)

    def smooth(self, mean: float | None, seconds: float, count: int = 1) -> float:
        """Return the running mean after ``count`` more jobs took ``seconds`` on average."""
        if mean is None:
            return seconds
        return mean + (1.0 - (1.0 - self.smoothing) ** count) * (seconds - mean)

    def reason_to_give_up(self, job: JobState) -> Cause | None:
        """Return why a job is not run again after its latest mishap; None if it is."""
        if (verdict := job.mishaps[-1].verdict) is not None:
            return None if verdict.limit is Limit.PRESSURE and self._is_tried(job) else Cause.LIMIT
        if job.retries is not None:
            if len(job.mishaps) <= job.retries:
                return None
            return Cause.WORKER_DIED if job.mishaps[-1].blamed else Cause.NODE_LOST
        if job.deaths >= self.poison_limit:
            return Cause.POISONED
        if job.losses >= self.loss_limit:
            return Cause.LOST_TOO_OFTEN
        return None

    def _is_tried(self, job: JobState) -> bool:
        """Whether a job is run again that was stopped because its machine ran short of memory."""
        times = sum(it.verdict is not None for it in job.mishaps)  # nothing else is run again
        return times <= self.pressure_limit and (
            job.retries is None or len(job.mishaps) <= job.retries
        )
