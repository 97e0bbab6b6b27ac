"""Real ppservers for tests, and the watch over what they unpickle.

* ``key_file``       a key file of this test's own
* ``ppserver``       starts ppservers on loopback; they end with the test
* ``shared_ppservers``  two ppservers that all tests of a process share; for tests that do them no
  harm

Every daemon started here keeps a record of what is unpickled in its own process. At the end of
the run, in the process that has the last word (also with xdist), all records are read: a daemon
that unpickled anything fails the run, and so does a record that would not have noticed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Condition, Thread

import pytest

from ppnext.runtime import keystore

__all__ = ["Daemon", "PPServers", "SharedPPServers", "recorded_ppserver"]

ROOT = Path(__file__).resolve().parents[1]
AUDITED = ROOT / "tests" / "audited_ppserver.py"
DIRECTORY = "TESTS_AUDIT_DIRECTORY"
LISTENS = re.compile(r"listens on (?:\S+, )*?(127\.\d+\.\d+\.\d+:\d+|\S+:\d+)[,;]")


def recorded_ppserver() -> tuple[str, Path]:
    """Where a test starts a ppserver by itself: what to give to Python instead of ``-m``.

    Returns:
        the script, and the file to name in ``TESTS_AUDIT_FILE`` for what it unpickles.
    """
    return str(AUDITED), Path(os.environ[DIRECTORY]) / uuid.uuid4().hex


class Daemon:
    """A ppserver that was started by a test.

    Attributes:
        address: ``"127.0.0.1:PORT"``.
        process: its process.
        key_file: the key file it reads.
        audit_file: the record of what it has unpickled.
    """

    def __init__(
        self, process: subprocess.Popen[str], key_file: Path | None, audit_file: Path
    ) -> None:
        self.process = process
        self.key_file = key_file
        self.audit_file = audit_file
        self.address = ""
        self._text = ""
        self._ended = False
        self._changed = Condition()
        self._reader = Thread(target=self._read, name="ppserver-log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])

    def log(self) -> str:
        """Return all that it has printed so far."""
        with self._changed:
            return self._text

    def wait_for_log(self, pattern: str, timeout: float = 15.0) -> re.Match[str]:
        """Wait until it has printed something that the regular expression finds."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self._text)

        with self._changed:
            self._changed.wait_for(lambda: self._ended or found(), timeout)
            match = found()
            assert match is not None, f"ppserver never printed {pattern!r}, but:\n{self._text}"
            return match

    def kill(self) -> None:
        """End it with SIGKILL, and wait for that."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> None:
        """Send it SIGTERM; does not wait."""
        self.process.send_signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """Send it SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """End it with SIGTERM (and with SIGKILL if that takes 10 s). Return its exit status."""
        if self.process.poll() is None:
            self.terminate()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait(10)
        self._reader.join(10)
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self._text += line
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class PPServers:
    """Starts ppservers.

    Args:
        key_file: the key file they read unless told otherwise.
        cwd: the directory they run in.
    """

    def __init__(self, key_file: Path, cwd: Path) -> None:
        self.key_file = key_file
        self.started: list[Daemon] = []
        self._cwd = cwd

    def start(
        self,
        *args: str,
        key_file: Path | None = None,
        env: Mapping[str, str] | None = None,
        workers: int = 2,
        wait: bool = True,
        within: Sequence[str] = (),
    ) -> Daemon:
        """Start a ppserver on a free port of 127.0.0.1 and wait until it listens.

        Args:
            args: further options; ``--port`` and ``--listen`` replace the usual ones. With
                ``--key-fd`` it is not told of a key file, with ``key_file`` it is.
            key_file: instead of ``self.key_file``.
            env: variables to set for it.
            workers: jobs it runs at a time.
            wait: whether to wait until it listens; if not, ``address`` stays empty.
            within: a command that starts it.
        """
        script, audit_file = recorded_ppserver()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PPNEXT_")}
        environment |= {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "XDG_RUNTIME_DIR": str(self._cwd),
            "TESTS_AUDIT_FILE": str(audit_file),
            **(env or {}),
        }
        options = ["--workers", str(workers)]
        if not {"-p", "--port"} & set(args):
            options += ["--port", "0"]
        if not {"-i", "--listen", "--lan"} & set(args):
            options += ["--listen", "127.0.0.1"]
        key_file = key_file or self.key_file
        if "--key-fd" not in args:
            options += ["--key-file", str(key_file)]
        process = subprocess.Popen(
            [*within, sys.executable, script, *options, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=self._cwd,
            text=True,
            errors="backslashreplace",
        )
        daemon = Daemon(process, key_file, audit_file)
        self.started.append(daemon)
        if wait:
            daemon.address = daemon.wait_for_log(LISTENS.pattern)[1]
        return daemon

    def stop(self) -> None:
        """End all that were started."""
        for daemon in self.started:
            if daemon.process.poll() is None:
                daemon.terminate()
        for daemon in self.started:
            daemon.stop()


class SharedPPServers:
    """Two ppservers with two workers each.

    Attributes:
        daemons: they.
        addresses: ``"127.0.0.1:PORT"`` of each.
        key_file: the key file of both.
    """

    def __init__(self, daemons: list[Daemon], key_file: Path) -> None:
        self.daemons = daemons
        self.addresses = tuple(daemon.address for daemon in daemons)
        self.key_file = key_file


def make_key_file(directory: Path) -> Path:
    """Make a key file with one new key and return its path."""
    path = directory / "keys"
    keystore.create(path, "test")
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A key file with one key."""
    return make_key_file(tmp_path)


@pytest.fixture
def ppserver(key_file: Path, tmp_path: Path) -> Iterator[PPServers]:
    """Starts ppservers that accept the key of ``key_file``."""
    servers = PPServers(key_file, tmp_path)
    with contextlib.closing(_Stopping(servers)):
        yield servers


@pytest.fixture(scope="session")
def shared_ppservers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedPPServers]:
    """Two ppservers that stay; tests that harm a daemon start one of their own."""
    directory = tmp_path_factory.mktemp("shared")
    servers = PPServers(make_key_file(directory), directory)
    with contextlib.closing(_Stopping(servers)):
        daemons = [servers.start(wait=False) for _ in range(2)]
        for daemon in daemons:
            daemon.address = daemon.wait_for_log(LISTENS.pattern)[1]
        yield SharedPPServers(daemons, servers.key_file)


class _Stopping:
    def __init__(self, servers: PPServers) -> None:
        self.close = servers.stop


# What daemons unpickle, over the whole run.


def pytest_configure(config: pytest.Config) -> None:
    """Choose where daemons keep their records; workers of xdist inherit the choice."""
    if DIRECTORY not in os.environ:
        os.environ[DIRECTORY] = tempfile.mkdtemp(prefix="audit-")
        config.stash[_OURS] = Path(os.environ[DIRECTORY])


_OURS = pytest.StashKey[Path]()
_VERDICT = pytest.StashKey[list[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Read the records of all daemons; what they unpickled fails the run."""
    directory = session.config.stash.get(_OURS, None)
    if directory is None:
        return
    records = [path.read_text().splitlines() for path in directory.iterdir()]
    if not records:
        return
    seen = [line for record in records for line in record if line != "recording"]
    silent = sum(record[:1] != ["recording"] for record in records)
    faults = sorted(set(seen))
    if silent:
        faults.append(f"{silent} daemons kept no record of what they unpickled")
    if not _record_works(directory):
        faults.append("the control: unpickling is not recorded, so the records prove nothing")
    session.config.stash[_VERDICT] = [
        f"{len(records)} ppservers unpickled {len(seen)} objects in their own process", *faults,
    ]  # fmt: skip
    if faults:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what the records say."""
    verdict = config.stash.get(_VERDICT, None)
    if verdict is not None:
        bad = len(verdict) > 1
        for line in verdict:
            terminalreporter.write_line(f"audit: {line}", red=bad, green=not bad)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the records."""
    directory = config.stash.get(_OURS, None)
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.environ.pop(DIRECTORY, None)


def _record_works(directory: Path) -> bool:
    """The control: a process under the same recording that does unpickle is noticed."""
    record = directory / "control"
    code = (
        "import pickle, sys; from audited_ppserver import record_unpickling;"
        "record_unpickling(sys.argv[1]); pickle.loads(bytes.fromhex(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(record), pickle.dumps(OrderedDict).hex()],
        cwd=AUDITED.parent,
        env={**os.environ, "PYTHONPATH": str(AUDITED.parent)},
        check=True,
        timeout=60,
    )
    lines = record.read_text().splitlines()
    return "pickle.loads" in lines and any("OrderedDict" in line for line in lines)
