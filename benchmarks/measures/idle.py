"""A system with nothing to do: the processor time that it takes all the same."""

from __future__ import annotations

import os
import time

from benchmarks.measures import Found, Sizes
from benchmarks.peers.running import Running
from benchmarks.processes import cpu_seconds, family

__all__ = ["idle"]

SETTLE_SECONDS = 2.0


def idle(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Do nothing for a while."""
    daemon = orders["access"].get("pid")
    theirs = family(int(daemon), "") if daemon else set()
    ours = family(os.getpid(), orders["mark"]) - theirs
    time.sleep(SETTLE_SECONDS)
    start = time.perf_counter()
    before = cpu_seconds(ours), cpu_seconds(theirs)
    time.sleep(sizes.idle_seconds)
    used = cpu_seconds(ours) - before[0], cpu_seconds(theirs) - before[1]
    seconds = time.perf_counter() - start
    values = {"idle": 100 * used[0] / seconds}
    if theirs:
        values["idle_daemon"] = 100 * used[1] / seconds
    return Found(values, {})
