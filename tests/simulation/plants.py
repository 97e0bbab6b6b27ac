"""Plants: bugs that are put in on purpose, to see whether the simulation finds them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from ppnext.nodes import remote
from ppnext.nodes.link import Link
from ppnext.runtime.streams import Stream
from ppnext.sched.actions import Cause
from ppnext.sched.model import JobId, JobState, NodeId, Ran, Status
from ppnext.sched.policy import Policy
from ppnext.sched.scheduler import Scheduler
from ppnext.sched.stock import Amounts, Stock
from ppnext.wire.connection import Heartbeat, Received
from ppnext.wire.messages import Result
from tests.simulation.world import Rules

__all__ = ["DEAF", "ENDLESS", "RECKLESS", "bottomless", "unfenced"]


class _Reckless(Policy):
    """Runs jobs again that must not be run twice."""

    def reason_to_give_up(self, job: JobState) -> Cause | None:
        return None if job.once else Policy.reason_to_give_up(self, job)


RECKLESS = Rules(policy=_Reckless())
"""A job that is to be started once at most is started again after it was lost."""

ENDLESS = Rules(policy=Policy(poison_limit=1000))
"""A job may kill as many workers as it likes."""

DEAF = Rules(heartbeat=Heartbeat(interval=1e9, dead=1e9))
"""A client never asks whether a daemon is still there."""


class _Open(Stream):
    """Is not closed when the other end has been silent for too long."""

    def _end(self, cause: str | None) -> None:
        if cause is not None and cause.startswith("nothing was heard"):
            self._on_end(cause)
        else:
            super()._end(cause)


class _Zombie(Link):
    """Goes on listening to results of a node that has been given up."""

    _is_given_up = False

    def lose(self, cause: str, running: int | None = None) -> None:
        if not self._is_given_up:
            self._is_given_up = True
            if self.hello is not None:
                self._owner.on_lost(self, cause, running)
            self._on_closed(self)

    def on_messages(self, arrived: Sequence[Received]) -> None:
        if self._is_given_up:
            arrived = [it for it in arrived if isinstance(it.message, Result)]
        super().on_messages(arrived)


class _Careless(Scheduler):
    """Takes any result for that of the present attempt, whoever sends it."""

    def on_finished(self, node: NodeId, results: Sequence[Ran]) -> list[JobState | None]:
        return [self._take(*result) for result in results]

    def _take(self, job: JobId, attempt: int, seconds: float) -> JobState | None:
        state = self.jobs.get(job)
        if state is None or state.node is None or state.status is Status.WAITING:
            return None
        return super().on_finished(state.node, [(state.id, state.attempt, seconds)])[0]


class _Bottomless(Stock):
    """Always has one more."""

    def strain(self, amounts: Amounts, who: Hashable) -> float:
        return min(1.0, super().strain(amounts, who))


@contextmanager
def bottomless() -> Iterator[None]:
    """Let the sessions of a daemon take more of its things than there are."""
    with patch("ppnext.server.daemon.Stock", _Bottomless):
        yield


@contextmanager
def unfenced() -> Iterator[None]:
    """Let results of connections that have been given up count."""
    with (
        patch.object(remote, "Stream", _Open),
        patch.object(remote, "Link", _Zombie),
        patch("ppnext.engine.Scheduler", _Careless),
    ):
        yield
