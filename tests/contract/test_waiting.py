"""Threads that wait for jobs do some of the work meanwhile; nothing that ends a wait breaks it."""

from __future__ import annotations

import gc
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from pathlib import Path
from time import monotonic

import pytest

from ppnext.errors import DestroyedServerError, JobCancelled, WorkerDied

PATIENCE = 60.0
ROOT = Path(__file__).resolve().parents[2]


def square(x):
    return x * x


def in_thread(call, *args, **kwargs):
    """Make a call in a thread of its own; return its future."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call, *args, **kwargs)
    pool.shutdown(wait=False)
    return future


# One after the other.


def test_one_job_after_the_other(server):
    assert [server.submit(square, (x,)).result(PATIENCE) for x in range(300)] == [
        x * x for x in range(300)
    ]


def test_one_after_the_other_in_many_threads(server):
    def work(who):
        return [server.submit(square, (x,)).result(PATIENCE) for x in range(who, who + 100)]

    with ThreadPoolExecutor(8) as pool:
        for who, results in enumerate(pool.map(work, range(8))):
            assert results == [x * x for x in range(who, who + 100)]


def test_one_after_the_other_beside_bursts(server):
    def burst(who):
        total = 0
        for turn in range(5):
            jobs = [server.submit(square, (x,)) for x in range(turn, turn + 100)]
            total += sum(job.result(PATIENCE) for job in jobs)
        return total

    def alone(who):
        return sum(server.submit(square, (x,)).result(PATIENCE) for x in range(200))

    with ThreadPoolExecutor(4) as pool:
        bursts, alones = ([pool.submit(work, n) for n in range(2)] for work in (burst, alone))
        assert {it.result(PATIENCE) for it in alones} == {sum(x * x for x in range(200))}
        assert len({it.result(PATIENCE) for it in bursts}) == 1


def test_long_and_short_jobs_are_waited_for_at_the_same_time(server, gate):
    long = in_thread(server.submit(gate.way, ("long",)).result, PATIENCE)
    gate.wait_for(1)
    assert [server.submit(square, (x,)).result(PATIENCE) for x in range(100)][-1] == 99**2
    assert not long.done()
    gate.release(1)
    assert long.result(PATIENCE) == "long"


def test_several_threads_wait_for_one_job(server, gate):
    job = server.submit(gate.way, ("all",))
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(job.result, PATIENCE) for _ in range(6)]
        gate.wait_for(1)
        gate.release(1)
        assert {it.result(PATIENCE) for it in waiting} == {"all"}


# What ends a wait.


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_whoever_gives_up_waiting_leaves_all_in_order(server, gate, timeout):
    for turn in range(10):
        job = server.submit(gate.way, (turn,))
        gate.wait_for(1)
        for _ in range(3):
            with pytest.raises(Late):
                job.result(timeout)
        gate.release(1)
        assert job.result(PATIENCE) == turn
        assert server.submit(square, (turn,)).result(PATIENCE) == turn * turn


def test_infinity_is_for_ever_and_what_is_no_number_no_time(server, gate):
    job = server.submit(gate.way)
    gate.wait_for(1)
    assert not server.wait(timeout=math.nan)
    assert not server.wait_for_nodes(1000, math.nan)
    waiting = [in_thread(wait, timeout=math.inf) for wait in (server.wait, job.wait)]
    gate.release(1)
    assert [it.result(PATIENCE) for it in waiting] == [True, True]
    assert server.wait_for_nodes(1, math.inf)


def test_a_job_is_cancelled_while_somebody_waits_for_it(server, cluster, gate):
    held = [server.submit(gate.way, (n,)) for n in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    # More than nodes are sent ahead of time, so the last ones are here.
    jobs = [server.submit(square, (x,)) for x in range(2000)]
    waiting = [in_thread(job.result, PATIENCE) for job in (jobs[-1], jobs[-1], held[0])]
    assert jobs[-1].cancel()
    for it in waiting[:2]:
        with pytest.raises(JobCancelled):
            it.result(PATIENCE)
    gate.release(cluster.slots)
    assert waiting[2].result(PATIENCE) == 0
    assert [job.result(PATIENCE) for job in jobs[:-1]] == [x * x for x in range(1999)]


def test_the_server_is_destroyed_while_threads_wait(server, cluster, gate):
    jobs = [server.submit(gate.way) for _ in range(3 * cluster.slots)]
    gate.wait_for(cluster.slots)
    waiting = [in_thread(job.result, PATIENCE) for job in jobs for _ in range(2)]
    server.destroy()
    for it in waiting:
        with pytest.raises(DestroyedServerError):
            it.result(PATIENCE)


def test_a_worker_is_killed_while_a_thread_waits_for_its_job(server, tmp_path):
    path = str(tmp_path / "pid")

    def first_waits(value):
        if os.path.exists(path):
            return value
        with open(path + "-", "w") as file:
            file.write(str(os.getpid()))
        os.rename(path + "-", path)
        signal.pause()

    for turn in range(3):
        job = server.submit(first_waits, (turn,))
        waiting = in_thread(job.result, PATIENCE)
        until = monotonic() + PATIENCE
        while not os.path.exists(path):
            assert monotonic() < until
        with open(path) as file:
            os.kill(int(file.read()), signal.SIGKILL)
        assert waiting.result(PATIENCE) == turn
        assert server.submit(square, (turn,)).result(PATIENCE) == turn * turn
        os.unlink(path)


def test_a_job_that_kills_its_worker_is_waited_for(server):
    for _ in range(5):
        with pytest.raises(WorkerDied):
            server.submit(lambda: os._exit(1), retry=False).result(PATIENCE)
        assert server.submit(square, (3,)).result(PATIENCE) == 9


def test_workers_come_and_go_while_threads_wait(server, cluster, gate):
    job = server.submit(gate.way, ("done",))
    gate.wait_for(1)
    waiting = in_thread(job.result, PATIENCE)
    for ncpus in (0, 3, cluster.ncpus):
        server.set_ncpus(ncpus)
        if ncpus or cluster.ppservers:
            assert server.submit(square, (5,)).result(PATIENCE) == 25
    gate.release(1)
    assert waiting.result(PATIENCE) == "done"
    for x in range(50):
        if x % 10 == 0 and cluster.ncpus:
            server.set_ncpus(1 + x // 10 % 3)
        assert server.submit(square, (x,)).result(PATIENCE) == x * x


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_threads_that_have_waited_leave_no_descriptors(server, gate):
    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def wait():
        return server.submit(square, (7,)).result(PATIENCE)

    assert in_thread(wait).result(PATIENCE) == 49
    wait()
    before = descriptors()
    for _ in range(60):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(PATIENCE)
    assert descriptors() <= before + 2


# Ctrl-C.

INTERRUPTED = """
    import os, signal, sys, threading, time
    import ppnext

    def wait(path):
        import os
        with open(path, "w") as file:
            file.write("x")
        with open(path, "r") as file:
            file.read()
        return "done"

    def square(x):
        return x * x

    def interrupt():
        main = threading.main_thread().ident
        while sys._current_frames()[main].f_code.co_name not in ("_await", "_serve"):
            continue
        os.kill(os.getpid(), signal.SIGINT)

    with ppnext.Server(2) as server:
        for turn in range(5):
            path = sys.argv[1] + str(turn)
            os.mkfifo(path)
            job = server.submit(wait, (path,))
            with open(path) as file:
                file.read()
            try:
                threading.Thread(target=interrupt).start()
                job.result(50)
                raise SystemExit("not interrupted")
            except KeyboardInterrupt:
                pass
            assert server.submit(square, (turn,)).result(50) == turn * turn
            with open(path, "w") as file:
                file.write("x")
            assert job.result(50) == "done"
        assert server.wait(timeout=50)
    print("fine")
"""

PELTED = """
    import os, signal, threading
    import ppnext

    def square(x):
        return x * x

    stop = threading.Event()
    ready = threading.Event()

    def pelt():
        turn = 0
        while not stop.is_set():
            if ready.wait(1):
                ready.clear()
                turn += 1
                sum(range(turn * 997 % 20000))  # some time or other
                os.kill(os.getpid(), signal.SIGINT)

    with ppnext.Server(2) as server:
        server.submit(square, (1,)).result(50)
        pelting = threading.Thread(target=pelt)
        pelting.start()
        interrupted = 0
        while interrupted < 300:
            try:
                ready.set()
                for x in range(1000):
                    assert server.submit(square, (x,)).result(20) == x * x
            except KeyboardInterrupt:
                interrupted += 1
        stop.set()
        while True:
            try:
                pelting.join()
                for x in range(200):
                    assert server.submit(square, (x,)).result(20) == x * x
                assert server.wait(timeout=20)
                break
            except KeyboardInterrupt:
                pass
    print("fine")
"""


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(INTERRUPTED, id="in a wait"),
        pytest.param(PELTED, id="at any time"),
    ],
)
def test_ctrl_c_leaves_the_server_in_order(source, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), str(tmp_path / "way")],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
