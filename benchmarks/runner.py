"""The runner: groups of measures, rounds of children, interleaved, each bounded in time.

In every round of a group each peer runs once, in a fresh process; every other round goes
backwards, so that no peer always runs in the shadow of the same other one. A child that hangs or
fails costs its peer the rest of the group, and is named with the reason. Everything that a child
has started is ended before the next one starts.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.alone import command_prefix
from benchmarks.daemons import DAEMONS, DaemonFailed
from benchmarks.environments import ROOT, EnvironmentFailed, python_of
from benchmarks.measures import GROUPS, Sizes
from benchmarks.measures.cold import IMPORTS, PROGRAMS, import_seconds, start_seconds
from benchmarks.outcome import Outcome, Values
from benchmarks.peers import PEERS
from benchmarks.processes import MARK, marked

__all__ = ["Plan", "run"]

GRACE_SECONDS = 3.0


class ChildFailed(Exception):
    """A child did not bring what it was to measure."""


class Plan(NamedTuple):
    """What is to be run.

    Attributes:
        peers: keys of ``PEERS``.
        groups: keys of ``GROUPS``.
        quick: whether in few rounds.
        sizes: how much.
        workers: worker processes of each peer.
        seconds: that the run may take, environments not counted; the first round of each group
            is run in any case.
    """

    peers: Sequence[str]
    groups: Sequence[str]
    quick: bool
    sizes: Sizes
    workers: int
    seconds: float


def run(plan: Plan) -> Outcome:
    """Run all groups."""
    outcome = Outcome()
    pythons: dict[str, Path] = {}
    for name in plan.peers:
        try:
            pythons[name] = _python_for(name)
        except (EnvironmentFailed, ChildFailed) as error:
            outcome.leave_out(name, str(error))
    began = time.monotonic()
    for group in plan.groups:
        rounds = GROUPS[group].quick if plan.quick else GROUPS[group].rounds
        for number in range(rounds):
            if number and time.monotonic() - began > plan.seconds * GROUPS[group].until:
                print(f"benchmarks: time is up for {group} after {number} rounds", flush=True)
                break
            _run_round(plan, group, number, pythons, outcome)
            print(f"benchmarks: {group}, round {number + 1} of {rounds}", flush=True)
    return outcome


def _python_for(name: str) -> Path:
    if PEERS[name].alone and (sys.platform != "linux" or shutil.which("unshare") is None):
        raise ChildFailed("it listens on all addresses, and there is no unshare to keep it in")
    return python_of(PEERS[name].environment)


def _run_round(
    plan: Plan, group: str, number: int, pythons: dict[str, Path], outcome: Outcome
) -> None:
    tasks: list[tuple[str, Callable[[], Values]]]
    if group == "scheduler":
        tasks = [("scheduler", lambda: _simulate(pythons))]
    elif group == "cold":
        tasks = [(name, _cold(plan, name, pythons)) for name in PROGRAMS if name in pythons]
        tasks.append(("interpreter", _cold(plan, "interpreter", pythons)))
    else:
        tasks = [
            (name, _child(plan, group, name, pythons[name]))
            for name in pythons
            if group in PEERS[name].groups.split() and not (PEERS[name].heavy and number % 4)
        ]
    for name, task in tasks if number % 2 == 0 else reversed(tasks):
        if (name, group) in outcome.failed:
            continue
        try:
            outcome.add(name, group, number, task())
        except (ChildFailed, DaemonFailed) as error:
            outcome.fail(name, group, str(error))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            outcome.fail(name, group, f"{type(error).__name__}: {error}"[:200])


def _child(plan: Plan, group: str, name: str, python: Path) -> Callable[[], Values]:
    """Return what runs one child, with its daemon if it needs one."""
    peer = PEERS[name]

    def task() -> Values:
        with tempfile.TemporaryDirectory(prefix="bench-") as place:
            folder, mark = Path(place), secrets.token_hex(8)
            env = environment(mark)
            try:
                access = {}
                if peer.daemon is not None:
                    access = DAEMONS[peer.daemon](python, plan.workers, folder, env)
                orders = {
                    "peer": name,
                    "group": group,
                    "workers": plan.workers,
                    "access": access,
                    "mark": mark,
                    "report": str(folder / "report.json"),
                    "sizes": plan.sizes.scaled(peer.share, peer.single, peer.calls)._asdict(),
                }
                launcher = [part.format(workers=plan.workers) for part in peer.launcher]
                module = [*launcher, str(ROOT / "benchmarks" / "child.py")]
                command = [str(python), *(module if launcher else ["-m", "benchmarks.child"])]
                if peer.alone:
                    command = [*command_prefix(str(python)), *command]
                return _watch([*command, json.dumps(orders)], folder, env, GROUPS[group].seconds)
            finally:
                end(marked(mark))

    return task


def _simulate(pythons: dict[str, Path]) -> Values:
    if not (ROOT / "benchmarks" / "scheduling.py").exists() or "ppnext" not in pythons:
        raise ChildFailed("not available")
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        mark = secrets.token_hex(8)
        report = str(Path(place) / "report.json")
        command = [str(pythons["ppnext"]), "-m", "benchmarks.simulated", report]
        try:
            seconds = GROUPS["scheduler"].seconds
            return _watch(command, Path(place), environment(mark), seconds)
        finally:
            end(marked(mark))


def _cold(plan: Plan, name: str, pythons: dict[str, Path]) -> Callable[[], Values]:
    def task() -> Values:
        python = pythons.get(name) or python_of("ppnext")
        program = PROGRAMS[name].format(workers=plan.workers)
        with tempfile.TemporaryDirectory(prefix="bench-") as place:
            folder, mark = Path(place), secrets.token_hex(8)
            env = environment(mark)
            try:
                values = {"cold": 1e3 * start_seconds(python, program, folder, env)}
                if name in IMPORTS:
                    values["import"] = 1e3 * import_seconds(python, IMPORTS[name], folder, env)
            finally:
                end(marked(mark))
        return Values(values, {}, "")

    return task


def _watch(command: Sequence[str], folder: Path, env: dict[str, str], seconds: float) -> Values:
    """Run a child; return what it has written down."""
    report = folder / "report.json"
    start = time.monotonic()
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"it did not end within {seconds:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not report.exists():
        said = (folder / "errors").read_text(encoding="utf-8", errors="replace")
        raise ChildFailed((said.strip().splitlines() or ["it brought no result"])[-1][:200])
    brought = json.loads(report.read_text(encoding="utf-8"))
    if "unavailable" in brought:
        raise ChildFailed(f"not available: {brought['unavailable']}")
    values = dict(brought["values"])
    if "first" in brought:
        values["startup"] = 1e3 * (brought["first"] - start)
    return Values(values, brought["curves"], brought["version"])


def environment(mark: str) -> dict[str, str]:
    """Return the environment of what a child starts: with its mark, without other settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, MARK: mark, "PYTHONPATH": str(ROOT)}


def end(pids: set[int]) -> None:
    """End processes that carry our mark, one by one, by their numbers."""
    processes = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            process.terminate()
        except psutil.NoSuchProcess:
            continue
        processes.append(process)
    _, stubborn = psutil.wait_procs(processes, GRACE_SECONDS)
    for process in stubborn:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stubborn, GRACE_SECONDS)
