"""Two clients of one daemon: one has very many jobs queued, the other has one now and then."""

from __future__ import annotations

import time

from benchmarks.jobs import nap, nothing
from benchmarks.measures import Found, Sizes
from benchmarks.peers.running import Running

__all__ = ["share"]

NAP_SECONDS = 0.1
"""What each job of the many takes."""

PAUSE_SECONDS = 0.237
"""Long enough for the slot to be somebody else's again; no multiple of what a job takes."""


def share(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """See how long a job takes that does nothing, over what the others' job may take before it."""
    crowd = peer.again()
    many = [crowd.submit(nap, NAP_SECONDS) for _ in range(sizes.queued_by_another)]
    crowd.collect(many[0])
    took = []
    for number in range(sizes.guests):
        time.sleep(PAUSE_SECONDS)
        start = time.perf_counter()
        peer.collect(peer.submit(nothing, number))
        took.append(time.perf_counter() - start)
    crowd.close()
    return Found({"share_delay": 1000 * (max(took) - NAP_SECONDS)}, {})
