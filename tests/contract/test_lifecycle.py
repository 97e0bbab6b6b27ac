"""The life of a server and its jobs: waiting, cancelling, asking, and the end."""

from __future__ import annotations

import os
import sys
import threading
import time

import psutil
import pytest

from ppnext import Server
from ppnext.errors import DestroyedServerError, JobCancelled
from tests.running import assert_gone, is_running

PATIENCE = 20.0


def descendants():
    """Processes below this one, those of shared ppservers included, that are no zombies."""
    return {it for it in psutil.Process().children(recursive=True) if is_running(it)}


# Cancelling.


def test_a_job_that_waits_can_be_cancelled_and_never_starts(server, cluster, gate, counter):
    held = [server.submit(gate.way, (x,)) for x in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    job = server.submit(counter.add)
    assert job.cancel() and job.cancel()
    assert job.cancelled() and job.done() and job.finished
    with pytest.raises(JobCancelled, match=f"job {job.tid} was cancelled"):
        job()
    with pytest.raises(JobCancelled):
        job.exception()
    assert job.status() == "cancelled"
    gate.release(cluster.slots)
    assert server.wait(timeout=PATIENCE)
    assert [it() for it in held] == list(range(cluster.slots))
    assert counter.value == 0


# Asking where a job is.


def test_status_says_where_a_job_is(server, cluster, gate):
    held = [server.submit(gate.way, (x,)) for x in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    first, second = (server.submit(gate.way) for _ in range(2))
    assert held[0].status() == f"on {held[0].node}, attempt 1"
    slots = cluster.slots
    assert first.status() == f"waiting: 0 jobs before it, all {slots} slots are taken"
    assert second.status() == f"waiting: 1 jobs before it, all {slots} slots are taken"
    assert repr(second) == f"<Job {second.tid} unfinished>"
    gate.release(slots + 2)
    assert server.wait(timeout=PATIENCE)
    # It may have been sent ahead, and asked back.
    assert second.status() == f"finished on {second.node}, attempt {second.attempts}"


def test_status_says_that_there_is_no_node():
    with Server(0) as server:
        job = server.submit(abs, (-1,))
        assert job.status() == "waiting: no node is connected"
        assert not server.wait(timeout=0.01)
        assert not server.wait_for_nodes(1, 0.01)
        assert server.get_active_nodes() == {"local": 0}


# The number of local workers.


def test_more_workers_start_at_once(gate):
    with Server(1) as server:
        jobs = [server.submit(gate.way, (x,)) for x in range(4)]
        gate.wait_for(1)
        server.set_ncpus(4)
        assert server.get_ncpus() == 4
        gate.wait_for(3)
        gate.release(4)
        assert [job() for job in jobs] == list(range(4))


def test_fewer_workers_end_at_once_and_lose_no_job(gate):
    before = descendants()
    with Server(3) as server:
        jobs = [server.submit(gate.way, (x,)) for x in range(2)]
        gate.wait_for(2)
        workers = descendants() - before
        assert len(workers) == 3
        server.set_ncpus(1)
        staying = pids(server)
        assert_gone([worker for worker in workers if worker.pid not in staying])
        assert not any(job.finished for job in jobs)
        gate.release(2)
        assert [job() for job in jobs] == [0, 1]
        assert len(pids(server)) == 1
        assert server.submit(abs, (-1,))() == 1


def pids(server):
    return set(server._parts.thread.ask(lambda: list(server._parts.pool.processes)))


def test_jobs_that_wait_run_as_soon_as_there_are_workers():
    with Server(0) as server:
        jobs = [server.submit(abs, (-x,)) for x in range(3)]
        assert not server.wait(timeout=0.01)
        server.set_ncpus(1)
        assert [job() for job in jobs] == [0, 1, 2]


def test_no_worker_at_all_for_a_while_loses_no_job(gate):
    with Server(2) as server:
        jobs = [server.submit(gate.way, (x,)) for x in range(6)]
        gate.wait_for(2)
        server.set_ncpus(0)
        gate.release(2)
        assert [job() for job in jobs[:2]] == [0, 1]
        assert not server.wait(timeout=0.01)
        assert not gate.arrived()
        server.set_ncpus(2)
        gate.release(4)
        assert [job() for job in jobs] == list(range(6))


# A new process for each job.


def test_restart_gives_each_job_a_process_of_its_own():
    with Server(2, restart=True) as server:
        pids = [server.submit(os.getpid)() for _ in range(4)]
        pids += [job() for job in [server.submit(os.getpid) for _ in range(4)]]
    assert len(set(pids)) == 8


def test_a_ppserver_may_give_each_job_a_process_of_its_own(ppserver):
    daemon = ppserver.start("--restart")
    with Server(0, (daemon.address,), key_file=ppserver.key_file) as server:
        pids = [job() for job in [server.submit(os.getpid) for _ in range(5)]]
    assert len(set(pids)) == 5


# The end.


def test_destroy_wakes_every_waiter_and_leaves_no_worker(cluster, gate):
    before = descendants()
    server = Server(cluster.ncpus, cluster.ppservers, key_file=cluster.key_file)
    assert server.wait_for_nodes(cluster.nodes, PATIENCE)
    jobs = [server.submit(gate.way) for _ in range(cluster.slots + 5)]
    gate.wait_for(cluster.slots)
    workers = descendants() - before
    assert len(workers) == cluster.slots
    ends = []

    def wait_for(job):
        try:
            job()
        except DestroyedServerError:
            ends.append("job")

    threads = [threading.Thread(target=wait_for, args=(job,)) for job in jobs]
    threads.append(threading.Thread(target=lambda: ends.append(server.wait())))
    for thread in threads:
        thread.start()
    began = time.monotonic()
    server.destroy()
    for thread in threads:
        thread.join(PATIENCE)
    assert time.monotonic() - began < 1.0
    assert ends.count("job") == len(jobs) and len(ends) == len(threads)
    assert_gone(workers)


def test_destroy_does_not_wait_for_a_running_job(cluster, gate):
    server = Server(cluster.ncpus, cluster.ppservers, key_file=cluster.key_file)
    job = server.submit(gate.way)
    gate.wait_for(1)
    began = time.monotonic()
    server.destroy()
    assert time.monotonic() - began < 1.0
    with pytest.raises(DestroyedServerError, match="destroyed before the job had ended"):
        job()


def test_results_that_have_arrived_outlive_the_server(server):
    job = server.submit(list, ((1, 2),))
    assert job.wait(PATIENCE)
    server.destroy()
    assert job() == [1, 2]


def test_a_destroyed_server_takes_no_jobs(server):
    server.destroy()
    server.destroy()
    for use in (
        lambda: server.submit(abs, (1,)),
        lambda: list(server.map(abs, [1])),
        lambda: server.set_ncpus(3),
    ):
        with pytest.raises(DestroyedServerError, match="destroyed"):
            use()
    assert server.wait(timeout=0)
    assert repr(server) == "<ppnext.Server: destroyed>"
    assert set(server.get_stats()) >= {"local"}


def test_destroy_at_once_after_the_start(cluster):
    before = descendants()
    server = Server(cluster.ncpus, cluster.ppservers, key_file=cluster.key_file)
    job = server.submit(abs, (-1,))
    server.destroy()
    assert job.wait(PATIENCE)
    assert_gone(descendants() - before)


@pytest.mark.parametrize("again", [Server.destroy, Server.__del__])
@pytest.mark.parametrize(("module", "function"), [("assembly", "close"), ("loop", "stop")])
def test_who_is_interrupted_as_it_destroys_a_server_can_finish_it(module, function, again):
    def interrupt(frame, event, argument):
        code = frame.f_code
        if code.co_name == function and code.co_filename.endswith(f"{module}.py"):
            sys.settrace(None)
            raise KeyboardInterrupt

    before = descendants()
    server = Server(1)
    job = server.submit(time.sleep, (100,))
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            server.destroy()
    finally:
        sys.settrace(None)
    with pytest.raises(DestroyedServerError):
        server.submit(abs, (-1,))
    again(server)
    assert job.wait(PATIENCE)
    assert_gone(descendants() - before)


def test_what_a_job_has_started_ends_with_the_server(cluster, gate, tmp_path):
    way, path = gate.way, str(tmp_path / "pid")

    def start():
        import subprocess

        child = subprocess.Popen(["sleep", "100"])
        with open(path, "w") as file:
            file.write(str(child.pid))
        way()

    with Server(cluster.ncpus, cluster.ppservers, key_file=cluster.key_file) as server:
        server.submit(start)
        gate.wait_for(1)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
    assert_gone([child])


def test_a_server_that_nobody_holds_any_more_leaves_no_worker():
    before = descendants()
    server = Server(1)
    assert server.submit(abs, (-1,))() == 1
    workers = descendants() - before
    assert workers
    del server
    assert_gone(workers)


def test_two_servers_do_not_disturb_each_other(server, cluster):
    with Server(1) as other:
        jobs = [it.submit(abs, (-x,)) for x in range(10) for it in (server, other)]
        assert [job() for job in jobs[::2]] == list(range(10))
    assert server.submit(abs, (-1,))() == 1
