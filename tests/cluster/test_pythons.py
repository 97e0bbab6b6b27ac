"""Several Pythons in one cluster: the client has one version, ppservers have the others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppnext import Server
from ppnext.runtime import keystore
from tests.folders import write
from tests.ppserver_fixture import Daemon
from tests.pythons_fixture import HERE, VERSIONS, NamedServers, Pythons, named_servers, pythons

__all__ = ["named_servers", "pythons"]

# Environments for other Pythons may have to be made first.
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE = 30.0
CLIENT = Path(__file__).with_name("far_client.py")
ROOT = str(CLIENT.parents[2])

PROJECT = {
    "surveys/__init__.py": "from .core import LIMIT, Place, measure, moved\n",
    "surveys/core.py": """
        import dataclasses
        from importlib import resources
        import units_of_surveys
        LIMIT = 7

        @dataclasses.dataclass
        class Place:
            x: int
            y: int

        def measure(x):
            table = resources.files(__package__).joinpath("table.txt").read_text()
            return units_of_surveys.doubled(x) + len(table.split())

        def moved(place):
            return Place(place.x + 1, place.y)
        """,
    "surveys/table.txt": "1 2 3",
    "units_of_surveys.py": "def doubled(x):\n    return 2 * x\n",
}


@pytest.fixture(scope="module")
def nodes(
    pythons: Pythons, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Daemon]]:
    """A ppserver with one slot on each Python."""
    pythons.others()
    folder = tmp_path_factory.mktemp("nodes")
    keystore.create(folder / "keys", "test")
    servers = NamedServers(folder / "keys", folder)
    try:
        daemons = {
            version: servers.start(python, wait=False) for version, python in pythons.paths.items()
        }
        for daemon in daemons.values():
            servers.listening(daemon)
        yield daemons
    finally:
        servers.stop()


def run_client(python: str, script: Path, *arguments: str, folder: Path) -> Any:
    """Run a script; return what it prints last, as JSON."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PPNEXT_")}
    environment |= {"PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, str(script), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=180,
        env=environment,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_of_each_python_and_nodes_of_all_others(
    pythons: Pythons, nodes: dict[str, Daemon], version: str, tmp_path: Path
) -> None:
    pythons.need(version)
    others = pythons.others(version)
    write(tmp_path / "project", {path: textwrap.dedent(text) for path, text in PROJECT.items()})
    addresses = [nodes[other].address for other in others]
    key_file = str(nodes[version].key_file)
    told = run_client(
        pythons.paths[version], CLIENT, key_file, str(tmp_path / "project"), *addresses,
        folder=tmp_path,
    )  # fmt: skip
    assert told["wrong"] == []
    assert told["cases"] >= 24
    assert told["pythons"] == sorted(others)
    assert told["used"] == sorted(addresses)
    assert told["raised"] == ["Refused('refused', 9)", "9", "True"]


def by_value(text: str = "def f(x): return x + 1") -> Any:
    """A function that has no source."""
    space: dict[str, Any] = {}
    exec(text, space)
    return space["f"]


def test_code_without_source_runs_where_the_python_is_the_same(
    pythons: Pythons, nodes: dict[str, Daemon]
) -> None:
    addresses = [nodes[version].address for version in (HERE, *pythons.others())]
    key_file = nodes[HERE].key_file
    with Server(0, addresses, key_file=key_file) as server:
        assert server.wait_for_nodes(len(addresses), PATIENCE)
        jobs = [server.submit(by_value(), (x,)) for x in range(20)]
        assert [job.result(PATIENCE) for job in jobs] == list(range(1, 21))
        assert {job.node for job in jobs} == {addresses[0]}
        assert list(server.map(by_value(), range(50))) == list(range(1, 51))
        assert sum(done.njobs for done in server.get_stats().values()) == (
            server.get_stats()[addresses[0]].njobs
        )


def free_port() -> int:
    """A port of the loopback that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_code_without_source_waits_for_a_node_of_its_python(
    pythons: Pythons, nodes: dict[str, Daemon], tmp_path: Path
) -> None:
    others = pythons.others()
    key_file, port = nodes[others[0]].key_file, free_port()
    assert key_file is not None
    addresses = [nodes[version].address for version in others]
    late = NamedServers(key_file, tmp_path)
    try:
        with Server(0, (*addresses, f"127.0.0.1:{port}"), key_file=key_file) as server:
            assert server.wait_for_nodes(len(addresses), PATIENCE)
            job = server.submit(by_value(), (41,))
            mapped = server.map(by_value(), range(10))
            # Others are not kept waiting by it.
            assert server.submit(abs, (-1,)).result(PATIENCE) == 1
            said = job.status()
            assert said.startswith("waiting: no node can run it: ")
            for version, address in zip(others, addresses, strict=True):
                assert f"{address} has Python {version}." in said
            assert f", not {HERE}" in said
            assert "source" in said  # why it is bound to a version
            assert not job.wait(0)
            late.start(port=port)
            assert job.result(PATIENCE) == 42
            assert job.node == f"127.0.0.1:{port}"
            assert list(mapped) == list(range(1, 11))
    finally:
        late.stop()


def test_code_without_source_runs_here_as_soon_as_there_are_workers(
    pythons: Pythons, nodes: dict[str, Daemon]
) -> None:
    other = nodes[pythons.others()[0]]
    with Server(0, (other.address,), key_file=other.key_file) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        job = server.submit(by_value(), (1,))
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1
        assert "no node can run it" in job.status()
        server.set_ncpus(1)
        assert job.result(PATIENCE) == 2
        assert job.node == "local"


SYNTAX = {
    "3.11": """
        def newer(x):
            try:
                raise ExceptionGroup("g", [ValueError(x)])
            except* ValueError as group:
                found = group.exceptions[0].args[0]
            return found + 1
        """,
    "3.12": """
        def newer[T](x: T) -> T:
            return x + 1
        """,
    "3.13": """
        def newer[T = int](x: T) -> T:
            return x + 1
        """,
}

NEWER = """
import json, sys, ppnext
key_file, same, *addresses = sys.argv[1:]
{function}
def told(job):
    while not (job.done() or "no node can run it" in job.status()):
        job.wait(0.02)
    return job.status()
with ppnext.Server(0, addresses, key_file=key_file) as server:
    assert server.wait_for_nodes(len(addresses), 30)
    jobs = [server.submit(newer, (x,)) for x in range(8)]
    said = "" if same == "yes" else told(jobs[0])
    alive = server.submit(abs, (-1,)).result(30)
    if same != "yes":
        server.set_ncpus(1)
    results = [job.result(30) for job in jobs]
    mapped = list(server.map(newer, range(20)))
    where = sorted({{job.node for job in jobs}})
print(json.dumps({{"said": said, "alive": alive, "results": results, "where": where,
                  "mapped": mapped}}))
"""


@pytest.mark.parametrize("version", SYNTAX)
@pytest.mark.parametrize("some_node_knows_it", [True, False])
def test_syntax_that_an_older_python_does_not_know_goes_elsewhere(
    pythons: Pythons,
    nodes: dict[str, Daemon],
    version: str,
    some_node_knows_it: bool,
    tmp_path: Path,
) -> None:
    pythons.need(version)
    older = [it for it in pythons.paths if VERSIONS.index(it) < VERSIONS.index(version)]
    if not older:
        pytest.skip(f"needs a Python older than {version}; missing are {pythons.reason}")
    script = tmp_path / "client.py"
    script.write_text(NEWER.format(function=textwrap.dedent(SYNTAX[version])))
    used = [*older, version] if some_node_knows_it else older
    addresses = [nodes[it].address for it in used]
    told = run_client(
        pythons.paths[version],
        script,
        str(nodes[version].key_file),
        "yes" if some_node_knows_it else "no",
        *addresses,
        folder=tmp_path,
    )
    assert told["results"] == list(range(1, 9)) and told["mapped"] == list(range(1, 21))
    assert told["alive"] == 1
    assert told["where"] == ([addresses[-1]] if some_node_knows_it else ["local"])
    if not some_node_knows_it:
        for it, address in zip(older, addresses, strict=True):
            assert f"{address} has Python {it}." in told["said"]
        assert "which does not know the function's syntax" in told["said"]


def test_a_module_in_newer_syntax_fails_its_job_with_the_users_line(
    pythons: Pythons, nodes: dict[str, Daemon], tmp_path: Path
) -> None:
    """What is imported while a job runs cannot be sent elsewhere any more: it says where."""
    pythons.need("3.10", "3.12")
    write(tmp_path / "project", {"newer_module.py": "def f[T](x: T) -> T:\n    return x\n"})
    script = tmp_path / "client.py"
    script.write_text(
        "import importlib, json, sys, ppnext\n"
        "key_file, address, folder = sys.argv[1:]\n"
        "def late(): return importlib.import_module('newer_module').f(1)\n"
        "with ppnext.Server(0, (address,), key_file=key_file, ship_roots=[folder]) as server:\n"
        "    error = server.submit(late).exception(30)\n"
        "    alive = server.submit(abs, (-1,)).result(30)\n"
        "print(json.dumps([type(error).__name__, str(error), alive]))\n"
    )
    old = nodes["3.10"]
    kind, said, alive = run_client(
        pythons.paths["3.12"], script, str(old.key_file), old.address, str(tmp_path / "project"),
        folder=tmp_path,
    )  # fmt: skip
    assert kind == "SyntaxError" and "newer_module.py" in said
    assert alive == 1


def test_functions_of_a_module_in_newer_syntax_go_elsewhere(
    pythons: Pythons, nodes: dict[str, Daemon], tmp_path: Path
) -> None:
    pythons.need("3.10", "3.12")
    write(tmp_path / "project", {"newer_still.py": "def f[T](x: T) -> T:\n    return x\n"})
    script = tmp_path / "client.py"
    script.write_text(
        "import json, sys, ppnext\n"
        "key_file, folder, *addresses = sys.argv[1:]\n"
        "sys.path.insert(0, folder)\n"
        "import newer_still\n"
        "with ppnext.Server(0, addresses, key_file=key_file, ship_roots=[folder]) as server:\n"
        "    assert server.wait_for_nodes(2, 30)\n"
        "    jobs = [server.submit(newer_still.f, (x,)) for x in range(8)]\n"
        "    print(json.dumps([[job.result(30) for job in jobs],\n"
        "                      sorted({job.node for job in jobs})]))\n"
    )
    old, new = nodes["3.10"], nodes["3.12"]
    results, where = run_client(
        pythons.paths["3.12"], script, str(old.key_file), str(tmp_path / "project"),
        old.address, new.address, folder=tmp_path,
    )  # fmt: skip
    assert results == list(range(8)) and where == [new.address]
