"""A polite ppserver: slots are given back while others use its machine, and taken again.

The load of others is what the test says; that it is measured is for ``test_neighbours``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

import ppnext
from tests.ppserver_fixture import LISTENS, Daemon, PPServers
from tests.stage_fixture import Stage, Visitor
from tests.visits import visit

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(sys.platform != "linux", reason="--polite needs Linux"),
]

SCRIPT = str(Path(__file__).with_name("polite_ppserver.py"))
ROOT = str(Path(ppnext.__file__).parents[1])
PATIENCE = 20.0
LONG = 3600.0
CORES = 4

Connect = Callable[..., ppnext.Server]


class Polite(Daemon):
    """A polite ppserver that a test has started."""

    load: Path

    def others_use(self, cores: float) -> None:
        """From now on, others use so many processors of four."""
        draft = self.load.with_suffix(".new")
        draft.write_text(str(cores))
        os.replace(draft, self.load)


Start = Callable[..., Polite]


@pytest.fixture
def polite(key_file: Path, tmp_path: Path) -> Iterator[Start]:
    """Start polite ppservers with four slots on four processors; they end with the test."""
    started: list[Polite] = []

    def start(workers: int = CORES, after: float = LONG) -> Polite:
        load = tmp_path / f"load{len(started)}"
        load.write_text("0")
        process = subprocess.Popen(
            [sys.executable, SCRIPT, str(key_file), str(load), str(workers), str(after)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": ROOT},
            text=True,
        )
        daemon = Polite(process, key_file, Path())
        started.append(daemon)
        daemon.load = load
        daemon.address = daemon.wait_for_log(LISTENS.pattern)[1]
        return daemon

    yield start
    for daemon in started:
        daemon.kill()


def is_stopped(visitor: Visitor) -> bool:
    return psutil.Process(visitor.pid).status() == psutil.STATUS_STOPPED


def stopped(visitors: list[Visitor], number: int) -> list[Visitor]:
    """Wait until so many of them are stopped, and return those."""
    end = monotonic() + PATIENCE
    while len(found := [it for it in visitors if is_stopped(it)]) != number:
        assert monotonic() < end, f"{len(found)} of {len(visitors)} are stopped, not {number}"
        sleep(0.02)  # nothing tells that another process is stopped
    return found


def submit(client: ppnext.Server, stage: Stage, number: int, **terms: object) -> list[ppnext.Job]:
    return [client.submit(visit, (stage.port, str(n)), **terms) for n in range(number)]  # type: ignore[arg-type]  # terms by name


def test_jobs_are_suspended_as_others_need_processors_and_continued_afterwards(
    polite: Start, connect: Connect, stage: Stage
) -> None:
    daemon = polite()
    client = connect(daemon)
    jobs = submit(client, stage, 4)
    visitors = stage.many(4)
    daemon.others_use(1.0)
    first = stopped(visitors, 1)
    daemon.others_use(3.2)  # of a fifth there is the noise of any machine
    daemon.wait_for_log("processors: 1 slots|processors: 0 slots")
    assert set(first) <= set(stopped(visitors, 3))
    daemon.others_use(4.0)
    stopped(visitors, 4)
    daemon.others_use(2.0)
    stopped(visitors, 2)
    daemon.others_use(0.0)
    stopped(visitors, 0)
    for visitor in visitors:
        visitor.release()
    assert [job() for job in jobs] == ["done"] * 4
    assert [job.attempts for job in jobs] == [1] * 4


def test_jobs_that_have_not_been_started_are_given_back_at_once(
    polite: Start, connect: Connect, stage: Stage
) -> None:
    daemon = polite(workers=1)
    client = connect(daemon)
    list(client.map(abs, range(200), chunksize=1))  # so short that the next ones are sent ahead
    jobs = submit(client, stage, 3)
    visitor = stage.next()
    daemon.process.send_signal(signal.SIGUSR1)
    assert int(daemon.wait_for_log(r"(\d+) here")[1]) > 1
    daemon.others_use(4.0)
    stopped([visitor], 1)
    daemon.process.send_signal(signal.SIGUSR1)
    daemon.wait_for_log("done, 1 here")
    daemon.others_use(0.0)
    visitor.release()
    for _ in range(2):
        stage.next().release()
    assert [job() for job in jobs] == ["done"] * 3


def test_a_client_that_comes_meanwhile_waits_for_no_machine_that_is_needed(
    polite: Start, ppserver: PPServers
) -> None:
    daemon, other = polite(workers=1), ppserver.start(workers=1)
    daemon.others_use(4.0)
    daemon.wait_for_log("0 slots")
    both = (daemon.address, other.address)
    with ppnext.Server(0, both, key_file=daemon.key_file) as client:
        assert client.wait_for_nodes(1, PATIENCE)
        jobs = [client.submit(abs, (-n,)) for n in range(20)]
        assert [job.result(PATIENCE) for job in jobs] == list(range(20))
        daemon.others_use(0.0)
        assert client.wait_for_nodes(2, PATIENCE)


def test_a_job_that_is_suspended_for_too_long_runs_elsewhere_and_is_not_blamed(
    polite: Start, ppserver: PPServers, connect: Connect, stage: Stage
) -> None:
    daemon = polite(workers=1, after=0.5)
    other = ppserver.start(workers=1)
    client = connect(daemon, other)
    jobs = submit(client, stage, 2)
    here, there = sorted(stage.many(2), key=lambda it: it.parent != daemon.pid)
    assert (here.parent, there.parent) == (daemon.pid, other.pid)
    daemon.others_use(4.0)
    assert here.gone_within(PATIENCE)
    there.release()
    again = stage.next()
    assert (again.name, again.parent) == (here.name, other.pid)
    again.release("elsewhere")
    assert jobs[int(here.name)]() == "elsewhere"
    assert jobs[int(here.name)].attempts == 2
    assert "poison" not in jobs[int(here.name)].status()


def test_a_job_that_may_be_started_once_is_continued_at_the_lowest_priority(
    polite: Start, connect: Connect, stage: Stage
) -> None:
    daemon = polite(workers=1, after=0.5)
    client = connect(daemon)
    (job,) = submit(client, stage, 1, retry=False)
    visitor = stage.next()
    daemon.others_use(4.0)
    stopped([visitor], 1)
    stopped([visitor], 0)
    assert os.getpriority(os.PRIO_PROCESS, visitor.pid) == 19
    visitor.release()
    assert job() == "done"
    daemon.others_use(0.0)
    assert client.submit(os.getpid).result(PATIENCE) != visitor.pid  # its worker was replaced


def test_the_time_of_a_suspended_job_does_not_run_out(
    polite: Start, connect: Connect, stage: Stage
) -> None:
    daemon = polite(workers=1)
    client = connect(daemon)
    timeout = 2.0
    (job,) = submit(client, stage, 1, timeout=timeout)
    visitor = stage.next()
    daemon.others_use(4.0)
    stopped([visitor], 1)
    assert not visitor.gone_within(timeout + 0.5)
    daemon.others_use(0.0)
    stopped([visitor], 0)
    visitor.release()
    assert job() == "done"


def test_a_suspended_job_can_be_cancelled(polite: Start, connect: Connect, stage: Stage) -> None:
    daemon = polite(workers=1)
    client = connect(daemon)
    (job,) = submit(client, stage, 1)
    visitor = stage.next()
    daemon.others_use(4.0)
    stopped([visitor], 1)
    assert job.cancel(kill=True)
    assert visitor.gone_within(PATIENCE)


@pytest.mark.parametrize("how", ["killed", "told"])
def test_no_suspended_worker_is_left_behind(
    polite: Start, connect: Connect, stage: Stage, how: str
) -> None:
    daemon = polite(workers=1, after=0.5 if how == "told" else LONG)
    client = connect(daemon)
    submit(client, stage, 1)
    visitor = stage.next()
    daemon.others_use(4.0)
    stopped([visitor], 1)
    if how == "killed":
        daemon.kill()
    else:
        daemon.terminate()  # it hands the job back before it goes
    assert visitor.gone_within(PATIENCE)
    assert daemon.process.wait(PATIENCE) == (0 if how == "told" else -9)


def test_the_command_has_the_option(ppserver: PPServers) -> None:
    """How much others use in truth is not known here: jobs may have to wait."""
    daemon = ppserver.start("--polite", "--polite-after", "5", workers=2)
    with ppnext.Server(0, (daemon.address,), key_file=daemon.key_file) as client:
        client.submit(abs, (-1,))
    assert daemon.stop() == 0
