"""Answers: jobs that a session hands back to its client, or says it has kept.

Those of one turn of the loop leave together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ppnext.wire.messages import JobRef, Message, Returned

__all__ = ["Answers"]

_BATCH = 1024


class Answers:
    """Answers that have not been sent.

    Args:
        loop: the event loop.
        send: sends a message to the client.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Message], None]) -> None:
        self._loop = loop
        self._send = send
        self._returned: list[JobRef] = []
        self._kept: list[JobRef] = []
        self._scheduled = False
        # Jobs that were stopped and may come yet; of most nothing will be heard any more.
        self._unwanted: deque[JobRef] = deque(maxlen=_BATCH)

    def returned(self, job: JobRef) -> None:
        """A job has not been started here, and now will not be."""
        self._returned.append(job)
        self._schedule()

    def kept(self, job: JobRef) -> None:
        """A job that was asked for has started, has ended, or is not known."""
        self._kept.append(job)
        self._schedule()

    def await_unwanted(self, job: JobRef) -> None:
        """A job that is not known is not wanted any more; if it comes yet, it is handed back.

        Large arguments are overtaken by what is said of their job after them.
        """
        self._unwanted.append(job)

    def is_unwanted(self, job: JobRef) -> bool:
        """Whether a job that has come now is to be handed back."""
        return job in self._unwanted

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._leave)

    def _leave(self) -> None:
        self._scheduled = False
        while self._returned or self._kept:
            returned, self._returned = self._returned[:_BATCH], self._returned[_BATCH:]
            kept, self._kept = self._kept[:_BATCH], self._kept[_BATCH:]
            self._send(Returned(returned, kept))
