"""What has hung or broken other pools: workers that die, are replaced, or are starved.

Each test retells a story from the public trackers of other projects, named in docs/reliability.rst,
in words and code of our own. A pool that has the fault never ends such a test; so every wait here
has a limit.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from concurrent.futures import wait
from contextlib import suppress

import psutil
import pytest

from ppnext import Server
from ppnext.errors import JobExited, PoisonedJob, WorkerDied

PATIENCE = 60.0
"""Seconds in which all of a story's jobs end on a busy machine."""


def die():
    os._exit(3)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def results_of(jobs):
    return [job.result(PATIENCE) for job in jobs]


def pids_of_workers(server):
    return set(results_of([server.submit(os.getpid) for _ in range(40)]))


def kill(pids):
    for pid in pids:
        with suppress(ProcessLookupError):  # it was not needed any more and has ended by itself
            os.kill(pid, signal.SIGKILL)


def test_workers_that_are_killed_again_and_again_cost_nothing_but_time(server, tmp_path):
    """dask/distributed 3196: after some hundred killed workers the client waited for ever."""

    def work(path):
        try:
            open(path, "x").close()
        except FileExistsError:
            return path
        os.kill(os.getpid(), signal.SIGKILL)

    for number in range(40):
        path = str(tmp_path / str(number))
        assert results_of([server.submit(work, (path,)) for _ in range(3)]) == [path] * 3
    lost = sum(node.lost for node in server.get_stats().values())
    assert lost >= 40


def test_the_last_jobs_of_many_come_although_workers_are_killed_meanwhile(server):
    """dask/distributed 5879: of ten thousand jobs the last few stayed "processing"."""
    pids = pids_of_workers(server)
    jobs = [server.submit(pow, (x, 2)) for x in range(3000)]
    kill(pids)
    assert results_of(jobs) == [x * x for x in range(3000)]
    assert server.wait(timeout=PATIENCE)


def test_one_dead_worker_is_not_the_end_of_the_pool(server, cluster):
    """concurrent.futures: BrokenProcessPool for every job there is and every job to come."""
    good = [server.submit(abs, (-x,)) for x in range(20)]
    bad = server.submit(die, retry=False)
    more = [server.submit(abs, (-x,)) for x in range(20)]
    with pytest.raises(WorkerDied, match="exited with status 3"):
        bad.result(PATIENCE)
    assert results_of(good) == results_of(more) == list(range(20))
    assert server.submit(abs, (-5,)).result(PATIENCE) == 5


def test_the_neighbours_of_a_deadly_job_are_not_blamed(server):
    """dask/distributed 2986, "it is possible for a task to be unfairly blamed"."""
    jobs = [server.submit(abs, (-x,)) for x in range(60)]
    deadly = [server.submit(kill_itself) for _ in range(2)]
    jobs += [server.submit(abs, (-x,)) for x in range(60)]
    for job in deadly:
        with pytest.raises(PoisonedJob, match=r"3 times, on .* was killed by SIGKILL"):
            job.result(PATIENCE)
    assert results_of(jobs) == 2 * list(range(60))
    assert sorted(it.job for it in server.quarantine()) == [job.tid for job in deadly]


def test_a_map_ends_although_a_worker_is_killed_in_it(server, tmp_path):
    """CPython bpo-22393: Pool.map waits for ever for what the OOM killer took."""
    path = str(tmp_path / "killed")

    def work(x):
        if x == 50:
            try:
                open(path, "x").close()
            except FileExistsError:
                return x  # the second time
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert list(server.map(work, range(200))) == list(range(200))


def test_workers_with_one_job_each_are_replaced_as_long_as_there_are_jobs():
    """python/cpython 115634: max_tasks_per_child ended workers and started no others."""
    with Server(1, restart=True) as server:
        pids = results_of([server.submit(os.getpid) for _ in range(12)])
    assert len(set(pids)) == 12


def test_a_flood_of_submits_fills_no_pipe(server):
    """python/cpython 105829: so many wake-ups that the pipe for them was full, under a lock."""
    jobs = [server.submit(abs, (-x,)) for x in range(20_000)]
    wait(jobs, PATIENCE)
    assert results_of(jobs) == list(range(20_000))


def test_a_worker_that_dies_with_large_arguments_under_way_blocks_nobody(server):
    """python/cpython 94777: the thread that filled the dead worker's pipe waited for ever."""
    large = bytes(4 << 20)
    jobs = []
    for number in range(6):
        jobs.append(server.submit(len, (large,)))
        if number % 3 == 0:
            jobs.append(server.submit(die, retry=False))
    done, waiting = wait(jobs, PATIENCE)
    assert not waiting
    assert sum(job.exception() is not None for job in done) == 2
    assert [job.result() for job in jobs if job.exception() is None] == [4 << 20] * 6


def test_a_job_killed_for_its_memory_leaves_the_pool_as_it_was(server, tmp_path):
    """noxdafox/pebble 97: a worker was OOM-killed, and its pool sent into a dead pipe."""
    path = str(tmp_path / "once")

    def hungry(x):
        ballast = bytearray(16 << 20)
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)  # what the OOM killer does
        return x + len(ballast) - (16 << 20)

    jobs = [server.submit(hungry, (x,)) for x in range(30)]
    assert results_of(jobs) == list(range(30))
    assert server.wait(timeout=PATIENCE)


def test_a_worker_killed_from_a_thread_of_the_program_harms_no_other_job(server):
    """noxdafox/pebble 70: whoever killed a worker got errors from the pool from then on."""
    victims = pids_of_workers(server)
    killer = threading.Thread(target=kill, args=(victims,))
    killer.start()
    jobs = [server.submit(abs, (-x,)) for x in range(200)]
    killer.join()
    assert results_of(jobs) == list(range(200))


@pytest.mark.parametrize("milliseconds", [1, 3, 10, 30])
def test_a_worker_killed_while_it_sends_a_result_blocks_nobody(server, tmp_path, milliseconds):
    """noxdafox/pebble 163: a worker died with the lock of the channel, and the pool stood still."""
    path = str(tmp_path / "killed")

    def work():
        import threading

        try:
            open(path, "x").close()
        except FileExistsError:
            return bytes(16 << 20)  # the second time
        # Somewhere in the sending: where is left to chance, and no place is wrong.
        threading.Timer(milliseconds / 1000, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return bytes(16 << 20)

    jobs = [server.submit(work), *(server.submit(abs, (-x,)) for x in range(20))]
    assert len(jobs[0].result(PATIENCE)) == 16 << 20
    assert results_of(jobs[1:]) == list(range(20))
    assert results_of([server.submit(abs, (-1,)) for _ in range(8)]) == [1] * 8


def test_a_job_whose_process_goes_without_an_answer_is_an_error(server):
    """pyiron/executorlib 1038: a future hung when its process ended without an answer."""

    def leave():
        raise SystemExit

    def vanish():
        os.execv(sys.executable, [sys.executable, "-c", "pass"])

    for function, kind, how in (
        (leave, JobExited, "SystemExit"),
        (vanish, WorkerDied, "exited with status 0"),
        (die, WorkerDied, "exited with status 3"),
    ):
        with pytest.raises(kind, match=how):
            server.submit(function, retry=False).result(PATIENCE)


def test_the_cause_of_a_lost_job_is_told(server):
    """Parsl/parsl 1972, joblib/joblib 869: "manager lost", "a worker stopped", nothing else."""

    def speaks_and_dies():
        os.write(2, b"the disk is on fire")
        os._exit(3)

    for function, how in (
        (kill_itself, "was killed by SIGKILL"),
        (speaks_and_dies, "exited with status 3; its last words: the disk is on fire"),
    ):
        job = server.submit(function, retry=False)
        with pytest.raises(WorkerDied) as caught:
            job.result(PATIENCE)
        told = str(caught.value)
        assert f"job {job.tid} was given up" in told
        assert f"attempt {job.attempts} on {job.node}: " in told
        assert how in told


def test_jobs_that_are_cancelled_while_they_start_end_and_so_do_all_others(server):
    """noxdafox/pebble 153: a job cancelled as a worker took the next one left that one in limbo."""
    chance = random.Random(153)
    jobs = []
    for x in range(600):
        jobs.append(server.submit(abs, (-x,)))
        if chance.random() < 0.3:
            jobs[chance.randrange(len(jobs))].cancel()
        if x % 100 == 99:
            wait(jobs, PATIENCE)
    done, waiting = wait(jobs, PATIENCE)
    assert not waiting
    assert all(job.cancelled() or job.result() == x for x, job in enumerate(jobs))
    assert any(job.cancelled() for job in done)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


def test_no_zombies_are_left_of_workers_that_died():
    """noxdafox/pebble 70 again: killed workers stayed as zombies."""
    with Server(2) as server:
        for _ in range(5):
            assert server.submit(die, retry=False).exception(PATIENCE) is not None
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if child.status() == psutil.STATUS_ZOMBIE]
