"""The command: which seeds to live through, in how many processes, and what to say of them."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tests.simulation.world import World

__all__ = ["Life", "live", "main"]

_PROGRESS = 5000
"""Seeds after which a line says how far it has come."""


class Life(NamedTuple):
    """What became of a seed.

    Attributes:
        seed: the seed.
        trouble: what went wrong; empty if nothing did.
        happened: how often what happened.
        digest: of its trace.
        events: calls that were made.
    """

    seed: int
    trouble: str
    happened: Counter[str]
    digest: str
    events: int


def live(seed: int) -> Life:
    """Live through a seed."""
    world = World(seed)
    trouble = ""
    try:
        world.live()
    except Exception:  # whatever it is, the seed is what is needed to see it again
        trouble = traceback.format_exc()
    kernel = world.kernel
    return Life(seed, trouble, kernel.happened, kernel.digest(), kernel.events)


def _prepare() -> None:
    gc.collect()
    gc.freeze()


def _range(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit status: 0, or 1 if a seed has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=_range, default=range(1000), metavar="FIRST..LAST")
    parser.add_argument("--seed", type=int, help="live through this one only")
    parser.add_argument("--trace", action="store_true", help="print what happens, with --seed")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--failures", type=int, default=3, help="end after so many")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _replay(options.seed, options.trace)
    return _batch(options.seeds, options.processes, options.failures)


def _replay(seed: int, trace: bool) -> int:
    world = World(seed, print if trace else None)
    try:
        world.live()
    finally:
        print(f"seed {seed}: {world.kernel.events} events, digest {world.kernel.digest()[:16]}")
    return 0


def _batch(seeds: range, processes: int, most: int) -> int:
    began = time.perf_counter()
    happened: Counter[str] = Counter()
    failed: list[Life] = []
    lived = events = 0
    with multiprocessing.Pool(processes, _prepare) as pool:
        for life in pool.imap(live, seeds, 20):
            lived += 1
            events += life.events
            happened += life.happened
            if lived % _PROGRESS == 0:
                print(f"{lived} seeds, {len(failed)} failed", file=sys.stderr, flush=True)
            if life.trouble:
                failed.append(life)
                print(f"seed {life.seed} failed:\n{life.trouble}", flush=True)
                if len(failed) >= most:
                    break
    seconds = time.perf_counter() - began
    for what, times in sorted(happened.items()):
        print(f"{times:9} {what}")
    rate = lived / seconds / processes
    print(
        f"{lived} seeds, {events} events, {seconds:.0f} s, {rate:.1f} seeds a second and process; "
        f"{len(failed)} failed"
    )
    for life in failed:
        print(f"see it again: python -m tests.simulation --seed {life.seed} --trace")
    return 1 if failed else 0
