"""Stories: what seeds have found, in as few words as it takes to tell it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.simulation import plants
from tests.simulation.jobs import Plan
from tests.simulation.world import Rules, World


@contextmanager
def world(rules: Rules, seed: int = 1) -> Iterator[World]:
    """A world in which everybody is connected; when the story is over, all has to be well."""
    world = World(seed, rules=rules)
    with world.running():
        world.boot()
        world.run(10.0)
        yield world
        world.finish()


def submit(world: World, client: int, *seconds: float, first: int = 0, **kind: bool) -> list[Plan]:
    """Submit jobs to a client, and return them."""
    machine = world.clients[client]
    numbers = range(first, first + len(seconds))
    plans = [
        Plan(machine.number, number, duration, **kind)  # type: ignore[arg-type]  # flags by name
        for number, duration in zip(numbers, seconds, strict=True)
    ]
    machine.use(machine.submit, plans)
    return plans


def test_a_slot_whose_worker_could_not_be_started_is_not_given_to_another_session_as_well() -> None:
    with world(Rules(daemons=1, slots=1, clients=2, local=0)) as lab:
        [daemon] = lab.daemons
        daemon.stillbirths = 1.0
        plans = submit(lab, 0, 1.0)
        lab.run(lab.kernel.now + 3.0)  # its session waits before it tries to start a worker again
        plans += submit(lab, 1, 1.0)
        lab.run(lab.kernel.now + 3.0)
        daemon.stillbirths = 0.0
        lab.run(lab.kernel.now + 60.0)
    assert [plan.told for plan in plans] == [["result"], ["result"]]


def test_where_workers_take_long_to_start_each_session_has_its_turn_all_the_same() -> None:
    with world(Rules(daemons=1, slots=1, clients=3, local=0)) as lab:
        lab.daemons[0].lag = 5.0
        plans = [plan for client in range(3) for plan in submit(lab, client, 0.5, 0.5)]
        lab.run(lab.kernel.now + 60.0)
        assert [plan.told for plan in plans] == 6 * [["result"]]


def test_a_job_that_kills_its_workers_on_a_daemon_ends_after_three() -> None:
    with world(Rules(daemons=1, slots=2, clients=1, local=0)) as lab:
        plans = submit(lab, 0, 1.0, poison=True)
    assert plans[0].told == ["PoisonedJob"] and plans[0].kills == 3


def test_a_job_on_a_daemon_that_falls_silent_is_run_again_here() -> None:
    with world(Rules(daemons=1, slots=1, clients=1, local=1)) as lab:
        plans = submit(lab, 0, 5.0, 5.0)
        lab.run(lab.kernel.now + 1.0)
        assert [len(plan.starts) for plan in plans] == [1, 1]
        lab.daemons[0].power_off()
        lab.run(lab.kernel.now + 45.0)
        assert [plan.told for plan in plans] == [["result"], ["result"]]
        assert sorted(len(plan.starts) for plan in plans) == [1, 2]
        lab.daemons[0].power_on()
        lab.daemons[0].boot()


def test_a_job_that_may_not_be_started_twice_ends_with_its_node() -> None:
    with world(Rules(daemons=1, slots=1, clients=1, local=0)) as lab:
        plans = submit(lab, 0, 5.0, once=True)
        lab.run(lab.kernel.now + 1.0)
        lab.daemons[0].kill()
        lab.run(lab.kernel.now + 1.0)
        assert plans[0].told == ["NodeLost"]
        lab.daemons[0].boot()


def test_a_result_that_arrives_after_its_node_was_given_up_does_not_count() -> None:
    with world(Rules(daemons=1, slots=1, clients=1, local=1)) as lab:
        plans = submit(lab, 0, 8.0, 8.0)
        lab.run(lab.kernel.now + 1.0)
        way = lab.daemons[0].name, lab.clients[0].name
        lab.network.cut(*way)
        lab.run(lab.kernel.now + 60.0)
        lab.network.heal(*way)
    assert [plan.told for plan in plans] == [["result"], ["result"]]
    assert sum(len(plan.starts) for plan in plans) == 3


def a_result_that_comes_late() -> list[Plan]:
    """A daemon is given up as silent; its result comes while the job runs again here."""
    with world(Rules(daemons=1, slots=1, clients=1, local=1)) as lab:
        lab.clients[0].client.watchers = []  # no rescue: nothing is started again before
        plans = submit(lab, 0, 8.0, 8.0)
        lab.run(lab.kernel.now + 1.0)
        way = lab.daemons[0].name, lab.clients[0].name
        lab.network.cut(*way)
        while max(len(plan.starts) for plan in plans) == 1:
            lab.run(lab.kernel.now + 0.5)
        lab.network.heal(*way)
        lab.run(lab.kernel.now + 3.0)
        assert sorted(plan.told for plan in plans) == [[], ["result"]]
    return plans


def test_a_result_that_comes_while_the_job_runs_again_does_not_count() -> None:
    plans = a_result_that_comes_late()
    assert [plan.told for plan in plans] == [["result"], ["result"]]
    assert sorted(len(plan.starts) for plan in plans) == [1, 2]


def test_if_it_did_count_that_would_be_found() -> None:
    found = pytest.raises(AssertionError, match="attempt 1 was taken for that of attempt 2")
    with plants.unfenced(), found:
        a_result_that_comes_late()


def test_one_job_is_not_kept_waiting_by_another_client_with_many() -> None:
    with world(Rules(daemons=1, slots=2, clients=2, local=0)) as lab:
        submit(lab, 0, *[1.0] * 40)
        lab.run(lab.kernel.now + 3.0)
        [plan] = submit(lab, 1, 1.0)
        lab.run(lab.kernel.now + 4.0)
        assert plan.told == ["result"]


def test_nothing_is_left_on_a_daemon_of_a_client_that_was_killed() -> None:
    with world(Rules(daemons=1, slots=3, clients=1, local=0)) as lab:
        submit(lab, 0, 100.0, 100.0, 100.0)
        lab.run(lab.kernel.now + 2.0)
        lab.clients[0].kill()
        lab.run(lab.kernel.now + 5.0)
        assert all(process.is_dead for process in lab.daemons[0].processes)


def test_nothing_is_left_on_a_daemon_that_does_not_hear_of_its_clients_end() -> None:
    with world(Rules(daemons=1, slots=3, clients=1, local=0)) as lab:
        submit(lab, 0, 1000.0)
        lab.run(lab.kernel.now + 2.0)
        lab.clients[0].power_off()
        lab.run(lab.kernel.now + 75.0)
        assert all(process.is_dead for process in lab.daemons[0].processes)


def test_a_client_that_is_destroyed_when_a_connection_ends_comes_to_its_end() -> None:
    for seed in range(40):  # it depends on the order of what happens in a few turns of the loop
        with world(Rules(daemons=2, slots=1, clients=1, local=0), seed) as lab:
            client = lab.clients[0]
            lab.daemons[1].kill()
            lab.run(lab.kernel.now + 3.0)
            client.stop()
            client.use(client.destroy)
            lab.daemons[0].kill()
            lab.run(lab.kernel.now + 1.0)
            client.go_on()
            lab.run(lab.kernel.now + 5.0)
            lab.daemons[0].boot()
            lab.daemons[1].boot()
            assert not client.is_up, f"it has not ended 5 s after it was destroyed, seed {seed}"


def test_a_job_that_is_cancelled_while_its_arguments_are_on_their_way_is_stopped() -> None:
    for seed in range(20):  # a Retract may overtake them
        with world(Rules(daemons=1, slots=1, clients=1, local=0), seed) as lab:
            client = lab.clients[0]
            submit(lab, 0, 100.0, padding=300_000)
            lab.run(lab.kernel.now + 0.001)
            client.use(client.cancel_if_there, 0)
            lab.run(lab.kernel.now + 5.0)
            assert not any(process.running for process in lab.daemons[0].processes)


def test_a_job_on_a_daemon_that_hangs_has_ended_elsewhere_long_before_that_is_given_up() -> None:
    with world(Rules(daemons=2, slots=1, clients=1, local=0)) as lab:
        [plan] = submit(lab, 0, 2.0)
        lab.run(lab.kernel.now + 1.0)
        [hangs] = [it for it in lab.daemons if any(process.running for process in it.processes)]
        hangs.stop()
        lab.run(lab.kernel.now + 8.0)
        assert plan.told == ["result"] and len(plan.starts) == 2
        hangs.go_on()
