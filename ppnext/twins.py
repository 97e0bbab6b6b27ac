"""Twins: second attempts at jobs that run, on other nodes. The first result is the job's.

To the engine a twin is a job with a number of its own, of the same call; it is started once at
most. To everybody else it does not exist. Which of the two ends by itself first is the job's end,
and the other one is cancelled; where both end without a result, the job ends as its first has. So:

* a twin that is lost, refused or stopped is forgotten, and the job goes on as if it had never been;
  only the death of a worker under it counts as one under its job, unless the twin was being
  stopped, which may have been the cause;
* a first that is given up while its twin lives is remembered, and told if the twin fails, too; but
  one that went beyond a limit, or has killed too many workers, is the job's end;
* what a twin raises does not count if its job may be run again after exceptions: that is for the
  first to find out.

Jobs that may be started once have no twins, nor has one under which a worker has died.

Memory. Two nodes may hold the arguments of a job with a twin, and the one that loses does so for as
long as it likes. So what was shared of them is not written again: it is dropped, and given back to
the system when the last one has let go of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias, cast

from ppnext.audience import Finished
from ppnext.engine import Engine
from ppnext.job import Job
from ppnext.needs import Need
from ppnext.nodes.guard import GRACE
from ppnext.nodes.link import Link
from ppnext.sched.actions import Cause
from ppnext.sched.model import CANCEL, RUN, JobId, JobState, Mishap

__all__ = ["FIRST_NUMBER", "Twins"]

FIRST_NUMBER = 1 << 62
"""The number of the first twin; no job of a user's has so high a one."""

_PRIORITY = -(10**9)
"""Below that of all jobs: a twin waits until nobody else wants the slot."""

_MOST = 3
"""Twins that a job may have, one after the other."""

Ending: TypeAlias = tuple[JobState, Cause, tuple[Mishap, ...]]
"""A job, and why it ends without a result."""


@dataclass(slots=True)
class _Pair:
    """A job that has or had a twin.

    Attributes:
        job: the job.
        twin: the number of its twin, if it has one now.
        tries: how many it has had.
        ending: how its first has ended, if that is only to be told when the twin fails.
    """

    job: Job
    twin: JobId | None = None
    tries: int = 0
    ending: Ending | None = None


class Twins:
    """The twins of a client's jobs. Lives on the event loop.

    Args:
        engine: runs jobs and twins.
        end: called when a job has ended without a result after all.
    """

    def __init__(
        self, engine: Engine, end: Callable[[JobState, Cause, tuple[Mishap, ...]], None]
    ) -> None:
        self._engine = engine
        self._end = end
        self._numbers = count(FIRST_NUMBER)
        # Until their jobs have ended.
        self._pairs: dict[int, _Pair] = {}

    def __len__(self) -> int:
        """How many attempts there are besides those that everybody knows of."""
        # Of a copy: it is asked for in any thread.
        return sum(it.twin is not None and it.ending is None for it in list(self._pairs.values()))

    def may_have(self, state: JobState) -> bool:
        """Whether a job that has been sent to a node may be given a twin now."""
        if state.id >= FIRST_NUMBER or state.once or state.deaths or state.intent is not RUN:
            return False
        pair = self._pairs.get(state.id)
        return pair is None or (pair.twin is None and pair.tries < _MOST)

    def start(self, states: Sequence[JobState], away_from: Collection[str]) -> None:
        """Give jobs twins, each of which may have one.

        Args:
            away_from: names of nodes that are not to run them.
        """
        twins = []
        for state in states:
            pair = self._pairs.setdefault(state.id, _Pair(cast(Job, state.call)))
            pair.twin = JobId(next(self._numbers))
            pair.tries += 1
            need = cast("Need | None", state.need) or Need()
            need = need._replace(avoid=frozenset(away_from), priority=_PRIORITY)
            twins.append(JobState(pair.twin, state.call, once=True, need=need))
        self._engine.submit(twins)

    def cancel(self, job: Job, grace: float) -> None:
        """Nobody wants a job any more."""
        self._engine.cancel(job.tid, grace)
        pair = self._pairs.get(job.tid)
        if pair is not None and pair.twin is not None:
            self._engine.cancel(pair.twin, grace)

    def give_way(self, silent: Collection[str]) -> None:
        """Others wait for slots: cancel twins, unless only they run.

        Args:
            silent: names of nodes that do not answer.
        """
        for tid, pair in self._pairs.items():
            node = self._node_of(tid)
            if pair.twin is not None and node is not None and node not in silent:
                self._engine.cancel(pair.twin, GRACE)
                pair.twin = None

    def sweep(self) -> None:
        """Forget the twins of jobs that have ended without anybody having been told here."""
        for tid, pair in list(self._pairs.items()):
            state = None if pair.twin is None else self._engine.state_of(pair.twin)
            if pair.job.done() and state is not None and state.intent is not CANCEL:
                self._engine.cancel(state.id, GRACE)
            elif pair.job.done() and state is None:
                del self._pairs[tid]

    def node_of(self, job: Job) -> str | None:
        """Return the name of the node that a job's twin is on, if it has one there."""
        pair = self._pairs.get(job.tid)
        return None if pair is None or pair.twin is None else self._node_of(pair.twin)

    # What the engine reports.

    def settle(self, finished: Sequence[Finished], link: Link) -> Sequence[Finished]:
        """Of results that have come together, return those that are the end of their jobs."""
        if not self._pairs:
            return finished
        first: dict[Job, Finished] = {}
        for it in finished:
            job = cast(Job, it.job.call)
            if job not in first and self._counts(it, job, link):
                first[job] = it
        return list(first.values())

    def outlives(self, state: JobState, cause: Cause, mishaps: tuple[Mishap, ...]) -> bool:
        """A job or a twin has ended without a result. Return whether its job goes on."""
        pair = self._pairs.get(cast(Job, state.call).tid)
        if state.id >= FIRST_NUMBER:
            self._failed(state, pair, tuple(it for it in mishaps if it.blamed))
            return True
        if pair is None:
            return False
        if pair.twin is None or cause in (Cause.LIMIT, Cause.POISONED):
            self._forget(pair)
            return False
        pair.ending = state, cause, mishaps
        return True

    def refused(self, state: JobState) -> bool:
        """A node cannot run a job. Return whether it was a twin, which is not wanted any more."""
        if state.id < FIRST_NUMBER:
            return False
        self._failed(state, self._pairs.get(cast(Job, state.call).tid))
        return True

    def _counts(self, it: Finished, job: Job, link: Link) -> bool:
        """Whether this is the end of a job."""
        pair = self._pairs.get(job.tid)
        if pair is None:
            return it.job.id < FIRST_NUMBER
        if it.job.id == pair.twin and it.outcome.raised and job.terms.retry_on:
            self._failed(it.job, pair)
            return False
        job.node = link.name
        if not (it.outcome.raised and job.terms.retry_on):  # else it may be run again
            job.arguments = b""  # another node may have them; see above
        self._forget(pair)
        return True

    def _failed(self, twin: JobState, pair: _Pair | None, blamed: tuple[Mishap, ...] = ()) -> None:
        """A twin has ended, and its job has not.

        Args:
            blamed: the death that it is to blame for, if it is.
        """
        if pair is None or pair.twin != twin.id:
            return
        pair.twin = None
        if pair.ending is not None:
            self._end(*pair.ending)
        elif blamed:
            self._engine.blame(pair.job.tid, blamed)

    def _forget(self, pair: _Pair) -> None:
        """A job has ended: so have both attempts, in a moment."""
        del self._pairs[pair.job.tid]
        self._engine.cancel(pair.job.tid, GRACE)
        if pair.twin is not None:
            self._engine.cancel(pair.twin, GRACE)

    def _node_of(self, number: int) -> str | None:
        state = self._engine.state_of(number)
        node = None if state is None else state.node
        return None if node is None else self._engine.links[node].name
