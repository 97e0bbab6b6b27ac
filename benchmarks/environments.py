"""Virtual environments: one for ppnext and the standard library, one for each other peer.

They must be of one Python version, or the comparison would be of Pythons. The first is the one
that runs this program; the others are made beside it and kept.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["REQUIREMENTS", "ROOT", "EnvironmentFailed", "python_of"]

ROOT = Path(__file__).resolve().parent.parent
OWN = "bench"
REQUIREMENTS: Mapping[str, str] = {"bench-ppft": "ppft==1.7.8"}
MAKE_SECONDS = 180


class EnvironmentFailed(Exception):
    """An environment could not be made; its peers are left out."""


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment; make the environment if it is missing.

    Raises:
        EnvironmentFailed: it could not be made.
    """
    if environment == OWN:
        return Path(sys.executable)
    folder = ROOT / ".venv" / environment
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    stamp = folder / "benchmarks.stamp"
    wanted = f"{REQUIREMENTS[environment]} {sys.version}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"benchmarks: making .venv/{environment} with {REQUIREMENTS[environment]}", flush=True)
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    for step, command in (
        ("venv", [sys.executable, "-m", "venv", "--clear", str(folder)]),
        ("pip", [*install, REQUIREMENTS[environment]]),
    ):
        try:
            result = subprocess.run(command, capture_output=True, timeout=MAKE_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvironmentFailed(f"{step}: {type(error).__name__}") from error
        if result.returncode != 0:
            raise EnvironmentFailed(f"{step} could not make it: {REQUIREMENTS[environment]}")
    stamp.write_text(wanted, encoding="utf-8")
    return python
