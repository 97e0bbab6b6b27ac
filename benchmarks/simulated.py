"""The scheduler by itself: a child that measures it and writes what it has found to a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Measure, and write the report."""
    from benchmarks import scheduling

    decisions, scaling = scheduling.decisions(), scheduling.scaling()
    nodes, queue = scaling["nodes"], scaling["queue"]
    values = {
        "decisions": decisions["singly"],
        "nodes_growth": nodes[-1][1] / nodes[0][1],
        "queue_growth": queue[-1][1] / queue[0][1],
        "makespan": scheduling.makespan()["ratio"],
    }
    report = {"version": "", "values": values, "curves": {"nodes": nodes, "queue": queue}}
    Path(sys.argv[1]).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
