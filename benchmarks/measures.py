"""What is measured, on a peer that is running.

* throughput: jobs that do nothing, each submitted by itself, then all results collected;
* client: processor time of the client's process for each of them, all its threads added up;
* latency: one job after the other, submitted and collected; the median of all;
* start-up: from the start of a fresh interpreter to the first result (measured by the runner).
"""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks.peers import Running

__all__ = ["MEASURES", "Measure", "Sizes", "latency", "throughput"]


class Measure(NamedTuple):
    """A measure; ``more_is_better`` says which way."""

    name: str
    title: str
    unit: str
    more_is_better: bool


class Sizes(NamedTuple):
    """How many jobs are run at a time for throughput, and in all for latency."""

    batch: int
    single: int

    def scaled(self, share: float) -> Sizes:
        """Return these sizes for a slow peer."""
        return Sizes(max(15, int(self.batch * share)), max(10, int(self.single * share)))


MEASURES = (
    Measure("throughput", "submit and collect", "jobs/s", True),
    Measure("latency", "one job at a time", "µs", False),
    Measure("client", "client's CPU time a job", "µs", False),
    Measure("startup", "start-up and first result", "ms", False),
)


def throughput(peer: Running, jobs: int) -> dict[str, float]:
    """Submit so many jobs, collect their results, and return both measures of that."""
    cpu, start = time.process_time(), time.perf_counter()
    handles = [peer.submit(number) for number in range(jobs)]
    results = [peer.collect(handle) for handle in handles]
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    if results != list(range(jobs)):
        raise ValueError("the results are wrong")
    return {"throughput": jobs / seconds, "client": used / jobs * 1e6}


def latency(peer: Running, jobs: int) -> dict[str, float]:
    """Run so many jobs one after the other, and return the median of their times."""
    times = []
    for number in range(jobs):
        start = time.perf_counter()
        result = peer.collect(peer.submit(number))
        times.append(time.perf_counter() - start)
        if result != number:
            raise ValueError("the result is wrong")
    # Not from the module statistics, whose import would count as start-up.
    return {"latency": sorted(times)[jobs // 2] * 1e6}
