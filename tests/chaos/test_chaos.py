"""A campaign of some seconds: does the rig work, and does ppnext stand it?

The real ones are longer: ``make chaos``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.chaos.faults import FAULTS, plan

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and Linux's limits"),
]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 110.0


@contextmanager
def campaign(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A campaign in a process of its own, which is ended with all below it."""
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.terminate()
        program.communicate(timeout=30)


@pytest.mark.slow
def test_ten_seconds_of_chaos(tmp_path: Path) -> None:
    with campaign(tmp_path, "--minutes", "0.16", "--seed", "1", "--no-drill") as program:
        report, _ = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, report
    assert "no violation" in report
    assert not list(tmp_path.iterdir())


def test_it_ends_early_when_told_to_and_leaves_nothing(tmp_path: Path) -> None:
    with campaign(tmp_path, "--minutes", "1", "--seed", "2", "--no-drill") as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("chaos: seed 2")
        while not list(tmp_path.glob("*/log-client")):
            assert program.poll() is None
            psutil.wait_procs([psutil.Process(program.pid)], timeout=0.1)  # nothing tells of a file
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=30)
    assert program.returncode == 130, said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_plan_is_that_of_its_seed() -> None:
    names = list(FAULTS)
    assert plan(7, 60.0, names) == plan(7, 60.0, names)
    assert plan(7, 60.0, names) != plan(8, 60.0, names)


def test_a_plan_holds_every_fault_in_its_length() -> None:
    misfortunes = plan(1, 1800.0, list(FAULTS))
    assert {it.fault for it in misfortunes} == set(FAULTS)
    assert [it.at for it in misfortunes] == [float(second) for second in range(1800)]
    for it in misfortunes:
        assert FAULTS[it.fault].shortest <= it.length <= FAULTS[it.fault].longest
