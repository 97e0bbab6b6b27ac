"""The tables, and the arithmetic behind them. Pure: values in, Markdown out.

A ratio is taken within each round, between peers that ran seconds apart, and the median of these
ratios is shown: what slows the machine for a while slows both. It is always turned so that more
than 1 means that ppnext does better.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from benchmarks.measures import MEASURES, Measure
from benchmarks.peers import PEERS

__all__ = ["Samples", "markdown", "ratio", "ratios_table", "spread", "values_table"]

Samples: TypeAlias = dict[str, dict[str, list[float]]]
"""A list of values, one for each round, by peer and measure."""

KINDS = (("local", "ppnext", "On one machine"), ("remote", "ppnext-remote", "On a ppserver"))


def ratio(ours: Sequence[float], theirs: Sequence[float], more_is_better: bool) -> float:
    """Return how many times better ours is: the median of the rounds' ratios.

    Rounds that only one of them has are left out.
    """
    pairs = list(zip(ours, theirs, strict=False))
    if not pairs:
        raise ValueError("there is no round to compare")
    return statistics.median(a / b if more_is_better else b / a for a, b in pairs)


def number(value: float) -> str:
    """Return a value with the digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Return the median, and the least and the most in brackets."""
    low, high = number(min(values)), number(max(values))
    return f"{number(statistics.median(values))} ({low} – {high})"


def ratios_table(samples: Samples, kind: str, base: str) -> str:
    """Return the table of how many times better ``base`` is than the other peers of its kind."""
    others = [name for name in samples if PEERS[name].kind == kind and name != base]
    if base not in samples or not others:
        return "Nothing to compare with.\n"
    rows = [["times better than", *(PEERS[name].name for name in others)]]
    for measure in MEASURES:
        cells = [_ratio_cell(samples[base], samples[name], measure) for name in others]
        rows.append([measure.title, *cells])
    return _rows(rows)


def _ratio_cell(
    ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]], measure: Measure
) -> str:
    if measure.name not in ours or measure.name not in theirs:
        return ""
    return number(ratio(ours[measure.name], theirs[measure.name], measure.more_is_better)) + "×"


def values_table(samples: Samples, kind: str) -> str:
    """Return the table of the values themselves."""
    names = [name for name in samples if PEERS[name].kind == kind]
    if not names:
        return "Nothing was measured.\n"
    rows = [["", *(PEERS[name].name for name in names)]]
    for measure in MEASURES:
        cells = [
            spread(samples[name][measure.name]) if measure.name in samples[name] else ""
            for name in names
        ]
        rows.append([f"{measure.title}, {measure.unit}", *cells])
    return _rows(rows)


def markdown(
    samples: Samples,
    versions: Mapping[str, str],
    left_out: Mapping[str, str],
    facts: Mapping[str, str],
    rounds: int,
) -> str:
    """Return the whole report, ratios first."""
    parts = ["# What a job costs\n"]
    for kind, base, title in KINDS:
        parts.append(
            f"## {title}: how much better ppnext is\n\n{ratios_table(samples, kind, base)}"
        )
    parts.append("More than 1 means that ppnext does better.\n")
    for kind, _, title in KINDS:
        parts.append(f"## {title}: median (least – most)\n\n{values_table(samples, kind)}")
    lines = [f"{rounds} rounds, interleaved; the jobs do nothing. Compare within one run only.\n"]
    lines += [f"* {PEERS[name].name}: {version}" for name, version in versions.items()]
    lines += [f"* {PEERS[name].name}: left out, {why}" for name, why in left_out.items()]
    lines += [f"* {fact}: {value}" for fact, value in facts.items()]
    parts.append("## How\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _rows(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines) + "\n"
