"""What a run has brought: values by peer, measure and round, and what is missing and why.

Written to build/bench/results.json, and read from there again. Pure but for a line printed when
something is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Outcome", "Samples", "Values"]

Samples: TypeAlias = dict[str, dict[str, dict[int, float]]]
"""Values by peer, measure and round."""


class Values(NamedTuple):
    """What one child has brought: values by measure, curves by name."""

    values: Mapping[str, float]
    curves: Mapping[str, list[Any]]
    version: str


class Outcome:
    """What a run has brought.

    Attributes:
        samples: the values.
        curves: for each peer and name a list of what the rounds have brought.
        versions: of the peers, by key.
        left_out: why peers are missing altogether.
        failed: why a peer is missing in a group.
    """

    def __init__(self) -> None:
        self.samples: Samples = {}
        self.curves: dict[str, dict[str, list[Any]]] = {}
        self.versions: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.failed: dict[tuple[str, str], str] = {}

    def add(self, name: str, group: str, number: int, brought: Values) -> None:
        """Keep what a child has brought in a round."""
        if brought.version:
            self.versions[name] = brought.version
        for measure, value in brought.values.items():
            if measure == "startup" and group != "calls":
                continue  # the group's own imports would count, too
            self.samples.setdefault(name, {}).setdefault(measure, {})[number] = value
        for curve, points in brought.curves.items():
            self.curves.setdefault(name, {}).setdefault(curve, []).append(points)

    def leave_out(self, name: str, why: str) -> None:
        """Leave a peer out of everything."""
        print(f"benchmarks: {name} is left out: {why}", flush=True)
        self.left_out[name] = why

    def fail(self, name: str, group: str, why: str) -> None:
        """Leave a peer out of the rest of a group."""
        print(f"benchmarks: {name} is left out of {group}: {why}", flush=True)
        self.failed[name, group] = why

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON knows."""
        return {
            "versions": self.versions,
            "left_out": self.left_out,
            "failed": [[*key, why] for key, why in self.failed.items()],
            "samples": self.samples,
            "curves": self.curves,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Outcome:
        """Return what ``as_json`` was made of."""
        outcome = cls()
        outcome.versions = dict(found["versions"])
        outcome.left_out = dict(found["left_out"])
        outcome.failed = {(name, group): why for name, group, why in found["failed"]}
        outcome.curves = dict(found["curves"])
        outcome.samples = {
            name: {
                measure: {int(number): value for number, value in rounds.items()}
                for measure, rounds in measures.items()
            }
            for name, measures in found["samples"].items()
        }
        return outcome
