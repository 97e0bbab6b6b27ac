"""Jobs that do nothing: how many a second, what one costs the client, how long one takes.

The time of one job depends on where the kernel has put the two processes, and that changes from
second to second. So blocks of jobs and blocks of a bare ping-pong take turns in one process; of two
ping-pongs where there are two processors, one of them with a processor for each end.
"""

from __future__ import annotations

import time

from benchmarks.jobs import nothing
from benchmarks.measures import Found, Sizes
from benchmarks.measures.floors import PingPong, has_two_processors
from benchmarks.peers.running import Running

__all__ = ["calls", "latency", "percentiles", "throughput"]

BLOCK = 10


def calls(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Measure all of it."""
    throughput(peer, max(10, sizes.jobs // 10))  # warm
    values = throughput(peer, sizes.jobs)
    with PingPong() as floor:
        times, floors = latency(peer, sizes.single, floor)
    values["latency"] = percentiles(times)[50]
    values["latency_high"] = percentiles(times)[99]
    values["floor"] = percentiles(floors)[50]
    values["latency_floors"] = values["latency"] / values["floor"]
    if has_two_processors():
        with PingPong(apart=True) as floor:
            again, apart = latency(peer, sizes.single, floor)
        values["floor_apart"] = percentiles(apart)[50]
        values["latency_apart"] = percentiles(again)[50] / values["floor_apart"]
    return Found(values, {"latency": [percentiles(times)], "floor": [percentiles(floors)]})


def throughput(peer: Running, jobs: int) -> dict[str, float]:
    """Submit so many jobs, collect their results: jobs a second, client's µs of CPU a job."""
    cpu, start = time.process_time(), time.perf_counter()
    handles = [peer.submit(nothing, number) for number in range(jobs)]
    results = peer.gather(handles)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    if results != list(range(jobs)):
        raise ValueError("the results are wrong")
    return {"throughput": jobs / seconds, "client": used / jobs * 1e6}


def latency(peer: Running, jobs: int, floor: PingPong) -> tuple[list[float], list[float]]:
    """Return the µs of so many jobs, one after the other, and of as many ping-pongs."""
    times, floors = [], []
    for number in range(jobs):
        start = time.perf_counter()
        result = peer.collect(peer.submit(nothing, number))
        times.append((time.perf_counter() - start) * 1e6)
        if result != number:
            raise ValueError("the result is wrong")
        if number % BLOCK == BLOCK - 1:
            floors += floor.microseconds(BLOCK)
    return times, floors


def percentiles(values: list[float]) -> list[float]:
    """Return the percentiles of some values, from the 0th to the 100th."""
    ordered = sorted(values)
    return [ordered[round((len(ordered) - 1) * percent / 100)] for percent in range(101)]
