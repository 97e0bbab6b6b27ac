"""Slots: how many of them a session could use now, or in the moment that a next job takes.

With long jobs a client sends the next one when it has the result of the last. Its workers must not
be exchanged for another session's in between, so slots stay in use for a moment after a job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["SlotsInUse"]

_GRACE = 0.1
"""Seconds that a client has to send the next job before the slot of the last one is given away."""


class SlotsInUse:
    """The slots that a session has used until now, or a moment ago.

    Args:
        loop: the event loop.
        capacity: slots that there are.
        jobs: says how many jobs the session has.
        on_less: called when a slot is not in use any more, a moment after its job has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        capacity: int,
        jobs: Callable[[], int],
        on_less: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._capacity = capacity
        self._jobs = jobs
        self._on_less = on_less
        self._used = 0
        self._grace: asyncio.TimerHandle | None = None

    @property
    def demand(self) -> int:
        """How many slots the session could use."""
        return max(self._jobs(), self._used)

    def note(self) -> None:
        """The session has more jobs or fewer than before."""
        needed = min(self._jobs(), self._capacity)
        if needed >= self._used:
            self._used = needed
            self.close()
        elif self._grace is None:
            self._grace = self._loop.call_later(_GRACE, self._release)

    def _release(self) -> None:
        self._grace = None
        self._used = min(self._jobs(), self._capacity)
        self._on_less()

    def close(self) -> None:
        """Do not call any more, unless there are fewer jobs again."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
