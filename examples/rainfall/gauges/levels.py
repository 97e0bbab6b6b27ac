"""Return levels: the rain of a day that is exceeded once in so many years, on average."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from statistics import mean, quantiles, stdev

from .records import yearly_maxima

__all__ = ["Level", "return_level"]

EULER = 0.5772156649015329


@dataclass(frozen=True)
class Level:
    """A level with the interval that holds nine tenths of the resampled ones, in millimetres."""

    gauge: str
    value: float
    low: float
    high: float


def return_level(gauge: str, years: int, samples: int) -> Level:
    """Return the level of a gauge, from a Gumbel distribution with the moments of its record."""
    maxima = yearly_maxima(gauge)
    random = Random(gauge)
    resampled = [fitted_level(random.choices(maxima, k=len(maxima)), years) for _ in range(samples)]
    twentieths = quantiles(resampled, n=20)
    return Level(gauge, fitted_level(maxima, years), twentieths[0], twentieths[-1])


def fitted_level(maxima: list[float], years: int) -> float:
    """Return the level that a record of yearly maxima leads to."""
    scale = stdev(maxima) * math.sqrt(6) / math.pi
    mode = mean(maxima) - EULER * scale
    return mode - scale * math.log(-math.log(1 - 1 / years))
