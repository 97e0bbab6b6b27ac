"""The records, which lie beside this module as a file of data."""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib import resources

__all__ = ["UnknownGauge", "names", "yearly_maxima"]


class UnknownGauge(LookupError):
    """There is no gauge of this name."""


@lru_cache(maxsize=1)
def _records() -> dict[str, list[float]]:
    # Not open(): on another machine this module has no folder, but its resources.
    text = resources.files(__package__).joinpath("maxima.csv").read_text(encoding="utf-8")
    rows = csv.reader(text.splitlines())
    return {name: [float(value) for value in values] for name, *values in rows}


def names() -> list[str]:
    """Return the names of all gauges."""
    return sorted(_records())


def yearly_maxima(gauge: str) -> list[float]:
    """Return the rain of the wettest day of each year, in millimetres.

    Raises:
        UnknownGauge: there is no gauge of this name.
    """
    if gauge not in _records():
        raise UnknownGauge(gauge)
    return _records()[gauge]
