"""Daemons that come, go and come back, seen from a client."""

from __future__ import annotations

import signal
import time

import pytest

from ppnext import Server
from ppnext.errors import NodeLost
from ppnext.runtime import keystore

PATIENCE = 30.0


@pytest.mark.cluster
def test_a_daemon_that_comes_back_is_used_again(ppserver):
    first = ppserver.start()
    with Server(0, (first.address,), key_file=ppserver.key_file) as server:
        assert server.submit(abs, (-1,))() == 1
        first.kill()
        job = server.submit(abs, (-2,))
        second = ppserver.start("--port", str(first.port))
        assert second.address == first.address
        assert job.result(PATIENCE) == 2
        assert server.get_active_nodes() == {"local": 0, first.address: 2}


@pytest.mark.cluster
def test_a_server_that_starts_later_is_found_and_used_at_once(ppserver):
    address = ppserver.start()
    address.stop()
    with Server(0, (address.address,), key_file=ppserver.key_file) as server:
        job = server.submit(abs, (-1,))
        assert not job.wait(0.1)
        assert "waiting: no node is connected" in job.status()
        ppserver.start("--port", str(address.port))
        assert server.wait_for_nodes(1, PATIENCE)
        assert job.result(PATIENCE) == 1


@pytest.mark.cluster
def test_jobs_of_a_daemon_that_is_killed_run_elsewhere(ppserver):
    daemons = [ppserver.start() for _ in range(2)]
    addresses = tuple(daemon.address for daemon in daemons)
    with Server(0, addresses, key_file=ppserver.key_file) as server:
        assert server.wait_for_nodes(2, PATIENCE)
        jobs = [server.submit(pow, (x, 2)) for x in range(200)]
        assert jobs[0].result(PATIENCE) == 0
        daemons[0].kill()
        assert [job.result(PATIENCE) for job in jobs] == [x * x for x in range(200)]
        assert server.wait(timeout=PATIENCE)


@pytest.mark.cluster
def test_a_job_that_may_run_only_once_is_not_run_again_when_its_node_is_lost(ppserver, gate):
    daemon = ppserver.start()
    with Server(0, (daemon.address,), key_file=ppserver.key_file) as server:
        job = server.submit(gate.way, retry=False)
        gate.wait_for(1)
        daemon.kill()
        with pytest.raises(NodeLost, match=f"on {daemon.address}"):
            job.result(PATIENCE)


@pytest.mark.cluster
def test_a_daemon_that_is_told_to_end_finishes_what_it_runs(ppserver, gate):
    daemon = ppserver.start(workers=1)
    with Server(0, (daemon.address,), key_file=ppserver.key_file) as server:
        job = server.submit(gate.way, ("done",))
        gate.wait_for(1)
        waiting = server.submit(abs, (-1,))
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for_log("drain|shut|finish")
        gate.release(1)
        assert job.result(PATIENCE) == "done"
        assert daemon.process.wait(PATIENCE) == 0
        assert not waiting.done()
        server.set_ncpus(1)
        assert waiting.result(PATIENCE) == 1


@pytest.mark.cluster
def test_a_wrong_key_is_said_by_status_and_in_the_log(ppserver, tmp_path, caplog):
    daemon = ppserver.start()
    keystore.create(tmp_path / "other", "other")
    with Server(0, (daemon.address,), key_file=tmp_path / "other") as server:
        job = server.submit(abs, (1,))
        assert not server.wait_for_nodes(1, 0.5)
        status = job.status()
    assert f"; {daemon.address} is not used: " in status and "key" in status
    assert f"{daemon.address} is not used" in caplog.text
    daemon.wait_for_log("not authenticated")


@pytest.mark.cluster
def test_a_job_may_run_longer_than_the_socket_timeout(shared_ppservers):
    addresses, key_file = shared_ppservers.addresses[:1], shared_ppservers.key_file
    with Server(0, addresses, socket_timeout=1, key_file=key_file) as server:
        job = server.submit(time.sleep, (1.5,), retry=False)
        assert job.result(PATIENCE) is None
