"""Other Pythons for tests, with what ppnext depends on, and ppservers that they run.

Which interpreters, one for each minor version:

* those that ``TESTS_PYTHONS`` names (paths, separated as in ``PATH``), and no others, if it is set;
* otherwise those that are found: this one, ``python3.10`` ... on ``PATH``, and those of pyenv.

One that cannot import what ppnext depends on gets an environment in ``build/pythons``, which is
made once with pip and kept. Where that fails the version is missing, and why is said by ``reason``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ppserver_fixture import LISTENS, Daemon, recorded_ppserver

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["HERE", "NamedServers", "Pythons", "named_servers", "pythons"]

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
HERE = "{}.{}".format(*sys.version_info)
_MODULES = ("cryptography", "dill", "msgspec", "packaging", "psutil", "zeroconf")
_ASK = "import sys; print('.'.join(map(str, sys.version_info[:2])))"


class Pythons:
    """Interpreters that can run ppnext.

    Attributes:
        paths: an interpreter for each minor version that there is.
        reason: why the others are missing.
    """

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}
        missing = []
        named = os.environ.get("TESTS_PYTHONS")
        for version in VERSIONS:
            try:
                self.paths[version] = _find(version, named)
            except LookupError as error:
                missing.append(f"{version}: {error}")
        self.reason = "; ".join(missing)

    def need(self, *versions: str) -> None:
        """Skip the test unless all of these are there."""
        if not self.paths.keys() >= set(versions):
            pytest.skip(f"needs Python {' and '.join(versions)}; missing are {self.reason}")

    def others(self, version: str = HERE) -> list[str]:
        """Return the other versions that there are, oldest first. Skip the test without any."""
        found = [it for it in self.paths if it != version]
        if not found:
            pytest.skip(f"needs Pythons of several minor versions; missing are {self.reason}")
        return found


def _find(version: str, named: str | None) -> str:
    """Return an interpreter of a version that has what it needs.

    Raises:
        LookupError: there is none; says why.
    """
    candidates = _candidates(version) if named is None else named.split(os.pathsep)
    works = [it for it in filter(None, candidates) if _run(it, _ASK) == version]
    if not works:
        where = "on PATH or in pyenv" if named is None else "in TESTS_PYTHONS"
        raise LookupError(f"no interpreter {where}")
    for python in works:
        if _is_ready(python):
            return python
    if named is not None:
        raise LookupError(f"{works[0]} lacks one of {', '.join(_MODULES)}")
    return _environment(version, works[-1])


def _candidates(version: str) -> list[str]:
    found = [sys.executable, shutil.which(f"python{version}") or ""]
    roots = [os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")]
    for root in filter(None, roots):
        found += sorted(map(str, Path(root, "versions").glob(f"{version}.*/bin/python")))
    return found


def _environment(version: str, python: str) -> str:
    """Return the interpreter of an environment with what ppnext depends on; make it if need be."""
    try:
        import fcntl
    except ImportError:
        raise LookupError("environments are only made where files can be locked") from None
    folder = ROOT / "build" / "pythons" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = str(folder / "bin" / "python")
    with open(folder.parent / f"{version}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others run the same tests at the same time
        if _is_ready(made):
            return made
        shutil.rmtree(folder, ignore_errors=True)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [python, "-m", "venv", str(folder)],
            [made, *pip, "--only-binary", ":all:", *project["dependencies"]],
        ):
            said = _failure(command)
            if said:
                shutil.rmtree(folder, ignore_errors=True)
                raise LookupError(f"no environment could be made for {python}: {said}")
    return made


def _failure(command: list[str]) -> str:
    """Run a command; return the last line of what it said if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
    return lines[-1] if done.returncode else ""


def _run(python: str, code: str) -> str:
    """What a line of code prints; nothing if it fails."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return done.stdout.strip()
    return ""


def _is_ready(python: str) -> bool:
    return _run(python, f"import {', '.join(_MODULES)}; print('ready')") == "ready"


@pytest.fixture(scope="session")
def pythons() -> Pythons:
    """The Pythons of this machine that can run ppnext."""
    return Pythons()


class NamedServers:
    """Starts ppservers whose interpreter and surroundings a test chooses.

    Args:
        key_file: the key file of all.
        folder: the folder they run in.
    """

    def __init__(self, key_file: Path, folder: Path) -> None:
        self.key_file = key_file
        self._folder = folder
        self._started: list[Daemon] = []

    def start(
        self,
        python: str = sys.executable,
        path: Path | None = None,
        port: int = 0,
        workers: int = 1,
        wait: bool = True,
    ) -> Daemon:
        """Start a ppserver.

        Args:
            python: the interpreter.
            path: a folder that it finds modules in, besides ppnext's.
            port: where it listens; any free one if it is not said.
            workers: jobs it runs at a time.
            wait: whether to wait until it listens; if not, ``listening`` is to be called.
        """
        script, audit_file = recorded_ppserver()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PPNEXT_")}
        environment |= {
            "PYTHONPATH": os.pathsep.join(map(str, filter(None, (ROOT, path)))),
            "PYTHONUNBUFFERED": "1",
            "TESTS_AUDIT_FILE": str(audit_file),
        }
        process = subprocess.Popen(
            [python, script, "-w", str(workers), "-p", str(port), "-i", "127.0.0.1",
             "--key-file", str(self.key_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=self._folder,
            text=True,
            errors="backslashreplace",
        )  # fmt: skip
        daemon = Daemon(process, self.key_file, audit_file)
        self._started.append(daemon)
        return self.listening(daemon) if wait else daemon

    def listening(self, daemon: Daemon) -> Daemon:
        """Wait until a ppserver listens."""
        daemon.address = daemon.wait_for_log(LISTENS.pattern, 60.0)[1]
        return daemon

    def stop(self) -> None:
        """End all that were started."""
        for daemon in self._started:
            if daemon.process.poll() is None:
                daemon.terminate()
        for daemon in self._started:
            daemon.stop()


@pytest.fixture
def named_servers(key_file: Path, tmp_path: Path) -> Iterator[NamedServers]:
    """Starts ppservers of any interpreter; they end with the test."""
    servers = NamedServers(key_file, tmp_path)
    try:
        yield servers
    finally:
        servers.stop()
