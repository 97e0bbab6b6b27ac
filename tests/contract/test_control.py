"""Control of one job: it can be timed, cancelled, given a deadline, tried again and put first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from ppnext import (
    Executor,
    Job,
    JobCancelled,
    JobMemoryExceeded,
    JobStopped,
    JobTimeout,
    NodeLost,
    NoNodes,
    Server,
    Template,
    WorkerDied,
)
from ppnext.nodes.guard import GRACE
from tests.contract.conftest import Cluster

PATIENCE = 20.0
FOR_EVER = 600.0
MIB = 1 << 20


# What jobs do. They say in a file that they are there, so that nobody has to wait blindly.


def note(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text + "\n")


def notes(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def waits(path: Path) -> str:
    """Wait, and clean up when interrupted."""
    note(path, "began")
    try:
        time.sleep(FOR_EVER)  # until it is interrupted: that is what is tested
    except KeyboardInterrupt:
        note(path, "cleaned")
        raise
    return "slept"


def computes(path: Path) -> None:
    note(path, "began")
    while True:
        pass


def ignores_sigint(path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    note(path, str(os.getpid()))
    time.sleep(FOR_EVER)  # until it is killed


def blocks_all_signals(path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL})
    note(path, str(os.getpid()))
    time.sleep(FOR_EVER)  # until it is killed


def catches_everything(path: Path) -> None:
    note(path, str(os.getpid()))
    while True:
        try:
            time.sleep(FOR_EVER)  # until it is interrupted, and again until it is killed
        except BaseException:  # as careless code has it
            continue


def holds_on(path: Path) -> None:
    """Ignore whatever can be ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    blocks_all_signals(path)


HOLD_ON = [ignores_sigint, blocks_all_signals, catches_everything, holds_on]


def answers_anyway(path: Path) -> str:
    note(path, "began")
    try:
        time.sleep(FOR_EVER)  # until it is interrupted
    except KeyboardInterrupt:
        return "too late"
    return "slept"


def has_a_child(path: Path) -> None:
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(FOR_EVER)  # until it is killed with its parent
    note(path, str(pid))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(FOR_EVER)  # until it is killed


def fails(path: Path, times: int) -> int:
    tried = len(notes(path))
    note(path, "tried")
    if tried < times:
        raise ConnectionError(f"attempt {tried + 1}")
    return tried


def until(what: Callable[[], object]) -> Any:
    """Return what is true before long; another process makes it so."""
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.005)  # between two looks at a file of another process
    return found


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def all_slots_work(server: Server, slots: int, gate: Any) -> None:
    jobs = [server.submit(gate.way, (x,)) for x in range(slots)]
    gate.wait_for(slots)
    gate.release(slots)
    assert [job.result(PATIENCE) for job in jobs] == list(range(slots))


# Cancelling.


def test_a_running_job_is_interrupted_and_can_clean_up(
    server: Server, cluster: Cluster, gate: Any, path: Path
) -> None:
    job = server.submit(waits, (path,))
    until(lambda: notes(path))
    assert job.running() and job.cancel()
    assert job.done() and job.cancelled() and job.status() == "cancelled"
    with pytest.raises(JobCancelled, match=f"job {job.tid} was cancelled while it was on"):
        job()
    until(lambda: notes(path) == ["began", "cleaned"])
    all_slots_work(server, cluster.slots, gate)


def test_a_job_that_computes_is_interrupted(
    server: Server, cluster: Cluster, gate: Any, path: Path
) -> None:
    job = server.submit(computes, (path,))
    until(lambda: notes(path))
    assert job.cancel()
    all_slots_work(server, cluster.slots, gate)


@pytest.mark.parametrize("func", HOLD_ON)
def test_a_job_that_holds_on_is_killed_after_a_grace(
    server: Server, path: Path, func: Callable[[Path], None]
) -> None:
    job = server.submit(func, (path,))
    [pid] = until(lambda: notes(path))
    began = time.monotonic()
    assert job.cancel()
    until(lambda: is_gone(int(pid)))
    assert time.monotonic() - began >= GRACE - 0.1


def test_it_can_be_killed_at_once_also_afterwards(
    server: Server, cluster: Cluster, gate: Any, tmp_path: Path
) -> None:
    for number, cancel in enumerate((Job.cancel, Job.drop)):
        path = tmp_path / f"notes{number}"
        job = server.submit(holds_on, (path,))
        [pid] = until(lambda path=path: notes(path))  # type: ignore[misc]  # bound at once
        cancel(job)
        assert job.cancel(kill=True)
        until(lambda pid=pid: is_gone(int(pid)))  # type: ignore[misc]  # bound at once
    all_slots_work(server, cluster.slots, gate)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_children_go_with_a_job_that_is_killed(server: Server, path: Path) -> None:
    job = server.submit(has_a_child, (path,))
    [child] = until(lambda: notes(path))
    job.cancel(kill=True)
    until(lambda: is_gone(int(child)))


DAEMON = """
import os, sys, time
os.fork() and os._exit(0)
os.setsid()
os.fork() and os._exit(0)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(float(sys.argv[2]))  # until the test kills it
"""


def forks_a_daemon(path: Path, seconds: float) -> str:
    """Start a process that belongs to nobody, and holds what the job prints."""
    subprocess.run([sys.executable, "-c", DAEMON, str(path), str(FOR_EVER)], check=True)
    time.sleep(seconds)  # until it is stopped, if that is long
    return "done"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_job_that_forks_daemons_ends_and_nobody_waits_for_them(
    server: Server, cluster: Cluster, gate: Any, path: Path
) -> None:
    try:
        assert server.submit(forks_a_daemon, (path, 0.0)).result(PATIENCE) == "done"
        late = server.submit(forks_a_daemon, (path, FOR_EVER), timeout=2.0)
        assert isinstance(late.exception(PATIENCE), JobTimeout)
        gone = server.submit(forks_a_daemon, (path, FOR_EVER))
        until(lambda: len(notes(path)) == 3)
        assert gone.cancel(kill=True)
        all_slots_work(server, cluster.slots, gate)
        # What has left its worker's session is nobody's: as docs/security.rst says.
        assert not any(is_gone(int(pid)) for pid in notes(path))
    finally:
        for pid in notes(path):
            os.kill(int(pid), signal.SIGKILL)


def test_jobs_behind_one_that_is_cancelled_do_not_notice(
    server: Server, cluster: Cluster, path: Path
) -> None:
    first = server.submit(waits, (path,))
    others = [server.submit(abs, (-x,)) for x in range(200)]
    until(lambda: notes(path))
    first.cancel()
    assert [job.result(PATIENCE) for job in others] == list(range(200))
    assert {job.attempts for job in others} <= {1, 2}  # asked back from behind it at most


def test_cancelling_what_has_ended_does_nothing(server: Server) -> None:
    job = server.submit(abs, (-1,))
    assert job.result(PATIENCE) == 1
    assert not job.cancel() and not job.cancel(kill=True) and not job.drop()
    assert not job.cancelled() and job() == 1
    failed = server.submit(divmod, (1, 0))
    assert isinstance(failed.exception(PATIENCE), ZeroDivisionError)
    assert not failed.cancel() and isinstance(failed.exception(0), ZeroDivisionError)
    assert server.submit(abs, (-2,)).result(PATIENCE) == 2


def test_a_group_is_cancelled_wherever_its_jobs_are(
    server: Server, cluster: Cluster, gate: Any, path: Path
) -> None:
    runs = [server.submit(waits, (path,), group="a") for _ in range(cluster.slots)]
    until(lambda: len(notes(path)) == cluster.slots)
    more = path.with_name("more")
    again = server.submit(fails, (more, 9), group="a", retry_on=OSError, backoff=FOR_EVER)
    queued = [server.submit(abs, (-x,), group="a") for x in range(20_000)]
    other = server.submit(abs, (-7,), group="b")
    assert server.cancel("a") == len(runs) + 1 + len(queued)
    assert server.cancel("a") == server.cancel("nobody") == 0
    assert other.result(PATIENCE) == 7 and server.wait(timeout=PATIENCE)
    assert all(job.cancelled() for job in (*runs, again, *queued))
    last = server.submit(waits, (path,))
    assert server.cancel(kill=True) == 1 and last.cancelled()
    all_slots_work(server, cluster.slots, gate)


def test_who_waits_for_a_cancelled_job_wakes(server: Server, path: Path) -> None:
    job = server.submit(waits, (path,))
    seen: list[object] = []
    job.add_done_callback(seen.append)
    waiter = threading.Thread(target=lambda: seen.append(wait([job], PATIENCE).done))
    waiter.start()
    until(lambda: notes(path))
    job.cancel()
    waiter.join(PATIENCE)
    until(lambda: len(seen) == 2)
    assert sorted(map(str, seen)) == sorted(map(str, [job, {job}]))
    assert server.wait(timeout=PATIENCE)


# Timeouts.


def test_a_job_that_takes_too_long_is_stopped_and_says_where_it_was(
    server: Server, cluster: Cluster, gate: Any, path: Path
) -> None:
    began = time.monotonic()
    job = server.submit(waits, (path,), timeout=0.3)
    with pytest.raises(JobTimeout, match=r"longer than its timeout of 0\.3 s") as caught:
        job.result(PATIENCE)
    assert time.monotonic() - began >= 0.3
    assert f"job {job.tid}" in str(caught.value) and str(job.node) in str(caught.value)
    *_, innermost = caught.value.stack.splitlines()
    assert "test_control.py" in innermost and innermost.endswith(" in waits")
    assert notes(path) == ["began", "cleaned"]
    assert job.attempts == 1
    all_slots_work(server, cluster.slots, gate)


@pytest.mark.parametrize("func", [computes, answers_anyway, catches_everything, holds_on])
def test_however_it_ends_then(server: Server, func: Any, path: Path) -> None:
    job = server.submit(func, (path,), timeout=0.2)
    assert isinstance(job.exception(PATIENCE), JobTimeout)
    assert notes(path)


def test_time_in_the_queue_does_not_count(server: Server, cluster: Cluster, gate: Any) -> None:
    held = [server.submit(gate.way) for _ in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    job = server.submit(abs, (-1,), timeout=0.2)
    assert not job.wait(0.5)
    gate.release(cluster.slots)
    assert job.result(PATIENCE) == 1
    assert all(it.wait(PATIENCE) for it in held)


def test_a_job_within_its_timeout_is_not_disturbed(server: Server) -> None:
    jobs = [server.submit(abs, (-x,), timeout=PATIENCE) for x in range(300)]
    assert [job.result(PATIENCE) for job in jobs] == list(range(300))
    # Nor are those that follow it.
    assert list(server.map(abs, range(-300, 0))) == list(range(300, 0, -1))


def test_the_timeout_of_the_server_is_that_of_jobs_that_say_nothing(
    cluster: Cluster, path: Path
) -> None:
    with Server(cluster.ncpus, cluster.ppservers, key_file=cluster.key_file, timeout=0.3) as server:
        assert server.wait_for_nodes(cluster.nodes, PATIENCE)
        slow = server.submit(waits, (path,))
        own = server.submit(time.sleep, (0.5,), timeout=PATIENCE)
        none = server.submit(time.sleep, (0.5,), timeout=float("inf"))
        assert isinstance(slow.exception(PATIENCE), JobTimeout)
        assert own.result(PATIENCE) is none.result(PATIENCE) is None
        with pytest.raises(JobTimeout):
            Template(server, waits).submit(path).result(PATIENCE)
        with Executor(server=server) as executor, pytest.raises(JobStopped):
            executor.submit(waits, path).result(PATIENCE)


def test_an_executor_has_terms_for_its_jobs_also_with_a_server_of_others(
    server: Server, path: Path
) -> None:
    with Executor(server=server, timeout=0.3, retry=False) as executor:
        with pytest.raises(JobTimeout):
            executor.submit(waits, path).result(PATIENCE)
        with pytest.raises(JobTimeout):
            list(executor.map(waits, [path]))
        assert executor.submit(abs, -1).result(PATIENCE) == 1
        assert server.submit(time.sleep, (0.5,)).result(PATIENCE) is None
    for terms, error in (({"timeout": -1}, ValueError), ({"proto": 4}, TypeError)):
        with pytest.raises(error):
            Executor(server=server, **terms)


def test_each_call_of_a_map_has_its_time(server: Server, path: Path) -> None:
    sleeps = [0.0, 0.15, 0.15, 0.15]
    assert list(server.map(time.sleep, sleeps, timeout=PATIENCE)) == [None] * 4
    results = server.map(lambda x: waits(x) if x else 1, [None, path], timeout=0.3)
    assert next(results) == 1
    with pytest.raises(JobTimeout):
        next(results)


# Memory and niceness.


def hoards(path: Path, size: int, piece: int) -> int:
    """Take memory in pieces, and then wait."""
    note(path, "began")
    hoard = [bytearray(piece) for _ in range(size // piece)]
    time.sleep(FOR_EVER)  # until it is seen
    return len(hoard)


def has_a_large_child(path: Path, size: int) -> None:
    code = f"import time; hoard = bytearray({size}); time.sleep({FOR_EVER})"  # until it is killed
    note(path, "began")
    subprocess.run([sys.executable, "-c", code])


@pytest.mark.parametrize("func", [hoards, has_a_large_child])
def test_a_job_that_takes_too_much_memory_is_stopped(
    server: Server, cluster: Cluster, gate: Any, path: Path, func: Any
) -> None:
    args = (path, 300 * MIB, MIB) if func is hoards else (path, 300 * MIB)
    job = server.submit(func, args, max_memory="250MiB", timeout=PATIENCE)
    with pytest.raises(JobMemoryExceeded, match="may have 262144000") as caught:
        job.result(2 * PATIENCE)
    assert 250 * MIB < caught.value.peak < 600 * MIB
    assert caught.value.stack
    all_slots_work(server, cluster.slots, gate)


def test_one_that_takes_it_faster_than_anybody_looks_is_not_given_it(
    server: Server, cluster: Cluster, gate: Any
) -> None:
    job = server.submit(lambda: len(bytearray(4000 * MIB)), max_memory=300 * MIB)
    with pytest.raises(JobMemoryExceeded, match="its limit of 314572800 bytes"):
        job.result(PATIENCE)
    with pytest.raises(JobMemoryExceeded, match="its limit of 314572800 bytes"):
        list(server.map(bytearray, [4000 * MIB], max_memory=300 * MIB))
    # The limit was the job's.
    jobs = [server.submit(lambda: len(bytearray(600 * MIB))) for _ in range(cluster.slots)]
    assert {it.result(PATIENCE) for it in jobs} == {600 * MIB}


def test_a_job_within_its_memory_is_not_disturbed(server: Server) -> None:
    job = server.submit(lambda: len(bytearray(50 * MIB)), max_memory="1 GiB")
    assert job.result(PATIENCE) == 50 * MIB


@pytest.mark.skipif(not hasattr(os, "nice"), reason="the system knows no niceness")
def test_a_nice_job_is_nice_and_the_next_is_not(
    server: Server, cluster: Cluster, gate: Any
) -> None:
    def gives_way(job: Job) -> int:
        """How much it does so beyond what its worker does; those of a ppserver do so by ten."""
        return int(job.result(PATIENCE)) - os.nice(0) - (0 if job.node == "local" else 10)

    assert gives_way(server.submit(os.nice, (0,))) == 0
    jobs = [server.submit(os.nice, (0,), nice=3) for _ in range(3 * cluster.slots)]
    assert {gives_way(job) for job in jobs} == {3}
    jobs = [server.submit(os.nice, (0,)) for _ in range(3 * cluster.slots)]
    assert {gives_way(job) for job in jobs} == {0}
    all_slots_work(server, cluster.slots, gate)


# Deadlines.


def test_a_job_that_is_not_started_in_time_ends(
    server: Server, cluster: Cluster, gate: Any
) -> None:
    held = [server.submit(gate.way) for _ in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    job = server.submit(gate.way, deadline=0.2)
    with pytest.raises(
        NoNodes, match=rf"job {job.tid} was not started within 0\.2 s: waiting: 0 jobs"
    ):
        job.result(PATIENCE)
    gate.release(cluster.slots)
    assert all(it.wait(PATIENCE) for it in held)
    assert not gate.arrived()


def test_a_job_that_no_node_can_run_says_so_at_once_and_at_its_deadline(server: Server) -> None:
    job = server.submit(abs, (-1,), node="nobody", requires=("python>=3",), deadline=0.5)
    assert job.status().startswith("waiting: no node can run it: ")
    with pytest.raises(NoNodes, match="no node can run it: .* is not nobody"):
        job.result(PATIENCE)


def test_a_job_that_runs_has_met_its_deadline(server: Server, gate: Any) -> None:
    job = server.submit(gate.way, (3,), deadline=0.3)
    gate.wait_for(1)
    assert not job.wait(0.5)
    gate.release(1)
    assert job.result(PATIENCE) == 3


def test_a_job_that_was_tried_in_time_has_met_its_deadline(
    cluster: Cluster, server: Server, gate: Any, path: Path
) -> None:
    job = server.submit(fails, (path, 1), retry_on=OSError, backoff=0.1, deadline=0.5)
    until(lambda: notes(path))
    held = [server.submit(gate.way, (n,), priority=1) for n in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    job.wait(0.6)  # its deadline goes by, most likely while it waits
    gate.release(cluster.slots)
    assert job.result(PATIENCE) == 1
    assert all(it.wait(PATIENCE) for it in held)


def test_a_deadline_without_any_node() -> None:
    with Server(0) as server:
        job = server.submit(abs, (-1,), deadline=0.1)
        with pytest.raises(NoNodes, match="no node is connected"):
            job.result(PATIENCE)
        assert server.wait(timeout=PATIENCE)


# Trying again.


def test_it_is_run_again_after_what_it_names(server: Server, path: Path) -> None:
    job = server.submit(fails, (path, 2), retry_on=OSError, backoff=0.05)
    assert job.result(PATIENCE) == 2
    assert job.attempts == 3 and len(notes(path)) == 3
    assert server.wait(timeout=PATIENCE)


def test_calls_of_a_map_are_made_again_after_what_it_names(server: Server, path: Path) -> None:
    assert list(server.map(fails, [path], [2], retry_on=OSError)) == [2]
    assert len(notes(path)) == 3


@pytest.mark.parametrize(("retry", "attempts"), [(None, 4), (0, 1), (False, 1), (2, 3)])
def test_not_for_ever(server: Server, path: Path, retry: Any, attempts: int) -> None:
    job = server.submit(fails, (path, 9), retry=retry, retry_on=(ValueError, ConnectionError))
    with pytest.raises(ConnectionError, match=f"attempt {attempts}"):
        job.result(PATIENCE)
    assert len(notes(path)) == attempts


def test_what_it_does_not_name_is_its_end(server: Server, path: Path) -> None:
    with pytest.raises(ConnectionError, match="attempt 1"):
        server.submit(fails, (path, 9), retry_on=ValueError).result(PATIENCE)


def test_it_is_run_again_after_a_timeout(server: Server, path: Path) -> None:
    job = server.submit(waits, (path,), timeout=0.2, retry=1, retry_on=JobTimeout)
    assert isinstance(job.exception(PATIENCE), JobTimeout)
    assert notes(path) == ["began", "cleaned"] * 2
    attempts = server.explain(job).attempts
    assert [it.number for it in attempts] == [1, 2]
    assert all("longer than its timeout" in it.cause for it in attempts)


def test_it_can_be_cancelled_while_it_waits_for_its_next_attempt(
    server: Server, path: Path
) -> None:
    job = server.submit(fails, (path, 9), retry_on=OSError, backoff=FOR_EVER)
    until(lambda: "to be run again" in job.status())
    assert not job.done()
    assert job.cancel() and server.wait(timeout=PATIENCE)
    assert len(notes(path)) == 1


def test_it_ends_with_its_server_while_it_waits_for_its_next_attempt(path: Path) -> None:
    server = Server(1)
    job = server.submit(fails, (path, 9), retry_on=OSError, backoff=FOR_EVER)
    until(lambda: "to be run again" in job.status())
    server.destroy()
    assert "destroyed" in str(job.exception(PATIENCE))


@pytest.mark.parametrize("retry", [1, 2])
def test_how_often_a_job_may_lose_its_worker(server: Server, retry: int, path: Path) -> None:
    def dies() -> None:
        note(path, "tried")
        os.kill(os.getpid(), signal.SIGKILL)

    job = server.submit(dies, retry=retry)
    assert isinstance(job.exception(PATIENCE), WorkerDied)
    assert len(notes(path)) == retry + 1


@pytest.mark.parametrize("chunksize", ["auto", 4])
@pytest.mark.parametrize("retry", [False, 1])
def test_a_call_of_a_map_is_not_made_more_often_than_allowed(
    server: Server, retry: int, chunksize: int | str, path: Path
) -> None:
    def dies_once_there_are_many(number: int) -> int:
        note(path, str(number))
        if number == 70:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    results = server.map(dies_once_there_are_many, range(80), retry=retry, chunksize=chunksize)
    with pytest.raises((WorkerDied, NodeLost)):
        list(results)
    made = notes(path)
    assert made.count("70") == retry + 1
    if not retry:  # else those may be made again whose results were on their way out of the worker
        assert len(made) == len(set(made))


# Who goes first, and where.


def test_those_with_a_higher_priority_go_first(cluster: Cluster, gate: Any, path: Path) -> None:
    with Server(1) as server:
        server.submit(gate.way)
        gate.wait_for(1)
        order = [0, -5, 3, 0, 7, -5, 3]
        jobs = [server.submit(note, (path, f"{it}"), priority=it or None) for it in order]
        assert jobs[4].status().startswith("waiting: 0 jobs before it")
        assert jobs[1].status().startswith("waiting: 5 jobs before it")
        gate.release(1)
        assert server.wait(timeout=PATIENCE)
        assert [int(it) for it in notes(path)] == sorted(order, reverse=True)


def test_a_high_priority_passes_a_long_queue(gate: Any) -> None:
    with Server(1) as server:
        server.submit(gate.way)
        gate.wait_for(1)
        queue = [server.submit(abs, (x,), priority=-1) for x in range(20_000)]
        plain = [server.submit(abs, (x,)) for x in range(20_000)]
        first = server.submit(abs, (-1,), priority=1)
        assert first.status().startswith("waiting: 0 jobs before it")
        gate.release(1)
        assert first.result(PATIENCE) == 1
        assert all(it.wait(PATIENCE) for it in plain)
        for job in queue:
            job.cancel()


def test_a_job_runs_where_it_is_to_run(server: Server) -> None:
    for name, slots in server.get_active_nodes().items():
        if not slots:
            continue
        job = server.submit(abs, (-1,), node=name)
        assert job.result(PATIENCE) == 1 and job.node == name
    nodes = {server.submit(abs, (-1,), node="*").node for _ in range(3)}
    assert nodes <= {None, *server.get_active_nodes()}


# Mistakes.


@pytest.mark.parametrize(
    ("terms", "kind", "said"),
    [
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds"),
        ({"timeout": -1.5}, ValueError, "timeout must be more than 0 seconds, not -1.5"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds, not '1'"),
        ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 seconds"),
        ({"deadline": -1}, ValueError, "deadline must be more than 0"),
        ({"retry": -1}, ValueError, "retry must be 0 or more"),
        ({"retry": 1.5}, TypeError, "retry must be True, False or how often"),
        ({"retry_on": "OSError"}, TypeError, "retry_on must be a tuple of exception classes"),
        ({"backoff": -1}, ValueError, "backoff must be"),
        ({"backoff": float("inf")}, ValueError, "backoff must be"),
        ({"max_memory": 0}, ValueError, "max_memory must be more than 0 bytes"),
        ({"max_memory": "2 GiX"}, ValueError, "such as '2GiB' or '500MB'"),
        ({"nice": 20}, ValueError, "nice must be from 0 to 19"),
        ({"nice": -1}, ValueError, "cannot take precedence"),
        ({"priority": 0.5}, TypeError, "priority must be a whole number"),
        ({"priority": 10**9}, ValueError, "priority must be from"),
        ({"node": 7}, TypeError, "node must be the name of a node"),
        ({"node": ""}, ValueError, "node must be such as"),
        ({"timout": 1}, TypeError, "no argument 'timout'; did you mean 'timeout'"),
    ],
)
def test_mistakes_are_named(terms: Any, kind: type[Exception], said: str) -> None:
    with Server(0) as server:
        for call in (
            lambda: server.submit(abs, (1,), **terms),
            lambda: server.map(abs, [1], **terms),
            lambda: Template(server, abs, **terms),
            lambda: Executor(0, ppservers=("127.0.0.1:1",), **terms),
            lambda: Server(0, **terms),
        ):
            with pytest.raises(kind, match=said):
                call()


def test_no_thread_of_a_job_stays_in_its_way(server: Server, path: Path) -> None:
    """A job may have left a thread behind that goes on."""

    def leaves() -> int:
        threading.Thread(target=time.sleep, args=(FOR_EVER,), daemon=True).start()
        return sys.getswitchinterval() > 0

    assert server.submit(leaves).result(PATIENCE)
    job = server.submit(waits, (path,), timeout=0.3)
    with pytest.raises(JobTimeout) as caught:
        job.result(PATIENCE)
    assert caught.value.stack.endswith(" in waits")


# What became of it.


def test_what_became_of_each_attempt_can_be_asked(server: Server, path: Path) -> None:
    job = server.submit(fails, (path, 2), retry_on=ConnectionError)
    assert job.result(PATIENCE) == 2
    report = server.explain(job)
    assert (report.job, report.function, report.state) == (job.tid, "fails", job.status())
    causes = [attempt.cause for attempt in report.attempts]
    assert causes == ["raised ConnectionError", "raised ConnectionError", "returned"]
    times = [time for it in report.attempts for time in (it.sent, it.ended)]
    assert times == sorted(times)
    assert str(report).count("raised ConnectionError after ") == 2


def test_what_has_not_ended_or_was_cancelled_says_so(server: Server, path: Path) -> None:
    job = server.submit(waits, (path,))
    until(lambda: notes(path))
    [attempt] = server.explain(job).attempts
    assert (attempt.cause, attempt.ended, attempt.node) == ("has not ended", None, job.node)
    job.cancel()
    [attempt] = server.explain(job).attempts
    assert attempt.cause == "cancelled" and attempt.ended >= attempt.sent
    assert server.explain(server.submit(abs, (-1,), node="nobody*")).attempts == ()
    assert not server.quarantine()


def compute(path: str) -> int:
    """Keep Python to itself for longer than anybody waits."""
    with open(path, "w") as file:
        file.write("begun")
    return sum(range(10**11))


def test_a_job_that_computes_in_c_is_cancelled_although_its_worker_does_not_answer(
    tmp_path: Path,
) -> None:
    begun = tmp_path / "begun"
    with Server(1) as server:
        pid = server.submit(os.getpid)()
        job = server.submit(compute, (str(begun),))
        while not begun.exists():
            time.sleep(0.01)  # only the job knows when it computes
        assert job.cancel(kill=True)
        assert server.submit(os.getpid).result(20.0) != pid
