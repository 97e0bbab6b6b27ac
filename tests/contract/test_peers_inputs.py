"""What has hung or misled users of other pools: arguments, results, programs, servers not there.

Each test retells a story from the public trackers of other projects, named in docs/reliability.rst,
in words and code of our own. A pool that has the fault never ends such a test; so every wait here
has a limit.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path

import psutil
import pytest

from ppnext import Server
from ppnext.errors import NoNodes, NotShippable, RemoteError, ResultNotShippable

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds in which all of a story's jobs end on a busy machine."""


class Refusing:
    """Cannot be pickled."""

    def __reduce__(self):
        raise TypeError("not this one")


class NeedsTwo(Exception):
    """An exception that pickle can write and cannot make again."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def results_of(jobs):
    return [job.result(PATIENCE) for job in jobs]


# Arguments and results.


def test_an_argument_that_cannot_be_pickled_is_an_error_of_its_submit(server):
    """pyiron/executorlib 1057 and 1062: it ended the thread that served everybody."""
    before = server.submit(abs, (-1,))
    for _ in range(3):
        with pytest.raises(NotShippable, match=r"Refusing.*not this one"):
            server.submit(len, ([Refusing()],))
    assert results_of([before, server.submit(abs, (-2,))]) == [1, 2]
    assert server.wait(timeout=PATIENCE)


def test_a_result_that_cannot_be_pickled_is_an_error_of_its_job(server):
    """adrn/schwimmbad 23, noxdafox/pebble 146: an error on the way, and the run stood still."""

    def lock():
        import threading

        return threading.Lock()

    jobs = [server.submit(lock), server.submit(abs, (-3,)), server.submit(lock)]
    for job in (jobs[0], jobs[2]):
        with pytest.raises(ResultNotShippable):
            job.result(PATIENCE)
    assert jobs[1].result(PATIENCE) == 3


def test_an_exception_that_cannot_be_made_again_ends_its_job(server):
    """python/cpython 79492 and 103061: unpickling it ended the thread that takes in results."""

    def fail():
        raise NeedsTwo("this", "that")

    job = server.submit(fail)
    error = job.exception(PATIENCE)
    assert isinstance(error, (NeedsTwo, RemoteError))
    assert "this and that" in str(error)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


def test_a_result_that_nests_too_deep_ends_its_job(server):
    """uqfoundation/multiprocess 19 and its kin: a pickler that gives up, and nobody hears of it."""

    def deep():
        nested: list[object] = []
        for _ in range(100_000):
            nested = [nested]
        return nested

    job = server.submit(deep, retry=False)
    assert job.exception(PATIENCE) is not None
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


def test_stop_iteration_from_a_call_does_not_end_the_map_in_silence(server):
    """pgiri/dispy 173, PEP 479: where a generator runs, it looks like the end of the results."""

    def work(x):
        if x == 2:
            raise StopIteration("of the job")
        return x

    results = server.map(work, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        next(results)
    assert "of the job" in str(caught.value.__cause__)
    job = server.submit(work, (2,))
    assert isinstance(job.exception(PATIENCE), StopIteration)


def test_one_failure_does_not_cost_the_results_of_the_others(server):
    """joblib/joblib 1251: one call of many raised after twelve hours, and all results were gone."""

    def work(x):
        if x == 7:
            raise ValueError("the one")
        return x

    jobs = [server.submit(work, (x,)) for x in range(40)]
    wait(jobs, PATIENCE)
    assert [job.result() for job in jobs if not job.exception()] == [*range(7), *range(8, 40)]
    with pytest.raises(ValueError, match="the one"):
        jobs[7].result()


def test_no_future_is_lost(server):
    """soravux/scoop 64: some futures never came back, now these and now those."""
    jobs = {server.submit(pow, (x, 2)): x for x in range(1000)}
    seen = {jobs[job]: job.result() for job in as_completed(jobs, PATIENCE)}
    assert seen == {x: x * x for x in range(1000)}


def test_map_in_a_loop(server):
    """ipython/ipyparallel 373: after some 180 rounds of map_sync one never ended."""
    for number in range(200):
        assert list(server.map(abs, range(-12, 0))) == list(range(12, 0, -1)), number


def test_the_end_comes_although_large_results_are_cancelled_under_way(cluster):
    """noxdafox/pebble 147 and 50: join hung for a minute behind a pipe that was full."""
    with Server(cluster.ncpus, cluster.ppservers, key_file=cluster.key_file) as server:
        assert server.wait_for_nodes(cluster.nodes, PATIENCE)
        jobs = [server.submit(bytes, (8 << 20,)) for _ in range(24)]
        with ThreadPoolExecutor(1) as waiter:
            unwanted = waiter.submit(wait, jobs, PATIENCE)
            next(as_completed(jobs, PATIENCE))
            for job in jobs[::2]:
                job.cancel()
            began = time.monotonic()
            server.destroy()
            assert not unwanted.result(PATIENCE).not_done, "who waits is woken"
    assert time.monotonic() - began < PATIENCE / 2
    assert all(job.done() for job in jobs)


# Servers that are not there.


@pytest.fixture
def gone():
    """An address where nothing listens, and nothing will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_server_that_is_not_there_is_named_and_delays_nobody(cluster, gone, caplog):
    """uqfoundation/ppft 15 and 16, pathos 189: a server was silently not used, or all hung."""
    caplog.set_level(logging.WARNING, "ppnext.network")
    servers = (*cluster.ppservers, gone)
    with Server(cluster.ncpus, servers, key_file=cluster.key_file) as server:
        assert not server.wait_for_nodes(cluster.nodes + 1, 0.5)
        assert results_of([server.submit(abs, (-x,)) for x in range(20)]) == list(range(20))
    with Server(0, (gone,), key_file=cluster.key_file) as server:
        job = server.submit(abs, (-1,))
        while gone not in job.status():
            assert not job.wait(0.05)
        assert "nothing listens there" in job.status()
    said = [it.getMessage() for it in caplog.records]
    assert any(gone in it and "nothing listens there" in it for it in said)


def test_what_no_node_has_is_said_at_once(server):
    """dask/distributed 7170: a job waited in silence for a resource that no worker has."""
    job = server.submit(abs, (-1,), resources={"tpu": 1})
    assert job.status().startswith("waiting: no node can run it: ")
    nodes = [node for node, slots in server.get_active_nodes().items() if slots]
    assert all(f"{node} offers no tpu" in job.status() for node in nodes)
    assert server.submit(abs, (-2,)).result(PATIENCE) == 2
    assert job.cancel()
    late = server.submit(abs, (-1,), resources={"tpu": 1}, deadline=0.2)
    with pytest.raises(NoNodes, match="offers no tpu"):
        late.result(PATIENCE)


# Programs.

UNGUARDED = """
    import sys
    from ppnext import Server

    def square(x):
        return x * x

    ncpus, key_file, *servers = sys.argv[1:]
    server = Server(int(ncpus), tuple(servers), key_file=key_file)
    print(sum(server.map(square, range(10))))
    print(sum(job() for job in [server.submit(square, (x,)) for x in range(10)]))
"""

HELD = """
    import os, sys, time
    from ppnext import Server

    def hold(path):
        import subprocess
        code = "import time; time.sleep(600)"  # until it is killed
        child = subprocess.Popen([sys.executable, "-c", code])
        with open(path, "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        child.wait()

    path, ncpus, key_file, *servers = sys.argv[1:]
    os.mkfifo(path)
    server = Server(int(ncpus), tuple(servers), key_file=key_file)
    job = server.submit(hold, (path,))
    with open(path) as file:
        print(file.read(), flush=True)
    job()
"""


def program(directory, text, *arguments):
    script = directory / "program.py"
    script.write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_a_program_without_a_main_guard(cluster, tmp_path):
    """nipype/pydra 876: with spawn or forkserver it hung for ever, without a word."""
    started = program(tmp_path, UNGUARDED, cluster.ncpus, cluster.key_file, *cluster.ppservers)
    try:
        output, errors = started.communicate(timeout=PATIENCE)
    finally:
        started.kill()
    assert (output, errors) == ("285\n285\n", "")


def test_nothing_is_left_of_a_program_that_is_killed(cluster, tmp_path):
    """joblib/loky 360: after SIGKILL its workers, and what they had started, stayed for ever."""
    started = program(
        tmp_path, HELD, tmp_path / "pipe", cluster.ncpus, cluster.key_file, *cluster.ppservers
    )
    try:
        assert started.stdout is not None
        family = [psutil.Process(int(pid)) for pid in started.stdout.readline().split()]
        assert len(family) == 2
        started.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=5)
    finally:
        started.kill()
        started.communicate(timeout=PATIENCE)
    assert not [it for it in alive if it.is_running() and it.status() != psutil.STATUS_ZOMBIE]
