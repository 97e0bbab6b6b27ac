"""Two hundred seeded lives of the whole world; a seed that fails is replayed with a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.simulation import plants
from tests.simulation.command import live, main
from tests.simulation.faults import FAULTS
from tests.simulation.jobs import Plan
from tests.simulation.world import Rules, World

# Beside a good number, some in which rare things happen: a machine runs short too often for a job,
# or a job goes on although its machine is needed.
SEEDS = (*range(200, 400), 406, 411, 455, 606, 746, 752, 4123130)

# What must have happened sometime in so many lives; else they test less than they say.
SOMETIMES = {
    *(fault.__name__ for fault in FAULTS),
    "JobMemoryExceeded",
    "NodeLost",
    "PoisonedJob",
    "WorkerDied",
    "a clock runs fast",
    "a clock runs slow",
    "a daemon has drained and gone",
    "a function or a bundle was asked for",
    "a result was held back",
    "a twin was first",
    "a twin was lost",
    "a twin was started",
    "a twin was too late",
    "a visit",
    "a worker died at its start",
    "cancelled",
    "connection reset",
    "destroyed",
    "dialling failed",
    "given back",
    "held up",
    "kept",
    "killed by a poison job",
    "raised",
    "result",
    "results together",
    "short read",
    "socket full",
    "started again",
    "suspended",
    "the system refused a process",
    "went on although its machine is needed",
    "workers start slowly",
}


def test_every_seed_keeps_the_contract_and_everything_happens_sometime() -> None:
    happened: Counter[str] = Counter()
    for seed in SEEDS:
        life = live(seed)
        assert not life.trouble, f"seed {seed}:\n{life.trouble}"
        happened += life.happened
    assert SOMETIMES - happened.keys() == set()


ALONE = Rules(calm=True, clients=1, daemons=1, slots=1, local=0)


@pytest.mark.parametrize("seed", range(20))
def test_one_slot_starts_jobs_in_the_order_in_which_they_were_submitted(seed: int) -> None:
    world = World(seed, rules=ALONE)
    world.live()
    submitted = [(plan.client, plan.number) for plan in world.clients[0].plans()]
    assert world.register.start_order == submitted


# Repeatable.

REPLAYED = range(40, 46)


def digests() -> list[str]:
    """What the lives of some seeds come to."""
    return [live(seed).digest for seed in REPLAYED]


def test_a_seed_is_the_same_life_whatever_was_lived_before() -> None:
    first = digests()
    assert digests() == first
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_is_the_same_life_in_another_process(hash_seed: str) -> None:
    program = "from tests.simulation.test_simulation import digests; print('\\n'.join(digests()))"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said.stdout.split() == digests()


def test_the_command_tells_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "7", "--trace"]) == 0
    traced = capsys.readouterr().out
    assert "submits job" in traced and "log: " in traced
    assert main(["--seed", "7"]) == 0
    assert capsys.readouterr().out.splitlines() == traced.splitlines()[-1:]


# Bugs that are put in are found.


def first_trouble(
    rules: Rules | None = None, bug: AbstractContextManager[None] | None = None
) -> str:
    """Return what goes wrong in the first life in which anything does; empty if nothing does."""
    with bug or nullcontext():
        for seed in SEEDS:
            try:
                World(seed, rules=rules).live()
            except AssertionError as error:
                return str(error)
    return ""


def test_a_job_that_is_started_twice_is_found() -> None:
    assert "was started twice though it is to be run once" in first_trouble(plants.RECKLESS)


def test_a_job_that_kills_without_end_is_found() -> None:
    assert "was let kill" in first_trouble(plants.ENDLESS)


def test_a_client_that_does_not_notice_silence_is_found() -> None:
    assert first_trouble(plants.DEAF).startswith(("not as it should be", "job "))


def test_things_that_are_lent_twice_are_found() -> None:
    assert "gpu" in first_trouble(bug=plants.bottomless())


def test_a_job_ends_once_and_with_its_own_result() -> None:
    world = World(1, rules=ALONE)
    plan = Plan(11, 0, 1.0)
    with world.running():
        world.boot()
        world.run(3.0)
        world.clients[0].use(world.clients[0].submit, [plan])
        world.finish()
    assert plan.told == ["result"] and len(plan.starts) == 1
