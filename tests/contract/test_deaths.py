"""Workers die: their jobs are run again up to a limit, and no other job notices."""

from __future__ import annotations

import ctypes
import os
import signal
from collections import Counter

import pytest

from ppnext.errors import PoisonedJob, WorkerDied


def exit_at_once():
    os._exit(7)


def segfault():
    ctypes.string_at(0)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (exit_at_once, "exited with status 7"),
        (segfault, "was killed by SIGSEGV"),
        (kill_itself, "was killed by SIGKILL"),
    ],
)
def test_a_job_whose_worker_dies_three_times_is_poisoned(server, counter, death, cause):
    add = counter.add

    def die():
        add()
        death()

    job = server.submit(die)
    others = [server.submit(abs, (-x,)) for x in range(20)]
    with pytest.raises(PoisonedJob, match=cause) as caught:
        job()
    assert counter.value == 3 <= job.attempts
    assert [other() for other in others] == list(range(20))
    message = str(caught.value)
    assert f"job {job.tid} was given up" in message
    assert ("in segfault" in message) is (death is segfault)
    report = server.explain(job)
    assert [attempt.number for attempt in report.attempts][-1] == job.attempts
    nodes = [attempt.node for attempt in report.attempts]
    assert f"3 times, on {', '.join(dict.fromkeys(nodes))}: " in message and len(nodes) == 3
    assert message.count(cause) == 1
    assert all(cause in attempt.cause for attempt in report.attempts)
    assert all(attempt.sent <= attempt.ended for attempt in report.attempts)
    assert report.state == job.status()
    [quarantined] = server.quarantine()
    assert quarantined.attempts == report.attempts and quarantined.job == job.tid


def test_a_dead_worker_does_not_swallow_jobs(server, cluster):
    deadly = [server.submit(exit_at_once, retry=False) for _ in range(cluster.slots + 1)]
    fine = [server.submit(abs, (-x,)) for x in range(10)]
    for job in deadly:
        with pytest.raises(WorkerDied):
            job()
    assert [job() for job in fine] == list(range(10))
    assert server.wait(timeout=20)


def test_a_job_is_run_again_when_its_worker_dies(server, counter, tmp_path):
    path, add = str(tmp_path / "seen"), counter.add

    def die_once():
        add()
        if not os.path.exists(path):
            open(path, "x").close()
            os._exit(1)
        return "done"

    job = server.submit(die_once)
    assert job() == "done"
    assert counter.value == 2
    lost = sum(node.lost for node in server.get_stats().values())
    assert lost == 1


def test_a_job_that_may_not_be_retried_is_started_once(server, counter):
    add = counter.add

    def die():
        add()
        os._exit(1)

    job = server.submit(die, retry=False)
    with pytest.raises(WorkerDied, match="may not be run again") as caught:
        job()
    assert not isinstance(caught.value, PoisonedJob)
    assert counter.value == 1


def test_the_last_words_of_a_dead_worker_are_told(server):
    def die():
        os.write(2, b"the disk is on fire\n")
        os._exit(1)

    with pytest.raises(WorkerDied, match="the disk is on fire"):
        server.submit(die, retry=False)()


def test_a_worker_killed_from_outside_loses_nothing(server, gate):
    pid = server.submit(os.getpid)()
    jobs = [server.submit(gate.way, (x,)) for x in range(4)]
    gate.wait_for(1)
    os.kill(pid, signal.SIGKILL)
    gate.release(8)
    assert [job() for job in jobs] == list(range(4))


def test_a_dead_worker_is_noticed_although_a_child_of_its_job_lives(server):
    def fork_and_die():
        if os.fork() == 0:
            signal.pause()
        os._exit(5)

    with pytest.raises(WorkerDied, match="exited with status 5"):
        server.submit(fork_and_die, retry=False)()
    assert server.submit(abs, (-1,))() == 1


def test_a_job_that_closes_every_descriptor_is_blamed_for_it(server):
    def close():
        os.closerange(0, 256)

    with pytest.raises(WorkerDied):
        server.submit(close, retry=False)()
    assert server.submit(abs, (-1,))() == 1


def test_a_job_that_kills_its_process_group_kills_its_worker_only(server):
    def kill():
        os.killpg(0, signal.SIGKILL)

    with pytest.raises(WorkerDied, match="was killed by SIGKILL"):
        server.submit(kill, retry=False)()
    assert server.submit(abs, (-1,))() == 1


def test_of_many_quick_jobs_only_the_one_that_kills_its_worker_is_given_up(server, tmp_path):
    """Results that were on their way are lost with the worker; nobody else is blamed for that."""
    path = str(tmp_path / "started")
    with open(path, "wb"):
        pass

    def run(number):
        with open(path, "ab", buffering=0) as started:
            started.write(b"%d " % number)
        if number == 25:
            os._exit(7)
        return number

    called = []
    jobs = [server.submit(run, (n,), callback=called.append) for n in range(50)]
    assert server.wait(timeout=60)
    for number, job in enumerate(jobs):
        if number == 25:
            with pytest.raises(PoisonedJob, match="exited with status 7"):
                job()
        else:
            assert job() == number
    others = [n for n in range(50) if n != 25]
    assert sorted(called) == others
    with open(path, "rb") as started:
        times = Counter(map(int, started.read().split()))
    assert times[25] == 3
    assert all(times[n] >= 1 for n in others)


def test_what_may_run_only_once_runs_only_once_beside_a_job_that_kills_its_worker(server, tmp_path):
    path = str(tmp_path / "started")

    def run(number):
        with open(path, "ab", buffering=0) as started:
            started.write(b"%d " % number)
        return number

    deadly = [server.submit(exit_at_once, retry=False) for _ in range(3)]
    jobs = []
    for number in range(100):
        jobs.append(server.submit(run, (number,), retry=False))
        if number % 10 == 5:
            deadly.append(server.submit(exit_at_once, retry=False))
    for job in deadly:
        with pytest.raises(WorkerDied):
            job.result(60)
    assert [job.result(60) for job in jobs] == list(range(100))
    with open(path, "rb") as started:
        assert sorted(map(int, started.read().split())) == list(range(100))
