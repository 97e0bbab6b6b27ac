"""The guard of a worker: jobs are stopped when they may not go on, and the verdict is kept.

Time is a fake's: it passes when a test says so.
"""

from __future__ import annotations

import pytest

from ppnext.nodes.guard import GRACE, Guard
from ppnext.sched.model import NOBODY, Limit, Verdict
from ppnext.wire.messages import Began, Limits, Stop
from tests.nodes.clock import Clock

MOMENT = 0.25
"""Seconds that are long enough for a look at the memory."""

LONG = 1000.0


class Process:
    """A worker process that answers what it is told to answer."""

    def __init__(self) -> None:
        self.kills = 0
        self.started: int | None = None
        self.size = 0
        self.stack = ""
        self.asked = 0

    def kill(self) -> None:
        self.kills += 1

    def ask_where(self) -> int:
        self.asked += 1
        return self.asked

    def footprint(self) -> int:
        return self.size

    def last_started(self) -> int | None:
        return self.started

    def where(self, asked: int) -> str:
        assert asked == self.asked
        return self.stack


class Watch:
    """A guard with what it watches and what it is told by."""

    def __init__(self) -> None:
        self.clock, self.process = Clock(), Process()
        self.sent: list[Stop] = []
        self.guard = Guard(self.process, self.clock.later, self.sent.append)  # type: ignore[arg-type]  # a Timer can be cancelled, and that is all

    def begin(self, limits: Limits, job: int = 7, attempt: int = 1, called: bool = True) -> None:
        self.guard.begin(Began(job, attempt, called), limits)


@pytest.fixture
def watch() -> Watch:
    """A guard that watches nothing yet."""
    return Watch()


# Timeouts.


def test_a_job_within_its_timeout_is_let_alone(watch: Watch) -> None:
    watch.begin(Limits(timeout=5))
    watch.clock.forward(4.9)
    assert watch.guard.ended() is None
    watch.clock.forward(LONG)
    assert (watch.sent, watch.process.kills) == ([], 0)


def test_a_job_whose_time_is_up_is_interrupted_and_may_clean_up(watch: Watch) -> None:
    watch.begin(Limits(timeout=5))
    watch.clock.forward(5)
    assert watch.sent == [Stop(7, 1, GRACE)]
    watch.clock.forward(0.9 * GRACE)
    assert watch.process.kills == 0


def test_the_time_of_a_suspended_job_does_not_run(watch: Watch) -> None:
    watch.begin(Limits(timeout=5))
    watch.clock.forward(3)
    watch.guard.hold(watch.clock.now)
    watch.clock.forward(LONG)
    assert watch.sent == []
    watch.guard.go_on()
    watch.clock.forward(1.9)
    assert watch.sent == []
    watch.clock.forward(0.2)
    assert watch.sent == [Stop(7, 1, GRACE)]


def test_what_is_said_before_a_job_is_suspended_and_heard_afterwards(watch: Watch) -> None:
    watch.guard.hold(watch.clock.now)
    watch.begin(Limits(timeout=5))
    watch.clock.forward(LONG)
    assert watch.sent == []
    watch.guard.go_on()
    watch.clock.forward(5)
    assert watch.sent == [Stop(7, 1, GRACE)]


def test_a_suspended_job_that_nobody_wants_any_more_is_killed_after_its_grace(
    watch: Watch,
) -> None:
    watch.begin(Limits(timeout=5))
    watch.guard.hold(watch.clock.now)
    watch.guard.stop((7, 1), 1.0)
    watch.clock.forward(1)
    assert watch.process.kills == 1


def test_what_a_process_has_begun_is_known_although_it_does_not_answer(watch: Watch) -> None:
    told: list[float] = []
    watch.guard.expect(lambda: told.append(watch.clock.now))
    watch.clock.forward(LONG)
    assert told == [1.0]
    watch.process.started = 7
    assert watch.guard.begun([7, 8], [(7, 1), (8, 1)]) == [(7, 1)]
    assert watch.guard.begun([8], [(8, 1)]) == []  # it has ended, and its result is on its way
    assert watch.guard.begun([6, 7], [(7, 1)]) == []  # there are results that have not come yet
    assert watch.guard.begun([], []) == []


def test_a_job_that_is_given_back_is_not_stopped(watch: Watch) -> None:
    """It had been run before by the same process, so it seemed to have begun."""
    watch.guard.stop((7, 2), GRACE)
    watch.guard.returned([(6, 1)])
    assert watch.guard.job == (7, 2)
    watch.guard.returned([(6, 1), (7, 2)])
    watch.clock.forward(LONG)
    assert watch.guard.job is None and watch.process.kills == 0


def test_what_has_not_ended_after_its_grace_is_killed(watch: Watch) -> None:
    watch.begin(Limits(timeout=5))
    watch.clock.forward(5 + GRACE)
    assert watch.process.kills == 1


def test_how_it_ends_then_is_the_verdict(watch: Watch) -> None:
    watch.process.stack = "main.py:1 in work"
    watch.begin(Limits(timeout=2.5))
    watch.clock.forward(3)
    cause = "it ran longer than its timeout of 2.5 s"
    assert watch.guard.ended() == Verdict(Limit.TIMEOUT, cause, "main.py:1 in work", 0)


def test_a_verdict_is_given_once(watch: Watch) -> None:
    watch.begin(Limits(timeout=1))
    watch.clock.forward(1)
    assert watch.guard.ended() is not None
    assert watch.guard.ended() is None


def test_a_job_is_not_killed_for_the_one_before_it(watch: Watch) -> None:
    watch.begin(Limits(timeout=1))
    watch.clock.forward(1)
    watch.guard.ended()
    watch.begin(Limits(timeout=LONG), job=8)
    watch.clock.forward(2 * GRACE)
    assert watch.process.kills == 0
    assert watch.guard.ended() is None


def test_a_job_that_loads_has_a_minute_at_least(watch: Watch) -> None:
    watch.begin(Limits(timeout=1), called=False)
    watch.clock.forward(59)
    assert not watch.sent
    watch.clock.forward(1)
    verdict = watch.guard.ended()
    assert verdict is not None and verdict.cause == "it did not load within 60 s"


def test_a_job_may_load_as_long_as_it_may_run(watch: Watch) -> None:
    watch.begin(Limits(timeout=100), called=False)
    watch.clock.forward(99)
    assert not watch.sent
    watch.clock.forward(1)
    assert watch.sent


def test_its_time_begins_with_the_call(watch: Watch) -> None:
    watch.begin(Limits(timeout=10), called=False)
    watch.clock.forward(50)
    watch.begin(Limits(timeout=10))
    watch.clock.forward(9)  # its minute of loading is not what counts now, either
    assert not watch.sent
    watch.clock.forward(1)
    assert watch.sent == [Stop(7, 1, GRACE)]


def test_of_a_long_stack_the_innermost_end_is_kept(watch: Watch) -> None:
    watch.process.stack = "outer" + 20_000 * "x" + "inner"
    watch.begin(Limits(timeout=1))
    watch.clock.forward(1)
    verdict = watch.guard.ended()
    assert verdict is not None
    assert len(verdict.stack) == 12_000 and verdict.stack.endswith("inner")


# Memory.


def test_memory_is_looked_at_as_long_as_the_job_runs(watch: Watch) -> None:
    watch.begin(Limits(memory=1000))
    watch.process.size = 1000
    watch.clock.forward(LONG)
    assert not watch.sent
    watch.process.size = 1001
    watch.clock.forward(MOMENT)
    assert watch.sent == [Stop(7, 1, GRACE)]
    cause = "it had 1001 bytes of memory, and may have 1000"
    assert watch.guard.ended() == Verdict(Limit.MEMORY, cause, "", 1001)


def test_memory_counts_while_it_loads_too(watch: Watch) -> None:
    watch.begin(Limits(memory=1000), called=False)
    watch.process.size = 2000
    watch.clock.forward(MOMENT)
    assert watch.sent


def test_nobody_looks_any_more_when_the_job_has_ended(watch: Watch) -> None:
    watch.begin(Limits(memory=1000))
    watch.process.size = 2000
    assert watch.guard.ended() is None
    watch.clock.forward(LONG)
    assert not watch.sent and not watch.clock.pending


def test_the_first_limit_that_it_goes_beyond_is_the_verdict(watch: Watch) -> None:
    watch.begin(Limits(timeout=1, memory=1000))
    watch.clock.forward(1)
    watch.process.size = 2000
    watch.clock.forward(MOMENT)
    assert watch.sent == [Stop(7, 1, GRACE)] and watch.process.asked == 1
    verdict = watch.guard.ended()
    assert verdict is not None and verdict.limit is Limit.TIMEOUT


# What nobody wants any more.


def test_a_job_that_is_not_wanted_is_interrupted_and_killed_after_its_grace(watch: Watch) -> None:
    watch.guard.stop((7, 2), 3.0)
    assert watch.sent == [Stop(7, 2, 3.0)] and watch.guard.job == (7, 2)
    watch.clock.forward(2.9)
    assert watch.process.kills == 0
    watch.clock.forward(0.1)
    assert watch.process.kills == 1


def test_without_a_grace_it_is_killed_at_once(watch: Watch) -> None:
    watch.guard.stop((7, 2), 0.0)
    assert (watch.sent, watch.process.kills) == ([], 1)


def test_who_has_stopped_a_job_can_still_kill_it(watch: Watch) -> None:
    watch.guard.stop((7, 2), GRACE)
    watch.guard.stop((7, 2), 0.0)
    assert watch.process.kills == 1


def test_to_be_stopped_is_not_to_go_beyond_a_limit(watch: Watch) -> None:
    watch.guard.stop((7, 2), GRACE)
    assert watch.guard.ended() is None
    watch.clock.forward(LONG)
    assert watch.process.kills == 0


def test_a_job_with_limits_that_is_stopped_keeps_them(watch: Watch) -> None:
    watch.begin(Limits(timeout=1), attempt=2)
    watch.guard.stop((7, 2), LONG)
    watch.clock.forward(1 + GRACE)
    assert watch.process.kills == 1


def test_a_job_that_goes_on_to_be_called_is_not_granted_more_time(watch: Watch) -> None:
    watch.begin(Limits(timeout=50), called=False)
    watch.guard.stop((7, 1), GRACE)
    watch.begin(Limits(timeout=50))
    watch.clock.forward(GRACE)
    assert watch.process.kills == 1


def test_another_attempt_is_another_job(watch: Watch) -> None:
    watch.guard.stop((7, 1), GRACE)
    watch.begin(Limits(timeout=LONG), attempt=2)
    watch.clock.forward(2 * GRACE)
    assert watch.process.kills == 0


# Which job the process was running.


def test_a_process_that_ends_by_itself_was_running_what_it_had_started_last(watch: Watch) -> None:
    watch.begin(Limits(timeout=1))
    assert watch.guard.running(9) == 9
    assert watch.guard.running(None) is None


def test_one_that_was_killed_was_running_the_job_that_it_was_killed_for(watch: Watch) -> None:
    watch.guard.stop((7, 1), 0.0)
    assert watch.guard.running(9) == 7


def test_one_that_was_killed_as_its_job_ended_was_running_nothing(watch: Watch) -> None:
    watch.guard.stop((7, 1), 0.0)
    watch.guard.ended()
    assert watch.guard.running(9) == NOBODY


def test_a_guard_that_is_closed_does_nothing_any_more(watch: Watch) -> None:
    watch.begin(Limits(timeout=1, memory=1))
    watch.clock.forward(1)
    watch.guard.close()
    assert watch.guard.job is None and not watch.clock.pending
    assert watch.guard.ended() is None


# Workers that give way.


@pytest.mark.parametrize(
    ("limits", "called", "is_spent"),
    [
        (Limits(nice=3), True, True),
        (Limits(nice=3), False, False),
        (Limits(timeout=3), True, False),
    ],
)
def test_a_worker_is_spent_once_a_nice_job_is_called(
    watch: Watch, limits: Limits, called: bool, is_spent: bool
) -> None:
    watch.begin(limits, called=called)
    assert watch.guard.is_spent is is_spent


def test_a_spent_worker_stays_so(watch: Watch) -> None:
    watch.begin(Limits(nice=3))
    watch.guard.ended()
    watch.begin(Limits(timeout=3), job=8)
    assert watch.guard.is_spent


def test_a_nice_job_that_is_called_although_it_was_stopped_spends_its_worker(watch: Watch) -> None:
    watch.begin(Limits(nice=3), called=False)
    watch.guard.stop((7, 1), GRACE)
    watch.begin(Limits(nice=3))
    watch.guard.ended()
    assert watch.guard.is_spent


# The machine.


def test_a_job_that_is_too_much_for_the_machine_is_killed_at_once(watch: Watch) -> None:
    watch.process.stack = "main.py:1 in work"
    watch.guard.exceed((7, 2), Limit.PRESSURE, "too much", 99)
    assert (watch.sent, watch.process.kills) == ([], 1)
    assert watch.guard.running(8) == 7
    assert watch.guard.ended() == Verdict(Limit.PRESSURE, "too much", "main.py:1 in work", 99)


def test_a_job_that_had_gone_beyond_a_limit_of_its_own_has_ended_with_that(watch: Watch) -> None:
    watch.begin(Limits(timeout=1))
    watch.clock.forward(1)
    watch.guard.exceed((7, 1), Limit.PRESSURE, "too much", 99)
    verdict = watch.guard.ended()
    assert verdict is not None and verdict.limit is Limit.TIMEOUT and watch.process.kills == 1
