"""Worker processes: started, watched, ended."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ppnext.runtime.processes import WorkerProcess, start_worker, worker_environment
from ppnext.runtime.progress import SIZE, Progress
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Define, Hello, Message, Result, Run, Setup, Start
from ppnext.wire.payloads import view_of
from tests.descriptors import open_descriptors

PATIENCE = 20.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")


@pytest.fixture
def start() -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def run(**extra: str) -> WorkerProcess:
        started.append(start_worker({**worker_environment(os.environ), **extra}))
        return started[-1]

    yield run
    for worker in started:
        worker.end()


def wait_readable(descriptor: socket.socket | int) -> None:
    ready, _, _ = select.select([descriptor], [], [], PATIENCE)
    assert ready, "nothing happened"


def say(worker: WorkerProcess, message: Message) -> None:
    connection = Connection(0.0)
    connection.send(message)
    worker.jobs.sendall(b"".join(connection.data_to_send(0.0).buffers))


def hear(worker: WorkerProcess) -> Received:
    connection = Connection(0.0)
    while True:
        wait_readable(worker.jobs)
        data = worker.jobs.recv(1 << 16)
        assert data, worker.describe_end()
        for received in connection.receive_data(data, 0.0):
            return received


def set_up(worker: WorkerProcess) -> Hello:
    say(worker, Setup("here", list(sys.path), 5))
    message = hear(worker).message
    assert isinstance(message, Hello)
    return message


def test_a_worker_says_hello_and_ends_with_its_socket(start: Callable[..., WorkerProcess]) -> None:
    worker = start()
    hello = set_up(worker)
    assert hello.pid == worker.pid
    assert worker.is_running()
    worker.end()
    worker.end()
    assert not worker.is_running()
    assert not psutil.pid_exists(worker.pid)


def test_a_worker_leads_a_group_and_a_session_of_its_own(
    start: Callable[..., WorkerProcess],
) -> None:
    worker = start()
    set_up(worker)
    assert os.getpgid(worker.pid) == os.getsid(worker.pid) == worker.pid


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_worker_inherits_its_own_descriptors_and_no_others(
    start: Callable[..., WorkerProcess],
) -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    os.set_inheritable(write, True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        ours = {os.readlink(f"/proc/self/fd/{end}") for end in (read, write, listening.fileno())}
        worker = start()
        set_up(worker)
        fds = Path(f"/proc/{worker.pid}/fd")
        theirs = {os.readlink(fds / name.name) for name in fds.iterdir()}
    os.close(read)
    os.close(write)
    assert not ours & theirs
    sockets = [name for name in theirs if name.startswith("socket:")]
    # Jobs and control, and the pair by which its two threads wake each other.
    assert len(sockets) == 4, theirs


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_settings_and_secrets_stay_out_of_the_environment(
    start: Callable[..., WorkerProcess],
) -> None:
    environment = {"PPNEXT_KEY": "a", "PPNEXT_KEY_FILE": "b", "PATH": "/bin", "XPPNEXT_": "c"}
    assert worker_environment(environment) == {"PATH": "/bin", "XPPNEXT_": "c"}
    worker = start(KEPT_FOR_JOBS="1")
    set_up(worker)
    text = Path(f"/proc/{worker.pid}/environ").read_bytes()
    assert b"KEPT_FOR_JOBS=1" in text
    assert b"PPNEXT_" not in text


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_worker_hears_signals_that_its_parent_has_blocked(
    start: Callable[..., WorkerProcess],
) -> None:
    """Otherwise its jobs could not be interrupted, nor asked where they are."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        worker = start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    set_up(worker)
    status = Path(f"/proc/{worker.pid}/status").read_text()
    assert re.search(r"SigBlk:\s*0+\n", status), status


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it may be told all the same")
def test_a_program_that_wants_to_know_nothing_of_its_children(
    start: Callable[..., WorkerProcess],
) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        worker = start()
        set_up(worker)
        ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{worker.pid}/status").read_text())
        os.kill(worker.pid, signal.SIGKILL)
        story = worker.describe_end()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert story.startswith(f"worker process {worker.pid} ended, it is not known how")
    assert ignored is not None and not int(ignored[1], 16) >> (signal.SIGCHLD - 1) & 1


def test_the_parent_sees_the_end_at_once(start: Callable[..., WorkerProcess]) -> None:
    worker = start()
    set_up(worker)
    pidfd = worker.pidfd()
    os.kill(worker.pid, signal.SIGKILL)
    if pidfd is not None:
        wait_readable(pidfd)
        os.close(pidfd)
    wait_readable(worker.jobs)
    assert worker.jobs.recv(1) == b""
    assert worker.describe_end() == f"worker process {worker.pid} was killed by SIGKILL"


def test_how_a_worker_ended_is_told_with_its_last_words(
    start: Callable[..., WorkerProcess],
) -> None:
    worker = start(PYTHONPATH="", PYTHONHOME="/nonexistent")  # so that it cannot even start
    story = worker.describe_end()
    assert story.startswith(f"worker process {worker.pid} exited with status 1; its last words: ")
    assert "encodings" in story


@pytest.mark.parametrize("place", ["", "/nonexistent"])
def test_what_a_worker_prints_is_appended_wherever_its_file_is(
    start: Callable[..., WorkerProcess], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Otherwise there would be a hole where the output of the job before was taken away."""
    monkeypatch.setenv("TMPDIR", place)
    worker = start()
    set_up(worker)
    definition = FunctionShipper().ship(print)
    call = joined(encode_call(("hello",), {}, 5))
    connection = Connection(0.0)
    connection.send(Define(definition.digest), (definition.payload,))
    for number in (1, 2):
        connection.send(Run(definition.digest, [Start(number, 1, len(call))]), [call])
        worker.jobs.sendall(b"".join(connection.data_to_send(0.0).buffers))
        result, payload = hear(worker)
        assert isinstance(result, Result)
        [outcome] = result.outcomes
        assert bytes(view_of(payload)[outcome.size - outcome.output :]) == b"hello\n"


def test_a_worker_that_has_started_nothing_is_blamed_for_nothing(
    start: Callable[..., WorkerProcess],
) -> None:
    worker = start()
    assert worker.last_started() is None
    set_up(worker)
    assert worker.last_started() is None
    worker.end()
    assert worker.last_started() is None


def test_what_a_worker_started_last_is_known_after_its_end(
    start: Callable[..., WorkerProcess],
) -> None:
    worker = start()
    set_up(worker)
    definition = FunctionShipper().ship(os._exit)
    connection = Connection(0.0)
    connection.send(Define(definition.digest), (definition.payload,))
    calls = [joined(encode_call((7,), {}, 5))] * 2
    starts = [Start(number, 1, len(call)) for number, call in zip((41, 42), calls, strict=True)]
    connection.send(Run(definition.digest, starts), calls)
    worker.jobs.sendall(b"".join(connection.data_to_send(0.0).buffers))
    assert worker.describe_end().endswith("exited with status 7")
    assert worker.last_started() == 41
    worker.end()
    assert worker.last_started() == 41


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_an_ended_worker_leaves_no_descriptors(start: Callable[..., WorkerProcess]) -> None:
    before = open_descriptors()
    for _ in range(3):
        worker = start()
        set_up(worker)
        worker.end()
    del worker
    assert open_descriptors() <= before + 3  # the notes of those still referred to


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_worker_that_cannot_be_started_leaves_no_descriptors() -> None:
    before = open_descriptors()
    with pytest.raises((OSError, ValueError)):
        start_worker({"NUL": "in\0it"})
    assert open_descriptors() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
def test_what_a_worker_has_started_as_another_user_is_no_trouble(
    start: Callable[..., WorkerProcess],
) -> None:
    worker = start()
    set_up(worker)
    definition = FunctionShipper().ship(os.spawnlp)
    call = joined(encode_call((os.P_NOWAIT, "sleep", "sleep", "100"), {}, 5))
    connection = Connection(0.0)
    connection.send(Define(definition.digest), (definition.payload,))
    connection.send(Run(definition.digest, [Start(1, 1, len(call))]), [call])
    worker.jobs.sendall(b"".join(connection.data_to_send(0.0).buffers))
    assert isinstance(hear(worker).message, Result)
    os.kill(worker.pid, signal.SIGKILL)
    worker.describe_end()
    try:
        os.setresuid(65534, 65534, 0)
        worker.suspend()
        worker.end()
    finally:
        os.setresuid(0, 0, 0)
        os.killpg(worker.pid, signal.SIGKILL)


@pytest.mark.parametrize("looks", [0, 1, 5])
def test_memory_can_be_looked_at_again_after_descriptors_ran_out(
    start: Callable[..., WorkerProcess], looks: int
) -> None:
    """Who looks every so often would not look any more after an error."""
    import resource  # not on Windows

    worker = start()
    set_up(worker)
    for _ in range(looks):
        assert worker.footprint() > 0
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        size = worker.footprint()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert size == 0
    assert worker.footprint() > 0


def test_a_process_that_takes_its_time_to_end_is_not_waited_for(tmp_path: Path) -> None:
    """This one is in our group, so it is not killed with its own, of which there is none."""
    pid = os.posix_spawnp("sleep", ["sleep", "100"], os.environ)
    ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
    note = tmp_path / "note"
    note.write_bytes(bytes(SIZE))
    *descriptors, noted = (os.open(note, os.O_RDWR) for _ in range(3))
    worker = WorkerProcess(pid, *ours, *descriptors, Progress(noted))
    try:
        worker.end()
        assert worker.is_running()
        [reaper] = [it for it in threading.enumerate() if it.name == "ppnext-reaper"]
    finally:
        os.kill(pid, signal.SIGKILL)
        for end in theirs:
            end.close()
    reaper.join(PATIENCE)
    assert not psutil.pid_exists(pid)  # nor is it a zombie


def test_a_closed_socket_ends_the_worker(start: Callable[..., WorkerProcess]) -> None:
    worker = start()
    set_up(worker)
    pidfd = worker.pidfd()
    worker.jobs.close()
    worker.control.close()
    if pidfd is None:
        psutil.Process(worker.pid).wait(PATIENCE)
    else:
        wait_readable(pidfd)
        os.close(pidfd)
    assert not worker.is_running()
