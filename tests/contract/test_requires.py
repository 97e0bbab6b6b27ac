"""Jobs that need something of their node: ``requires=`` and what is said where nothing fits."""

from __future__ import annotations

import importlib
import platform
import socket
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import pytest

from ppnext import Job, Server
from tests.pythons_fixture import NamedServers, named_servers

__all__ = ["named_servers"]

PATIENCE = 20.0
KIT = "kit_of_the_tests"
PYTHON = platform.python_version()


def made_up(folder: Path, name: str, version: str, module: str = "") -> Path:
    """A folder with an installed distribution that only this test knows."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if module:
        text = f"VERSION = {version!r}\n\ndef version(*_):\n    return VERSION\n"
        (folder / f"{module}.py").write_text(text)
        (info / "RECORD").write_text(f"{module}.py,,\n")
    return folder


def version_of_the_kit() -> str:
    import kit_of_the_tests  # type: ignore[import-not-found]  # only on some nodes

    return kit_of_the_tests.VERSION


def free_port() -> int:
    """A port of the loopback that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# On any cluster.


def test_what_everybody_has_fits(server: Server) -> None:
    requires = (f"python=={PYTHON}", "msgspec>=0.1", "Dill")
    jobs = [server.submit(abs, (-x,), requires=requires) for x in range(20)]
    assert [job.result(PATIENCE) for job in jobs] == list(range(20))
    mapped = server.map(abs, range(-50, 0), requires=("msgspec",))
    assert list(mapped) == list(range(50, 0, -1))


@pytest.mark.parametrize(
    ("requires", "lack"),
    [
        ("python>=4", f"has Python {PYTHON}, not >=4"),
        ("no-such-distribution-at-all", "has no no-such-distribution-at-all"),
        ("msgspec>=999", "has msgspec "),
    ],
)
def test_a_job_that_fits_nowhere_says_what_is_missing_where(
    server: Server, requires: str, lack: str
) -> None:
    job = server.submit(abs, (-1,), requires=("dill", requires))
    mapped = cast("Generator[int, None, None]", server.map(abs, [-1, -2], requires=(requires,)))
    assert server.submit(abs, (-3,), requires=("dill",)).result(PATIENCE) == 3
    nodes = [node for node, slots in server.get_active_nodes().items() if slots]
    status = wait_for(job, lambda text: all(f"{node} {lack}" in text for node in nodes))
    assert status.startswith("waiting: no node can run it: ")
    assert not job.running() and not job.done()
    assert job.cancel() and job.cancelled()
    mapped.close()
    assert server.submit(abs, (-4,)).result(PATIENCE) == 4


def wait_for(job: Job, right: Callable[[str], bool]) -> str:
    """The status of a job, as soon as it is what is waited for."""
    for _ in range(1000):
        said: str = job.status()
        if right(said):
            return said
        job.wait(0.02)
    raise AssertionError(f"the status never was what it should be, but: {said}")


def test_no_job_has_to_wait_for_one_that_fits_nowhere(server: Server) -> None:
    stuck = [server.submit(abs, (x,), requires=("python>=4",)) for x in range(50)]
    jobs = [server.submit(abs, (-x,)) for x in range(50)]
    assert [job.result(PATIENCE) for job in jobs] == list(range(50))
    assert all(job.cancel() for job in stuck)
    assert server.wait(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("requires", "kind", "said"),
    [
        ("numpy", TypeError, r"did you mean \('numpy',\)\?"),
        ((1,), TypeError, "tuple of strings"),
        (("numpy>>2",), ValueError, "as pip does"),
        (("",), ValueError, "as pip does"),
        (("numpy @ https://example.org/numpy.whl",), ValueError, "a name and versions only"),
        (("numpy; python_version < '3'",), ValueError, "a name and versions only"),
        (("../secrets",), ValueError, "as pip does"),
    ],
)
def test_what_is_no_requirement_is_refused_at_once(
    server: Server, requires: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        server.submit(abs, (-1,), requires=requires)
    with pytest.raises(kind, match=said):
        server.map(abs, [1], requires=requires)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


def test_the_wish_for_this_python_is_written_in_any_way(server: Server) -> None:
    minor = "{}.{}".format(*sys.version_info)
    for requires in (f"python=={minor}.*", f"Python>={minor},<4", f"PYTHON ~= {minor}"):
        assert server.submit(abs, (-1,), requires=(requires,)).result(PATIENCE) == 1


# With ppservers that differ.


@pytest.mark.cluster
def test_jobs_go_only_where_the_distribution_is(
    named_servers: NamedServers, tmp_path: Path
) -> None:
    with_kit = named_servers.start(path=made_up(tmp_path / "new", "test-kit", "2.1", KIT))
    with_old = named_servers.start(path=made_up(tmp_path / "old", "test-kit", "1.9", KIT))
    without = named_servers.start()
    addresses = [it.address for it in (with_kit, with_old, without)]
    with Server(1, addresses, key_file=named_servers.key_file) as server:
        assert server.wait_for_nodes(4, PATIENCE)
        jobs = [server.submit(version_of_the_kit, requires=("test-kit>=2",)) for _ in range(12)]
        assert {job.result(PATIENCE) for job in jobs} == {"2.1"}
        assert {job.node for job in jobs} == {with_kit.address}
        jobs = [server.submit(version_of_the_kit, requires=("Test_Kit",)) for _ in range(12)]
        assert {job.result(PATIENCE) for job in jobs} <= {"2.1", "1.9"}
        assert {job.node for job in jobs} <= {with_kit.address, with_old.address}
        before = {name: done.njobs for name, done in server.get_stats().items()}
        versions = server.map(lambda _: version_of_the_kit(), range(60), requires=("test-kit<2",))
        assert set(versions) == {"1.9"}
        done = server.get_stats()
        busy = {name for name in before if done[name].njobs > before[name]}
        assert busy == {with_old.address}


@pytest.mark.cluster
def test_which_requirement_fails_where_and_a_node_that_comes_later_runs_it(
    named_servers: NamedServers, tmp_path: Path
) -> None:
    old = named_servers.start(path=made_up(tmp_path / "old", "test-kit", "1.9"))
    bare, port = named_servers.start(), free_port()
    addresses = [old.address, bare.address, f"127.0.0.1:{port}"]
    with Server(1, addresses, key_file=named_servers.key_file) as server:
        assert server.wait_for_nodes(3, PATIENCE)
        job = server.submit(version_of_the_kit, requires=("test-kit>=2", "python>=3"))
        lacks = [
            f"{old.address} has test-kit 1.9, not >=2",
            f"{bare.address} has no test-kit",
            "local has no test-kit",
        ]
        said = wait_for(job, lambda text: all(lack in text for lack in lacks))
        assert said.startswith("waiting: no node can run it: ")
        assert "has not said yet" not in said
        named_servers.start(path=made_up(tmp_path / "new", "test-kit", "2.0", KIT), port=port)
        assert job.result(PATIENCE) == "2.0"
        assert job.node == f"127.0.0.1:{port}"


@pytest.mark.cluster
def test_when_the_only_node_that_fits_goes_its_jobs_wait_for_the_next(
    named_servers: NamedServers, tmp_path: Path, gate: Any
) -> None:
    kit = made_up(tmp_path / "new", "test-kit", "2.0", KIT)
    port = free_port()
    fits = named_servers.start(path=kit, port=port)
    bare = named_servers.start()
    addresses = (fits.address, bare.address)
    with Server(0, addresses, key_file=named_servers.key_file) as server:
        assert server.wait_for_nodes(2, PATIENCE)
        jobs = [server.submit(gate.way, (x,), requires=("test-kit",)) for x in range(3)]
        gate.wait_for(1)
        fits.kill()
        for job in jobs:
            said = wait_for(job, lambda text: f"{bare.address} has no test-kit" in text)
            assert said.startswith("waiting: no node can run it"), said
        named_servers.start(path=kit, port=port)
        gate.release(4)
        assert [job.result(PATIENCE) for job in jobs] == [0, 1, 2]
        assert {job.node for job in jobs} == {fits.address}


@pytest.mark.cluster
def test_a_function_of_an_installed_package_runs_where_its_version_is_that_of_here(
    named_servers: NamedServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = named_servers.start(path=made_up(tmp_path / "same", "test-kit", "2.1", KIT))
    other = named_servers.start(path=made_up(tmp_path / "other", "test-kit", "2.2", KIT))
    bare = named_servers.start()
    monkeypatch.syspath_prepend(str(made_up(tmp_path / "here", "test-kit", "2.1", KIT)))
    kit = importlib.import_module(KIT)
    monkeypatch.setitem(sys.modules, KIT, kit)
    addresses = (same.address, other.address, bare.address)
    with Server(1, addresses, key_file=named_servers.key_file) as server:
        assert server.wait_for_nodes(4, PATIENCE)
        jobs = [server.submit(kit.version) for _ in range(12)]
        assert {job.result(PATIENCE) for job in jobs} == {"2.1"}
        assert {job.node for job in jobs} <= {"local", same.address}
        assert set(server.map(kit.version, range(40))) == {"2.1"}
    with Server(0, addresses[1:], key_file=named_servers.key_file) as server:
        assert server.wait_for_nodes(2, PATIENCE)
        job = server.submit(kit.version)
        lacks = [f"{other.address} has test-kit 2.2, not 2.1", f"{bare.address} has no test-kit"]
        wait_for(job, lambda text: all(lack in text for lack in lacks))
        # Who says what is good enough gets that.
        assert server.submit(kit.version, requires=("test-kit>=2",)).result(PATIENCE) == "2.2"
        assert not job.done()


@pytest.mark.cluster
def test_broken_metadata_of_others_do_not_count(
    named_servers: NamedServers, tmp_path: Path
) -> None:
    folder = made_up(tmp_path / "site", "test-kit", "2.0")
    (folder / "odd_kit-1.dist-info").mkdir()
    (folder / "odd_kit-1.dist-info" / "METADATA").write_bytes(b"\xff\xfe\0")
    (folder / "wrong_kit-1.dist-info").mkdir()
    (folder / "wrong_kit-1.dist-info" / "METADATA").write_text("Name: wrong-kit\nVersion: blue\n")
    node = named_servers.start(path=folder)
    with Server(0, (node.address,), key_file=named_servers.key_file) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        for name in ("odd-kit", "wrong-kit>=1"):
            job = server.submit(abs, (-1,), requires=(name,))
            wait_for(job, lambda text: "can run it" in text and "not said yet" not in text)
            assert job.cancel()
        assert server.submit(abs, (-1,), requires=("test-kit==2",)).result(PATIENCE) == 1
