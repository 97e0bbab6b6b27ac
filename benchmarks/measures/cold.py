"""Cold starts: fresh interpreters, from the start of the process to its first result.

Programs of one line, so that nothing of the benchmarks counts. Each writes down when it had its
result; the clock is the same in all processes of a machine.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["IMPORTS", "PROGRAMS", "import_seconds", "start_seconds"]

SECONDS = 20.0
_TELL = "import time; print(time.monotonic(), flush=True)"
_POOL = "from multiprocessing import get_context; p = get_context({}).Pool({{workers}}); "

PROGRAMS = {
    "interpreter": _TELL,
    "ppnext": "import ppnext; s = ppnext.Server({workers}); s.submit(abs, (1,))(); " + _TELL,
    "executor": "from concurrent.futures import ProcessPoolExecutor as E; e = E({workers}); "
    "e.submit(abs, 1).result(); " + _TELL,
    "pool": _POOL.format("") + "p.apply(abs, (1,)); " + _TELL,
    "pool-spawn": _POOL.format("'spawn'") + "p.apply(abs, (1,)); " + _TELL,
    "loky": "import loky; e = loky.get_reusable_executor({workers}); e.submit(abs, 1).result(); "
    + _TELL,
    "joblib": "import joblib; joblib.Parallel({workers})([joblib.delayed(abs)(1)]); " + _TELL,
    "pebble": "import pebble; p = pebble.ProcessPool({workers}); "
    "p.schedule(abs, args=(1,)).result(); " + _TELL,
}
"""What each peer's first result takes; ``{workers}`` is to be filled in."""

IMPORTS = {"ppnext": "ppnext", "executor": "concurrent.futures.process"}


def start_seconds(python: Path, program: str, folder: Path, env: Mapping[str, str]) -> float:
    """Return how long a program takes to its first result."""
    start = time.monotonic()
    return _run(python, program, folder, env) - start


def import_seconds(python: Path, module: str, folder: Path, env: Mapping[str, str]) -> float:
    """Return how long a module's import takes in a fresh interpreter, by its own clock."""
    program = f"import time; t = time.perf_counter(); import {module}; "
    return _run(python, program + "print(time.perf_counter() - t)", folder, env)


def _run(python: Path, program: str, folder: Path, env: Mapping[str, str]) -> float:
    result = subprocess.run(
        [str(python), "-c", program],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=SECONDS,
        check=True,
    )
    return float(result.stdout)
