"""Rain gauges of a made-up valley: the wettest day of each year, and what follows from it."""

from __future__ import annotations

from gauges.levels import Level, return_level
from gauges.records import UnknownGauge, names, yearly_maxima

__all__ = ["Level", "UnknownGauge", "names", "return_level", "yearly_maxima"]
