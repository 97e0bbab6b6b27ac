"""The arithmetic and the tables. Pure: values in, text out.

A ratio is taken within each round, between peers that ran seconds apart, and the median of these
ratios is shown: what slows the machine for a while slows both. In the tables it is turned so that
more than 1 means that ppnext does better.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from benchmarks.measures import MEASURES, Measure
from benchmarks.outcome import Samples
from benchmarks.peers import PEERS

__all__ = [
    "ALONE",
    "TABLES",
    "Table",
    "list_table",
    "number",
    "ratio",
    "ratios",
    "rows_as_text",
    "values",
]

Table: TypeAlias = list[list[str]]

# Title, whose values the ratios are of, the other peers (all with a value if empty), the measures.
TABLES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "Jobs and maps on one machine",
        "ppnext",
        (),
        ("throughput", "client", "latency", "map", "uneven"),
    ),
    ("Arrays on one machine", "ppnext", (), ("array", "array_share", "shared", "shared_copies")),
    (
        "A ppserver and its like on the loopback",
        "ppnext-remote",
        ("ppft-remote", "dask", "ray", "ipyparallel"),
        ("throughput", "client", "latency", "map", "array", "shared"),
    ),
    ("Jobs that are stopped", "ppnext", (), ("stop_reuse", "timeout_late")),
    ("Start-up and idleness", "ppnext", (), ("startup", "cold", "idle")),
)

_FORMS = ("reference", "source", "value", "package")

# The same, but that no other system has anything like it, and there are no ratios.
ALONE: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    *(
        (title, "ppnext", ("ppnext-remote",), tuple(f"{what}_{form}" for form in _FORMS))
        for what, title in (
            ("submit", "Submitting a function that is known"),
            ("client", "Many jobs of a function that is known"),
            ("single", "One job at a time of a function that is known"),
        )
    ),
    (
        "New functions and packages",
        "ppnext",
        ("ppnext-remote",),
        (
            *("first_reference", "first_source", "first_value"),
            *("package_first", "package_next", "package_later", "package_switch"),
        ),
    ),
)


def ratio(ours: Mapping[int, float], theirs: Mapping[int, float], more_is_better: bool) -> float:
    """Return how many times better ours is: the median of the rounds' ratios.

    Raises:
        ValueError: there is no round that both have.
    """
    both = ours.keys() & theirs.keys()
    if not both:
        raise ValueError("there is no round to compare")
    pairs = [(ours[at], theirs[at]) for at in both]
    return statistics.median(a / b if more_is_better else b / a for a, b in pairs)


def number(value: float) -> str:
    """Return a value with the digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratios(samples: Samples, base: str, others: Sequence[str], measures: Sequence[str]) -> Table:
    """Return the table of how many times better ``base`` is: a line for each other peer."""
    table = [["times better than", *(MEASURES[name].title for name in measures)]]
    for other in others or PEERS:
        if other == base or (not others and _is_remote(other)):
            continue
        cells = [_ratio_cell(samples, base, other, MEASURES[name]) for name in measures]
        if any(cells):
            table.append([PEERS[other].name, *cells])
    return table


def values(samples: Samples, base: str, others: Sequence[str], measures: Sequence[str]) -> Table:
    """Return the table of the values themselves: medians, a line for each peer."""
    table = [["", *(_heading(MEASURES[name]) for name in measures)]]
    for peer in [base, *others] if others else [p for p in PEERS if not _is_remote(p)]:
        found = samples.get(peer, {})
        cells = [
            number(statistics.median(found[name].values())) if name in found else ""
            for name in measures
        ]
        if any(cells):
            table.append([PEERS[peer].name, *cells])
    return table


def _is_remote(name: str) -> bool:
    return PEERS[name].daemon is not None


def _heading(measure: Measure) -> str:
    return f"{measure.title}, {measure.unit}" if measure.unit else measure.title


def _ratio_cell(samples: Samples, base: str, other: str, measure: Measure) -> str:
    ours = samples.get(base, {}).get(measure.name, {})
    theirs = samples.get(other, {}).get(measure.name, {})
    if not ours.keys() & theirs.keys():
        return ""
    return number(ratio(ours, theirs, measure.more_is_better)) + "×"


def rows_as_text(table: Table) -> str:
    """Return a table in Markdown."""
    head, *body = table
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines) + "\n"


def list_table(title: str, table: Table) -> str:
    """Return a table as reStructuredText."""
    lines = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in table:
        first, *rest = row
        lines.append(f"   * - {first}".rstrip())
        lines += [f"     - {cell}".rstrip() for cell in rest]
    return "\n".join(lines) + "\n"
