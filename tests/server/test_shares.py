"""Fair shares under unequal loads: who has little waits little, and nothing lies idle.

How long it takes is printed and asserted loosely; ``benchmarks`` measures it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import ppnext
from tests.ppserver_fixture import PPServers
from tests.stage_fixture import Stage
from tests.visits import visit

pytestmark = pytest.mark.cluster

PATIENCE = 60.0
MANY = 100_000
SECONDS = 0.1
SLACK = 0.4
"""On a machine with other things to do. A process takes about as long to start."""

Connect = Callable[..., ppnext.Server]


def nap(seconds: float) -> float:
    """Return when it began."""
    began = time.time()
    time.sleep(seconds)
    return began


@pytest.mark.parametrize("pause", [0.0, 0.237])
def test_a_single_job_is_delayed_by_one_job_of_a_client_with_very_many(
    ppserver: PPServers, connect: Connect, pause: float
) -> None:
    daemon = ppserver.start(workers=2)
    modest, greedy = connect(daemon), connect(daemon)
    modest.submit(abs, (-1,))()  # its worker has been started
    jobs = [greedy.submit(nap, (SECONDS,)) for _ in range(MANY)]
    jobs[1].result(PATIENCE)
    took = []
    for number in range(10):
        time.sleep(pause)  # in which the slots are the other's
        start = time.perf_counter()
        assert modest.submit(abs, (-number,)).result(PATIENCE) == number
        took.append(time.perf_counter() - start)
    print(
        f"delays in ms, over a job of {SECONDS} s, pause {pause} s:",
        [int(1000 * it) for it in took],
    )
    assert sorted(took)[len(took) // 2] < SECONDS + SLACK


def test_no_slot_is_idle_while_anybody_has_jobs(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    """Whoever has jobs gets the slots that others do not use: four, then two, then all again."""
    daemon = ppserver.start(workers=4)
    clients = {name: connect(daemon) for name in ("a", "b", "idle")}
    for _ in range(12):
        clients["a"].submit(visit, (stage.port, "a"))
    running = stage.many(4)
    assert [it.name for it in running] == ["a"] * 4
    jobs = [clients["b"].submit(visit, (stage.port, "b")) for _ in range(2)]
    for _ in range(2):
        running.pop(0).release()
        running.append(stage.next())
        assert len(running) == 4
    assert sorted(it.name for it in running) == ["a", "a", "b", "b"]
    for it in running:
        if it.name == "b":
            it.release()
    assert [job() for job in jobs] == ["done"] * 2
    freed = stage.many(2)
    assert [it.name for it in freed] == ["a"] * 2


def test_clients_with_unequal_loads_end_in_the_order_of_their_loads(
    ppserver: PPServers, connect: Connect
) -> None:
    """As long as all have jobs they get the same: who has a tenth is done long before."""
    daemon = ppserver.start(workers=3)
    loads = {"one": 4, "ten": 40, "thousand": 400}
    clients = {name: connect(daemon) for name in loads}
    for client in clients.values():
        client.submit(abs, (-1,))()  # their workers have been started
    jobs = {
        name: [clients[name].submit(nap, (0.02,)) for _ in range(load)]
        for name, load in sorted(loads.items(), reverse=True)
    }
    began = {name: sorted(job.result(PATIENCE) for job in of) for name, of in jobs.items()}
    assert began["one"][-1] < began["ten"][-1] < began["thousand"][-1]
    # While the one with forty had jobs, the greedy one had no more than its part, or half of all.
    meanwhile = [it for it in began["thousand"] if began["ten"][0] < it < began["ten"][-1]]
    print(f"while 40 jobs of one ran, {len(meanwhile)} of 400 of another did")
    assert len(meanwhile) < 3 * loads["ten"]


def test_priorities_are_within_a_client(
    ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    daemon = ppserver.start(workers=2)
    loud, quiet = connect(daemon), connect(daemon)
    for _ in range(6):
        loud.submit(visit, (stage.port, "loud"), priority=100)
    first, second = stage.many(2)
    loud.submit(visit, (stage.port, "urgent"), priority=200)
    for _ in range(2):
        quiet.submit(visit, (stage.port, "quiet"), priority=-100)
    first.release()
    other = stage.next()
    assert other.name == "quiet"  # its share, whatever the others call themselves
    second.release()
    assert stage.next().name == "urgent"  # among its own it is the first
    other.release()
    assert stage.next().name == "quiet"
