"""Jobs that wait: what they hold in the client, and what submitting one more costs."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from benchmarks.jobs import nothing
from benchmarks.measures import Found, Sizes
from benchmarks.peers.running import Running

__all__ = ["queue"]

SHORT = 1_000
BLOCK = 10_000


def queue(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Submit many jobs to a system without workers."""
    idle = peer.unstarted()
    jobs = [idle.submit(nothing, number) for number in range(SHORT)]
    before, curve = _resident(), []
    for count in range(SHORT, sizes.queued, BLOCK):
        start = time.perf_counter()
        jobs += [idle.submit(nothing, number) for number in range(BLOCK)]
        curve.append([float(count), (time.perf_counter() - start) / BLOCK * 1e6])
    settled = _settled()
    added = len(jobs) - SHORT
    costs = [cost for _, cost in curve]
    # Means: passes of the garbage collector are rare, long, and part of the price. Medians leave
    # them out.
    short, long = costs[:5], costs[-max(5, len(costs) // 4) :]
    idle.close()
    values = {
        "queued_bytes": (settled - before) / added,
        "queued_rate": statistics.mean(short) / statistics.mean(long),
        "queued_rate_between": statistics.median(short) / statistics.median(long),
    }
    return Found(values, {"queue": curve})


def _settled() -> int:
    """Return the memory once other threads have taken over what was submitted: no more change."""
    last, resident = 0, _resident()
    for _ in range(100):
        if abs(resident - last) < 1 << 20:
            break
        time.sleep(0.2)
        last, resident = resident, _resident()
    return resident


def _resident() -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/self/status has no VmRSS")
