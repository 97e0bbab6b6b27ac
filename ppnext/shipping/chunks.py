"""Chunks: many calls of one function as one job.

``Chunked`` stands for the function in the job's definition, so a chunk carries nothing but a flat
list of arguments, and what comes back is nothing but a flat list of results: neither end makes an
object for each call. Only what did not go as planned takes another form:

* ``results`` shorter than the calls: the chunk took longer than it was given. The calls that are
  left were not begun; they are to be submitted again, and other workers may take them.
* ``(results, exception)``: the call after the last result raised; those behind it were not begun.
  A call that goes alone raises as that of any job does: its terms may name what it raises.

What a function is bound to (the object of a method, the arguments of a partial) goes with the
definition: it is sent to a worker once, and all calls in that worker see the same object.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from itertools import islice
from time import perf_counter
from typing import cast

from ppnext.shipping.loading import decode_call
from ppnext.shipping.outcomes import RemoteTraceback, decode_exception, encode_exception

__all__ = ["Chunked", "decode_chunk"]

_MOST_UNWATCHED = 64
"""Most calls between two looks at the clock: looking takes as long as a short call."""

_UNWATCHED = 50e-6
"""Seconds of work between two looks at the clock, if calls go on as they did."""

# The calls of the chunk that runs in this process.
_running: list[object] = []


class Chunked:
    """Calls a function with each of a list of arguments. It is shipped in place of the function.

    Args:
        func: the function.
        star: whether each call's arguments are a tuple to be spread.
        protocol: the pickle protocol to write exceptions with.
        bound: arguments that come before those of each call, as ``encode_call`` makes them.
    """

    def __init__(
        self, func: Callable[..., object], star: bool, protocol: int, bound: bytes = b""
    ) -> None:
        # Under this name whoever looks for the function behind a wrapper finds it.
        self.__wrapped__ = func
        self._star = star
        self._protocol = protocol
        self._bound = bound
        self._whole: Callable[..., object] | None = None if bound else func

    def __reduce__(self) -> tuple[type[Chunked], tuple[object, ...]]:
        return Chunked, (self.__wrapped__, self._star, self._protocol, self._bound)

    def __call__(self, calls: list[object], patience: float = float("inf")) -> object:
        """Make the calls; see the module for what is returned.

        Args:
            calls: the arguments of each.
            patience: seconds after which no further call is begun.
        """
        global _running
        _running = calls
        results: list[object] = []
        try:
            whole = self._whole or self._bind()
            if self._star:
                _spread(whole, cast("list[tuple[object, ...]]", calls), patience, results)
            else:
                _make(whole, calls, patience, results)
        # Whatever the call raises is its outcome, SystemExit and KeyboardInterrupt as well.
        except BaseException as error:
            if len(calls) == 1:
                raise
            return results, encode_exception(error, f"process {os.getpid()}", self._protocol)
        finally:
            _running = []
        return results

    def _bind(self) -> Callable[..., object]:
        args, kwargs = decode_call(self._bound)
        self._whole = functools.partial(self.__wrapped__, *args, **kwargs)
        return self._whole


# The same loop twice, since a choice in it would be made for each call. Not ``map``: an iterator
# would take a StopIteration that a call raises for its own end.


def _make(
    func: Callable[..., object], calls: list[object], patience: float, results: list[object]
) -> None:
    append = results.append
    todo = iter(calls)
    step = 1
    began = perf_counter()
    while len(results) < len(calls):
        for argument in islice(todo, step):
            append(func(argument))
        step = _next_step(len(results), perf_counter() - began, patience)
        if not step:
            return


def _spread(
    func: Callable[..., object],
    calls: list[tuple[object, ...]],
    patience: float,
    results: list[object],
) -> None:
    append = results.append
    todo = iter(calls)
    step = 1
    began = perf_counter()
    while len(results) < len(calls):
        for arguments in islice(todo, step):
            append(func(*arguments))
        step = _next_step(len(results), perf_counter() - began, patience)
        if not step:
            return


def _next_step(made: int, seconds: float, patience: float) -> int:
    """Return how many calls to make before the next look at the clock; 0 to make no more."""
    if seconds > patience:
        return 0
    if made * _UNWATCHED > seconds * _MOST_UNWATCHED:
        return min(made, _MOST_UNWATCHED)
    return int(made * _UNWATCHED / seconds) or 1


def _end_in_child() -> None:
    # A child that a call has forked and that comes back is no worker: the calls that are left
    # are its parent's.
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_child)


def decode_chunk(value: object, where: str) -> tuple[list[object], BaseException | None]:
    """Return the results of a chunk's first calls, and what the call after them raised, or None.

    Args:
        value: what ``Chunked`` returned.
        where: call, job and node, for the head of the traceback.
    """
    if isinstance(value, list):
        return value, None
    results, raised = cast("tuple[list[object], bytes]", value)
    error = decode_exception(raised)
    if isinstance(error.__cause__, RemoteTraceback):
        error.__cause__.text = f"{where}, {error.__cause__.text}"
    return results, error
