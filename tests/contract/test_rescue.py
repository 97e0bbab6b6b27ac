"""Rescue: jobs on machines that hang or are slow are started elsewhere, and end there.

What a machine is like its ppserver's environment says: jobs sleep there for so long.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ppnext import JobCancelled, Server
from ppnext.wire.connection import Heartbeat
from tests.ppserver_fixture import Daemon, PPServers

PATIENCE = 20.0
FOR_EVER = "600"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be stopped")


def note(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text + "\n")


def notes(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def works(path: Path, value: Any) -> Any:
    """Take as long as it takes on this machine."""
    where = os.environ["MACHINE"]
    note(path, f"began:{where}")
    try:
        # What the machine is like; long enough to be seen.
        time.sleep(0.8 if value == "brief" else float(os.environ["SECONDS"]))
    except KeyboardInterrupt:
        note(path, f"cleaned:{where}")
        raise
    return where, value


def until(what: Callable[[], object]) -> None:
    """Wait until something is true that another process makes so."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.01)  # between two looks at a file of another process


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """A ppserver hangs in this block."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


class Lab:
    """Machines with one worker each, and job servers that use them."""

    def __init__(self, ppservers: PPServers) -> None:
        self._ppservers = ppservers
        self.daemons: list[Daemon] = []

    def add(self, name: str, seconds: str) -> Daemon:
        """Have another machine, on which jobs take so long."""
        environment = {"MACHINE": name, "SECONDS": seconds}
        self.daemons.append(self._ppservers.start(env=environment, workers=1))
        return self.daemons[-1]

    @contextmanager
    def server(self, ncpus: int = 0, **options: Any) -> Iterator[Server]:
        """Return a job server that is connected to all."""
        addresses = tuple(daemon.address for daemon in self.daemons)
        key_file = self._ppservers.key_file
        with Server(ncpus, addresses, key_file=key_file, **options) as server:
            assert server.wait_for_nodes(bool(ncpus) + len(addresses), PATIENCE)
            yield server


@pytest.fixture
def lab(ppserver: PPServers) -> Lab:
    return Lab(ppserver)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def test_a_job_on_a_machine_that_hangs_ends_elsewhere_long_before_that_is_given_up(
    lab: Lab, path: Path
) -> None:
    machines = {"one": lab.add("one", "2"), "other": lab.add("other", "2")}
    called: list[Any] = []
    with lab.server() as server:
        job = server.submit(works, (path, 1), callback=called.append)
        until(lambda: notes(path))
        name = notes(path)[0].partition(":")[2]
        [other] = machines.keys() - {name}
        with stopped(machines[name]):
            began = time.monotonic()
            assert job.result(PATIENCE) == (other, 1)
            assert time.monotonic() - began < Heartbeat().dead / 2
            assert job.node == machines[other].address
            assert server.wait(timeout=PATIENCE) and called == [(other, 1)]
        # It is itself again, and what it says of the job does not count.
        more = [server.submit(works, (path, x)) for x in range(2, 6)]
        assert [it.result(PATIENCE)[1] for it in more] == [2, 3, 4, 5]
        assert {it.node for it in more} == {it.address for it in machines.values()}
        assert called == [(other, 1)]


def test_a_job_on_a_slow_machine_is_run_where_others_have_been_quick(lab: Lab, path: Path) -> None:
    slow, quick = lab.add("slow", FOR_EVER), lab.add("quick", "0.1")
    called: list[Any] = []
    with lab.server() as server:
        jobs = [server.submit(works, (path, x), callback=called.append) for x in range(6)]
        assert [job.result(PATIENCE) for job in jobs] == [("quick", x) for x in range(6)]
        [rescued] = [job for job in jobs if job.attempts == 2]
        assert rescued.node == quick.address != slow.address
        assert rescued.status() == f"finished on {quick.address}, attempt 2"
        assert server.wait(timeout=PATIENCE)
        assert sorted(called) == [("quick", x) for x in range(6)]
        until(lambda: "cleaned:slow" in notes(path))
        # Its slot is free again.
        again = server.submit(works, (path, 7), node=slow.address)
        until(lambda: notes(path).count("began:slow") == 2)
        assert again.cancel()
        assert sum(stats.njobs for stats in server.get_stats().values()) == 6


def test_who_has_both_stops_both(lab: Lab, path: Path) -> None:
    lab.add("one", FOR_EVER), lab.add("other", FOR_EVER)
    with lab.server() as server:
        server.submit(works, (path, "brief"))()  # so they mostly are
        path.unlink()
        job = server.submit(works, (path, 1), group="slow")
        until(lambda: notes(path))
        until(lambda: len(notes(path)) == 2)
        first, also = job.status().split(", also on ")
        assert first.startswith("on ") and also not in first
        assert server.cancel("slow") == 1
        with pytest.raises(JobCancelled):
            job()
        until(lambda: sorted(notes(path)[2:]) == ["cleaned:one", "cleaned:other"])


@pytest.mark.parametrize(("options", "terms"), [({}, {"retry": False}), ({"rescue": False}, {})])
def test_whoever_does_not_want_it_is_run_once(
    lab: Lab, path: Path, options: dict[str, Any], terms: dict[str, Any]
) -> None:
    lab.add("slow", "4"), lab.add("quick", "0")
    with lab.server(**options) as server:
        jobs = [server.submit(works, (path, x), **terms) for x in range(4)]
        results = [job.result(PATIENCE) for job in jobs]
        assert sorted(where for where, _ in results) == ["quick"] * 3 + ["slow"]
        assert {job.attempts for job in jobs} == {1}


def test_arguments_that_two_machines_hold_stay_what_they_are(lab: Lab, path: Path) -> None:
    lab.add("slow", "3")
    content = os.urandom(1 << 21)
    os.environ |= {"MACHINE": "here", "SECONDS": "0"}
    try:
        with lab.server(ncpus=1) as server:
            for start in range(0, 12, 3):
                values = [content + bytes([x]) for x in range(start, start + 3)]
                jobs = [server.submit(works, (path, value)) for value in values]
                assert [job.result(PATIENCE)[1] for job in jobs] == values
            assert notes(path).count("began:slow") >= 2
    finally:
        del os.environ["MACHINE"], os.environ["SECONDS"]
