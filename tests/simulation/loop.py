"""An event loop in virtual time: what ``asyncio`` is to one process of the simulated world.

It makes calls in turns, as asyncio's loop does: in one turn those that were put off to it, then
the readers and writers of sockets that are ready, then the timers that are due. A process that is
stopped makes none; when it goes on, whatever has piled up comes in one turn. Each turn begins a
little late, by chance, so that turns of different machines interleave in every way.

The loop's clock may run fast or slow, and starts anywhere.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio import events
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, ClassVar, Protocol, cast

from tests.simulation.kernel import Kernel

__all__ = ["File", "Timer", "VirtualLoop"]

_LAG = 0.0002
"""Most seconds that a turn begins late, but for the few that begin much later."""

_LONG_LAG = 0.1
_LONG_LAGS = 0.005

_numbers = itertools.count(1 << 20)
"""Descriptors, which no real file has; they are looked up and never compared."""


class File(Protocol):
    """What a descriptor stands for."""

    def is_readable(self) -> bool:
        """Whether reading would not block."""

    def is_writable(self) -> bool:
        """Whether writing would not block."""

    def unwatched(self) -> None:
        """The loop does not read it any more."""


class Timer:
    """A call that was put off, and may be cancelled."""

    __slots__ = ("_args", "_call", "_cancelled", "_context", "_when")

    def __init__(
        self,
        call: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        when: float,
    ) -> None:
        self._call = call
        self._args = args
        self._context = context
        self._when = when
        self._cancelled = False

    def cancel(self) -> None:
        """Do not make the call."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Whether the call is not to be made."""
        return self._cancelled

    def when(self) -> float:
        """On the loop's clock."""
        return self._when

    def run(self) -> None:
        """Make the call."""
        if self._cancelled:
            return
        if self._context is None:
            self._call(*self._args)
        else:
            self._context.run(self._call, *self._args)


class VirtualLoop:
    """An event loop, as far as the product and asyncio's tasks ask for one.

    Args:
        kernel: makes its turns.
        rate: seconds of its clock in one second.
        offset: what its clock shows when the world begins.
        on_turn: called after each turn.
    """

    current: ClassVar[VirtualLoop | None] = None
    """The loop of the process that is at work."""

    def __init__(
        self,
        kernel: Kernel,
        rate: float,
        offset: float,
        on_turn: Callable[[], object],
    ) -> None:
        self._kernel = kernel
        self._rate = rate
        self._offset = offset
        self._on_turn = on_turn
        self._files: dict[int, File] = {}
        self._readers: dict[int, Timer] = {}
        self._writers: dict[int, Timer] = {}
        self._ready: list[Timer] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._planned = float("inf")
        self._stopped = False
        self._closed = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._errors: list[str] = []
        # What other threads do while a turn is made.
        self._others: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self.signals: dict[int, Callable[[], object]] = {}

    @property
    def as_asyncio(self) -> asyncio.AbstractEventLoop:
        """The loop, for those who ask for one of asyncio's: it is one as far as they use it."""
        return cast(asyncio.AbstractEventLoop, self)

    # The process.

    def stop_process(self) -> None:
        """Make no turn until ``continue_process``."""
        self._stopped = True

    def continue_process(self) -> None:
        """Make turns again."""
        self._stopped = False
        self._planned = float("inf")
        self.poke()

    def end_process(self) -> None:
        """Make no turn any more; nobody is told."""
        self._closed = True

    def bury(self) -> None:
        """The world has ended: forget what the process was about to do, without a word."""
        self._closed = True
        VirtualLoop.current = self
        events._set_running_loop(self.as_asyncio)
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio does it
            with suppress(RuntimeError):  # it would wait for something
                task.get_coro().close()
        events._set_running_loop(None)
        VirtualLoop.current = None

    @property
    def is_stopped(self) -> bool:
        """Whether the process is stopped."""
        return self._stopped

    def enter(self, call: Callable[..., object], *args: object) -> None:
        """Make a call in another thread of the process, while the loop sleeps."""
        VirtualLoop.current, before = self, VirtualLoop.current
        try:
            call(*args)
        finally:
            VirtualLoop.current = before
        self._on_turn()
        self.poke()

    def interrupt(self, call: Callable[..., object], *args: object) -> None:
        """Make a call in another thread of the process, in the midst of its next turn."""
        self._others.append((call, args))
        self.poke()

    # Turns.

    def poke(self) -> None:
        """Something may have become ready: plan the next turn."""
        if self._closed or self._stopped or self._planned <= self._kernel.now + _LAG:
            return
        due = self._due()
        if due < self._planned:
            self._planned = due
            self._kernel.at(max(0.0, due - self._kernel.now), self._turn, due)

    def _due(self) -> float:
        if self._ready or self._others or self._is_any_ready():
            return self._kernel.now + self._lag()
        while self._timers and self._timers[0][2].cancelled():
            heappop(self._timers)
        if not self._timers:
            return float("inf")
        due = (self._timers[0][0] - self._offset) / self._rate
        return max(self._kernel.now, due) + self._lag()

    def _lag(self) -> float:
        lag = self._kernel.random.random()
        return _LAG * lag if lag > _LONG_LAGS else _LONG_LAG * lag / _LONG_LAGS

    def _is_any_ready(self) -> bool:
        files = self._files
        return any(files[it].is_readable() for it in self._readers) or any(
            files[it].is_writable() for it in self._writers
        )

    def _turn(self, planned: float) -> None:
        if self._closed or self._stopped or planned != self._planned:
            return
        self._planned = float("inf")
        before = events._get_running_loop()
        events._set_running_loop(self.as_asyncio)
        VirtualLoop.current = self
        try:
            for call in self._collect():
                call.run()
                if self._closed:
                    return
                self._let_others()
            self._let_others()
        finally:
            events._set_running_loop(before)
            VirtualLoop.current = None
        assert not self._errors, f"an error went unseen: {self._errors[0]}"
        self._on_turn()
        self.poke()

    def _let_others(self) -> None:
        others, self._others = self._others, []
        for call, args in others:
            call(*args)

    def _collect(self) -> list[Timer]:
        ready, self._ready = self._ready, []
        files = self._files
        ready += [call for it, call in self._readers.items() if files[it].is_readable()]
        ready += [call for it, call in self._writers.items() if files[it].is_writable()]
        now = self.time()
        while self._timers and self._timers[0][0] <= now:
            ready.append(heappop(self._timers)[2])
        return ready

    # What asyncio and the product ask for.

    def time(self) -> float:
        return self._offset + self._kernel.now * self._rate

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        timer = Timer(callback, args, context, 0.0)
        if self._closed:
            raise RuntimeError("Event loop is closed")
        self._ready.append(timer)
        if self._planned > self._kernel.now + _LAG:
            self.poke()
        return timer

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Timer:
        timer = Timer(callback, args, context, when)
        heappush(self._timers, (when, next(self._order), timer))
        self.poke()
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self.as_asyncio)

    def create_task(self, coro: Coroutine[Any, Any, Any], **named: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self.as_asyncio, **named)
        self._tasks = [it for it in self._tasks if not it.done()]
        self._tasks.append(task)
        return task

    def run_in_executor(
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()

        def finish() -> None:
            if not future.done():
                future.set_result(func(*args))

        delay = 0.05 * self._kernel.random.random()
        self._kernel.at(delay, lambda: self._closed or self.call_soon(finish))
        return future

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        self.signals[sig] = lambda: callback(*args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:  # whoever calls this may have nobody to tell
            self._errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self.as_asyncio

    def is_closed(self) -> bool:
        return self._closed

    # Files.

    def open(self, file: File, number: int | None = None) -> int:
        """Return a descriptor for a file of this process."""
        number = next(_numbers) if number is None else number
        self._files[number] = file
        return number

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._readers[fd] = Timer(callback, args, None, 0.0)
        self.poke()

    def remove_reader(self, fd: int) -> bool:
        reader = self._readers.pop(fd, None)
        if reader is not None:
            reader.cancel()
            self._files[fd].unwatched()
        return reader is not None

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._writers[fd] = Timer(callback, args, None, 0.0)
        self.poke()

    def remove_writer(self, fd: int) -> bool:
        writer = self._writers.pop(fd, None)
        if writer is not None:
            writer.cancel()
        return writer is not None
