"""The event loop: one per process, and nothing but the loop's own thread touches what it owns.

The client runs it in a thread; the daemon in its main thread. uvloop is used where it is installed.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from threading import Thread, current_thread
from typing import TypeVar

__all__ = ["LoopThread", "new_loop"]

T = TypeVar("T")


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop that can watch sockets."""
    try:
        import uvloop  # optional; asyncio's own loop does as well
    except ImportError:
        if sys.platform == "win32":
            return asyncio.SelectorEventLoop()  # the other one cannot watch sockets
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class LoopThread:
    """An event loop in a daemon thread, and the way in for other threads.

    ``post`` hands a call over to the loop. Calls are queued and the loop is woken only if it is
    not about to look anyway, so that a burst of calls costs one wake-up.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._awake = False
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop = new_loop()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Have the loop call ``call(*args)`` soon. From any thread; order is kept.

        After the loop has been stopped, nothing is called any more.
        """
        self._calls.append((call, args))
        if not self._awake and not self._stopped:
            self._awake = True
            try:
                self.loop.call_soon_threadsafe(self._make_calls)
            except RuntimeError:
                if not self._stopped:  # else another thread has stopped the loop meanwhile
                    raise

    def ask(self, call: Callable[[], T], timeout: float = 10.0) -> T:
        """Have the loop call ``call`` and return what it returns. Not from the loop's thread.

        Raises:
            RuntimeError: the loop has been stopped.
            TimeoutError: the loop did not answer in ``timeout`` seconds.
            Exception: whatever ``call`` raises.
        """
        if self._stopped:
            raise RuntimeError("the event loop has been stopped")
        answer: Future[T] = Future()

        def make_call() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:  # it is raised in the thread that asks
                answer.set_exception(error)

        self.post(make_call)
        return answer.result(timeout)

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a task. From the loop's thread; it is cancelled when the loop is stopped."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def is_current(self) -> bool:
        """Whether this is the loop's thread."""
        return current_thread() is self._thread

    def stop(self, timeout: float = 5.0) -> None:
        """Cancel the tasks, stop the loop and wait for its thread."""
        if self._stopped:
            return
        self._stopped = True  # first: nobody else wakes a loop that may be closed already
        self._calls.append((self._shut_down, ()))
        self.loop.call_soon_threadsafe(self._make_calls)
        if not self.is_current:  # it may be: where the garbage collector finds a server
            self._thread.join(timeout)

    def _shut_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.loop.create_task(self._stop_after(set(self._tasks)))

    async def _stop_after(self, tasks: set[asyncio.Task[None]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        self.loop.stop()

    def _make_calls(self) -> None:
        # Cleared first: whoever queues a call from here on wakes the loop again.
        self._awake = False
        calls = self._calls
        for _ in range(len(calls)):
            call, args = calls.popleft()
            try:
                call(*args)
            except Exception as error:  # whatever it is, the calls behind it are still owed
                self.loop.call_exception_handler(
                    {"message": f"a call that was posted failed: {call!r}", "exception": error}
                )

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()
