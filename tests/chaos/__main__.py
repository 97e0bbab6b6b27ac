"""``python -m tests.chaos``: run a campaign and print its report; status 1 if there is a violation.

Where the kernel permits it the program starts itself again inside of namespaces of its own; see
``wires``. Ctrl-C and SIGTERM end it early and leave nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.chaos.campaign import Campaign, Outcome
from tests.chaos.faults import FAULTS
from tests.chaos.report import lines
from tests.chaos.wires import enter

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command. Return its exit status."""
    options = _parser().parse_args(arguments)
    if options.seed is None:
        options.seed = random.randrange(1 << 31)
        arguments = [*arguments, "--seed", str(options.seed)]
    enter("tests.chaos", arguments)
    print(f"chaos: seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="ppnext-chaos-"))
    kept = True
    try:
        outcome = asyncio.run(_run(options, folder))
        kept = bool(outcome.violations)
    except asyncio.CancelledError:
        print("chaos: ended early")
        kept = False
        return 130
    finally:
        if kept:
            print(f"chaos: what was written is in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)  # a mount in it goes with the namespace
    for line in lines(outcome, options.seed, options.minutes * 60):
        print(line)
    return 1 if outcome.violations else 0


async def _run(options: argparse.Namespace, folder: Path) -> Outcome:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    names = tuple(options.faults.split(",")) if options.faults else ()
    campaign = Campaign(
        options.seed,
        options.minutes * 60,
        names,
        measured=not options.no_drill,
        tell=partial(print, flush=True) if options.verbose else lambda line: None,
    )
    return await campaign.run(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Mixed jobs on real daemons under real faults."
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long faults come (30)")
    parser.add_argument("--seed", type=int, help="repeats what is planned; random by default")
    parser.add_argument(
        "--faults",
        type=_names,
        help=f"comma-separated; all of: {', '.join(FAULTS)}",
    )
    parser.add_argument("--no-drill", action="store_true", help="measure nothing before")
    parser.add_argument("--verbose", action="store_true", help="tell the story as it happens")
    return parser


def _names(text: str) -> str:
    unknown = set(text.split(",")) - set(FAULTS)
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no fault {', '.join(sorted(unknown))}")
    return text


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    sys.exit(main(sys.argv[1:]))
