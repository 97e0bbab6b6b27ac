"""The figures to reach: what each is, how it comes from the values, and the bound. Pure.

Whatever has no value yet is "not measured", and not reached.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from benchmarks.measures import MEASURES
from benchmarks.outcome import Samples
from benchmarks.table import number, ratio

__all__ = ["FIGURES", "Figure", "NotMeasured", "Row", "rows"]

# Not SCOOP, which runs such a job in its own process.
LOCAL = (
    *("executor", "pool", "pool-spawn", "loky", "joblib", "pebble", "ppft"),
    *("dask", "dask-processes", "ray", "ipyparallel"),
)
ALL = (*LOCAL, "scoop")


class NotMeasured(Exception):
    """A value that a figure needs is not there."""


class Figure(NamedTuple):
    """A figure: its number, what it is, how it is had, the bound, and whether more is better."""

    number: int
    title: str
    value: Callable[[Samples], float]
    bound: float
    more: bool
    unit: str = ""


class Row(NamedTuple):
    """A line of the table."""

    number: int
    title: str
    value: str
    bound: str
    reached: str


def rows(samples: Samples) -> Iterator[Row]:
    """Yield the lines of the table."""
    for figure in FIGURES:
        sign = "≥" if figure.more else "≤"
        bound = f"{sign} {number(figure.bound)}{figure.unit}"
        try:
            value = figure.value(samples)
        except NotMeasured:
            yield Row(figure.number, figure.title, "not measured", bound, "")
            continue
        reached = value >= figure.bound if figure.more else value <= figure.bound
        text = number(value) + figure.unit
        yield Row(figure.number, figure.title, text, bound, "yes" if reached else "no")


def median(samples: Samples, name: str, measure: str) -> float:
    """Return the median of a measure's rounds."""
    found = _rounds(samples, name, measure)
    return statistics.median(found.values())


def _rounds(samples: Samples, name: str, measure: str) -> Mapping[int, float]:
    try:
        return samples[name][measure]
    except KeyError:
        raise NotMeasured(f"{measure} of {name}") from None


def _own(name: str, measure: str) -> Callable[[Samples], float]:
    return lambda samples: median(samples, name, measure)


def _times(measure: str, *others: str, ours: str = "ppnext") -> Callable[[Samples], float]:
    """How many times better than the best of the others."""

    def value(samples: Samples) -> float:
        mine = _rounds(samples, ours, measure)
        more = MEASURES[measure].more_is_better
        found = [
            ratio(mine, samples[other][measure], more)
            for other in others
            if mine.keys() & samples.get(other, {}).get(measure, {}).keys()
        ]
        if not found:
            raise NotMeasured(measure)
        return min(found)

    return value


def _cost(measure: str, ours: str, other: str) -> Callable[[Samples], float]:
    """Ours, divided by the other's; the bounds of start-up are given so."""

    def value(samples: Samples) -> float:
        mine, theirs = _rounds(samples, ours, measure), _rounds(samples, other, measure)
        if not mine.keys() & theirs.keys():
            raise NotMeasured(measure)
        return ratio(mine, theirs, more_is_better=True)

    return value


REMOTE = "ppnext-remote"
FIGURES = (
    Figure(1, "jobs/s ÷ multiprocessing.Pool", _times("throughput", "pool", "pool-spawn"), 2, True),
    Figure(1, "jobs/s ÷ ProcessPoolExecutor", _times("throughput", "executor"), 8, True),
    Figure(1, "jobs/s ÷ ppft", _times("throughput", "ppft"), 20, True),
    Figure(2, "one job ÷ bare ping-pong", _own("ppnext", "latency_floors"), 2, False),
    Figure(2, "the same, each on its processor", _own("ppnext", "latency_apart"), 2, False),
    Figure(2, "one job, best peer ÷ ppnext", _times("latency", *LOCAL), 1, True),
    Figure(3, "map ÷ joblib", _times("map", "joblib"), 1, True),
    Figure(3, "map ÷ Pool.imap, best chunk size", _times("map", "pool"), 1, True),
    Figure(4, "efficiency on uneven calls", _own("ppnext", "uneven"), 0.93, True),
    Figure(4, "the same ÷ the best peer's", _times("uneven", *ALL), 1, True),
    Figure(5, "array, MB/s ÷ ProcessPoolExecutor", _times("array", "executor"), 4, True),
    Figure(5, "array, speed ÷ two memcpy", _own("ppnext", "array_share"), 0.5, True),
    Figure(6, "shared array, 200 jobs ÷ one shipment", _own("ppnext", "shared_once"), 1.5, False),
    Figure(6, "shared array, copies in memory", _own("ppnext", "shared_copies"), 1.1, False),
    Figure(7, "ppserver, jobs/s ÷ Dask", _times("throughput", "dask", ours=REMOTE), 10, True),
    Figure(7, "ppserver, one job, Dask ÷ ppnext", _times("latency", "dask", ours=REMOTE), 10, True),
    Figure(7, "ppserver, jobs/s ÷ Ray", _times("throughput", "ray", ours=REMOTE), 1, True),
    Figure(8, "ppserver, array ÷ one TLS stream", _own(REMOTE, "stream_share"), 0.6, True),
    Figure(8, "ppserver, array ÷ Dask", _times("array", "dask", ours=REMOTE), 1, True),
    Figure(9, "cold first result ÷ interpreter", _cost("cold", "ppnext", "interpreter"), 3, False),
    Figure(9, "import ÷ that of the executor", _cost("import", "ppnext", "executor"), 2, False),
    Figure(10, "memory of a queued job", _own("ppnext", "queued_bytes"), 1229, False, " bytes"),
    Figure(10, "submit rate, long queue ÷ short", _own("ppnext", "queued_rate"), 0.8, True),
    Figure(10, "the same but for the collector", _own("ppnext", "queued_rate_between"), 0.8, True),
    Figure(11, "decisions a second", _own("scheduler", "decisions"), 100_000, True),
    # Logarithmic growth over that range is four times.
    Figure(11, "cost, 10,000 nodes ÷ 10", _own("scheduler", "nodes_growth"), 4, False),
    Figure(11, "cost, 1,000,000 queued ÷ 1,000", _own("scheduler", "queue_growth"), 1.2, False),
    Figure(12, "makespan ÷ lower bound", _own("scheduler", "makespan"), 1.05, False),
    Figure(13, "idle Server", _own("ppnext", "idle"), 0.2, False, " %"),
    Figure(13, "idle ppserver", _own(REMOTE, "idle_daemon"), 0.2, False, " %"),
    Figure(14, "submit, dearest ÷ cheapest form", _own("ppnext", "submit_forms"), 1.1, False),
    Figure(14, "ppserver, the same", _own(REMOTE, "submit_forms"), 1.1, False),
    Figure(14, "one job, dearest ÷ cheapest form", _own("ppnext", "single_forms"), 1.1, False),
    Figure(14, "ppserver, the same", _own(REMOTE, "single_forms"), 1.1, False),
    Figure(15, "first job with 20 modules", _own("ppnext", "package_first"), 100, False, " ms"),
    Figure(15, "ppserver, the same", _own(REMOTE, "package_first"), 100, False, " ms"),
    Figure(16, "later jobs with them ÷ bare ones", _own("ppnext", "package_later"), 1.1, False),
    Figure(16, "ppserver, the same", _own(REMOTE, "package_later"), 1.1, False),
    Figure(17, "cancel to next job in its slot", _own("ppnext", "stop_reuse"), 150, False, " ms"),
    Figure(17, "ppserver, the same", _own(REMOTE, "stop_reuse"), 150, False, " ms"),
    Figure(
        18, "end of a job's time to its error", _own("ppnext", "timeout_late"), 50, False, " ms"
    ),
    Figure(18, "ppserver, the same", _own(REMOTE, "timeout_late"), 50, False, " ms"),
    Figure(19, "a job among 100,000 of another", _own(REMOTE, "share_delay"), 50, False, " ms"),
)
