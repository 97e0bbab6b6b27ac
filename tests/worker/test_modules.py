"""Modules: what imports the user's modules is loaded when a job needs it, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from ppnext.worker.modules import Modules
asked = []
def ask(name):
    asked.append(name)
    return None
modules = Modules(lambda digest: b"", ask)
modules.disk = {disk!r}
loaded = lambda: "ppnext.worker.projects" in sys.modules
modules.enter(())
import colorsys
assert not loaded()
{body}
"""


def run(tmp_path: Path, body: str, disk: bool = True) -> None:
    folders = [str(tmp_path)] if disk else []
    program = PROGRAM.format(disk=folders, body=body)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_module_that_nobody_has_is_asked_for_once(tmp_path: Path) -> None:
    body = """
for _ in range(2):
    try:
        import no_such_module
    except ModuleNotFoundError:
        pass
assert loaded() and asked == ["no_such_module"], asked
"""
    run(tmp_path, body)


def test_a_module_of_the_project_on_this_machine_is_asked_for_before_it_is_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "helpers.py").write_text("VALUE = 5\n")
    body = """
sys.path.insert(0, modules.disk[0])
import helpers
assert helpers.VALUE == 5
assert loaded() and asked == ["helpers"], asked
"""
    run(tmp_path, body)


def test_submodules_and_installed_modules_load_nothing(tmp_path: Path) -> None:
    body = """
import xml.dom.minidom, wave
try:
    import xml.no_such_thing
except ModuleNotFoundError:
    pass
assert not loaded() and asked == []
"""
    run(tmp_path, body)


@pytest.mark.parametrize("used", [False, True])
def test_after_close_all_is_as_before(tmp_path: Path, used: bool) -> None:
    body = f"""
if {used}:
    modules.enter((("helpers", "it has a C extension"),))
    assert loaded()
modules.close()
assert not [it for it in sys.meta_path if type(it).__module__.startswith("ppnext")]
"""
    run(tmp_path, body)
