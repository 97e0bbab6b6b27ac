"""The runner: rounds of children, interleaved, each of them bounded in time.

In every round each peer runs once, in a fresh process; every other round goes backwards, so that
no peer always runs in the shadow of the same other one. A child that hangs or fails costs its
peer the rest of the run, and the peer is named as left out.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.daemons import Daemon, DaemonFailed, start_ppft, start_ppnext
from benchmarks.environments import ROOT, EnvironmentFailed, python_of
from benchmarks.measures import Sizes
from benchmarks.peers import PEERS
from benchmarks.table import Samples

__all__ = ["Outcome", "run"]

CHILD_SECONDS = 45.0
GRACE_SECONDS = 5.0

_DAEMONS: Mapping[str, Callable[[Path, int, Path], Daemon]] = {
    "ppnext-remote": start_ppnext,
    "ppft-remote": start_ppft,
}


class ChildFailed(Exception):
    """A child did not bring what it was to measure."""


class Outcome:
    """What a run has brought.

    Attributes:
        samples: a list of values for each peer and measure, one for each round.
        versions: of the peers.
        left_out: why peers are missing, by key.
    """

    def __init__(self) -> None:
        self.samples: Samples = {}
        self.versions: dict[str, str] = {}
        self.left_out: dict[str, str] = {}

    def add(self, name: str, version: str, found: Mapping[str, float]) -> None:
        self.versions[name] = version
        for measure, value in found.items():
            self.samples.setdefault(name, {}).setdefault(measure, []).append(value)

    def leave_out(self, name: str, why: str) -> None:
        print(f"benchmarks: {PEERS[name].name} is left out: {why}", flush=True)
        self.left_out[name] = why
        self.samples.pop(name, None)


def run(names: Sequence[str], rounds: int, sizes: Sizes, workers: int, budget: float) -> Outcome:
    """Run the rounds.

    Args:
        names: keys of ``PEERS``.
        rounds: how many.
        sizes: how many jobs.
        workers: worker processes of each peer.
        budget: seconds after which no new round is begun.
    """
    outcome = Outcome()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ppnext-bench-")))
        pythons, access = _prepare(stack, names, workers, folder, outcome)
        for number in range(rounds):
            if time.monotonic() - began > budget:
                print(f"benchmarks: time is up after {number} rounds", flush=True)
                break
            order = list(names) if number % 2 == 0 else list(reversed(names))
            for name in order:
                if name in outcome.left_out:
                    continue
                orders = {
                    "peer": name,
                    "workers": workers,
                    "access": access.get(name, {}),
                    **sizes.scaled(PEERS[name].jobs)._asdict(),
                }
                try:
                    outcome.add(name, *_run_child(pythons[name], orders))
                except ChildFailed as error:
                    outcome.leave_out(name, str(error))
            print(f"benchmarks: round {number + 1} of {rounds}", flush=True)
    return outcome


def _prepare(
    stack: contextlib.ExitStack, names: Sequence[str], workers: int, folder: Path, outcome: Outcome
) -> tuple[dict[str, Path], dict[str, dict[str, str]]]:
    pythons: dict[str, Path] = {}
    access: dict[str, dict[str, str]] = {}
    for name in names:
        try:
            pythons[name] = python_of(PEERS[name].environment)
            if name in _DAEMONS:
                daemon = _DAEMONS[name](pythons[name], workers, folder)
                stack.enter_context(_ended(daemon.process))
                access[name] = daemon.access
        except (EnvironmentFailed, DaemonFailed) as error:
            outcome.leave_out(name, str(error))
    return pythons, access


def _run_child(python: Path, orders: Mapping[str, object]) -> tuple[str, dict[str, float]]:
    """Run one child; return the version of its peer and what it has measured."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(python), "-m", "benchmarks.child"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the child's streams are not piped")
    # What hangs is ended by this timer; reading then finds the end of the stream.
    hung = threading.Event()

    def give_up() -> None:
        hung.set()
        end_tree(process)

    timer = threading.Timer(CHILD_SECONDS, give_up)
    timer.start()
    with _ended(process):
        try:
            process.stdin.write(json.dumps(orders) + "\n")
            process.stdin.flush()
            first = process.stdout.readline()
            startup = (time.perf_counter() - start) * 1e3
            report = process.stdout.readline()
            errors = process.communicate()[1]
        except BrokenPipeError:
            first, report, errors = "", "", "it ended at once"
        finally:
            timer.cancel()
    if hung.is_set():
        raise ChildFailed(f"it did not end within {CHILD_SECONDS:.0f} s")
    if not first or not report.startswith("{"):
        last = errors.strip().splitlines()[-1:] or ["no result"]
        raise ChildFailed(last[0][:200])
    brought = json.loads(report)
    return brought["version"], {"startup": startup, **brought["found"]}


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the process and everything below it when the block is left."""
    try:
        yield
    finally:
        end_tree(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def end_tree(process: subprocess.Popen[str]) -> None:
    """End a process of ours and what it has started, one by one, by their numbers."""
    below: list[psutil.Process] = []
    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for child in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
