"""Large arrays: there and back, and one for many jobs.

MB/s count what has moved in both directions. What is sent differs each time, so that nothing
can be answered from a cache, and the result is read, so that what is only mapped is paid for.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.jobs import part, touch
from benchmarks.measures import Found, Sizes
from benchmarks.measures.floors import certificate, copy_seconds, stream_seconds
from benchmarks.peers.running import Running
from benchmarks.processes import family, memory

__all__ = ["broadcast", "exchange"]

WARM = 3
"""Trips that do not count: the first ones pay for memory that the machine has not given out yet."""


def exchange(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Send an array there and back; in between, copy it twice in memory."""
    import numpy

    array = numpy.arange(sizes.array_mib * (1 << 17), dtype=numpy.float64)
    scratch = numpy.zeros_like(array)
    times, copies = [], []
    for trip in range(WARM + sizes.trips):
        array[0] = array[-1] = trip
        start = time.perf_counter()
        result = peer.exchange(touch, array)
        touch(result)
        times.append(time.perf_counter() - start)
        if result[0] != trip or result[-1] != trip or len(result) != len(array):
            raise ValueError("the array came back changed")
        del result
        copies.append(copy_seconds(array, scratch))
    seconds, floor = statistics.median(times[WARM:]), statistics.median(copies[WARM:])
    moved = 2 * array.nbytes / 1e6
    values = {"array": moved / seconds, "array_share": floor / seconds, "copies": moved / floor}
    if peer.encrypted:
        with tempfile.TemporaryDirectory() as folder:
            stream = stream_seconds(certificate(Path(folder)), array.nbytes, sizes.trips)
        values["stream"] = moved / statistics.median(stream)
        values["stream_share"] = statistics.median(stream) / seconds
    return Found(values, {})


def broadcast(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Run one job with an array as its argument, then many jobs that share another."""
    import numpy

    array = numpy.ones(sizes.shared_mib * (1 << 17))
    shared_array = array * 2
    peer.collect(peer.submit(part, array[:1000], 0, 1))  # warm
    # All that comes from here on counts, also what the one job leaves behind.
    before = memory(family(os.getpid(), orders["mark"]))
    start = time.perf_counter()
    peer.collect(peer.submit(part, array, 0, sizes.sharers))
    once = time.perf_counter() - start
    start = time.perf_counter()
    shared = peer.share(shared_array)
    jobs = [peer.submit(part, shared, number, sizes.sharers) for number in range(sizes.sharers)]
    sums = peer.gather(jobs)
    seconds = time.perf_counter() - start
    if sums != [2.0 * (len(array) // sizes.sharers)] * sizes.sharers:
        raise ValueError("the sums are wrong")
    # Now every worker reads all of it, so that each copy that there is counts in full.
    peer.gather([peer.submit(part, shared, 0, 1) for _ in range(8 * orders["workers"])])
    grown = memory(family(os.getpid(), orders["mark"])) - before
    values = {
        "shared": seconds * 1e3,
        "shared_once": seconds / once,
        "shared_copies": grown / array.nbytes,
    }
    return Found(values, {})
