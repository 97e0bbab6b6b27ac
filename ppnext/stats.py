"""Statistics: what each node has done for a server, and the table that Parallel Python prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NodeStats", "format_stats"]


@dataclass(slots=True)
class NodeStats:
    """What one node has done.

    Attributes:
        ncpus: jobs that it runs at a time; 0 while it is not connected.
        njobs: jobs that have ended there by themselves.
        time: seconds that those jobs took, added up.
        attempts: jobs that were sent to it, also those that were lost or given back.
        lost: attempts that were lost with a worker or with the node.
    """

    ncpus: int = 0
    njobs: int = 0
    time: float = 0.0
    attempts: int = 0
    lost: int = 0


def format_stats(
    stats: Mapping[str, NodeStats], elapsed: float, active: int, ncpus: int, rescheduled: int
) -> str:
    """Return the table.

    Args:
        stats: by node name.
        elapsed: seconds since the server was made.
        active: jobs that have not ended.
        ncpus: local workers.
        rescheduled: attempts that were lost and followed by another.
    """
    total = sum(node.njobs for node in stats.values())
    lines = [
        "Job execution statistics:",
        " job count | % of all jobs | job time sum | time per job | attempts | lost | job server",
    ]
    for name, node in stats.items():
        if not (node.njobs or node.lost):
            continue
        share = 100.0 * node.njobs / total if total else 0.0
        each = node.time / node.njobs if node.njobs else 0.0
        lines.append(
            f"    {node.njobs:6} |        {share:6.2f} |     {node.time:8.4f} |  {each:11.6f} |"
            f"   {node.attempts:6} | {node.lost:4} | {name}"
        )
    lines.append(f"Time elapsed since server creation {elapsed:.6f}")
    lines.append(f"{active} active tasks, {ncpus} cores")
    if rescheduled:
        lines.append(f"{rescheduled} attempts were lost and run again; each job is counted once")
    return "\n".join(lines) + "\n"
