"""The worker's loop: take a job, run it, send what came of it.

Started as a fresh interpreter by ``ppnext.runtime.processes`` with three inherited descriptors:
the jobs channel, the control channel and the lifeline. Nothing of the parent's memory, keys or
open files is in here.
"""

from __future__ import annotations

import faulthandler
import os
import platform
import socket
import sys
from contextlib import suppress
from threading import Thread
from time import perf_counter

from ppnext.errors import ResultNotShippable
from ppnext.shipping.loading import decode_call
from ppnext.shipping.outcomes import encode_exception, encode_result
from ppnext.version import VERSION
from ppnext.wire.connection import PAYLOAD_LIMIT
from ppnext.wire.messages import PROTOCOL, Define, Hello, Need, Result, Run, Setup
from ppnext.worker.capture import KEPT, Capture
from ppnext.worker.inbox import Inbox
from ppnext.worker.library import Library
from ppnext.worker.lifeline import die_with_group, tie

__all__ = ["Worker", "main"]

RESULT_LIMIT = PAYLOAD_LIMIT - KEPT - 4096
"""Most bytes of a result, so that it fits into a payload together with the job's output."""

_TRIM_EVERY = 1.0
"""Seconds between looks at the size of a running job's output."""


class Worker:
    """Runs jobs, one after the other.

    Args:
        inbox: where they come from and results go to.
        capture: what holds their output.
    """

    def __init__(self, inbox: Inbox, capture: Capture) -> None:
        self._inbox = inbox
        self._capture = capture
        self._library = Library()
        self._node = "?"
        self._protocol = 5
        self._pid = os.getpid()

    def run(self) -> None:
        """Serve until the parent closes the channel."""
        while (received := self._inbox.next()) is not None:
            message, payload = received
            if isinstance(message, Run):
                self._run_job(message, payload)
            elif isinstance(message, Define):
                self._library.add(message.digest, payload)
            elif isinstance(message, Setup):
                self._set_up(message)

    def _set_up(self, setup: Setup) -> None:
        self._node = setup.node
        self._protocol = setup.protocol
        if setup.path:
            sys.path[:] = setup.path
        hello = Hello(PROTOCOL, VERSION, platform.python_version(), self._node, self._pid, 1)
        self._inbox.send(hello)

    def _run_job(self, job: Run, payload: bytes) -> None:
        if job.function not in self._library:
            self._inbox.send(Need(job.function))
            definition = self._inbox.wait_for_definition(job.function)
            if definition is None:
                return
            self._library.add(job.function, definition)
        began = perf_counter()
        raised = False
        try:
            function = self._library.get(job.function)
            args, kwargs = decode_call(payload)
            outcome = encode_result(function(*args, **kwargs), self._protocol)
            if len(outcome) > RESULT_LIMIT:
                raise ResultNotShippable(
                    f"the job's result makes {len(outcome)} bytes; at most {RESULT_LIMIT} can be "
                    "sent: let the job write large data itself, or split it"
                )
        # Whatever the job raises is its outcome, SystemExit and KeyboardInterrupt as well.
        except BaseException as error:
            raised = True
            outcome = self._describe(error, job)
        seconds = perf_counter() - began
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the job has forked and that came back; it is not a worker
        output = self._capture.take()
        if output is None:
            result = Result(job.job, job.attempt, raised, seconds)
        else:
            result = Result(job.job, job.attempt, raised, seconds, len(output.text), output.dropped)
            outcome = output.text + outcome
        self._inbox.send(result, outcome)

    def _describe(self, error: BaseException, job: Run) -> bytes:
        where = f"job {job.job}, attempt {job.attempt}, on {self._node}, process {self._pid}"
        # Its type, not isinstance: that may ask the exception, which may answer with an error.
        if issubclass(type(error), ResultNotShippable):
            error = error.with_traceback(None)
        return encode_exception(error, where, self._protocol)


def main(jobs: int, control: int, lifeline: int) -> None:
    """Serve jobs over inherited descriptors until the parent is gone. Never returns an error.

    Args:
        jobs: descriptor of the socket for functions, jobs and results.
        control: descriptor of the socket for everything that cannot wait for the present job.
        lifeline: descriptor of a pipe that ends when the parent does.
    """
    for descriptor in (jobs, control, lifeline):
        os.set_inheritable(descriptor, False)
    tie(lifeline)
    del sys.argv[1:]
    capture = Capture()
    faulthandler.enable(2)
    inbox = Inbox(socket.socket(fileno=jobs), socket.socket(fileno=control), die_with_group)
    Thread(
        target=inbox.watch, args=(_TRIM_EVERY, capture.trim), name="ppnext-watch", daemon=True
    ).start()
    with suppress(ConnectionError):  # the parent went before it had its result
        Worker(inbox, capture).run()
    die_with_group()
