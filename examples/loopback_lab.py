"""A laboratory on one machine: ppservers on the loopback with a key of their own.

What an administrator does once (make a key, copy it, start ``ppserver`` on every machine), done
in a temporary directory, with all machines being this one. Nothing outside of this machine can
see it: the daemons listen on 127.0.0.1 and announce themselves on that interface only.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import psutil

__all__ = ["Lab"]

PPSERVER = (sys.executable, "-m", "ppnext.server")
GRACE_SECONDS = 5.0
# Should this program be killed, the daemons end by themselves.
IDLE_EXIT_SECONDS = 60


class Lab:
    """Some ppservers on this machine; a context manager that ends them.

    Args:
        daemons: how many.
        workers: jobs that each of them runs at a time.

    Attributes:
        key_file: the key file that clients need.
        processes: every process that was seen below this one.
    """

    def __init__(self, daemons: int, workers: int) -> None:
        self.processes: set[psutil.Process] = set()
        self._daemons: dict[str, subprocess.Popen[str]] = {}
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:  # so that half a laboratory is taken down again
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ppnext-lab-")))
            self.key_file = folder / "keys"
            make_key(self.key_file)
            log = stack.enter_context(open(folder / "log", "w+", encoding="utf-8"))
            for _ in range(daemons):
                command = [
                    *PPSERVER, "-a", "-i", "127.0.0.1", "-p", "0", "-w", str(workers),
                    "-t", str(IDLE_EXIT_SECONDS), "--key-file", str(self.key_file),
                ]  # fmt: skip
                daemon = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
                stack.callback(end, daemon)
                self._daemons[address_of(daemon, folder / "log")] = daemon
            self._stack = stack.pop_all()

    @property
    def names(self) -> list[str]:
        """The daemons, as ``host:port``."""
        return list(self._daemons)

    def kill(self, name: str) -> None:
        """Kill a daemon as a power cut would: it cannot say good-bye or clean up."""
        self.remember_processes()
        self._daemons[name].kill()

    def remember_processes(self) -> None:
        """Take note of the processes there are now, so that it can be seen what became of them."""
        self.processes.update(psutil.Process().children(recursive=True))

    def processes_left(self) -> list[str]:
        """Return those that still run, after some seconds of grace; a zombie does not run."""
        psutil.wait_procs([it for it in self.processes if runs(it)], timeout=GRACE_SECONDS)
        return [str(process.pid) for process in self.processes if runs(process)]

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remember_processes()
        self._stack.close()


def make_key(path: Path) -> None:
    """Make a key file, as ``ppserver --new-key`` does."""
    command = [*PPSERVER, "--key-file", str(path), "--new-key", "demo"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        raise SystemExit(f"no key could be made: {result.stdout}")


def address_of(daemon: subprocess.Popen[str], log: Path) -> str:
    """Wait for a daemon's greeting and return where it listens."""
    if daemon.stdout is None:
        raise AssertionError("the daemon's output is not piped")
    greeting = daemon.stdout.readline()
    found = re.search(r"listens on ([^;,]+)", greeting)
    if found is None:
        daemon.wait()
        raise SystemExit(f"ppserver did not start: {greeting}{log.read_text(encoding='utf-8')}")
    return found[1]


def end(daemon: subprocess.Popen[str]) -> None:
    """End a daemon, gently at first."""
    daemon.terminate()
    try:
        daemon.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    if daemon.stdout is not None:
        daemon.stdout.close()


def runs(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    with Lab(daemons=2, workers=1) as lab:
        print("ppservers on", ", ".join(lab.names))
        print(f"in another terminal: PPNEXT_KEY_FILE={lab.key_file} PPNEXT_INTERFACES=127.0.0.1")
        print('python examples/stdlib_census.py --ppservers "*"')
        print(f"they end after {IDLE_EXIT_SECONDS} s without a client, or with Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            psutil.wait_procs(psutil.Process(os.getpid()).children())
