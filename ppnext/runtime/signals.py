"""Signals: how a thread is not interrupted in the midst of something.

Python calls the handlers of signals in the main thread, between any two instructions, and what a
handler raises (``KeyboardInterrupt`` above all) comes up there. What belongs to the event loop must
not be left half done. So while the main thread visits the loop, handlers are put off: their place
is taken by one that takes note, and they are called when the visit is over.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import get_ident, main_thread
from types import FrameType, TracebackType
from typing import TypeAlias

__all__ = ["Shield"]

Handler: TypeAlias = Callable[[int, FrameType | None], object]

# Those whose handlers people write; the others cannot be waited for or end the process.
_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)

try:
    # What ``signal`` wraps to make enumerations of numbers, which takes ten times as long. A job
    # pays for this three times.
    from _signal import getsignal as _get  # type: ignore[import-not-found]  # no stubs
    from _signal import signal as _set
except ImportError:  # another implementation of Python
    from signal import getsignal as _get
    from signal import signal as _set

_main = main_thread().ident


class Shield:
    """Puts handlers off for the time of a ``with`` block, in the main thread; one in another does
    nothing. Blocks may be nested: the handlers are called at the end of the outermost.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._kept: list[tuple[int, Handler]] = []
        self._noted: list[int] = []

    def __enter__(self) -> None:
        if get_ident() != _main:
            return
        depth = self._depth
        try:
            self._depth = depth + 1
            if depth == 0:
                self._put_off()
        except BaseException:  # a handler was called before its turn came, and has raised
            self._depth = depth
            if depth == 0:
                self._put_back()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if get_ident() != _main:
            return
        self._depth -= 1
        if self._depth == 0:
            self._put_back()
            while self._noted:
                number = self._noted.pop(0)
                handler = _get(number)
                if callable(handler):
                    handler(number, None)

    def _put_off(self) -> None:
        for number in _SIGNALS:
            handler = _get(number)
            if callable(handler):
                self._kept.append((number, handler))
                _set(number, self._note)

    def _put_back(self) -> None:
        try:
            while self._kept:
                number, handler = self._kept[-1]
                _set(number, handler)
                if self._kept:  # a handler that came into its own has not visited the loop itself
                    self._kept.pop()
        finally:
            if self._kept:  # one that came into its own has raised; the others have their place too
                self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.append(number)
