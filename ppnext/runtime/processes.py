"""Worker processes: how one is started, watched and ended.

A worker is a fresh interpreter in its own session and process group, so that Ctrl-C does not reach
it and all that its jobs start can be ended with it. It inherits three descriptors and no others:
two sockets and the reading end of a pipe whose only purpose is to break when this process dies.
Its standard output and error are one unlinked file that this process can still read when the
worker has crashed. Settings and secrets of ppnext are taken out of its environment.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ["WorkerProcess", "check_platform", "start_worker", "worker_environment"]

_ROOT = str(Path(__file__).resolve().parents[2])
_START = (
    "import sys; sys.path.append(sys.argv[1]); from ppnext.worker.main import main; "
    "main(*map(int, sys.argv[2:]))"
)
_LAST_WORDS = 2000


def check_platform() -> None:
    """Refuse systems on which workers cannot be started.

    Raises:
        NotImplementedError: this is Windows.
    """
    if sys.platform == "win32":
        raise NotImplementedError(
            "ppnext cannot start worker processes on Windows yet; with ncpus=0 it can use "
            "ppservers on other machines"
        )


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for workers: all of this one but what leads to our secrets."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("PPNEXT_") and name != "CREDENTIALS_DIRECTORY"
    }


class WorkerProcess:
    """A worker process that was started here.

    Attributes:
        pid: its process number, and that of its process group.
        jobs: this end of the socket for functions, jobs and results.
        control: this end of the socket for what cannot wait.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        jobs: socket.socket,
        control: socket.socket,
        lifeline: int,
        output: IO[bytes],
    ) -> None:
        self.pid = process.pid
        self.jobs = jobs
        self.control = control
        self._process = process
        self._lifeline = lifeline
        self._output = output
        self._closed = False

    def pidfd(self) -> int | None:
        """Return a descriptor that is readable once the process has ended; None where unknown.

        The end of its sockets tells the same, unless a child of a job still holds them.
        """
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            return os.pidfd_open(self.pid)
        except OSError:
            return None  # an old kernel, or a sandbox that forbids it

    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait for the process to end, at most this long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def end(self) -> None:
        """End the process and all that its jobs have started, now. May be called again."""
        if self._closed:
            return
        self._closed = True
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self._process.kill()
        except ProcessLookupError:
            pass  # it has ended by itself, and so have its children
        os.close(self._lifeline)
        self.jobs.close()
        self.control.close()
        self._process.wait()
        self._output.close()

    def describe_end(self) -> str:
        """Say how a process that has ended came to its end, with its last words. Waits for it."""
        code = self._process.wait()
        if code >= 0:
            how = f"exited with status {code}"
        else:
            how = f"was killed by {_signal_name(-code)}"
        words = self._last_words()
        return f"worker process {self.pid} {how}" + (f"; its last words: {words}" if words else "")

    def _last_words(self) -> str:
        self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, self._output.tell() - _LAST_WORDS))
        return self._output.read().decode(errors="backslashreplace").strip()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _output_file() -> IO[bytes]:
    """An unlinked file to which all writers append, however often it is emptied."""
    import fcntl  # POSIX only

    output = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115  # closed by end()
    flags = fcntl.fcntl(output, fcntl.F_GETFL)
    fcntl.fcntl(output, fcntl.F_SETFL, flags | os.O_APPEND)
    return output


def start_worker(environment: Mapping[str, str]) -> WorkerProcess:
    """Start a worker process; returns before it is ready.

    Args:
        environment: see ``worker_environment``.

    Raises:
        OSError: there are no more processes or descriptors to be had.
    """
    ours: list[socket.socket] = []
    theirs: list[socket.socket] = []
    pipe: tuple[int, ...] = ()
    output = None
    try:
        for _ in range(2):
            here, there = socket.socketpair()
            ours.append(here)
            theirs.append(there)
        pipe = os.pipe()
        output = _output_file()
        inherited = [theirs[0].fileno(), theirs[1].fileno(), pipe[0]]
        process = subprocess.Popen(
            [sys.executable, "-c", _START, _ROOT, *map(str, inherited)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=inherited,
            start_new_session=True,
            env=dict(environment),
        )
    except BaseException:  # whatever it was, descriptors must not be left open
        for end in ours:
            end.close()
        if pipe:
            os.close(pipe[1])
        if output is not None:
            output.close()
        raise
    finally:
        for end in theirs:
            end.close()
        if pipe:
            os.close(pipe[0])
    for end in ours:
        end.setblocking(False)
    return WorkerProcess(process, ours[0], ours[1], pipe[1], output)
