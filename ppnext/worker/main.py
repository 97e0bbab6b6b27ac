"""The worker's loop: take a job, run it, send what came of it.

Started as a fresh interpreter by ``ppnext.runtime.processes`` with four inherited descriptors:
the jobs channel, the control channel, the lifeline, and the memory in which the job that runs is
noted. Nothing else of the parent's memory, keys or open files is in here.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from time import perf_counter

from ppnext.errors import NotShippable, ResultNotShippable, UnsuitablePython
from ppnext.runtime.niceness import give_way
from ppnext.runtime.progress import Progress
from ppnext.runtime.sharing import WORTH_SHARING, Shared, Sharing
from ppnext.shipping.broadcasts import set_source
from ppnext.shipping.envelope import Parts, joined
from ppnext.shipping.loading import decode_call
from ppnext.shipping.outcomes import encode_exception, encode_result
from ppnext.version import VERSION
from ppnext.wire.connection import PAYLOAD_LIMIT
from ppnext.wire.messages import PROTOCOL, Began, Hello, Need, Outcome, Seek, Setup, Unfit
from ppnext.wire.payloads import Payload, view_of
from ppnext.worker.capture import KEPT, Capture
from ppnext.worker.inbox import Inbox, Task
from ppnext.worker.interrupts import Interrupts
from ppnext.worker.library import Library
from ppnext.worker.lifeline import die_with_group, tie
from ppnext.worker.modules import Modules

__all__ = ["Worker", "main"]

RESULT_LIMIT = PAYLOAD_LIMIT - KEPT - 4096
"""Most bytes of a result, so that it fits into a payload together with the job's output."""

_SHORT = 0.0001
"""Seconds from which a job gains nothing if its result waits for others."""

_TRIM_EVERY = 1.0
"""Seconds between looks at the size of a running job's output and at idle memory."""

_UNITS = "_PPNEXT_UNITS"
"""The variable that says which countable things there are; see ``ppnext.runtime.units``."""


class _NotForThisPython(Exception):
    """What a job is made of cannot be loaded by this version of Python."""

    def __init__(self, error: UnsuitablePython, arguments: bool) -> None:
        super().__init__(str(error))
        self.arguments = arguments


class _ParentGone(ConnectionError):
    """Nobody is there any more who would take a result."""


class Worker:
    """Runs jobs, one after the other.

    Args:
        inbox: where they come from and results go to.
        library: the functions and objects that have been sent.
        capture: what holds their output.
        interrupts: how they are stopped.
        progress: where the job that runs is noted.
        sharing: how large payloads come and go.
    """

    def __init__(
        self,
        inbox: Inbox,
        library: Library,
        capture: Capture,
        interrupts: Interrupts,
        progress: Progress,
        sharing: Sharing,
    ) -> None:
        self._inbox = inbox
        self._sharing = sharing
        self._progress = progress
        self._capture = capture
        self._interrupts = interrupts
        self._library = library
        set_source(self._object)
        self._looking = Lock()
        self._modules = Modules(self._bundle, self._look_for)
        self._node = "?"
        self._protocol = 5
        self._pid = os.getpid()

    def run(self) -> None:
        """Serve until the parent closes the channel."""
        while (received := self._inbox.next()) is not None:
            if isinstance(received, Task):
                self._run_job(received)
            elif isinstance(received.message, Setup):
                self._set_up(received.message)

    def _set_up(self, setup: Setup) -> None:
        self._node = setup.node
        self._protocol = setup.protocol
        if setup.path:
            sys.path[:] = setup.path
        self._modules.disk = setup.roots
        hello = Hello(
            PROTOCOL, VERSION, "{}.{}.{}".format(*sys.version_info), self._node, self._pid, 1
        )
        self._inbox.send(hello)

    def _run_job(self, task: Task) -> None:
        arguments = task.arguments
        freed: list[bool] = []
        if isinstance(arguments, Shared):
            arguments.when_free(freed.append)
        self._progress.note(task.job)
        began = perf_counter()
        raised = False
        try:
            outcome = self._execute(task, view_of(arguments))
        except _NotForThisPython as unfit:
            # The job has not been started; another node may be able to.
            self._inbox.send(Unfit(task.job, task.attempt, str(unfit)[:1000], unfit.arguments))
            return
        except _ParentGone:
            raise
        # Whatever the job raises is its outcome, SystemExit and KeyboardInterrupt as well.
        except BaseException as error:
            raised = True
            outcome = self._describe(error, task)
        ended = perf_counter()
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the job has forked and that came back; it is not a worker
        output = self._capture.take()
        payload = self._pack(task, outcome, b"" if output is None else output.text)
        del outcome  # it may still use the arguments
        if isinstance(arguments, Shared):
            arguments.drop()
        if output is None and not freed:
            report = Outcome(task.job, task.attempt, len(payload), raised, ended - began)
        else:
            report = Outcome(
                task.job,
                task.attempt,
                len(payload),
                raised,
                ended - began,
                0 if output is None else len(output.text),
                0 if output is None else output.dropped,
                freed == [True],
            )
        self._inbox.reports.add(report, payload, ended, task.once or ended - began > _SHORT)

    def _execute(self, task: Task, arguments: memoryview) -> bytes | Parts:
        """Call a function and pickle what it returns; nothing else is left of the call."""
        if task.limits is not None:
            self._inbox.send(Began(task.job, task.attempt, False))
        try:
            call = self._library.get(task.function, self._modules.enter, self._fetch_function)
        except UnsuitablePython as error:
            raise _NotForThisPython(error, arguments=False) from None
        try:
            args, kwargs = decode_call(arguments)
        except UnsuitablePython as error:
            raise _NotForThisPython(error, arguments=True) from None
        job = (task.job, task.attempt)
        if task.limits is None:
            result = self._interrupts.call(job, call, args, kwargs)
            outcome = encode_result(result, self._protocol)
        else:
            from ppnext.worker.allowance import allowance  # only for who uses it

            self._inbox.send(Began(task.job, task.attempt, True))
            with allowance(task.limits):
                result = self._interrupts.call(job, call, args, kwargs)
                outcome = encode_result(result, self._protocol)
        if len(outcome) > RESULT_LIMIT:
            raise ResultNotShippable(
                f"the job's result makes {len(outcome)} bytes; at most {RESULT_LIMIT} can be "
                "sent: let the job write large data itself, or split it"
            )
        return outcome

    def _pack(self, task: Task, outcome: bytes | Parts, output: bytes) -> Payload:
        """Return an outcome, and the output behind it, as a payload."""
        if len(outcome) >= WORTH_SHARING:
            buffers = [outcome] if isinstance(outcome, bytes) else outcome.buffers
            shared = self._sharing.share([*buffers, output])
            if shared is not None:
                self._inbox.lend(task.job, task.attempt, shared)
                return shared
        packed = joined(outcome)
        return packed + output if output else packed

    def _fetch(self, digest: bytes, is_here: Callable[[], bool], what: str) -> None:
        """Ask for what is not here (any more), and wait for it.

        Raises:
            NotShippable: whoever has submitted the job does not have it either.
        """
        library = self._library
        library.expect(digest)
        try:
            self._inbox.send(Need(digest))
            if not self._inbox.wait_until(lambda: is_here() or library.is_gone(digest)):
                raise _ParentGone(f"the parent went before it had sent {what}")
        finally:
            library.expect_no_more(digest)
        if not is_here():
            raise NotShippable(
                f"{what} that the job needs, {digest.hex()}, could not be had on {self._node}: "
                "nobody wants the job any more, or its client never had it"
            )

    def _fetch_function(self, digest: bytes) -> None:
        self._fetch(digest, lambda: digest in self._library, "the function")

    def _object(self, name: bytes) -> object:
        """Return a broadcast object that the present job uses."""
        if not self._library.holds(name):
            self._fetch(name, lambda: self._library.holds(name), "the broadcast object")
        return self._library.object(name)

    def _bundle(self, digest: bytes) -> bytes:
        """Return a bundle of the user's modules, which a job imports from."""
        self._fetch(digest, lambda: digest in self._library, "the module")
        return self._library.take(digest)

    def _look_for(self, module: str) -> bytes | str | None:
        """Ask for a module that a job imports and nobody here has."""
        answers = self._library.answers
        with self._looking:  # one at a time, so that each gets its own answer
            self._inbox.send(Seek(module))
            if not self._inbox.wait_until(lambda: module in answers):
                raise _ParentGone("the parent went before it had answered for a module")
            answer = answers.pop(module)
        return answer.digest or answer.why or None

    def _describe(self, error: BaseException, job: Task) -> bytes:
        where = f"job {job.job}, attempt {job.attempt}, on {self._node}, process {self._pid}"
        # Its type, not isinstance: that may ask the exception, which may answer with an error.
        if issubclass(type(error), ResultNotShippable):
            error = error.with_traceback(None)
        return encode_exception(error, where, self._protocol)


def _close_others(own: tuple[int, ...]) -> None:
    """Close what libraries of the parent have left open; Python's own is not inherited."""
    try:
        others = set(map(int, os.listdir("/proc/self/fd"))) - {0, 1, 2, *own}
    except OSError:
        others = set(range(3, 256)) - set(own)
    for descriptor in others:
        with suppress(OSError):  # the one that was used to look
            os.close(descriptor)


def main(jobs: int, control: int, lifeline: int, progress: int) -> None:
    """Serve jobs over inherited descriptors until the parent is gone. Never returns an error.

    Args:
        jobs: descriptor of the socket for functions, jobs and results.
        control: descriptor of the socket for everything that cannot wait for the present job.
        lifeline: descriptor of a pipe that ends when the parent does.
        progress: descriptor of the memory where the job that runs is noted.
    """
    give_way(os.environ)  # before there are threads
    if _UNITS in os.environ:  # before a job can change it
        from ppnext.worker.units import belong  # only where something is offered

        belong(os.environ)
    own = (jobs, control, lifeline, progress)
    for descriptor in own:
        os.set_inheritable(descriptor, False)
    tie(lifeline)
    _close_others(own)
    del sys.argv[1:]
    capture = Capture()
    faulthandler.enable(2)
    sharing = Sharing()
    library, interrupts = Library(), Interrupts()
    inbox = Inbox(
        socket.socket(fileno=jobs),
        socket.socket(fileno=control),
        die_with_group,
        sharing,
        library.keep,
        interrupts.stop,
    )
    noted = Progress(progress)
    noted.answer_signals()

    def tick() -> None:
        capture.trim()
        sharing.trim()

    Thread(target=inbox.watch, args=(_TRIM_EVERY, tick), name="ppnext-watch", daemon=True).start()
    with suppress(ConnectionError):  # the parent went before it had its result
        Worker(inbox, library, capture, interrupts, noted, sharing).run()
    die_with_group()
