"""Blame: deaths of workers under another number of a job count as its own."""

from __future__ import annotations

import pytest

from ppnext.sched.actions import Action, Cause, End
from ppnext.sched.model import JobId, JobState, Mishap
from tests.sched.bench import Bench, Sent, assigned, retract

DEATH = Mishap(1, "elsewhere", "killed", blamed=True)


def blame(bench: Bench, job: int, deaths: int = 1) -> list[Action | Sent]:
    bench.scheduler.on_blamed(JobId(job), (DEATH,) * deaths)
    return bench.done()


def end(state: JobState, cause: Cause, deaths: int) -> End:
    return End(state, cause, (DEATH,) * deaths)


def test_it_counts_towards_the_limit() -> None:
    bench = Bench(poison_limit=2)
    bench.daemon(1)
    bench.submit(1)
    assert blame(bench, 1) == []
    state = bench.state(1)
    [ended] = bench.died(1, 1)
    assert isinstance(ended, End) and ended.job is state and ended.cause is Cause.POISONED


def test_one_too_many_ends_a_job_that_runs_and_asks_it_back() -> None:
    bench = Bench(poison_limit=2)
    bench.daemon(1)
    bench.submit(1)
    state = bench.state(1)
    assert blame(bench, 1, 2) == [retract(1, 1), end(state, Cause.POISONED, 2)]
    assert blame(bench, 1) == []  # it has ended
    assert bench.finish(1, 1) == (False, [])
    assert bench.scheduler.jobs == {}


def test_one_too_many_ends_a_job_that_waits() -> None:
    bench = Bench()
    bench.submit(1, retries=0)
    state = bench.state(1)
    assert blame(bench, 1) == [end(state, Cause.WORKER_DIED, 1)]
    assert bench.worker(1) == []


@pytest.mark.parametrize("job", [1, 2])
def test_it_does_not_matter_to_a_job_that_has_ended(job: int) -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.finish(1, 1)
    assert blame(bench, job) == []
    assert bench.submit(3) == assigned(1, 3)
