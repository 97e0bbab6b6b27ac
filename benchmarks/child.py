"""A child: ``python -m benchmarks.child``, one process with one peer.

It reads its orders as JSON from standard input, and writes two lines to standard output: an empty
one as soon as it has its first result, and what it has measured as JSON.
"""

from __future__ import annotations

import json
import sys

from benchmarks import measures, peers

__all__ = ["main"]


def main() -> None:
    """Measure."""
    orders = json.loads(sys.stdin.readline())
    peer = peers.start(orders["peer"], orders["workers"], orders["access"])
    if peer.collect(peer.submit(1)) != 1:
        raise ValueError("the first result is wrong")
    print(flush=True)
    measures.throughput(peer, max(10, orders["batch"] // 10))  # warm
    found = measures.throughput(peer, orders["batch"])
    found |= measures.latency(peer, orders["single"])
    peer.close()
    print(json.dumps({"version": peers.version(orders["peer"]), "found": found}), flush=True)


if __name__ == "__main__":  # a worker that is spawned imports this module again
    main()
