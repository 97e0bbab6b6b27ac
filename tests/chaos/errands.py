"""Errands: the kinds of jobs that are run under fire, what each is to give, and how it may end.

A client is told only the kind and a number, the dice, from which everything else follows. So the
laboratory, which never speaks to a worker, knows each answer. The functions are the user's own
code here: daemons cannot import this file, it comes along with the jobs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

__all__ = ["KINDS", "MAP_SIZE", "SEAT", "Errand", "Kind", "meet", "shared_array"]

MAP_SIZE = 40
SEAT = "seat"
"""What daemons offer one of, so that of some jobs each runs one at a time."""
_LARGE = 1 << 18
"""Numbers in the largest arrays: 2 MiB."""

Folder = str


# What jobs do.


def square(dice: int, folder: Folder) -> int:
    return dice * dice


def nap(dice: int, folder: Folder) -> int:
    time.sleep(seconds_of_nap(dice))  # what makes the job long
    return -dice


def linger(dice: int, folder: Folder) -> None:
    time.sleep(600.0)  # far longer than it may


def fail(dice: int, folder: Folder) -> None:
    raise ValueError(f"dice {dice}")


def talk(dice: int, folder: Folder) -> int:
    for line in range(20):
        print(f"dice {dice} line {line}")
    return dice


def raise_child(dice: int, folder: Folder) -> int:
    """Run a child process, and leave another behind that only outlives the job."""
    subprocess.Popen(["sleep", "20"])
    code = f"print({dice} + 1)"
    return int(subprocess.run([sys.executable, "-S", "-c", code], capture_output=True).stdout)


def take(array: np.ndarray) -> int:
    return checksum(array)


def give(dice: int, folder: Folder) -> np.ndarray:
    return array_of(dice)


def alter(array: np.ndarray) -> np.ndarray:
    return array + 1


def borrow(array: np.ndarray, dice: int) -> int:
    return int(array[dice % len(array)])


def mark(dice: int, folder: Folder) -> int:
    """Leave a mark, which shows how often this was begun."""
    add_mark(folder, dice)
    time.sleep(seconds_of_nap(dice) / 2)  # so that faults come in its middle
    return dice


def die(dice: int, folder: Folder) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_first(dice: int, folder: Folder) -> int:
    if add_mark(folder, dice) == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return dice


def meet(dice: int, folder: Folder, size: int) -> bool:
    """Whether ``size`` jobs run at the same time."""
    place = Path(folder, f"meeting-{dice}")
    place.mkdir(exist_ok=True)
    (place / str(os.getpid())).touch()
    until = time.monotonic() + 30.0
    while len(os.listdir(place)) < size:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)  # processes of several machines have only the folder in common
    return True


# What follows from the dice.


def seconds_of_nap(dice: int) -> float:
    return 0.2 + dice % 100 * 0.02


def array_of(dice: int) -> np.ndarray:
    return np.random.default_rng(dice).integers(0, 1 << 40, 1000 + dice % _LARGE)


def shared_array() -> np.ndarray:
    """The array that clients broadcast."""
    return array_of(_LARGE - 1001)


def checksum(array: np.ndarray) -> int:
    return zlib.crc32(array.tobytes())


def add_mark(folder: Folder, dice: int) -> int:
    """Note that a job has begun. Return how often it has."""
    path = Path(folder, f"mark-{dice}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, b"x")
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def marks(folder: Folder, dice: int) -> int:
    """How often a job has begun."""
    try:
        return Path(folder, f"mark-{dice}").stat().st_size
    except FileNotFoundError:
        return 0


# The kinds.


class Kind(NamedTuple):
    """A kind of errand.

    Attributes:
        weight: how many of them there are, in relation to others.
        function: what is called.
        expected: the answer to dice; for arrays their checksum.
        endings: names of errors that are right; ``"ok"`` for an answer.
        once: whether it must not be started twice.
        arguments: ``"dice"`` and folder, an ``"array"``, the ``"broadcast"`` one, a ``"map"``.
        says: what it prints.
        terms: what it is submitted with.
    """

    weight: int
    function: Callable[..., object]
    expected: Callable[[int], object]
    endings: frozenset[str] = frozenset({"ok"})
    once: bool = False
    arguments: str = "dice"
    says: Callable[[int], str] = lambda dice: ""
    terms: Mapping[str, object] = MappingProxyType({})


class Errand(NamedTuple):
    """One job that is to be run."""

    number: int
    kind: str
    dice: int

    @property
    def seconds(self) -> float:
        """About how long it takes where nothing happens."""
        if self.kind in ("nap", "once", "wide", "seated"):
            return seconds_of_nap(self.dice)
        return 0.5 if self.kind == "late" else 0.1


def _same(dice: int) -> int:
    return dice


_FAILED = frozenset({"ValueError"})
_LATE = frozenset({"JobTimeout"})
_LOST = frozenset({"ok", "NodeLost", "WorkerDied"})

KINDS = {
    "short": Kind(30, square, lambda dice: dice * dice),
    "nap": Kind(20, nap, lambda dice: -dice),
    "fails": Kind(6, fail, lambda dice: f"dice {dice}", _FAILED),
    "talks": Kind(
        6, talk, _same, says=lambda it: "".join(f"dice {it} line {n}\n" for n in range(20))
    ),
    "children": Kind(3, raise_child, lambda dice: dice + 1),
    "takes": Kind(6, take, lambda dice: checksum(array_of(dice)), arguments="array"),
    "gives": Kind(6, give, lambda dice: checksum(array_of(dice))),
    "alters": Kind(6, alter, lambda dice: checksum(array_of(dice) + 1), arguments="array"),
    "borrows": Kind(
        6,
        borrow,
        lambda dice: int(shared_array()[dice % len(shared_array())]),
        arguments="broadcast",
    ),
    "maps": Kind(
        3, square, lambda dice: sum((dice + n) ** 2 for n in range(MAP_SIZE)), arguments="map"
    ),
    "once": Kind(10, mark, _same, _LOST, once=True),
    "wide": Kind(3, nap, lambda dice: -dice, terms={"threads": 2}),
    "seated": Kind(4, nap, lambda dice: -dice, terms={"resources": {SEAT: 1}}),
    "late": Kind(2, linger, _same, _LATE, terms={"timeout": 0.5}),
    "dies": Kind(1, die, _same, frozenset({"PoisonedJob"})),
    "dies once": Kind(1, die_at_first, _same),
    "cancelled": Kind(3, nap, lambda dice: -dice, frozenset({"ok", "JobCancelled"})),
}
