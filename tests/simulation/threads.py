"""The thread of a client's event loop, as far as other threads know it.

Users' threads hand calls over to the loop, or make them themselves while it sleeps (a visit). Here
all happens in one thread; which of the two it is, is left to chance where both are possible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import TypeVar

from ppnext.runtime.loop import Turn
from tests.simulation.kernel import Kernel
from tests.simulation.loop import VirtualLoop

__all__ = ["Thread"]

T = TypeVar("T")


class Thread:
    """Stands for ``ppnext.runtime.loop.LoopThread``.

    Args:
        kernel: decides whether the loop sleeps.
        loop: the event loop.
        on_end: called when the loop has been stopped and its tasks have ended.
    """

    def __init__(self, kernel: Kernel, loop: VirtualLoop, on_end: Callable[[], object]) -> None:
        self.loop = loop
        self.turn = Turn(loop.as_asyncio)
        self.shield = nullcontext()
        self._kernel = kernel
        self._on_end = on_end
        self._posted = 0
        self._tasks: list[asyncio.Task[None]] = []

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Have the loop make a call soon."""
        if self.loop.is_closed():
            return

        def make() -> None:
            self._posted -= 1
            call(*args)

        self._posted += 1
        self.loop.call_soon_threadsafe(make)

    def visit(self, call: Callable[[], object]) -> bool:
        """Make a call in the user's thread; sometimes the loop happens to be awake."""
        if self._posted or self.loop.is_running() or self._kernel.chance(0.3):
            return False
        self._kernel.happened["a visit"] += 1
        self.turn.begin_visit()
        try:
            call()
        finally:
            self.turn.end_visit()
        return True

    def ask(self, call: Callable[[], T], timeout: float = 10.0) -> T:
        """Return what a call gives on the loop."""
        return call()

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a task."""
        task = self.loop.create_task(coroutine)
        self._tasks.append(task)
        return task

    def stop(self) -> None:
        """Cancel the tasks, and end."""
        self.post(self._shut_down)

    def _shut_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.loop.create_task(self._stop_after())

    async def _stop_after(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.loop.call_soon(self._on_end)
