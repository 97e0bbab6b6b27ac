"""The report: the tables as Markdown and for the documentation, the plots. Pure: text out."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import plots
from benchmarks.figures import rows
from benchmarks.outcome import Outcome
from benchmarks.peers import PEERS
from benchmarks.table import ALONE, TABLES, Table, list_table, ratios, rows_as_text, values

__all__ = ["documentation", "figures_table", "markdown", "pictures"]

HEAD = ["#", "measure", "ppnext", "to reach", "reached"]
FLOORS = {"interpreter": "interpreter", "scheduler": "the scheduler alone"}


def figures_table(outcome: Outcome) -> Table:
    """Return the table of what is to be reached."""
    return [HEAD, *([str(row[0]), *row[1:]] for row in rows(outcome.samples))]


def markdown(outcome: Outcome, facts: Mapping[str, str]) -> str:
    """Return the whole report, ratios first."""
    parts = ["# What a job costs\n", "## Figures to reach\n", rows_as_text(figures_table(outcome))]
    for title, table in tables(outcome, "times better"):
        parts += [f"## {title}\n", rows_as_text(table)]
    parts += ["## How\n", "\n".join(f"* {line}" for line in how(outcome, facts)) + "\n"]
    return "\n".join(parts)


def documentation(outcome: Outcome, facts: Mapping[str, str]) -> str:
    """Return the same as reStructuredText, to be included in the page of the documentation."""
    parts = [list_table("Figures to reach", figures_table(outcome))]
    for title, table in tables(outcome, "how many times better ppnext is"):
        parts.append(list_table(title, table))
    parts.append("\n".join(f"* {line}" for line in how(outcome, facts)) + "\n")
    return "\n".join(parts)


def tables(outcome: Outcome, better: str) -> Iterator[tuple[str, Table]]:
    """Yield the tables that have values, with their titles: ratios, then medians."""
    for function, what, shown in ((ratios, better, TABLES), (values, "medians", (*TABLES, *ALONE))):
        for title, base, others, measures in shown:
            table = function(outcome.samples, base, others, measures)
            if len(table) > 1:
                yield f"{title}: {what}", table


def how(outcome: Outcome, facts: Mapping[str, str]) -> Iterator[str]:
    """Yield versions, what is missing and why, and what the machine is."""
    for name, version in outcome.versions.items():
        if name in PEERS:
            yield f"{PEERS[name].name}: {version}"
    for name, why in outcome.left_out.items():
        yield f"{PEERS[name].name}: left out, {why}"
    for (name, group), why in outcome.failed.items():
        yield f"{_name(name)}: left out of {group}, {why}"
    for fact, value in facts.items():
        yield f"{fact}: {value}"


def _name(name: str) -> str:
    return PEERS[name].name if name in PEERS else FLOORS.get(name, name)


def pictures(outcome: Outcome) -> dict[str, str]:
    """Return the plots that there are values for, by file name."""
    made = {}
    for measure, title, unit in (
        ("throughput", "Jobs submitted and collected", "jobs/s"),
        ("map", "Map over small calls", "calls/s"),
        ("array", "64 MiB array there and back", "MB/s"),
    ):
        found = _medians(outcome, measure)
        if found:
            made[f"{measure}.svg"] = plots.bars(title, unit, found)
    latencies = _latencies(outcome)
    if latencies:
        title = "One job at a time"
        made["latency.svg"] = plots.distributions(title, "µs, submit to result", latencies)
    queue, nodes = _scaling(outcome)
    if queue:
        title = "What one more job costs when so many wait"
        made["queue.svg"] = plots.curves(title, "jobs that wait", "µs", queue)
    if nodes:
        title = "What a decision costs with so many nodes"
        made["nodes.svg"] = plots.curves(title, "nodes of 16 slots", "µs", nodes)
    return made


def _medians(outcome: Outcome, measure: str) -> dict[str, float]:
    return {
        PEERS[name].name: statistics.median(outcome.samples[name][measure].values())
        for name in PEERS
        if measure in outcome.samples.get(name, {})
    }


def _latencies(outcome: Outcome) -> dict[str, list[float]]:
    """Return the percentiles by peer, each the median of the rounds'."""
    found = {
        PEERS[name].name: _middle(outcome.curves[name]["latency"])
        for name in PEERS
        if "latency" in outcome.curves.get(name, {})
    }
    floors = [curve for kept in outcome.curves.values() for curve in kept.get("floor", [])]
    return {**found, "bare ping-pong": _middle(floors)} if floors else found


def _middle(rounds: Sequence[Any]) -> list[float]:
    # A round's curve comes as the one line of what the child has brought.
    lines = [found[0] for found in rounds]
    return [statistics.median(column) for column in zip(*lines, strict=True)]


def _scaling(outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
    queue: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    submitted = outcome.curves.get("ppnext", {}).get("queue", [])
    if submitted:
        queue["ppnext, submit"] = submitted[-1]
    alone = outcome.curves.get("scheduler", {})
    if "queue" in alone:
        queue["scheduler alone"] = alone["queue"][-1]
    if "nodes" in alone:
        nodes["scheduler alone"] = alone["nodes"][-1]
    return queue, nodes
