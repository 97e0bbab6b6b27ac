"""Coverage-guided fuzzing of all that is parsed: ``python -m tests.fuzz --minutes 5``.

libFuzzer does the work, through atheris, which has to be installed (``pip install atheris``; Linux,
Python 3.11 or later). Each target runs in a process of its own, begins with its corpus and shares
the time with the others. What it finds is written to the target's corpus as ``found-...``, and the
tests run it from then on; once it is mended, give it a name that says what it is.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.inputs import CORPUS

ROOT = Path(__file__).parents[2]
_LONGEST = 4096
"""Bytes of an input."""


def main() -> int:
    """Fuzz the targets that were asked for; return how many of them failed."""
    options = _parser().parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit("fuzzing needs atheris, which is not installed: pip install atheris")
    if options.inside:
        _fuzz(options.target, options.inside)
    from tests.fuzz.targets import TARGETS

    names = [options.target] if options.target else list(TARGETS)
    if not set(names) <= set(TARGETS):
        sys.exit(f"there is no target {options.target!r}, but: {', '.join(TARGETS)}")
    seconds = max(1, round(options.minutes * 60 / len(names)))
    return sum(_run(name, seconds) for name in names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--inside", nargs="+", default=[], help=argparse.SUPPRESS)
    return parser


def _run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; return whether it failed."""
    print(f"--- {name}, {seconds} s", flush=True)
    corpus = CORPUS / name
    with tempfile.TemporaryDirectory() as grown:
        process = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--target", name, "--inside", grown, str(corpus),
             f"artifact_prefix={corpus}/found-", f"max_total_time={seconds}",
             f"max_len={_LONGEST}", "timeout=10", "rss_limit_mb=1024", "print_final_stats=1"],
            cwd=ROOT, check=False,
        )  # fmt: skip
    return process.returncode != 0


def _fuzz(name: str, arguments: list[str]) -> None:
    """Does not return. The first two arguments are folders, the others options of libFuzzer."""
    atheris = importlib.import_module("atheris")  # optional, and without types
    with atheris.instrument_imports(include=["ppnext"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    grown, corpus, *options = arguments
    command = [sys.argv[0], grown, corpus, *(f"-{option}" for option in options)]
    atheris.Setup(command, lambda data: target(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
