"""Fixtures of the shipping tests: another process, and scripts."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

__all__ = ["far", "far_process", "run_script", "script"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def far_process() -> ModuleType:
    """The module ``far_process`` beside this file."""
    spec = importlib.util.spec_from_file_location("far_process", HERE / "far_process.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def far_for_all(far_process: ModuleType) -> Iterator[Any]:
    with far_process.Far() as far:
        yield far


@pytest.fixture
def far(far_for_all: Any, far_process: ModuleType) -> Any:
    """The other process, with a shipper that remembers nothing yet."""
    far_for_all.shipper = type(far_for_all.shipper)(far_process.PROTOCOL)
    return far_for_all


@pytest.fixture
def script() -> Callable[[str], SimpleNamespace]:
    """Run source as if it were a script, and return what it has defined."""

    def run(source: str) -> SimpleNamespace:
        space: dict[str, object] = {"__name__": "__main__"}
        exec(compile(textwrap.dedent(source), "<script>", "exec", dont_inherit=True), space)
        return SimpleNamespace(**space)

    return run


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., str]:
    """Run source in an interpreter of its own; return what it prints.

    The source may use ``Far`` from the module ``far_process``.
    """

    def run(source: str, how: str = "file") -> str:
        source = textwrap.dedent(source)
        path = tmp_path / "job_script.py"
        path.write_text(source)
        command = {"file": [str(path)], "-c": ["-c", source], "stdin": ["-"]}[how]
        done = subprocess.run(
            [sys.executable, *command],
            input=source if how == "stdin" else "",
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
