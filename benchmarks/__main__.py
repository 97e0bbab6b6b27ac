"""The command: measure, write tables, raw figures and plots to build/bench, print the tables."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import facts, report, runner
from benchmarks.environments import RESULTS, ROOT
from benchmarks.measures import DEFAULT, GROUPS, QUICK
from benchmarks.outcome import Outcome
from benchmarks.peers import CORE, PEERS

__all__ = ["main"]

RAW = RESULTS / "results.json"
SHOWN = ROOT / "docs" / "measured"
SECONDS, QUICK_SECONDS = 900.0, 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run. Return the exit status: 1 if ppnext itself is missing from the result."""
    options = parse(arguments)
    if options.docs:
        return show()
    wanted = options.peers or list(CORE if options.quick else PEERS)
    plan = runner.Plan(
        peers=[name for name in PEERS if name in wanted],
        groups=[name for name in GROUPS if name in options.groups],
        quick=options.quick,
        sizes=QUICK if options.quick else DEFAULT,
        workers=options.workers,
        seconds=options.seconds or (QUICK_SECONDS if options.quick else SECONDS),
    )
    machine = facts.machine()
    # Asked to end, it ends what it has started first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    outcome = runner.run(plan)
    kept = {"facts": machine, "workers": plan.workers, "sizes": plan.sizes._asdict()}
    write(outcome, machine, {**kept, **outcome.as_json()})
    return 0 if "ppnext" not in plan.peers or outcome.samples.get("ppnext") else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the core peers, minutes, less exact")
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER", help=", ".join(PEERS))
    parser.add_argument(
        "--groups",
        nargs="+",
        choices=GROUPS,
        default=list(GROUPS),
        metavar="GROUP",
        help=", ".join(GROUPS),
    )
    parser.add_argument("--workers", type=int, default=2, help="of each peer (2)")
    parser.add_argument("--seconds", type=float, help="after which rounds are left out (900)")
    parser.add_argument(
        "--docs", action="store_true", help="put what was measured last into docs/measured"
    )
    return parser.parse_args(arguments)


def write(outcome: Outcome, machine: Mapping[str, str], raw: Mapping[str, object]) -> None:
    """Write everything to build/bench, and print the tables."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = report.markdown(outcome, machine)
    (RESULTS / "results.md").write_text(text, encoding="utf-8")
    RAW.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    _draw(outcome, RESULTS)
    print(f"\n{text}\nbenchmarks: written to build/bench: results.md, results.json, plots (SVG)")


def show() -> int:
    """Put the last results where the documentation shows them."""
    if not RAW.exists():
        print("benchmarks: nothing was measured yet; say make bench first", file=sys.stderr)
        return 1
    raw = json.loads(RAW.read_text(encoding="utf-8"))
    outcome = Outcome.from_json(raw)
    SHOWN.mkdir(parents=True, exist_ok=True)
    text = report.documentation(outcome, raw["facts"])
    (SHOWN / "figures.inc").write_text(text, encoding="utf-8")
    _draw(outcome, SHOWN)
    print("benchmarks: written to docs/measured")
    return 0


def _draw(outcome: Outcome, folder: Path) -> None:
    for name, picture in report.pictures(outcome).items():
        (folder / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
