"""Niceness: a process takes on what its parent wants, and its children do not hear of it."""

from __future__ import annotations

import subprocess
import sys

from ppnext.runtime.niceness import MOST, VARIABLE, give_way
from ppnext.runtime.processes import worker_environment

TAKES_ON = """
import os
from ppnext.runtime.niceness import VARIABLE, give_way
before = os.getpriority(os.PRIO_PROCESS, 0)
give_way(os.environ)
print(os.getpriority(os.PRIO_PROCESS, 0) - before, VARIABLE in os.environ)
"""


def test_a_process_gives_way_and_takes_the_number_out() -> None:
    """In a process of its own: it cannot be taken back."""
    told = subprocess.run(
        [sys.executable, "-c", TAKES_ON],
        env={VARIABLE: "3", "PYTHONPATH": sys.path[0]},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert told.stdout == "3 False\n"


def test_without_a_number_nothing_changes() -> None:
    environment = {"PATH": "/bin"}
    give_way(environment)
    assert environment == {"PATH": "/bin"}


def test_workers_are_told_by_whoever_starts_them_and_by_nobody_else() -> None:
    inherited = {"PATH": "/bin", VARIABLE: "7"}
    assert worker_environment(inherited) == {"PATH": "/bin"}
    assert worker_environment(inherited, nice=MOST) == {"PATH": "/bin", VARIABLE: "19"}
