"""Yielding: a daemon gives slots back while others use its machine, and takes them again.

Once a second it looks at what others use, and decides (``Politeness``) how many slots there are. If
there are fewer than before, clients are told, and jobs that have not been started go back to them.
Those that run have until the next look to end by themselves; then as many are suspended as are too
many, and continued as soon as there are slots again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ppnext.server.guests import Guests
from ppnext.server.politeness import Politeness

__all__ = ["Courtesy", "Yielding"]

_log = logging.getLogger("ppnext.server")


class Courtesy(NamedTuple):
    """How a daemon yields.

    Attributes:
        politeness: decides how many slots there are.
        used: says how much processor time others have used so far, in seconds.
        after: seconds after which a job that is suspended is given up.
        every: seconds between two looks at what others use.
    """

    politeness: Politeness
    used: Callable[[], float]
    after: float
    every: float = 1.0


class Yielding:
    """Holds the jobs of all sessions to the slots that are left.

    Args:
        loop: the event loop.
        courtesy: how it is done.
        guests: says whose jobs there are.
        on_change: called when the number of slots has changed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        courtesy: Courtesy,
        guests: Callable[[], Sequence[Guests]],
        on_change: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._courtesy = courtesy
        self._guests = guests
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        # Whether the last look has failed, and somebody has been told.
        self._is_blind = False

    @property
    def slots(self) -> int:
        """How many slots there are now."""
        return self._courtesy.politeness.slots

    def look(self) -> None:
        """See what others use, now and from now on."""
        politeness = self._courtesy.politeness
        self._timer = self._loop.call_later(self._courtesy.every, self.look)
        now, before = self._loop.time(), self.slots
        try:
            politeness.note(now, self._courtesy.used())
            self._is_blind = False
        except OSError as error:  # the next look may have a descriptor for it
            if not self._is_blind:
                _log.warning("it is not known what others use: %s", error)
            self._is_blind = True
        if self.slots != before:
            _log.info("others use %.1f processors: %d slots left", politeness.load, self.slots)
        if self.slots < before:
            self._on_change()
            self._hand_back()
            self._make_room(now, before)  # what was too many at the look before has had its time
            return
        self._settle(now)  # jobs that wait for a slot come before new ones
        if self.slots > before:
            self._on_change()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _hand_back(self) -> None:
        for guests in self._guests():
            guests.hand_back()

    def _settle(self, now: float) -> None:
        """Let as many jobs run as there are slots."""
        for guests in self._guests():
            guests.give_up(now - self._courtesy.after)
        if not self.slots:
            self._hand_back()  # what has come since, before its client had heard of it
        room = self._make_room(now, self.slots)
        waiting = [(guests, it) for guests in self._guests() for it in guests.waiting]
        waiting.sort(key=lambda it: it[1].suspended_since or 0.0)
        for guests, worker in waiting:
            slots = guests.slots_of(worker)
            if slots <= room and worker.suspended_since != now:
                guests.proceed(worker)
                room -= slots

    def _make_room(self, now: float, slots: int) -> int:
        """Suspend jobs beyond so many slots; return how many of these are free."""
        room = slots - sum(guests.busy for guests in self._guests())
        while room < 0:
            running = [guests for guests in self._guests() if guests.running]
            room += max(running, key=lambda guests: guests.excess).suspend(now)
        return room
