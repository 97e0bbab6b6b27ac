"""Maps: many calls that do nothing, and fewer whose lengths are far apart."""

from __future__ import annotations

import math
import random
import statistics
import time

from benchmarks.jobs import nap, nothing
from benchmarks.measures import Found, Sizes
from benchmarks.peers.running import Running

__all__ = ["durations", "map_small", "map_uneven"]

MEDIAN_SECONDS = 0.001
SIGMA = 1.5
SEED = 20_000
REPEATS = 7
ENOUGH_SECONDS = 0.5


def map_small(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Map with each chunk size; the best counts."""
    items = list(range(sizes.calls))
    peer.map(nothing, items[: max(200, sizes.calls // 50)], peer.chunks[-1])  # warm
    values = {}
    for chunk in peer.chunks:
        times: list[float] = []
        # The quickest are done in milliseconds, and once says little.
        while not times or (len(times) < REPEATS and sum(times) < ENOUGH_SECONDS):
            start = time.perf_counter()
            results = peer.map(nothing, items, chunk)
            times.append(time.perf_counter() - start)
            if results != items:
                raise ValueError("the results are wrong")
        values[f"map@{chunk}"] = sizes.calls / statistics.median(times)
    return Found({**values, "map": max(values.values())}, {})


def durations(count: int) -> list[float]:
    """Return seconds, log-normal, the same each time."""
    source = random.Random(SEED)
    return [source.lognormvariate(math.log(MEDIAN_SECONDS), SIGMA) for _ in range(count)]


def map_uneven(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Map with each chunk size: what the calls took in all, by workers and time."""
    peer.map(nap, [0.0] * 20, peer.uneven[0])  # warm
    values = {}
    for chunk in peer.uneven:
        start = time.perf_counter()
        taken = peer.map(nap, durations(sizes.uneven), chunk)
        seconds = time.perf_counter() - start
        values[f"uneven@{chunk}"] = sum(taken) / (orders["workers"] * seconds)
    return Found({**values, "uneven": max(values.values())}, {})
