"""The event loop: one per process, and nothing but the loop's own thread touches what it owns.

The client runs it in a thread; the daemon in its main thread, with uvloop where it is installed.

A thread of the client may also visit: while the loop sleeps, waiting for something to happen, a
visitor may do what the loop's thread would have to be woken for, and sleeps no less. The loop's
thread holds a lock whenever it is awake; a visitor takes it only if it is free. What is put off to
the end of a turn of the loop (``Turn``) is done at the end of the visit.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar

from ppnext.runtime import watch
from ppnext.runtime.signals import Shield
from ppnext.runtime.watch import Watch

__all__ = ["LoopStopped", "LoopThread", "Turn", "new_loop"]

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


class Turn:
    """The present turn of an event loop, in its own thread or in a visitor's.

    Attributes:
        loop: the event loop.
        is_visit: whether a visitor has it; calls for the loop then have to wake it.
        watch: for streams that visitors may read; None if there are no visitors.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: Watch | None = None) -> None:
        self.loop = loop
        self.watch = watch
        self.is_visit = False
        self._last: list[Callable[[], None]] = []

    def at_end(self, call: Callable[[], None]) -> None:
        """Have ``call()`` called at the end of this turn."""
        if self.is_visit:
            self._last.append(call)
        else:
            self.loop.call_soon(call)

    def next(self, call: Callable[[], None]) -> None:
        """Have the loop make a call after what else it has to do. In the turn or in a visit."""
        if self.is_visit:
            self.soon(call)
        else:
            self.loop.call_soon(call)

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Have the loop make a call after so many seconds."""
        timer = self.loop.call_later(seconds, call)
        if self.is_visit:
            self.soon(_nothing)  # it sleeps until the earliest of the timers that it knew
        return timer

    def soon(self, call: Callable[[], None]) -> None:
        """Have the loop make a call. From any thread, between any two instructions."""
        with suppress(RuntimeError):  # the loop has been closed: nobody is left to care
            self.loop.call_soon_threadsafe(call)

    def begin_visit(self) -> None:
        """A visitor begins."""
        self.is_visit = True

    def end_visit(self) -> None:
        """A visitor is done, but for what was put off."""
        try:
            while self._last:
                self._last.pop()()
        finally:
            self.is_visit = False
            while self._last:  # one has failed: the others are still owed
                self.loop.call_soon_threadsafe(self._last.pop())


def _nothing() -> None:
    """What a loop is asked to do that is only to wake up."""


class _LockedSelector(selectors.DefaultSelector):
    """A selector whose lock is held except while it waits.

    Args:
        lock: held by the loop's thread, which is the only one to call ``select``.
    """

    def __init__(self, lock: Lock) -> None:
        super().__init__()
        self._lock = lock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events as any selector does, with the lock released."""
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        self._lock.release()
        try:
            events = super().select(timeout)
        finally:
            self._lock.acquire()
        # A visitor may have changed meanwhile what is watched.
        watched = self.get_map()
        return [(key, mask) for key, mask in events if watched.get(key.fileobj) is key]


class LoopStopped(RuntimeError):
    """The event loop has been stopped."""

    def __init__(self) -> None:
        super().__init__("the event loop has been stopped")


class LoopThread:
    """An event loop in a daemon thread, and the way in for other threads.

    ``post`` hands a call over to the loop. Calls are queued and the loop is woken only if it is
    not about to look anyway, so that a burst of calls costs one wake-up. ``visit`` makes a call
    in the caller's own thread instead, if the loop sleeps.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._awake = False
        self._stopped = False
        # Whether the loop runs: before, and after it, nobody may visit.
        self._ready = False
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()
        # What threads that ask wait for.
        self._asked: set[Future[Any]] = set()
        # For what must not be left half done by the main thread, if a signal comes.
        self.shield = Shield()
        # Whoever holds it may touch what the loop owns.
        self._lock = Lock()
        self.loop = asyncio.SelectorEventLoop(_LockedSelector(self._lock))
        self._watch = Watch(self.loop) if watch.is_possible else None
        self.turn = Turn(self.loop, self._watch)
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Have the loop call ``call(*args)`` soon. From any thread; order is kept.

        After the loop has been stopped, nothing is called any more.
        """
        self._calls.append((call, args))
        if not self._awake and not self._stopped:
            with self.shield:
                self._wake()

    def _wake(self) -> None:
        self._awake = True
        try:
            self.loop.call_soon_threadsafe(self._make_calls)
        except RuntimeError:
            if not self._stopped:  # else another thread has stopped the loop meanwhile
                raise

    def visit(self, call: Callable[[], object]) -> bool:
        """Call ``call()`` now, if the loop sleeps and nothing that was posted waits.

        Returns:
            whether it was called.
        """
        if self._awake:
            return False
        with self.shield:
            if not self._lock.acquire(blocking=False):
                return False
            try:
                if self._awake or not self._ready:
                    return False
                self.turn.begin_visit()
                try:
                    call()
                finally:
                    self.turn.end_visit()
            finally:
                self._lock.release()
            return True

    def enter(self, call: Callable[[], object]) -> None:
        """Call ``call()`` in a visit as soon as the loop sleeps; not at all if it has ended."""
        with self.shield, self._lock:
            if self._ready:
                self.turn.begin_visit()
                try:
                    call()
                finally:
                    self.turn.end_visit()

    def ask(self, call: Callable[[], T]) -> T:
        """Have the loop call ``call`` and return what it returns.

        Not from the loop's thread, nor in a visit. However long the loop takes, it answers.

        Raises:
            LoopStopped: the loop has been stopped, before or meanwhile.
            Exception: whatever ``call`` raises.
        """
        answer: Future[T] = Future()

        def make_call() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:  # it is raised in the thread that asks
                answer.set_exception(error)

        self._asked.add(answer)
        try:
            self.post(make_call)
            if self._ended:
                raise LoopStopped  # nobody may have seen this
            return answer.result()
        finally:
            self._asked.discard(answer)

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
        """Cancel the tasks, stop the loop and wait for its thread. May be called again."""
        with self.shield:
            if not self._stopped:
                self._ready = False
                self._stopped = True  # first: nobody else wakes a loop that may be closed already
                self._calls.append((self._shut_down, ()))
                self.loop.call_soon_threadsafe(self._make_calls)
        if not self.is_current:  # it may be: where the garbage collector finds a server
            self._thread.join(timeout)

    def abandon(self) -> None:
        """Let nobody in any more, in a child that was forked: it has no such thread."""
        self._ready = False
        self._stopped = self._ended = True
        self._lock = Lock()  # the thread may have held the other one

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
        with self._lock:
            self._ready = True
            try:
                self.loop.run_forever()
            finally:
                if self._watch is not None:
                    self._watch.close()
                self.loop.close()
                self._ended = True
                for answer in list(self._asked):
                    if not answer.done():
                        answer.set_exception(LoopStopped())
