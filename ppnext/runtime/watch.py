"""Watch: readers that can be put aside for a moment at little cost.

An event loop watches a descriptor or does not, and to change that takes longer than a short job.
A watch is a set of descriptors that the loop watches as one. A reader that is put aside stays in
it and is not told of; ``Attendance`` does that to streams that it reads itself.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

__all__ = ["Watch", "is_possible"]

is_possible = hasattr(select, "epoll")
"""Whether this system has what a watch is made of."""


class Watch:
    """Descriptors that one event loop reads.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._ready)

    def add(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Have ``reader()`` called by the loop when there is something to read."""
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor, before it is closed."""
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def put_aside(self, descriptor: int) -> None:
        """Do not tell of a descriptor until it is ``resumed``."""
        self._epoll.modify(descriptor, 0)

    def resume(self, descriptor: int) -> None:
        """Tell of a descriptor again."""
        self._epoll.modify(descriptor, select.EPOLLIN)

    def close(self) -> None:
        """Forget everything; the loop is about to be closed."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._readers.clear()

    def _ready(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            reader = self._readers.get(descriptor)  # None: one before it has removed it
            if reader is not None:
                reader()
