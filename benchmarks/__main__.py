"""The command: run the benchmarks, write build/bench/results.md and .json, print the tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks import facts, runner, table
from benchmarks.environments import ROOT
from benchmarks.measures import Sizes
from benchmarks.peers import PEERS

__all__ = ["main"]

RESULTS = ROOT / "build" / "bench"
DEFAULT = Sizes(batch=10_000, single=500)
QUICK = Sizes(batch=3_000, single=200)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run. Return the exit status: 1 if ppnext itself is missing from the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute, less exact")
    parser.add_argument("--rounds", type=int, help="7, or 3 if quick")
    parser.add_argument("--workers", type=int, default=2, help="of each peer (2)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    options = parser.parse_args(arguments)
    rounds = options.rounds or (3 if options.quick else 7)
    sizes, budget = (QUICK, 35.0) if options.quick else (DEFAULT, 200.0)
    machine = facts.machine()
    outcome = runner.run(options.peers, rounds, sizes, options.workers, budget)
    samples = {name: outcome.samples[name] for name in options.peers if name in outcome.samples}
    done = max((len(values) for peer in samples.values() for values in peer.values()), default=0)
    text = table.markdown(samples, outcome.versions, outcome.left_out, machine, done)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "results.md").write_text(text, encoding="utf-8")
    everything = {
        "facts": machine,
        "versions": outcome.versions,
        "left_out": outcome.left_out,
        "workers": options.workers,
        "sizes": sizes._asdict(),
        "samples": samples,
    }
    (RESULTS / "results.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    print(f"\n{text}\nbenchmarks: written to build/bench/results.md and results.json")
    missing = [name for name in ("ppnext", "ppnext-remote") if name in outcome.left_out]
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
