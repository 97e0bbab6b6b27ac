"""Between two Pythons: what one ships, another runs with the same results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
PAIRS = [(one, other) for one in VERSIONS for other in VERSIONS]


@cache
def python_of(version: str) -> str | None:
    """Return an interpreter of a minor version, if this machine has one that works."""
    candidates = [sys.executable] if version == ".".join(map(str, sys.version_info[:2])) else []
    roots = [os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")]
    for root in filter(None, roots):
        candidates += sorted(map(str, Path(root, "versions").glob(f"{version}.*/bin/python")))
    candidates += filter(None, [shutil.which(f"python{version}")])
    code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    for candidate in candidates:
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, timeout=60)
        if done.stdout.strip() == version:
            return candidate
    return None


def run(version: str, script: Path, what: str, path: Path) -> str:
    python = python_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    done = subprocess.run(
        [python, str(script), what, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_one_ships_the_other_runs(one: str, other: str, tmp_path: Path) -> None:
    script, cases = HERE / "cross_version.py", tmp_path / "cases"
    sent = run(one, script, "send", cases)
    assert sent == "31 cases\n"  # and none that is bound to a version
    assert run(other, script, "receive", cases) == sent


SEND = """
import enum, sys
from pathlib import Path
from ppnext.shipping.functions import FunctionShipper
if True:
    {function}
definition = FunctionShipper().ship(f)
Path(sys.argv[2]).write_bytes(definition.payload)
print(definition.python)
"""
RECEIVE = """
import sys
from pathlib import Path
from ppnext.shipping.loading import load_definition
try:
    load_definition(Path(sys.argv[2]).read_bytes())
except Exception as error:  # whatever it is, it is the answer
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    ("newer", "older", "function", "says"),
    [
        (
            "3.11",
            "3.10",
            "def f():\n        try: f()\n        except* OSError: pass",
            "does not understand line 8 of {script}: 'except* OSError: pass'",
        ),
        (
            "3.12",
            "3.11",
            "def f[T](x: T) -> T: return x",
            "does not understand line 6 of {script}: 'def f[T](x: T) -> T: return x'",
        ),
        ("3.12", "3.10", "f = lambda x: f'{x['a']}'", "does not understand line 6 of {script}"),
        (
            "3.13",
            "3.10",
            "class f(enum.StrEnum): A = 'a'",
            "the function needs enum.StrEnum, which this node's Python 3.10 does not have",
        ),
        ("3.13", "3.12", "exec('def f(): pass')", "code made by Python 3.13 cannot run on this"),
    ],
)
def test_what_another_python_cannot_run_says_so(
    newer: str, older: str, function: str, says: str, tmp_path: Path
) -> None:
    script, receiver, payload = tmp_path / "job.py", tmp_path / "node.py", tmp_path / "payload"
    script.write_text(SEND.format(function=function))
    receiver.write_text(RECEIVE)
    python = run(newer, script, "send", payload)
    assert python == ("3.13\n" if "exec" in function else "None\n")
    said = run(older, receiver, "receive", payload)
    assert said.startswith("UnsuitablePython: ")
    assert says.format(script=script) in said
    assert f"this node's Python {older}" in said
    assert run(newer, receiver, "receive", payload) == ""
