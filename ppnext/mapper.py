"""Mapper: starts the maps of a job server. Checks what it is told and ships what is to be called.

How the latest map of a function went is remembered for as long as its definition holds: the next
one begins with chunks of the size that was learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from typing import TypeAlias
from weakref import WeakKeyDictionary

from ppnext.chunking import ChunkPolicy, check_chunksize
from ppnext.errors import NotShippable
from ppnext.mapping import ChunkJob, MapRun
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import Parts
from ppnext.shipping.functions import Definition, FunctionShipper

__all__ = ["Mapper", "SubmitJob", "check_map"]

SubmitJob: TypeAlias = Callable[[Definition, bytes | Parts, Callable[[object], object]], ChunkJob]
"""Submits a job with arguments that are pickled already; see ``ppnext.mapping.Submit``."""


class Mapper:
    """Starts maps.

    Args:
        shipper: makes the definitions.
        protocol: the pickle protocol for arguments.
    """

    def __init__(self, shipper: FunctionShipper, protocol: int) -> None:
        self._shipper = shipper
        self._protocol = protocol
        self._latest: WeakKeyDictionary[Definition, ChunkPolicy] = WeakKeyDictionary()

    def start(
        self,
        submit_job: SubmitJob,
        slots: Callable[[], int],
        func: Callable[..., object],
        iterables: tuple[Iterable[object], ...],
        chunksize: object,
        ordered: object = True,
        keep_going: bool = False,
        again: bool = True,
    ) -> MapRun:
        """Return a map, not started; see ``Server.map`` and ``MapRun``.

        Raises:
            TypeError, ValueError: an argument is wrong.
            NotShippable: the function cannot be pickled.
        """
        fixed, inputs, expected = check_map(func, iterables, chunksize, ordered)
        star = len(iterables) > 1
        definition = self._shipper.ship_chunked(func, star)
        latest = self._latest.get(definition)
        policy = self._latest[definition] = ChunkPolicy(fixed, latest.each if latest else None)

        def submit(
            calls: list[object], patience: float, ended: Callable[[object], object]
        ) -> tuple[ChunkJob, int]:
            arguments = self._encode(calls, patience, star)
            return submit_job(definition, arguments, ended), len(arguments)

        return MapRun(
            submit,
            slots,
            inputs,
            policy,
            expected=expected,
            ordered=bool(ordered),
            keep_going=keep_going,
            again=again,
        )

    def _encode(self, calls: list[object], patience: float, star: bool) -> bytes | Parts:
        try:
            return encode_call((calls, patience), {}, self._protocol)
        except NotShippable:
            if len(calls) == 1:  # said of the call's arguments, not of the chunk's
                call = calls[0]
                encode_call(
                    call if star and isinstance(call, tuple) else (call,), {}, self._protocol
                )
            raise


def check_map(
    func: object, iterables: tuple[Iterable[object], ...], chunksize: object, ordered: object
) -> tuple[int | None, Iterator[object], int | None]:
    """Return the chunks' size if it is given, the arguments of each call, and how many there seem.

    With several iterables the arguments of a call are a tuple.

    Raises:
        TypeError, ValueError: an argument of ``map`` is wrong.
    """
    if not callable(func):
        raise TypeError(f"func must be a function, not {func!r:.60}; it is called on the node")
    if not iterables:
        raise TypeError("map needs at least one iterable after the function")
    if not isinstance(ordered, bool):
        raise TypeError(f"ordered must be True or False, not {ordered!r:.60}")
    fixed = check_chunksize(chunksize)
    inputs = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
    return fixed, inputs, _expected(iterables)


def _expected(iterables: tuple[Iterable[object], ...]) -> int | None:
    try:
        hints = [length_hint(iterable, -1) for iterable in iterables]
    # A __len__ that fails is nobody's business: nothing depends on it.
    except Exception:
        return None
    return min((hint for hint in hints if hint >= 0), default=None)
