"""Units: which of a machine's countable things are whose, among the workers of one parent.

How many of a thing are in use is decided before a job is sent (``ppnext.sched.stock``); which ones
it has, where it runs. The parent keeps an empty file in which each unit has a byte; a worker locks
as many of them as its job claims. The system lets go of the locks of a process however it ends, and
gives none to its children.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from ppnext.errors import PpnextError

if TYPE_CHECKING:
    from ppnext.runtime.memfd import Memfd

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # there are no workers either

__all__ = ["MOST", "Amounts", "Ids", "UnitFile", "Units"]

Amounts: TypeAlias = "tuple[tuple[str, int], ...]"
"""How much of which things; each name once."""

Ids: TypeAlias = "dict[str, tuple[int, ...]]"
"""Which units, by the name of the thing; the lowest first."""

MOST = 1024
"""Things of which there are more have no numbers: they are an amount, such as gigabytes."""

_VARIABLE = "_PPNEXT_UNITS"

_PATIENCE = 10.0
"""Seconds that the system may take to end a process whose units are another's already."""

_BUSY = (errno.EACCES, errno.EAGAIN)


class UnitFile:
    """The file of one parent, in memory if the system can do that; a context manager.

    Args:
        offers: how many there are of each thing.
        folder: where the file is to be, under a name until it is closed; None for memory, or for
            where the system wants temporary files.
        proc: where workers find the memory of this process.

    Attributes:
        offers: the same.

    Raises:
        OSError: the system has no room for a file.
    """

    def __init__(
        self,
        offers: Mapping[str, int] | Iterable[tuple[str, int]],
        folder: str | os.PathLike[str] | None = None,
        proc: str = "/proc",
    ) -> None:
        self._memory: Memfd | None = None
        self._proc = proc
        self._path = ""
        self.offers = dict(offers)
        if self.offers:
            self._make(folder)

    def _make(self, folder: str | os.PathLike[str] | None) -> None:
        from ppnext.runtime.memfd import Memfd, has_memfds  # only for who offers something

        if folder is None and has_memfds():
            self._memory = Memfd.make(1, "ppnext-units")
            self._path = f"{self._proc}/{os.getpid()}/fd/{self._memory.fileno()}"
            if not os.access(self._path, os.R_OK | os.W_OK):  # as where there is no /proc
                self._memory.close()
                self._memory, self._path = None, ""
        if self._memory is None:
            import tempfile

            descriptor, self._path = tempfile.mkstemp(prefix="ppnext-units-", dir=folder)
            os.close(descriptor)

    def variables(self) -> dict[str, str]:
        """Return what is to be put into the environment of workers."""
        if not self.offers:
            return {}
        amounts = (f"{name}={number}" for name, number in self.offers.items())
        return {_VARIABLE: ":".join([",".join(amounts), self._path])}

    def __enter__(self) -> UnitFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def abandon(self) -> None:
        """Leave the file to the parent, in a child that was forked."""
        self._path = ""

    def close(self) -> None:
        """Have no file any more."""
        if self._memory is not None:
            self._memory.close()
        elif self._path:
            with suppress(FileNotFoundError):  # closed before, or tidied away
                os.unlink(self._path)
        self._path = ""


class Units:
    """The units of a machine, as one of its workers sees them.

    Args:
        environment: of this process; what the parent has put in is taken out.
        patience: seconds to wait for units that somebody else still has.
    """

    def __init__(self, environment: MutableMapping[str, str], patience: float = _PATIENCE) -> None:
        offered, _, self._path = environment.pop(_VARIABLE, "").partition(":")
        self._patience = patience
        # Where in the file the bytes of a thing begin, and how many there are.
        self._places: dict[str, tuple[int, int]] = {}
        start = 0
        for amount in filter(None, offered.split(",")):
            name, _, number = amount.partition("=")
            if int(number) <= MOST:
                self._places[name] = (start, int(number))
                start += int(number)

    @contextmanager
    def locked(self, claimed: Amounts) -> Iterator[Ids]:
        """Have so many units of each thing to oneself; of what has no numbers, none.

        Raises:
            PpnextError: others have them still.
            OSError: the file cannot be had.
        """
        wanted = [(name, amount) for name, amount in claimed if name in self._places]
        if not wanted:
            yield {}
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            until = time.monotonic() + self._patience
            yield {name: self._lock(descriptor, name, amount, until) for name, amount in wanted}
        finally:
            os.close(descriptor)  # which lets go of all

    def _lock(self, descriptor: int, name: str, amount: int, until: float) -> tuple[int, ...]:
        start, number = self._places[name]
        mine: list[int] = []
        pause = 0.001
        while True:
            others = (unit for unit in range(number) if unit not in mine)
            free = (unit for unit in others if _has_locked(descriptor, start + unit))
            mine += islice(free, amount - len(mine))
            if len(mine) == amount:
                return tuple(sorted(mine))
            if time.monotonic() > until:
                raise PpnextError(
                    f"only {len(mine)} of {amount} {name} could be had within "
                    f"{self._patience:.0f} s: processes that were killed do not end and hold others"
                )
            time.sleep(pause)  # nothing tells when one of several locks is free
            pause = min(2 * pause, 0.05)


def _has_locked(descriptor: int, place: int) -> bool:
    """Lock a byte, if nobody else has."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True
