"""Distributions: a shipped package may ask for its version and its plug-ins."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppnext.shipping.project import Project
from ppnext.worker.projects import Projects

FILES = {
    "t_inst.py": (
        "from importlib.metadata import entry_points, version\nVERSION = version('T.dist')\n"
        "PLUGINS = [one.load() for one in entry_points(group='t_plugins')]\n"
    ),
    "t_dist-1.5.dist-info/METADATA": "Metadata-Version: 2.1\nName: t-dist\nVersion: 1.5\n",
    "t_dist-1.5.dist-info/entry_points.txt": "[t_plugins]\nlen = builtins:len\n",
    "t_dist-1.5.dist-info/RECORD": (
        "t_inst.py,,\nt_dist-1.5.dist-info/METADATA,,\nt_dist-1.5.dist-info/entry_points.txt,,\n"
    ),
}


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Projects]:
    """Where a distribution is seen that is not installed any more."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        table = Project([], ["t-dist"]).table(["t_inst"])
    payloads = {bundle.digest: bundle.payload for bundle in table.bundles}
    projects = Projects(payloads.__getitem__, lambda name: None)
    projects.enter(table.entries)
    yield projects
    projects.close()


def test_its_own_version_and_plugins(projects: Projects) -> None:
    module = importlib.import_module("t_inst")
    assert module.VERSION == "1.5"
    assert module.PLUGINS[0] is len


def test_where_it_was(projects: Projects, tmp_path: Path) -> None:
    importlib.import_module("t_inst")
    found = importlib.metadata.distribution("t_dist")
    assert found.locate_file("t_inst.py") == tmp_path / "t_inst.py"
    assert found.read_text("nothing.txt") is None


def test_it_is_known_while_it_is_seen(projects: Projects) -> None:
    importlib.import_module("t_inst")
    projects.enter(())
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("t-dist")
    assert importlib.metadata.version("msgspec")
