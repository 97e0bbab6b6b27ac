"""How tests and the jobs they run tell each other things, without sleeping.

* ``gate``     where jobs wait until the test lets them go on
* ``counter``  counts how often something has run
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

__all__ = ["Counter", "Gate"]

PATIENCE = 20.0
"""Seconds that anything may take on a busy machine before a test gives up."""


class Gate:
    """Where jobs wait until the test lets them go on.

    A job calls ``gate.way(value)``: it reports its arrival, waits, and returns ``value``.

    Args:
        directory: for the named pipes.
    """

    def __init__(self, directory: Path) -> None:
        names = str(directory / "arrivals"), str(directory / "gate")
        for name in names:
            os.mkfifo(name)
        # Opened both ways, so that no opening of either end ever waits.
        self._arrivals, self._gate = (os.open(name, os.O_RDWR) for name in names)
        self.way = way_through(*names)

    def wait_for(self, number: int) -> None:
        """Wait until so many more jobs have arrived."""
        for _ in range(number):
            assert select.select([self._arrivals], [], [], PATIENCE)[0], "a job never started"
            os.read(self._arrivals, 1)

    def arrived(self) -> bool:
        """Whether a job has arrived that was not waited for."""
        return bool(select.select([self._arrivals], [], [], 0)[0])

    def release(self, number: int) -> None:
        """Let so many jobs go on, those that are there and those that will come."""
        os.write(self._gate, b"." * number)

    def close(self) -> None:
        """Close the test's ends."""
        os.close(self._arrivals)
        os.close(self._gate)


def way_through(arrivals: str, gate: str) -> Callable[[object], object]:
    """Return the function that jobs call; it needs nothing but the names of the pipes."""

    def way(value: object = None) -> object:
        import os

        here, there = os.open(arrivals, os.O_WRONLY), os.open(gate, os.O_RDONLY)
        os.write(here, b".")
        os.read(there, 1)
        os.close(here)
        os.close(there)
        return value

    return way


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Where jobs wait."""
    gate = Gate(tmp_path)
    yield gate
    gate.close()


class Counter:
    """Counts how often something has run, across processes.

    A job calls ``counter.add``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.add = adder(str(path))

    @property
    def value(self) -> int:
        """How often ``add`` was called."""
        return self._path.stat().st_size if self._path.exists() else 0


def adder(path: str) -> Callable[[], None]:
    """Return the function that jobs call."""

    def add() -> None:
        with open(path, "ab", buffering=0) as file:
            file.write(b".")

    return add


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    """Counts what has run."""
    return Counter(tmp_path / "count")
