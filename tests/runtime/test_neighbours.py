"""What others use: what the machine does without what is ours; never less than nothing."""

from __future__ import annotations

import subprocess
import sys
from time import process_time

import pytest

from ppnext.runtime.neighbours import Neighbours, processor_time

BUSY = """
import time
while time.process_time() < 0.5:
    pass
print(time.process_time())
"""


def test_ours_does_not_count() -> None:
    readings = [(100.0, 10.0), (110.0, 14.0), (130.0, 34.0)]
    machine = iter([machine for machine, _ in readings])
    ours = iter([ours for _, ours in readings])
    neighbours = Neighbours(lambda: next(machine), lambda: next(ours))
    assert [neighbours.used() for _ in readings] == [0.0, 6.0, 6.0]


def test_what_a_process_of_ours_takes_with_it_is_no_use_of_others() -> None:
    machine, ours = iter([0.0, 10.0, 20.0]), iter([0.0, 9.0, 2.0])
    neighbours = Neighbours(lambda: next(machine), lambda: next(ours))
    assert [neighbours.used() for _ in range(3)] == [0.0, 1.0, 11.0]


def test_readings_that_do_not_fit_together_never_count_down() -> None:
    machine, ours = iter([10.0, 5.0, 11.0]), iter([0.0, 9.0, 20.0])
    neighbours = Neighbours(lambda: next(machine), lambda: next(ours))
    assert [neighbours.used() for _ in range(3)] == [0.0, 0.0, 0.0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs the times of processes that have ended")
def test_what_this_process_and_its_children_do_is_known_to_be_ours() -> None:
    """What others do at the same time is not known here, so only our part is looked at."""
    ours: list[float] = []

    def family() -> float:
        ours.append(processor_time())
        return ours[-1]

    neighbours = Neighbours(family=family)
    neighbours.used()
    spent = process_time()
    told = subprocess.run(
        [sys.executable, "-c", BUSY], capture_output=True, check=True, timeout=30, text=True
    )
    spent = process_time() - spent + float(told.stdout)
    neighbours.used()
    assert ours[1] - ours[0] >= spent - 0.1  # the system counts in hundredths
    assert neighbours.used() >= 0.0
