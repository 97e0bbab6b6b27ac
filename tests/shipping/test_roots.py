"""Roots: which files are the user's own, and where programs are started from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppnext.shipping.roots import Roots

ROOT = Path(__file__).resolve().parents[2]


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("lab/a.py", True),
        ("lab/deep/a.py", True),
        ("laboratory/a.py", False),
        ("a.py", False),
        ("lab/../a.py", False),
        ("lab/venv/a.py", False),
        ("lab/x/site-packages/a.py", False),
        ("lab/x/dist-packages/a/b.py", False),
        ("lab/site-packages.py", True),
    ],
)
def test_what_lies_below(tmp_path: Path, path: str, own: bool) -> None:
    touch(tmp_path / "lab/venv/pyvenv.cfg")
    assert Roots([tmp_path / "lab"]).hold(touch(tmp_path / path)) is own


def test_what_a_link_leads_to_counts(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lab")
    (tmp_path / "lab" / "out.py").symlink_to(touch(tmp_path / "out.py"))
    roots = Roots([tmp_path / "link"])
    assert roots.hold(touch(tmp_path / "lab" / "a.py"))
    assert roots.hold(str(tmp_path / "link" / "a.py"))
    assert not roots.hold(str(tmp_path / "lab" / "out.py"))


def test_a_folder_of_installed_things_can_be_named(tmp_path: Path) -> None:
    path = touch(tmp_path / "site-packages" / "a.py")
    assert Roots([tmp_path / "site-packages"]).hold(path)


def test_the_standard_library_is_nobodys_own() -> None:
    assert not Roots(["/"]).hold(os.__file__)


def automatic(folder: Path, *command: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [os.path.relpath(found, os.path.realpath(folder)) for found in json.loads(done.stdout)]


SCRIPT = (
    "import json; from ppnext.shipping.roots import automatic_roots as a; print(json.dumps(a()))"
)


def test_the_roots_of_a_program(tmp_path: Path) -> None:
    script = tmp_path / "lab" / "pkg" / "work.py"
    touch(script.with_name("__init__.py"))
    script.write_text(SCRIPT)
    assert automatic(tmp_path, "lab/pkg/work.py") == ["lab/pkg", "."]
    assert automatic(tmp_path / "lab", "-m", "pkg.work") == ["."]
    assert automatic(tmp_path, "-c", SCRIPT) == ["."]


def test_where_a_program_is_installed_is_no_root(tmp_path: Path) -> None:
    script = tmp_path / "site-packages" / "tool.py"
    touch(script)
    script.write_text(SCRIPT)
    assert automatic(tmp_path, "site-packages/tool.py") == ["."]
