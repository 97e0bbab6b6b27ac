"""Jobs that take several slots, or things of which a machine has few.

Where a job is to be seen to run, it appears on the stage and stays until the test lets it go.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ppnext
from ppnext import Executor, Job, NoNodes, Server, Template
from ppnext.runtime.threads import VARIABLES
from tests.ppserver_fixture import Daemon, PPServers
from tests.stage_fixture import Stage, stage
from tests.visits import visit

__all__ = ["stage"]

pytestmark = pytest.mark.cluster

PATIENCE = 20.0
MOMENT = 0.3
"""Seconds in which a job would have appeared that must not."""


@pytest.fixture(params=["here", "there"])
def machine(
    request: pytest.FixtureRequest, ppserver: PPServers, key_file: Path
) -> Iterator[Callable[..., Server]]:
    """Make a server with one machine of so many slots, which offers something."""
    servers: list[Server] = []

    def machine(slots: int, offers: dict[str, int] | None = None, **options: Any) -> Server:
        if request.param == "here":
            server = Server(slots, offers=offers, **options)
        else:
            told = [f"--resource={name}={number}" for name, number in (offers or {}).items()]
            daemon = ppserver.start(*told, workers=slots)
            server = Server(0, (daemon.address,), key_file=key_file, **options)
        servers.append(server)
        assert server.wait_for_nodes(1, PATIENCE)
        return server

    yield machine
    for server in servers:
        server.destroy()


@pytest.fixture
def connect(key_file: Path) -> Iterator[Callable[[Daemon], Server]]:
    """Make clients of a daemon, without workers of their own."""
    clients: list[Server] = []

    def connect(daemon: Daemon) -> Server:
        clients.append(client := Server(0, (daemon.address,), key_file=key_file))
        assert client.wait_for_nodes(1, PATIENCE)
        return client

    yield connect
    for client in clients:
        client.destroy()


def threads_of_libraries() -> set[str | None]:
    """What libraries that are loaded now are told, and those of child processes."""
    code = "import os; print(os.environ['OMP_NUM_THREADS'])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    return {*map(os.environ.get, VARIABLES), child.strip()}


def names(jobs: list[Job]) -> list[object]:
    return [job() for job in jobs]


# Several slots.


def test_a_job_takes_several_slots(machine: Callable[..., Server], stage: Stage) -> None:
    server = machine(3)
    large = server.submit(visit, (stage.port, "large"), threads=2)
    first = stage.next()
    small = [server.submit(visit, (stage.port, "small")) for _ in range(3)]
    beside = stage.next()
    assert (first.name, beside.name) == ("large", "small")
    assert stage.is_empty_for(MOMENT)
    first.release()
    assert large() == "done"
    for visitor in (beside, *stage.many(2)):
        visitor.release()
    assert names(small) == ["done"] * 3


def test_a_large_job_is_not_kept_waiting_by_small_ones(
    machine: Callable[..., Server], stage: Stage
) -> None:
    server = machine(2)
    jobs = [server.submit(visit, (stage.port, "before")) for _ in range(2)]
    first, second = stage.many(2)
    jobs.append(server.submit(visit, (stage.port, "large"), threads=2))
    jobs += [server.submit(visit, (stage.port, "after")) for _ in range(4)]
    first.release()
    assert stage.is_empty_for(MOMENT), "the slot is kept for the large job"
    second.release()
    large = stage.next()
    assert large.name == "large" and stage.is_empty_for(MOMENT)
    large.release()
    for _ in range(4):
        stage.next().release()
    assert names(jobs) == ["done"] * 7


def test_libraries_may_use_as_many_threads_as_the_job_has_slots(
    machine: Callable[..., Server],
) -> None:
    server = machine(3)
    usual = server.submit(threads_of_libraries)()
    assert server.submit(threads_of_libraries, threads=3)() == {"3"}
    assert server.submit(threads_of_libraries)() == usual, "it was for that job alone"


def test_a_default_of_the_server_and_other_ways_to_say_it(machine: Callable[..., Server]) -> None:
    server = machine(2, {"gpu": 1}, threads=2, resources={"gpu": 1})
    assert server.submit(threads_of_libraries)() == {"2"}
    assert server.submit(len, ("abc",), threads=1, resources={})() == 3
    assert list(server.map(abs, range(-3, 0), threads=1)) == [3, 2, 1]
    assert Template(server, threads_of_libraries).submit()() == {"2"}
    with Executor(server=server) as executor:
        assert executor.submit(threads_of_libraries).result(PATIENCE) == {"2"}


# Countable things.


def test_no_more_than_a_machine_has_are_in_use(
    machine: Callable[..., Server], stage: Stage
) -> None:
    server = machine(3, {"gpu": 1})
    jobs = [server.submit(visit, (stage.port, "gpu"), resources={"gpu": 1}) for _ in range(2)]
    first = stage.next()
    jobs.append(server.submit(visit, (stage.port, "none")))
    other = stage.next()
    assert (first.name, other.name) == ("gpu", "none"), "who needs none is not held up"
    assert stage.is_empty_for(MOMENT)
    assert jobs[1].status() == "waiting: 0 jobs before it, no node has a slot and 1 gpu free for it"
    first.release()
    second = stage.next()
    assert second.name == "gpu"
    for visitor in (second, other):
        visitor.release()
    assert names(jobs) == ["done"] * 3


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"resources": {"gpu": 3}}, "has 2 gpu, not 3"),
        ({"resources": {"tpu": 1}}, "offers no tpu (it offers: gpu=2, scratch=100)"),
        ({"threads": 8}, "has 3 slots, not 8"),
    ],
)
def test_what_no_node_has_is_told_at_once_and_ends_with_the_deadline(
    machine: Callable[..., Server], terms: dict[str, Any], why: str
) -> None:
    server = machine(3, {"gpu": 2, "scratch": 100})
    assert server.submit(abs, (-1,))() == 1  # its workers are there
    job = server.submit(abs, (-1,), deadline=0.5, **terms)
    assert "no node can run it: " in job.status() and why in job.status()
    assert server.submit(abs, (-2,), resources={"scratch": 100})() == 2
    with pytest.raises(NoNodes) as caught:
        job()
    assert why in str(caught.value)


def test_a_worker_that_dies_gives_back_what_its_job_had(
    machine: Callable[..., Server], stage: Stage
) -> None:
    server = machine(2, {"gpu": 1})
    for _ in range(3):
        job = server.submit(visit, (stage.port, "gpu"), resources={"gpu": 1}, threads=2)
        os.kill(stage.next().pid, signal.SIGKILL)
        stage.next().release()
        assert job() == "done" and job.attempts == 2
    assert server.submit(abs, (-1,), resources={"gpu": 1}, threads=2)() == 1


def test_a_job_that_is_cancelled_gives_back_what_it_had(
    machine: Callable[..., Server], stage: Stage
) -> None:
    server = machine(2, {"gpu": 1})
    job = server.submit(visit, (stage.port, "gpu"), resources={"gpu": 1}, threads=2)
    stage.next()
    assert job.cancel()
    assert server.submit(abs, (-1,), resources={"gpu": 1}, threads=2)() == 1


# Which ones.


def with_ids(port: int, *names: str) -> tuple[str, list[tuple[int, ...]]]:
    """Visit, and tell which units this job has."""
    ids = [ppnext.resource_ids(name) for name in names]
    return visit(port, "job"), ids


def test_jobs_that_run_at_the_same_time_have_different_units(
    machine: Callable[..., Server], stage: Stage
) -> None:
    server = machine(3, {"gpu": 3, "licence": 2})
    call, gpu = (stage.port, "gpu", "licence"), {"gpu": 1}
    two = server.submit(with_ids, call, resources={"gpu": 2, "licence": 1})
    visitors = [stage.next()]
    one = server.submit(with_ids, call, resources=gpu)
    visitors.append(stage.next())
    none = server.submit(with_ids, call)
    for visitor in (*visitors, stage.next()):
        visitor.release()
    assert two()[1] == [(0, 1), (0,)]
    assert one()[1] == [(2,), ()]
    assert none()[1] == [(), ()]
    jobs = [server.submit(ppnext.resource_ids, ("gpu",), resources=gpu) for _ in range(20)]
    assert {job() for job in jobs} <= {(0,), (1,), (2,)}


def test_the_units_of_a_worker_that_died_are_there_again(
    machine: Callable[..., Server], stage: Stage
) -> None:
    server = machine(2, {"gpu": 2})
    for _ in range(3):
        job = server.submit(with_ids, (stage.port, "gpu"), resources={"gpu": 2})
        os.kill(stage.next().pid, signal.SIGKILL)
        stage.next().release()
        assert job()[1] == [(0, 1)] and job.attempts == 2


def test_units_are_known_after_a_job_has_thrown_away_its_environment(
    machine: Callable[..., Server],
) -> None:
    def forget() -> None:
        os.environ.clear()

    server = machine(1, {"gpu": 2})
    server.submit(forget)()
    assert server.submit(ppnext.resource_ids, ("gpu",), resources={"gpu": 2})() == (0, 1)


def test_jobs_of_several_clients_have_different_units(
    ppserver: PPServers, connect: Callable[[Daemon], Server], stage: Stage
) -> None:
    daemon = ppserver.start("--resource", "gpu=2", workers=2)
    jobs, visitors = [], []
    for client in (connect(daemon), connect(daemon)):
        jobs.append(client.submit(with_ids, (stage.port, "gpu"), resources={"gpu": 1}))
        visitors.append(stage.next())
    for visitor in visitors:
        visitor.release()
    assert [job()[1] for job in jobs] == [[(0,)], [(1,)]]


def test_a_large_amount_has_no_numbers(machine: Callable[..., Server]) -> None:
    server = machine(1, {"scratch": 5000})
    job = server.submit(ppnext.resource_ids, ("scratch",), resources={"scratch": 3})
    with pytest.raises(ppnext.PpnextError, match="which scratch this job has is not known"):
        job()


# Several clients of one daemon.


def test_clients_share_what_a_daemon_offers_one_after_the_other(
    ppserver: PPServers, connect: Callable[[Daemon], Server], stage: Stage
) -> None:
    daemon = ppserver.start("--resource", "gpu=1", workers=4)
    one, two = connect(daemon), connect(daemon)
    assert [it.submit(abs, (-1,))() for it in (one, two)] == [1, 1]  # their workers are there
    gpu = {"gpu": 1}
    jobs = [one.submit(visit, (stage.port, "one"), resources=gpu) for _ in range(3)]
    visitor = stage.next()
    jobs += [two.submit(visit, (stage.port, "two"), resources=gpu) for _ in range(2)]
    assert stage.is_empty_for(MOMENT)
    order = [visitor.name]
    for _ in range(4):
        visitor.release()
        visitor = stage.next()
        order.append(visitor.name)
        assert stage.is_empty_for(0.05)
    visitor.release()
    assert names(jobs) == ["done"] * 5
    assert order == ["one", "two", "one", "two", "one"]


def test_a_client_that_goes_gives_back_what_its_jobs_had(
    ppserver: PPServers, connect: Callable[[Daemon], Server], stage: Stage
) -> None:
    daemon = ppserver.start("--resource", "gpu=1", workers=2)
    one, two = connect(daemon), connect(daemon)
    one.submit(visit, (stage.port, "one"), resources={"gpu": 1}, threads=2)
    stage.next()
    job = two.submit(visit, (stage.port, "two"), resources={"gpu": 1}, threads=2)
    assert stage.is_empty_for(MOMENT)
    one.destroy()
    stage.next().release()
    assert job() == "done"


def test_a_large_job_has_its_turn_beside_a_client_with_many_small_ones(
    ppserver: PPServers, connect: Callable[[Daemon], Server], stage: Stage
) -> None:
    daemon = ppserver.start(workers=2)
    many, large = connect(daemon), connect(daemon)
    small = [many.submit(time.sleep, (0.02,)) for _ in range(1000)]
    small[0]()
    job = large.submit(visit, (stage.port, "large"), threads=2)
    visitor = stage.next()
    done = sum(it.done() for it in small)
    assert done < 1000, "it came after all others"
    assert stage.is_empty_for(MOMENT)
    assert sum(it.done() for it in small) <= done + 2, "it has both slots"
    visitor.release()
    assert job() == "done"
    small[done + 10]()
    assert many.cancel() > 0


# What nobody can mean.


@pytest.mark.parametrize(
    ("terms", "kind", "said"),
    [
        ({"threads": 0}, ValueError, "threads must be 1 or more, not 0"),
        ({"threads": -1}, ValueError, "threads must be 1 or more, not -1"),
        ({"threads": 5000}, ValueError, "threads=5000 is more than the 4096"),
        ({"threads": 1.5}, TypeError, "threads must be a whole number of threads, not 1.5"),
        ({"threads": True}, TypeError, "threads must be a whole number of threads, not True"),
        ({"resources": {"gpu": 0}}, ValueError, "resources: gpu must be 1 or more, not 0"),
        ({"resources": {"gpu": 0.5}}, TypeError, "resources: gpu must be a whole number, not 0.5"),
        ({"resources": "gpu"}, TypeError, "resources must be such as {'gpu': 1}, not 'gpu'"),
    ],
)
def test_mistakes_are_told_at_submit(terms: dict[str, Any], kind: type, said: str) -> None:
    with Server(1) as server, pytest.raises(kind) as caught:
        server.submit(abs, (-1,), **terms)
    assert said in str(caught.value)


def test_mistakes_in_offers_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="offers: gpu must be 1 or more"):
        ppnext.Server(1, offers={"gpu": 0})
    with pytest.raises(TypeError, match="offers must be such as"):
        ppnext.Server(1, offers=0)  # type: ignore[arg-type]  # that is the point
