"""Worker processes: how one is started, watched and ended.

A worker is a fresh interpreter in its own session and process group, so that Ctrl-C does not reach
it and all that its jobs start can be ended with it. It inherits four descriptors and no others:
two sockets, the reading end of a pipe whose only purpose is to break when this process dies, and
the memory in which it notes the job that it runs.
Its standard output and error are one unlinked file that this process can still read when the
worker has crashed. Settings and secrets of ppnext are taken out of its environment; how much it is
to give way to others is put in, and taken out again by the worker.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from threading import Thread
from time import monotonic, sleep

from ppnext.runtime import niceness
from ppnext.runtime.footprint import PROC, Footprint, children
from ppnext.runtime.lastwords import MOST, last_words
from ppnext.runtime.progress import SIZE, STACK_SIGNAL, Progress
from ppnext.runtime.threads import thread_limits

__all__ = [
    "WorkerProcess",
    "check_platform",
    "reap_orphans",
    "start_worker",
    "worker_environment",
]

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv[1]]; "
    "from ppnext.worker.main import main; "
    "main(*map(int, sys.argv[2:]))"
)
_UNKNOWN = 1 << 16
"""No status that a process can have."""

_MOMENT = 0.05
"""Seconds that a process which was killed may hold up its parent."""


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


def worker_environment(
    environment: Mapping[str, str], workers: int = 0, nice: int = 0
) -> dict[str, str]:
    """Return the environment for workers: all of this one but what leads to our secrets.

    Args:
        workers: how many there will be, so that the threads of their libraries fit on the
            processors; 0 if nothing is to be said of that.
        nice: how much they give way to the other processes of the machine, up to 19.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("PPNEXT_", "_PPNEXT_")) and name != "CREDENTIALS_DIRECTORY"
    }
    if workers:
        kept |= thread_limits(kept, workers)
    return {**kept, niceness.VARIABLE: str(nice)} if nice else kept


class WorkerProcess:
    """A worker process that was started here.

    Attributes:
        pid: its process number, and that of its process group.
        jobs: this end of the socket for functions, jobs and results.
        control: this end of the socket for what cannot wait.
    """

    def __init__(
        self,
        pid: int,
        jobs: socket.socket,
        control: socket.socket,
        lifeline: int,
        output: int,
        progress: Progress,
    ) -> None:
        self.pid = pid
        self.jobs = jobs
        self.control = control
        self._lifeline = lifeline
        self._output = output
        self._progress = progress
        # How it has ended, once that is known.
        self._status: int | None = None
        self._closed = False
        self._footprint: Footprint | None = None

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
        return not self._reap(os.WNOHANG)

    def wait(self, seconds: float) -> None:
        """Wait for the process to end, at most this long; also where there is no ``pidfd``."""
        until, pause = monotonic() + seconds, 0.0005
        while self.is_running() and monotonic() < until:
            sleep(pause)  # not every system tells of the end of a process
            pause = min(2 * pause, 0.05)

    def _reap(self, options: int) -> bool:
        """Ask the system how the process has ended. Return whether it has."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                self._status = _UNKNOWN  # only the first who asks is told, or nobody at all
            else:
                if pid:
                    self._status = os.waitstatus_to_exitcode(status)
        return self._status is not None

    def end(self) -> None:
        """End the process and all that its jobs have started, now. May be called again.

        A process that has much memory, or waits for a disk, takes its time to end. It is not waited
        for longer than a moment.
        """
        if self._closed:
            return
        self._closed = True
        self._signal_group(signal.SIGKILL)
        os.close(self._lifeline)
        self.jobs.close()
        self.control.close()
        self.wait(_MOMENT)
        if self._status is None:
            Thread(target=self._reap, args=(0,), name="ppnext-reaper", daemon=True).start()
        os.close(self._output)
        self._progress.close()

    def kill(self) -> None:
        """Kill the process and all that its jobs have started. Its end is seen as any other."""
        self._signal_all("SIGKILL")

    def suspend(self) -> None:
        """Have the process and all that its jobs have started wait until they are continued."""
        self._signal_all("SIGSTOP")

    def proceed(self) -> None:
        """Continue what was suspended."""
        self._signal_all("SIGCONT")

    def _signal_all(self, name: str) -> None:
        if not self._closed:
            self._signal_group(getattr(signal, name))

    def _signal_group(self, number: int) -> None:
        # It has ended already; what it has started too, or that is another user's by now.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def give_way(self) -> None:
        """Have the process and all that its jobs have started give way to all others."""
        # It has ended already, or has started what belongs to another user.
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PGRP, self.pid, niceness.MOST)

    def ask_where(self) -> int:
        """Ask the process where its job is. Returns what ``where`` is to be given."""
        since = self._progress.written()
        if STACK_SIGNAL is not None and self.is_running():
            os.kill(self.pid, STACK_SIGNAL)
        return since

    def where(self, asked: int) -> str:
        """Return where the job was when the process was asked; see ``Progress.stack``."""
        return self._progress.stack(asked)

    def footprint(self) -> int:
        """Return how many bytes of memory of their own it and its children have; 0 if not known."""
        try:
            if self._footprint is None:
                self._footprint = Footprint(self.pid)
            return self._footprint.measure()
        except OSError:  # no descriptor is left to look with: the next look may have one
            return 0

    def last_started(self) -> int | None:
        """Return the number of the job that it has started last; None if it has started none."""
        return self._progress.last()

    def describe_end(self) -> str:
        """Say how a process that has ended came to its end, with its last words. Waits for it."""
        self._reap(0)
        code = _UNKNOWN if self._status is None else self._status
        if code == _UNKNOWN:
            how = "ended, it is not known how: SIGCHLD is ignored here, or somebody else has asked"
        elif code >= 0:
            how = f"exited with status {code}"
        else:
            how = f"was killed by {_signal_name(-code)}"
        size = os.fstat(self._output).st_size
        left = last_words(os.pread(self._output, MOST, max(0, size - MOST)))
        story = f"worker process {self.pid} {how}"
        if left.stack:
            story += f"; it was here, innermost call last:\n{left.stack}"
        return f"{story}; its last words: {left.words}" if left.words else story


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _nameless_file() -> int:
    """Return a descriptor of an empty file on disk that has no name, to append to."""
    folder = os.environ.get("TMPDIR", "/tmp")
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except (AttributeError, OSError):  # another system, or a file system that cannot
        import fcntl
        import tempfile

        descriptor, name = tempfile.mkstemp()
        os.unlink(name)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
        return descriptor


def start_worker(environment: Mapping[str, str]) -> WorkerProcess:
    """Start a worker process; returns before it is ready.

    Args:
        environment: see ``worker_environment``.

    Raises:
        OSError: there are no more processes or descriptors to be had.
    """
    # Closed in any case: the worker's ends; closed if it cannot be started: ours.
    with ExitStack() as theirs, ExitStack() as ours:
        jobs, control = (_socketpair(ours, theirs) for _ in range(2))
        lifeline, held = os.pipe()
        theirs.callback(os.close, lifeline)
        ours.callback(os.close, held)
        output = _nameless_file()
        ours.callback(os.close, output)
        note = _nameless_file()
        theirs.callback(os.close, note)
        os.write(note, bytes(SIZE))  # a hole in a file would be filled, or not, by whoever looks
        pid = _spawn([jobs[1].fileno(), control[1].fileno(), lifeline, note], output, environment)
        ours.pop_all()
        progress = Progress(os.dup(note))
    return WorkerProcess(pid, jobs[0], control[0], held, output, progress)


def reap_orphans(workers: Collection[int]) -> None:
    """Bury what has ended of what jobs have started and left to this process.

    The first process of a container, or of a machine, is given all whose parents are gone.

    Args:
        workers: processes whose end somebody else asks for.
    """
    for pid in children(PROC / "self" / "task"):
        if pid not in workers:
            with suppress(ChildProcessError):  # it has been asked for
                os.waitpid(pid, os.WNOHANG)


def _spawn(descriptors: list[int], output: int, environment: Mapping[str, str]) -> int:
    """Start the interpreter of a worker, with these descriptors and no others of Python's.

    They get new numbers on the way, above all of their own: what is inherited is decided here, and
    never by a flag of a descriptor that another thread might pass on.
    """
    first = max(*descriptors, output, 2) + 1
    places = range(first, first + len(descriptors))
    moves = [(os.POSIX_SPAWN_DUP2, *pair) for pair in zip(descriptors, places, strict=True)]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _START, _ROOT, *map(str, places)],
        dict(environment),
        file_actions=[
            *moves,
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        # What the program does with its signals, it does not mean for jobs. One that wants to know
        # nothing of its children would keep jobs from knowing how theirs have ended.
        setsigmask=[],
        setsigdef=[signal.SIGCHLD],
    )


def _socketpair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
    here, there = socket.socketpair()
    ours.callback(here.close)
    theirs.callback(there.close)
    here.setblocking(False)
    return here, there
