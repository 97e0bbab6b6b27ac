"""The lifeline: when the parent is killed, the worker and all that its jobs have started die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A client: starts a worker, sends it one job, says who is who, and waits to be killed.
PARENT = """
import json, os, sys
from time import monotonic
from ppnext.runtime.processes import start_worker, worker_environment
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper
from ppnext.wire.connection import Connection
from ppnext.wire.messages import Define, Run, Setup, Start

def idle(pipe):
    pass

def busy(pipe):
    import os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c",
        "import subprocess as s; c = s.Popen(['sleep', '600']); print(c.pid, flush=True); c.wait()"
    ], stdout=subprocess.PIPE)
    grandchild = int(child.stdout.readline())
    os.write(pipe, f"{os.getpid()} {child.pid} {grandchild}\\n".encode())
    time.sleep(600)  # until it is killed

def holds_the_lock(pipe):
    import os, re
    os.write(pipe, f"{os.getpid()}\\n".encode())
    re.match(r"(a*)*b", "a" * 64)  # hours in C code that never gives up the interpreter lock

def stopped(pipe):
    import os, signal
    os.write(pipe, f"{os.getpid()}\\n".encode())
    os.kill(os.getpid(), signal.SIGSTOP)

def ignores_signals(pipe):
    import os, signal, time
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    os.write(pipe, f"{os.getpid()}\\n".encode())
    time.sleep(600)  # until it is killed

reading, writing = os.pipe()
job = globals()[sys.argv[1]]
worker = start_worker(worker_environment(os.environ))
worker.jobs.setblocking(True)
connection = Connection(monotonic())
definition = FunctionShipper().ship(job)
path = f"/proc/{os.getpid()}/fd/{writing}"
connection.send(Setup("here", sys.path, 5))
connection.send(Define(definition.digest), (definition.payload,))
def open_and_call(job, path):
    import os
    job(os.open(path, os.O_WRONLY))
outer = FunctionShipper().ship(open_and_call)
connection.send(Define(outer.digest), (outer.payload,))
call = joined(encode_call((job, path), {}, 5))
connection.send(Run(outer.digest, [Start(1, 1, len(call))]), (call,))
while buffers := connection.data_to_send(0.0).buffers:
    worker.jobs.sendall(b"".join(buffers))
if job is idle:
    while not any(type(m).__name__ == "Result"
                  for m, _ in connection.receive_data(worker.jobs.recv(65536), 0.0)):
        pass
    pids = [worker.pid]
else:
    pids = [int(n) for n in os.read(reading, 1000).split()]
print(json.dumps(pids), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def client() -> Iterator[Callable[[str], tuple[subprocess.Popen[str], list[int]]]]:
    """Start a client whose worker runs the named job; return it and the processes below it."""
    clients: list[subprocess.Popen[str]] = []

    def start(job: str) -> tuple[subprocess.Popen[str], list[int]]:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        clients.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in clients:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the group on Linux only")
@pytest.mark.parametrize("job", ["idle", "busy", "holds_the_lock", "stopped", "ignores_signals"])
def test_a_killed_parent_takes_everything_with_it(
    job: str, client: Callable[[str], Any], is_gone: Callable[[int, float], bool]
) -> None:
    process, pids = client(job)
    assert len(pids) == (3 if job == "busy" else 1)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert [is_gone(pid, 5.0) for pid in pids] == [True] * len(pids)


def test_ending_a_worker_ends_what_its_jobs_have_started(
    worker: Any, is_gone: Callable[[int, float], bool]
) -> None:
    def leave() -> int:
        return subprocess.Popen(["sleep", "600"]).pid

    child = worker.value(leave)
    worker.process.end()
    assert is_gone(child, 5.0)
    assert is_gone(worker.pid, 5.0)
    worker.process.end()  # again does nothing


def test_children_outlive_their_job_but_not_the_worker(
    worker: Any, is_gone: Callable[[int, float], bool]
) -> None:
    child = worker.value(lambda: subprocess.Popen(["sleep", "600"]).pid)
    assert worker.value(lambda: "next") == "next"
    os.kill(child, 0)
    worker.process.control.close()
    assert is_gone(child, 5.0)


def test_dying_takes_the_group() -> None:
    source = "from ppnext.worker.lifeline import die_with_group; die_with_group()"
    done = subprocess.run(
        [sys.executable, "-c", source],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
