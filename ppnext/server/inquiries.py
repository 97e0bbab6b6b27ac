"""Inquiries: what a session's client and its workers want to know of each other.

The client asks which distributions are installed here. Jobs look for modules that are not here; the
client is asked for each name once at a time, and everybody who looks for it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ppnext.nodes.link import Link
from ppnext.runtime.distributions import versions
from ppnext.wire.messages import Facts, Found, Message, Seek

__all__ = ["Inquiries"]


class Inquiries:
    """Questions of one session. Lives on the daemon's event loop.

    Args:
        loop: the event loop.
        send: sends a message to the client.
        path: where workers look for modules, before where they look by themselves.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Message], None],
        path: Sequence[str],
    ) -> None:
        self._loop = loop
        self._send = send
        self._path = tuple(path)
        self._tasks: set[asyncio.Task[None]] = set()
        # Who looks for each module.
        self._seekers: dict[str, list[Link]] = {}

    def ask(self, distributions: Sequence[str]) -> None:
        """The client wants to know which versions of these are here."""
        # It reads many small files: not on the loop.
        task = self._loop.create_task(self._answer(list(distributions)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, distributions: list[str]) -> None:
        found = await self._loop.run_in_executor(None, versions, distributions, self._path)
        self._send(Facts(found))

    def seek(self, link: Link, module: str) -> None:
        """A job looks for a module."""
        seekers = self._seekers.setdefault(module, [])
        seekers.append(link)
        if len(seekers) == 1:
            self._send(Seek(module))

    def found(self, answer: Found) -> None:
        """The client has answered."""
        for link in self._seekers.pop(answer.module, ()):
            link.found(answer.module, answer.digest, answer.why)

    def close(self) -> None:
        """Answer nothing any more."""
        for task in self._tasks:
            task.cancel()
        self._seekers.clear()
