"""Rescue: the last jobs of a run are started a second time where they end sooner.

A run is as long as its last job. When a node has a free slot, nothing that waits can use it, so
what still runs elsewhere is all that is left, and the slot costs nothing. Twins (``ppnext.twins``)
are then given to

* all jobs of a node that is silent: it was asked for a sign of life and gave none. It may be given
  up half a minute later, or come back at any time;
* jobs that have run clearly longer than calls of the same function do (``ppnext.durations``).

Everything is seen in looks, twice a second, while any job is out, and only where there is more than
this machine. A look is at what nodes run, not at what they hold, and nothing is done for a job when
it is sent or when it ends: how long calls take is learnt from those that a look has seen. A job
counts from the first look that saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice
from typing import NamedTuple, Protocol, cast

from ppnext.durations import Durations
from ppnext.engine import Engine
from ppnext.job import Job
from ppnext.nodes.link import Link
from ppnext.sched.model import JobState, NodeId, Ref
from ppnext.twins import FIRST_NUMBER, Twins

__all__ = ["Rescue"]

_LOOK_EVERY = 0.5
"""Seconds between two looks."""

_QUIET = 1.0
"""Seconds after which a node that has said nothing is asked for a sign of life."""

_ANSWER = 2.0
"""Seconds that it then has to answer, which it does at once unless its machine is in trouble."""


class Timers(Protocol):
    """The event loop."""

    def later(self, seconds: float, call: Callable[[], None]) -> object:
        """Make a call after so many seconds."""


class _Seen(NamedTuple):
    """An attempt that a node runs.

    Attributes:
        state: of the job.
        link: to the node.
        since: when a look saw it first.
    """

    state: JobState
    link: Link
    since: float

    @property
    def job(self) -> Job:
        """What it is an attempt at."""
        return cast(Job, self.state.call)

    @property
    def function(self) -> bytes:
        """The content hash of what it calls."""
        return self.job.definition.digest


class Rescue:
    """Decides which jobs get twins, and when. Lives on the event loop.

    Args:
        turn: of the event loop.
        clock: its time, in seconds.
        engine: where jobs run.
        twins: those that there are.
    """

    def __init__(
        self, turn: Timers, clock: Callable[[], float], engine: Engine, twins: Twins
    ) -> None:
        self._turn = turn
        self._clock = clock
        self._engine = engine
        self._twins = twins
        self._durations = Durations()
        self._is_looking = False
        # What the latest look saw, by job and attempt.
        self._seen: dict[Ref, _Seen] = {}
        # When nodes were asked for a sign of life that none has come from since.
        self._asked: dict[NodeId, float] = {}

    def watch(self) -> None:
        """Jobs have been sent to nodes."""
        if not self._is_looking:
            self._is_looking = True
            self._turn.later(_LOOK_EVERY, self._look)

    def _look(self) -> None:
        now = self._clock()
        self._is_looking = False
        self._observe(now)
        self._twins.sweep()
        if not self._engine.unfinished:
            return
        idle = self._idle()
        # Else there is nobody to help, and nothing to give way.
        silent = self._silent(now) if idle or self._twins else set[str]()
        if idle - silent:
            self._help_silent(idle, silent)
            self._help_slow(now, silent)
        elif not idle and self._engine.pools.waiting:
            self._twins.give_way(silent)
        self.watch()

    def _observe(self, now: float) -> None:
        """See what runs, and learn from what has ended since the last look."""
        before, self._seen = self._seen, {}
        for link in self._engine.links.values():
            # Of a node that takes no more jobs all that it holds runs.
            for state in islice(self._engine.held_by(link), link.slots or None):
                if state.id < FIRST_NUMBER:
                    key = state.id, state.attempt
                    self._seen[key] = before.get(key) or _Seen(state, link, now)
        for key, seen in before.items():
            if key not in self._seen and (seconds := seen.job.seconds) is not None:
                self._durations.note(seen.function, seconds)

    def _idle(self) -> set[str]:
        """Return the names of nodes that could run another job."""
        held_by, links = self._engine.held_by, self._engine.links.values()
        return {link.name for link in links if len(held_by(link)) < link.slots}

    def _silent(self, now: float) -> set[str]:
        """Return the names of nodes that do not answer, and ask those that are quiet."""
        before, self._asked = self._asked, {}
        silent = set[str]()
        for link in self._engine.links.values():
            quiet = 0.0 if link.jobs is None else link.jobs.silent_for()
            if link.jobs is None or quiet < _QUIET:
                continue
            asked = before.get(link.node)
            if asked is None or now - quiet > asked:
                link.jobs.probe()
                asked = now
            elif now - asked >= _ANSWER:
                silent.add(link.name)
            self._asked[link.node] = asked
        return silent

    def _help_silent(self, idle: Collection[str], silent: Collection[str]) -> None:
        """Give twins to all jobs of nodes that do not answer."""
        for link in list(self._engine.links.values()):
            if link.name in silent:
                held = self._engine.held_by(link)
                alone = [state for state in held if self._twins.may_have(state)]
                wanted = [it for it in alone if self._fits_any(it, idle, silent)]
                if wanted:
                    self._twins.start(wanted, silent)

    def _help_slow(self, now: float, silent: Collection[str]) -> None:
        """Give twins to jobs that run too long, the longest first, while there is room."""
        for seen in sorted(self._seen.values(), key=lambda it: it.since):
            longest = self._durations.longest(seen.function)
            if longest is None or now - seen.since <= longest:
                continue
            away_from = {seen.link.name, *silent}
            if self._twins.may_have(seen.state) and self._fits_any(
                seen.state, self._idle(), away_from
            ):
                self._twins.start([seen.state], away_from)

    def _fits_any(self, state: JobState, idle: Collection[str], away_from: Collection[str]) -> bool:
        """Whether a node that is idle can run a job."""
        there = set(idle) - set(away_from)
        return bool(there and there - {name for name, _ in self._engine.why_not(state.id)})
