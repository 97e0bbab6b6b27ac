"""Ten thousand seeded lives of a cluster; a seed that fails is replayed with simulation.py."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

SHARDS = 20
SEEDS_PER_SHARD = 500


def load_simulation() -> ModuleType:
    """Import the file beside this one, which is in no package."""
    name = "ppnext_sched_simulation"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("simulation.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


simulation = load_simulation()

# What must have happened sometime in each shard; otherwise the simulation tests less than it says.
SOMETIMES = {
    *(misfortune.__name__ for misfortune in simulation.MISFORTUNES),
    "LIMIT",
    "LOST_TOO_OFTEN",
    "NODE_LOST",
    "POISONED",
    "WORKER_DIED",
    "a large job beside others",
    "asked back",
    "asked before it came",
    "cancelled, placed",
    "cancelled, waiting",
    "ended unheard",
    "gave way",
    "given back",
    "interrupted",
    "kept",
    "killed after its grace",
    "killed beyond its limit",
    "killed by a poison job",
    "killed while idle",
    "refused",
    "released",
    "rescued",
    "result",
    "result dropped",
    "result of a once job",
    "results together",
    "said twice",
    "sent ahead",
    "sent together",
    "started again",
    "stopped",
    "submitted together",
    "things in use",
}


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_seed_keeps_the_contract(shard: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(shard * SEEDS_PER_SHARD, (shard + 1) * SEEDS_PER_SHARD):
        try:
            happened += simulation.World(seed).run()
        except Exception as error:  # any failure: the seed is what is needed to see it again
            raise AssertionError(f"seed {seed}: {error!r}") from error
    assert SOMETIMES - happened.keys() == set()


@pytest.mark.parametrize("seed", range(50))
def test_one_worker_starts_jobs_in_the_order_in_which_they_were_submitted(seed: int) -> None:
    submitted: list[int] = []
    world = simulation.World(seed, calm=True)
    submit = world.client.submit
    world.heap = [
        (time, order, submit if call == submit else call, arguments)
        for time, order, call, arguments in world.heap
    ]
    calls = [arguments for _, _, call, arguments in sorted(world.heap) if call == submit]
    submitted = [job for arguments in calls for job in arguments]
    world.drain()
    assert world.start_order == submitted
    world.finish()


def test_the_same_seed_is_the_same_life(capsys: pytest.CaptureFixture[str]) -> None:
    simulation.main(7)
    first = capsys.readouterr().out
    simulation.main(7)
    assert capsys.readouterr().out == first
    assert "client: Assign(" in first
