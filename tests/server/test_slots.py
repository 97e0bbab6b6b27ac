"""Slots in use: they stay for a moment after a job, so that the next one finds its worker.

The moment is over when the test says so.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ppnext.server.slots import SlotsInUse


class Timer:
    """A call that is to be made later."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Stage:
    """Slots, and what they are told and tell."""

    def __init__(self) -> None:
        self.jobs = 0
        self.less = 0
        self.timers: list[Timer] = []
        self.slots = SlotsInUse(self, 4, lambda: self.jobs, self._on_less)  # type: ignore[arg-type]  # a fake loop

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        assert 0 < seconds < 1
        self.timers.append(Timer(call))
        return self.timers[-1]

    def have(self, jobs: int) -> None:
        """The session has so many jobs now."""
        self.jobs = jobs
        self.slots.note()

    def pass_moment(self) -> None:
        """Time goes by."""
        due, self.timers = self.timers, []
        for timer in due:
            if not timer.cancelled:
                timer.call()

    def _on_less(self) -> None:
        self.less += 1


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_slots_stay_in_use_for_a_moment_and_are_given_back_then(stage: Stage) -> None:
    stage.have(3)
    assert stage.slots.demand == 3
    stage.have(1)
    assert (stage.slots.demand, stage.less) == (3, 0)
    stage.pass_moment()
    assert (stage.slots.demand, stage.less) == (1, 1)


def test_the_next_jobs_take_them_over(stage: Stage) -> None:
    stage.have(2)
    stage.have(0)
    stage.have(2)
    stage.pass_moment()
    assert (stage.slots.demand, stage.less) == (2, 0)


def test_more_jobs_than_slots_are_a_demand_and_no_use(stage: Stage) -> None:
    stage.have(100)
    assert stage.slots.demand == 100
    stage.have(0)
    assert stage.slots.demand == 4


def test_after_the_end_nobody_is_told(stage: Stage) -> None:
    stage.have(2)
    stage.have(0)
    stage.slots.close()
    stage.pass_moment()
    assert stage.less == 0
