"""Packages from the index that only the client has, in jobs on a node that lacks them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pythons_fixture import NamedServers, Pythons, named_servers, pythons

__all__ = ["named_servers", "pythons"]

# Packages have to be fetched first, and environments for other Pythons to be made.
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

CLIENT = Path(__file__).with_name("packages_client.py")
ROOT = CLIENT.parents[2]
PURE = ("networkx", "python-dateutil", "lark", "sortedcontainers", "tabulate", "chevron")
IN_C = ("xxhash", "ujson")


def install(folder: Path, *names: str) -> Path:
    """Have pip install packages, without what they depend on, into a folder."""
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", "--target", str(folder), *names,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it did not say why"]
        pytest.skip(f"pip cannot install {', '.join(names)} here: {said[-1]}")
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pure-Python packages."""
    return install(tmp_path_factory.mktemp("packages"), *PURE, "six")


def run_client(python: str, folder: Path, packages: Path, script: Path, *arguments: str) -> Any:
    """Run a client that has the packages; return what it prints last, as JSON."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PPNEXT_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(packages)])
    done = subprocess.run(
        [python, str(script), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


def check(told: Any, names: tuple[str, ...], packages: Path) -> None:
    for name in names:
        answer = told["answers"][name]
        assert answer["there"] == [answer["here"]] * 4, name
        value, loader, file, source = answer["origin"]
        assert value == answer["here"] and loader == "BundleLoader" and source, name
        assert file == answer["file"]
        assert Path(file).is_relative_to(packages)
        assert "not shipped" not in answer["explained"], answer["explained"]
    assert told["alive"] == 1


def test_packages_that_only_the_client_has(
    named_servers: NamedServers, packages: Path, tmp_path: Path
) -> None:
    node = named_servers.start()
    told = run_client(
        sys.executable, tmp_path, packages, CLIENT,
        str(named_servers.key_file), node.address, *PURE,
    )  # fmt: skip
    check(told, PURE, packages)
    # Where they are not asked for they stay here; the node may have one of its own.
    for name in ("networkx", "lark", "chevron"):
        without = told["answers"][name]["without"]
        missing = f"ModuleNotFoundError: No module named '{name}'"
        assert without in (missing, told["answers"][name]["here"])


def test_packages_go_to_another_python(
    named_servers: NamedServers, packages: Path, pythons: Pythons, tmp_path: Path
) -> None:
    names = ("python-dateutil", "lark", "sortedcontainers", "tabulate", "chevron")
    other = pythons.others()[0]
    node = named_servers.start(pythons.paths[other])
    told = run_client(
        sys.executable, tmp_path, packages, CLIENT,
        str(named_servers.key_file), node.address, *names,
    )  # fmt: skip
    check(told, names, packages)


def test_the_daemon_and_its_disk_have_nothing_of_them(
    named_servers: NamedServers, packages: Path, tmp_path: Path
) -> None:
    node = named_servers.start()
    ours = tmp_path / "client"
    ours.mkdir()
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(ours)}
    run_client(
        sys.executable, ours, packages, CLIENT,
        str(named_servers.key_file), node.address, "lark",
    )  # fmt: skip
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(ours)} == before


IN_C_CLIENT = """
import importlib, json, sys, ppnext
key_file, address, *names = sys.argv[1:]
def use(name):
    return importlib.import_module(name).__name__
told = {}
with ppnext.Server(0, (address,), key_file=key_file) as server:
    assert server.wait_for_nodes(1, 30)
    for name in names:
        told[name] = {"plain": type(server.submit(use, (name,)).exception(30)).__name__}
with ppnext.Server(0, (address,), key_file=key_file, ship=names) as server:
    assert server.wait_for_nodes(1, 30)
    for name in names:
        module = importlib.import_module(name)
        by_name = lambda: module.__name__
        called = [server.submit(use, (name,)), server.submit(by_name)]
        told[name]["shipped"] = [f"{type(it.exception(30)).__name__}: {it.exception()}"
                                 for it in called]
        told[name]["explained"] = str(ppnext.explain(by_name, ship=names))
    told["alive"] = [server.submit(abs, (-x,)).result(30) for x in range(8)]
print(json.dumps(told))
"""


def test_what_is_written_in_c_is_named_and_not_half_loaded(
    named_servers: NamedServers, tmp_path: Path
) -> None:
    packages = install(tmp_path / "packages", *IN_C)
    node = named_servers.start()
    script = tmp_path / "client" / "client.py"
    script.parent.mkdir()
    script.write_text(IN_C_CLIENT)
    told = run_client(
        sys.executable, script.parent, packages, script,
        str(named_servers.key_file), node.address, *IN_C,
    )  # fmt: skip
    for name, part in (("xxhash", "_xxhash"), ("ujson", "ujson")):
        if told[name]["plain"] == "NoneType":
            pytest.skip(f"the node has {name} installed")
        for said in told[name]["shipped"]:
            assert said.startswith("ImportError: ") and part in said, said
            assert "C" in said or "compiled" in said, said
        assert part in told[name]["explained"]
    assert told["alive"] == list(range(8))
