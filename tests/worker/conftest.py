"""Fixtures of the worker tests: a worker process, spoken to over its own sockets."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NamedTuple

import psutil
import pytest

from ppnext.runtime.passing import receive
from ppnext.runtime.processes import WorkerProcess, start_worker, worker_environment
from ppnext.runtime.sharing import Sharing
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import Definition, FunctionShipper, unwrap_call
from ppnext.shipping.outcomes import decode_exception, decode_result
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import (
    Define,
    Hello,
    Message,
    Result,
    Retract,
    Run,
    Setup,
    Start,
)
from ppnext.wire.messages import Outcome as Ending
from ppnext.wire.payloads import split, view_of

__all__ = ["is_gone", "start", "worker"]

TIMEOUT = 30.0


class Ended(Exception):
    """The worker has closed its end of a channel."""


class Outcome(NamedTuple):
    result: Ending
    """What the worker says of it."""
    text: bytes
    value: Any
    """What the job returned, or the exception that it raised."""


class Channel:
    """One end of a stream to the worker, blocking."""

    def __init__(self, stream: socket.socket) -> None:
        stream.settimeout(TIMEOUT)
        self._stream = stream
        self._connection = Connection(monotonic(), adopt=Sharing().adopt)
        self._received: list[Received] = []

    def send(self, message: Message, payload: bytes = b"") -> None:
        self._connection.send(message, (payload,) if payload else ())
        while buffers := self._connection.data_to_send(0.0).buffers:
            self._stream.sendall(b"".join(buffers))

    def receive(self) -> Received:
        """Wait for the next message.

        Raises:
            Ended: there are no more.
        """
        while not self._received:
            try:
                data, descriptors = receive(self._stream, 1 << 16)
            except ConnectionResetError:
                data, descriptors = b"", ()
            if not data:
                raise Ended
            self._received += self._connection.receive_data(data, monotonic(), descriptors)
        message, payload = self._received.pop(0)
        return Received(message, bytes(view_of(payload)))


class Driver:
    """Does to a worker process what an engine does."""

    Ended = Ended

    def __init__(self, environment: dict[str, str], path: list[str]) -> None:
        self.process: WorkerProcess = start_worker(worker_environment(environment))
        self.pid = self.process.pid
        self.jobs = Channel(self.process.jobs)
        self.control = Channel(self.process.control)
        self._shipper = FunctionShipper()
        self._defined: set[bytes] = set()
        self._job = 0
        self._finished: list[Outcome] = []
        self.jobs.send(Setup("here", path, 5))
        hello = self.jobs.receive().message
        assert isinstance(hello, Hello)
        self.hello = hello

    def define(self, func: Callable[..., object], modules: tuple[str, ...] = ()) -> Definition:
        """Send a function, if it has not been sent."""
        definition = self._shipper.ship(func, (), modules)
        if definition.digest not in self._defined:
            self._defined.add(definition.digest)
            self.jobs.send(Define(definition.digest), definition.payload)
        return definition

    def start(
        self,
        func: Callable[..., object],
        *args: object,
        modules: tuple[str, ...] = (),
        once: bool = False,
    ) -> int:
        """Send a job; return its number."""
        func, args, kwargs = unwrap_call(func, args, {})
        digest = self.define(func, modules).digest
        self._job += 1
        self.run_call(digest, self._job, joined(encode_call(args, kwargs, 5)), once)
        return self._job

    def start_all(self, func: Callable[..., object], arguments: list[tuple[object, ...]]) -> None:
        """Send jobs in one message."""
        digest = self.define(func).digest
        calls = [joined(encode_call(args, {}, 5)) for args in arguments]
        starts = [Start(self._job + 1 + n, 1, len(call)) for n, call in enumerate(calls)]
        self._job += len(calls)
        self.jobs.send(Run(digest, starts), b"".join(calls))

    def run_call(self, digest: bytes, job: int, call: bytes, once: bool = False) -> None:
        """Send a job as it goes over the wire."""
        self.jobs.send(Run(digest, [Start(job, 1, len(call), once)]), call)

    def finish(self) -> Outcome:
        """Wait for the next result."""
        if not self._finished:
            message, payload = self.jobs.receive()
            assert isinstance(message, Result), message
            parts = split(payload, [ending.size for ending in message.outcomes])
            self._finished += map(self._outcome, message.outcomes, parts)
        return self._finished.pop(0)

    def _outcome(self, ending: Ending, payload: bytes) -> Outcome:
        size = ending.size - ending.output
        outcome, text = payload[:size], payload[size:]
        value = decode_exception(outcome) if ending.raised else decode_result(outcome)
        return Outcome(ending, text, value)

    def run(
        self, func: Callable[..., object], *args: object, modules: tuple[str, ...] = ()
    ) -> Outcome:
        """Send a job and wait for its result."""
        job = self.start(func, *args, modules=modules)
        outcome = self.finish()
        assert outcome.result.job == job
        return outcome

    def value(self, func: Callable[..., object], *args: object) -> Any:
        """Return what a job returns, or raise what it raises."""
        outcome = self.run(func, *args)
        if outcome.result.raised:
            raise outcome.value
        return outcome.value

    def retract(self, *jobs: int) -> Message:
        """Ask for jobs back and return the answer."""
        self.control.send(Retract([(job, 1) for job in jobs]))
        return self.control.receive().message

    def close(self) -> None:
        self.process.end()


@pytest.fixture
def start() -> Iterator[Callable[..., Driver]]:
    """Start workers; they are ended after the test."""
    drivers: list[Driver] = []

    def start_one(environment: dict[str, str] | None = None, path: list[str] | None = None) -> Any:
        drivers.append(Driver({**os.environ, **(environment or {})}, path or []))
        return drivers[-1]

    yield start_one
    for driver in drivers:
        driver.close()


@pytest.fixture
def worker(start: Callable[..., Driver]) -> Driver:
    """A worker process that is ready."""
    return start()


@pytest.fixture
def is_gone() -> Iterator[Callable[[int, float], bool]]:
    """Wait until a process has ended; a zombie has. What has not is killed after the test."""
    waited: list[psutil.Process] = []

    def ended_within(pid: int, seconds: float) -> bool:
        try:
            process = psutil.Process(pid)
            waited.append(process)
            deadline = monotonic() + seconds
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left = deadline - monotonic()
                if left <= 0:
                    return False
                # Not our child, perhaps: psutil watches it, and does not see zombies end.
                psutil.wait_procs([process], timeout=min(left, 0.1))
        except psutil.NoSuchProcess:
            pass
        return True

    yield ended_within
    for process in waited:
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            os.kill(process.pid, signal.SIGKILL)
