"""The report: what a campaign did, what became of it, and what must not have happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.campaign import Outcome

__all__ = ["lines"]


def lines(outcome: Outcome, seed: int, seconds: float) -> Iterator[str]:
    """Yield the lines of the report."""
    yield f"chaos: seed {seed}, {seconds:g} s of faults"
    yield ""
    yield from _jobs(outcome)
    yield ""
    yield from _faults(outcome)
    yield ""
    if outcome.drill is not None:
        yield from outcome.drill.lines()
        yield ""
    yield from _memory(outcome)
    yield ""
    yield from _verdict(outcome)


def _jobs(outcome: Outcome) -> Iterator[str]:
    endings: dict[str, list[str]] = defaultdict(list)
    for (kind, ending), number in sorted(outcome.jobs.items()):
        endings[kind].append(f"{number} {ending}")
    yield f"{outcome.jobs.total()} jobs"
    for kind, told in endings.items():
        yield f"  {kind:10} {', '.join(told)}"


def _faults(outcome: Outcome) -> Iterator[str]:
    yield f"{outcome.faults.total()} faults"
    for name, number in sorted(outcome.faults.items()):
        yield f"  {number:4} {name}"
    if outcome.skipped:
        yield f"  {outcome.skipped.total():4} more found all machines taken"


def _memory(outcome: Outcome) -> Iterator[str]:
    if not outcome.slopes:
        yield "no process lived long enough to say how its memory grows"
    for it in outcome.slopes:
        yield (
            f"{it.who}: {it.per_minute / 1024:+.0f} ± {it.error / 1024:.0f} KiB a minute "
            f"over {it.seconds:.0f} s"
        )


def _verdict(outcome: Outcome) -> Iterator[str]:
    if not outcome.violations:
        yield "no violation"
        return
    yield f"{len(outcome.violations)} VIOLATIONS"
    for line in outcome.violations:
        yield f"  {line}"
    yield ""
    yield "the story:"
    for at, text in outcome.story:
        yield f"  {at:8.2f} {text}"
