"""A child: one process with one peer, which measures one group.

It gets its orders as JSON on its command line, and writes what it has found, or why it could not,
to the file that they name: what peers print does not disturb it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks import peers
from benchmarks.jobs import nothing
from benchmarks.measures import Found, Sizes
from benchmarks.peers.running import Running, Unavailable

__all__ = ["main"]

_HOMES = {
    "calls": "calls:calls",
    "map": "maps:map_small",
    "uneven": "maps:map_uneven",
    "array": "arrays:exchange",
    "broadcast": "arrays:broadcast",
    "queue": "queues:queue",
    "shipping": "shipping:shipping",
    "control": "control:control",
    "idle": "idle:idle",
    "share": "sharing:share",
}


def main() -> None:
    """Measure, and write the report."""
    orders = json.loads(sys.argv[1])
    try:
        report = measure(orders)
    except Unavailable as reason:
        report = {"unavailable": str(reason)}
    Path(orders["report"]).write_text(json.dumps(report), encoding="utf-8")


def measure(orders: dict) -> dict:
    """Start the peer, measure the group, end the peer."""
    peer = peers.start(orders["peer"], orders["workers"], orders["access"])
    if peer.collect(peer.submit(nothing, 1)) != 1:
        raise ValueError("the first result is wrong")
    first = time.monotonic()
    module, _, name = _HOMES[orders["group"]].partition(":")
    function: Callable[[Running, Sizes, dict], Found] = getattr(
        import_module(f"benchmarks.measures.{module}"), name
    )
    found = function(peer, Sizes(**orders["sizes"]), orders)
    peer.close()
    return {
        "version": peers.version(orders["peer"]),
        "first": first,
        "values": found.values,
        "curves": found.curves,
    }


if __name__ == "__main__":  # a worker that is spawned imports this module again
    main()
