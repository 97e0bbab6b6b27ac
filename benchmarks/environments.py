"""Virtual environments for the peers, one for each system, under build/bench: made once, kept.

All are of the Python that runs this program, or the comparison would be of Pythons, and without
pip, setuptools and what they would add to each start of the interpreter. ppnext is imported from
the checkout; its environment holds what it depends on.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["REQUIREMENTS", "RESULTS", "ROOT", "EnvironmentFailed", "python_of"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "bench"
NUMPY = "numpy>=1.26,<3"
REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "ppnext": (),
    "joblib": ("joblib==1.6.0", "loky==3.7.0"),
    "pebble": ("pebble==5.2.3",),
    "ppft": ("ppft==1.7.8",),
    "scoop": ("scoop==0.7.2.0",),
    "dask": ("distributed==2026.8.0",),
    "ray": ("ray==2.60.0",),
    "ipyparallel": ("ipyparallel==9.2.0",),
}
MAKE_SECONDS = 600


class EnvironmentFailed(Exception):
    """An environment could not be made; its peers are left out."""


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment; make the environment if it is missing.

    Raises:
        EnvironmentFailed: it could not be made.
    """
    folder = RESULTS / "environments" / environment
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = [*(REQUIREMENTS[environment] or _dependencies()), NUMPY]
    stamp = folder / "benchmarks.stamp"
    text = "\n".join([*wanted, sys.version])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == text:
        return python
    print(f"benchmarks: making an environment with {', '.join(wanted)}", flush=True)
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    for command in (
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)],
        [*install, "install", "-qq", *wanted],
    ):
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvironmentFailed(f"{command[2]}: {type(error).__name__}") from error
        if result.returncode != 0:
            why = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
            raise EnvironmentFailed(f"{command[2]} failed: {(why or ['no reason given'])[0][:200]}")
    stamp.write_text(text, encoding="utf-8")
    return python


def _dependencies() -> list[str]:
    """Return what ppnext needs, as its installed metadata say."""
    try:
        required = importlib.metadata.requires("ppnext") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise EnvironmentFailed("ppnext is not installed where the benchmarks run") from error
    return [line for line in required if not re.search(r"extra\s*==", line)]
