"""Every program in examples/ runs, prints what it promises, and ends with status 0.

The demo is run as well, on a sample: two ppservers on loopback, one of them killed. What is in a
folder is a project: a script with modules of its own, which is run on this machine alone and on a
ppserver alone that does not have these modules.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ppserver_fixture import PPServers

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
TIMEOUT_SECONDS = 90

# The arguments of each program, and what must be in its output.
RUNS = {
    "callback": ((), "log(2) 0.693147181"),
    "dynamic_ncpus": (("2",), "all results are the same"),
    "monte_carlo": ((), "pi is about 3.14"),
    "quicksort": ((), "200,000 numbers in 32 pieces"),
    "reverse_hash": (("54321",), "54,321, found by job 2 on local"),
    "stdlib_census": (("--limit", "60"), "the same result as the serial run, nothing lost"),
    "sum_primes": (("2",), "the sum of the primes below 50,000 is 121,013,308"),
}
# What the census needs; it does nothing by itself that a test could wait for.
HELPERS = {"loopback_lab"}
# The script of each project, and what must be in its output.
PROJECTS = {
    "rainfall/rainfall": (
        "High Pass        155   139 to 168",
        "raised the project's own UnknownGauge",
        "module gauges: shipped: 4 files",
    ),
}


def run_example(
    name: str, *arguments: str, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of examples/ in an interpreter of its own, with these settings only."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PPNEXT_")}
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part
    )
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == RUNS.keys() | HELPERS
    scripts = {path.relative_to(EXAMPLES).with_suffix("") for path in EXAMPLES.glob("*/*.py")}
    assert {path.as_posix() for path in scripts} == PROJECTS.keys()


@pytest.mark.parametrize("name", RUNS)
def test_example_runs(name: str, tmp_path: Path) -> None:
    arguments, expected = RUNS[name]
    result = run_example(name, *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stdout
    assert expected in result.stdout


@pytest.mark.parametrize("name", PROJECTS)
def test_project_runs_on_this_machine(name: str, tmp_path: Path) -> None:
    result = run_example(name, folder=tmp_path)
    assert result.returncode == 0, result.stdout
    assert all(expected in result.stdout for expected in PROJECTS[name]), result.stdout


@pytest.mark.cluster
@pytest.mark.parametrize("name", PROJECTS)
def test_project_runs_where_nobody_has_its_modules(
    name: str, ppserver: PPServers, key_file: Path, tmp_path: Path
) -> None:
    daemon = ppserver.start()
    result = run_example(name, daemon.address, folder=tmp_path, PPNEXT_KEY_FILE=str(key_file))
    assert result.returncode == 0, result.stdout
    assert all(expected in result.stdout for expected in PROJECTS[name]), result.stdout


@pytest.mark.cluster
def test_the_demo_loses_nothing_with_a_killed_ppserver(tmp_path: Path) -> None:
    result = run_example("stdlib_census", "--demo", "--limit", "120", folder=tmp_path)
    assert result.returncode == 0, result.stdout
    assert "three nodes, authenticated and encrypted" in result.stdout
    assert "with SIGKILL" in result.stdout
    assert "all 120 jobs have a result" in result.stdout
    assert "processes were started for this, and none is left" in result.stdout
    assert result.stdout.endswith("the same result as the serial run, nothing lost\n")


def test_the_serial_census_needs_no_server(tmp_path: Path) -> None:
    result = run_example("stdlib_census", "--serial", "--limit", "20", folder=tmp_path)
    assert result.returncode == 0, result.stdout
    assert "20 modules" in result.stdout
