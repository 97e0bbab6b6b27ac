"""``ppserver --drain``: the ppservers that run here finish and end, and only those meant."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ppnext
from tests.ppserver_fixture import PPServers
from tests.stage_fixture import Stage
from tests.visits import visit

pytestmark = pytest.mark.cluster

ROOT = str(Path(ppnext.__file__).parents[1])
PATIENCE = 40.0

Connect = Callable[..., ppnext.Server]
Drain = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def drain(tmp_path: Path) -> Drain:
    """Start ``ppserver --drain``, where it finds this test's ppservers and no others."""
    places = {"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}

    def drain(*args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ppnext.server", "--drain", *args],
            env={**os.environ, **places, "PYTHONPATH": ROOT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return drain


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status, and what it has said."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out + err


def test_running_jobs_end_and_who_starts_meanwhile_is_not_meant(
    ppserver: PPServers, connect: Connect, stage: Stage, drain: Drain
) -> None:
    daemon = ppserver.start(workers=1)
    client = connect(daemon)
    jobs = [client.submit(visit, (stage.port, "job")) for _ in range(3)]
    visitor = stage.next()
    draining = drain()
    daemon.wait_for_log("draining: 1 sessions")
    other = ppserver.start(workers=1)
    visitor.release("there")
    status, said = end_of(draining)
    assert (status, said) == (0, f"ppserver: drained: process {daemon.pid} on {daemon.address}\n")
    assert daemon.process.wait(PATIENCE) == 0
    assert jobs[0]() == "there"
    client.destroy()
    assert other.process.poll() is None  # it was started later, and is not meant


def test_twice_means_the_same_as_once(
    ppserver: PPServers, connect: Connect, stage: Stage, drain: Drain
) -> None:
    daemon = ppserver.start(workers=1)
    job = connect(daemon).submit(visit, (stage.port, "job"))
    visitor = stage.next()
    assert end_of(drain("--drain-timeout", "0.2"))[0] == 1
    again = drain("--drain-timeout", "0.2")
    assert end_of(again) == (
        1,
        f"ppserver: still draining after 0.2 s: process {daemon.pid} on {daemon.address}\n",
    )
    visitor.release()
    assert job() == "done"
    assert daemon.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("by", ["port", "address"])
def test_only_the_one_that_is_named(ppserver: PPServers, drain: Drain, by: str) -> None:
    meant, other = ppserver.start(), ppserver.start()
    assert end_of(drain(str(meant.port) if by == "port" else meant.address))[0] == 0
    assert meant.process.wait(PATIENCE) == 0
    assert other.process.poll() is None
    assert end_of(drain("1"))[1] == (
        "ppserver: no ppserver of this user that listens on 1 runs on this machine\n"
    )


def test_all_if_none_is_named(ppserver: PPServers, drain: Drain) -> None:
    daemons = [ppserver.start() for _ in range(2)]
    assert end_of(drain())[0] == 0
    assert [daemon.process.wait(PATIENCE) for daemon in daemons] == [0, 0]


def test_one_that_was_killed_does_not_count(
    ppserver: PPServers, drain: Drain, tmp_path: Path
) -> None:
    daemon = ppserver.start()
    [file] = (tmp_path / "ppnext").glob(f"ppserver-{daemon.pid}-*")
    assert file.stat().st_mode & 0o777 == 0o600
    daemon.kill()
    assert file.exists()
    assert end_of(drain()) == (
        1, "ppserver: no ppserver of this user runs on this machine\n",
    )  # fmt: skip
    assert not file.exists()
