"""Jobs on a ppserver give way to whoever uses the machine, and so does all that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

import ppnext
from tests.ppserver_fixture import PPServers

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not hasattr(os, "getpriority"), reason="the system has no niceness"),
]

Connect = Callable[..., ppnext.Server]


def niceness() -> tuple[int, int]:
    """That of this process, and that of a child."""
    code = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return os.getpriority(os.PRIO_PROCESS, 0), int(child.stdout)


def told(variable: str) -> str | None:
    return os.environ.get(variable)


OURS = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0


@pytest.mark.parametrize(
    ("options", "gives_way"), [((), 10), (("--nice", "4"), 4), (("--nice", "0"), 0)]
)
def test_jobs_and_their_children_run_at_low_priority(
    ppserver: PPServers, connect: Connect, options: tuple[str, ...], gives_way: int
) -> None:
    client = connect(ppserver.start(*options))
    assert client.submit(niceness)() == (min(19, OURS + gives_way),) * 2
    assert client.submit(told, ("_PPNEXT_NICE",))() is None


def test_what_a_job_gives_way_comes_on_top(ppserver: PPServers, connect: Connect) -> None:
    client = connect(ppserver.start("--nice", "4", workers=1))
    assert client.submit(niceness, nice=3)() == (min(19, OURS + 7),) * 2
    assert client.submit(niceness, nice=19)() == (19, 19)
    assert client.submit(niceness)() == (min(19, OURS + 4),) * 2


def test_the_workers_of_a_server_run_as_the_program_does() -> None:
    with ppnext.Server(1) as server:
        assert server.submit(niceness)() == (OURS, OURS)
