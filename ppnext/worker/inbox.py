"""Inbox: jobs that have been sent to this worker and not started.

Two threads touch it. The main thread takes the next job and runs it. The other one sleeps until
the parent writes to the control channel: then it reads what lies on the jobs channel, gives back
the jobs that are asked for and have not been started, and says which those are. So jobs that were
sent ahead are not stuck behind a long one, and in normal service the thread costs nothing.
It never reads while the main thread waits on the jobs channel, which would then sleep on although
there is a job for it: it lets the main thread read first. While results are held back it also
looks after them, every few milliseconds; see ``reports``.

Jobs may have threads of their own, which import modules and use objects that are still to come. Of
all threads that wait for something, one reads for all.

The parent's end is seen here too: the worker then ends itself and whatever its jobs have started.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Lock
from time import monotonic, perf_counter
from typing import NamedTuple, TypeAlias

from ppnext.runtime.looking import look
from ppnext.runtime.passing import receive, send_passing
from ppnext.runtime.sharing import Shared, Sharing
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import (
    Freed,
    JobRef,
    Limits,
    Message,
    Result,
    Retract,
    Returned,
    Run,
    Stop,
)
from ppnext.wire.payloads import Payload, split
from ppnext.worker.reports import Reports

__all__ = ["Inbox", "Task"]

_READ = 1 << 17
_WORTH_A_READ = 1 << 14

_MOMENT = 0.0001
"""Seconds for which the main thread looks for the next job before it sleeps."""

_QUICK = 0.00015
"""Seconds within which the last job came if that is worth while."""

_MOST_LENT = 32
"""Most results that are kept to be written again."""

_LOOK = 0.002
"""Seconds between two looks at results that are held back."""

_INSIST = 0.01
"""Seconds between two attempts to stop a job."""


# Waits so many seconds, or for ever, for something to read; returns the channels that have it.
Waiter: TypeAlias = Callable[[float | None], list[socket.socket]]


class Task(NamedTuple):
    """A job that was sent and has not been started."""

    function: bytes
    job: int
    attempt: int
    once: bool
    arguments: Payload
    limits: Limits | None = None


class Inbox:
    """The worker's end of its two channels.

    Args:
        jobs: socket on which functions and jobs arrive and results leave; used by one thread at
            a time to read, and by one to write.
        control: socket on which jobs are asked back.
        on_end: called in the watching thread when the parent is gone; does not return.
        sharing: how large payloads come and go.
        keep: called in any thread, one at a time, with what arrives besides jobs; returns whether
            that is done with it. The rest comes in its turn.
        stop: called in the watching thread with a job that is to be interrupted if it runs; returns
            whether to call it again soon, for the job has not noticed.
    """

    def __init__(
        self,
        jobs: socket.socket,
        control: socket.socket,
        on_end: Callable[[], None],
        sharing: Sharing,
        keep: Callable[[Message, Payload], bool],
        stop: Callable[[JobRef], bool],
    ) -> None:
        self._jobs = jobs
        self._control = control
        self._on_end = on_end
        self._wait_for_jobs = waiter(jobs)
        self.reports = Reports(self._send_results, self._wake_watcher)
        self._wake, self._woken = socket.socketpair()
        self._sharing = sharing
        self._keep = keep
        self._stop = stop
        # The job that is to be interrupted and has not noticed.
        self._unwanted: JobRef | None = None
        # Results that were passed to the parent, which says when it does not need them any more.
        self._lent: dict[JobRef, Shared] = {}
        self._lending = Lock()
        self._jobs_connection = Connection(monotonic(), in_order=True, adopt=sharing.adopt)
        self._control_connection = Connection(monotonic())
        # The lock owns the reading of the jobs channel, and what has been read from it.
        self._lock = Lock()
        self._arrived: deque[Task | Received] = deque()
        self._ended = False
        # Whether the last job to be waited for came so soon that it is worth while to look.
        self._is_quick = False
        # Whether a thread is about to read, as soon as there is something; and that it has.
        self._waiting = False
        self._has_read = Condition(self._lock)

    # The main thread.

    def next(self) -> Task | Received | None:
        """Wait for the next job or other message; None when the parent has closed the channel."""
        while True:
            with self._lock:
                if self._arrived:
                    return self._arrived.popleft()
            if not self.wait_until(lambda: bool(self._arrived)):
                return None

    def wait_until(self, is_there: Callable[[], bool]) -> bool:
        """Read until what is waited for is there. Jobs may call it in any thread.

        Returns:
            whether it is there; if not, the parent has closed the channel.
        """
        while True:
            with self._lock:
                if is_there():
                    return True
                if self._ended:
                    return False
                if self._waiting:  # another thread reads for all
                    self._has_read.wait()
                    continue
                self._waiting = True
            self._wait()

    def send(self, message: Message) -> None:
        """Send a message to the parent, after all results; returns when the kernel has it."""
        self.reports.send_before(lambda: _send(self._jobs, self._jobs_connection, message))

    def _send_results(self, results: Result, payloads: list[Payload]) -> None:
        _send(self._jobs, self._jobs_connection, results, payloads)

    def _wake_watcher(self) -> None:
        self._wake.send(b"w")

    def _wait(self) -> None:
        """Wait until there is something to read, and read it."""
        self.reports.send_all()
        began = perf_counter()
        if not self._is_quick or not look(lambda: self._wait_for_jobs(0), _MOMENT):
            self._wait_for_jobs(None)
        came_soon = perf_counter() - began < _QUICK
        with self._lock:
            self._waiting = False
            self._read()
            # Who sends several together is busy, and needs the processor more.
            self._is_quick = came_soon and len(self._arrived) == 1
            self._has_read.notify_all()

    # The watching thread.

    def watch(self, every: float | None, tick: Callable[[], None]) -> None:
        """Answer the parent on the control channel until it is gone.

        Args:
            every: seconds after which ``tick`` is called, again and again.
        """
        with suppress(ConnectionError):  # the parent went before it had its answer
            self._answer(every, tick)
        self._on_end()

    def _answer(self, every: float | None, tick: Callable[[], None]) -> None:
        wait = waiter(self._control, self._woken)
        watches = False
        due = None if every is None else monotonic() + every
        while True:
            until = None if due is None else max(0.0, due - monotonic())
            if watches or self._unwanted is not None:
                until = _LOOK if watches else _INSIST
            ready = wait(until)
            now = monotonic()
            if self._woken in ready:
                self._woken.recv(64)
                watches = True
            elif watches:
                watches = self.reports.send_old(now)
            if self._unwanted is not None:
                self._interrupt(self._unwanted)
            if due is not None and every is not None and now >= due:
                due = now + every
                tick()
            if self._control in ready:
                data = _receive(self._control)
                if not data:
                    return
                for message, _ in self._control_connection.receive_data(data, now):
                    if isinstance(message, Retract):
                        self._give_back(message.jobs)
                    elif isinstance(message, Stop):
                        self._interrupt((message.job, message.attempt))
                    elif isinstance(message, Freed):
                        self._take_back((message.job, message.attempt), message.reusable)

    def _interrupt(self, job: JobRef) -> None:
        self._unwanted = job if self._stop(job) else None

    def lend(self, job: int, attempt: int, result: Shared) -> None:
        """Keep a result that is passed to the parent, until it says that it is not in use."""
        with self._lending:
            self._lent[job, attempt] = result
            # Whoever keeps so many results keeps them for long: they are the parent's from now on.
            beyond = list(self._lent)[:-_MOST_LENT]
            kept = [self._lent.pop(oldest) for oldest in beyond]
        for result in kept:
            self._sharing.take_back(result, False)

    def _take_back(self, job: JobRef, reusable: bool) -> None:
        with self._lending:
            result = self._lent.pop(job, None)
        if result is not None:
            self._sharing.take_back(result, reusable)

    def _give_back(self, asked: list[JobRef]) -> None:
        wanted = set(asked)
        with self._lock:
            has_more = waiter(self._jobs)
            while self._waiting and has_more(0):
                self._has_read.wait()
            if not self._waiting:
                self._read()
            tasks = [item for item in self._arrived if isinstance(item, Task)]
            found = {(task.job, task.attempt) for task in tasks} & wanted
            self._arrived = deque(
                item
                for item in self._arrived
                if not (isinstance(item, Task) and (item.job, item.attempt) in found)
            )
        returned = sorted(found)
        kept = sorted(wanted - found)
        _send(self._control, self._control_connection, Returned(returned, kept))

    # All, with the lock.

    def _read(self) -> None:
        """Take what lies on the jobs channel, without waiting for more."""
        if self._ended:
            return
        try:
            arrived = self._receive()
        except BlockingIOError:
            return
        except ConnectionError:  # the parent went without reading all that was sent to it
            self._ended = True
            return
        for received in arrived:
            message, payload = received
            if isinstance(message, Run):
                self._arrived.extend(_tasks(message, payload))
            elif not self._keep(message, payload):
                self._arrived.append(received)

    def _receive(self) -> list[Received]:
        """Read once.

        Raises:
            BlockingIOError: nothing has arrived.
        """
        connection, now = self._jobs_connection, monotonic()
        room = connection.room()
        if room is not None and len(room) >= _WORTH_A_READ:
            count = self._jobs.recv_into(room, 0, _NOW)
            self._ended = not count
            return connection.filled(count, now) if count else []
        data, descriptors = receive(self._jobs, _READ, _NOW)
        self._ended = not data
        return connection.receive_data(data, now, descriptors)


def _tasks(run: Run, payload: Payload) -> list[Task]:
    function = run.function
    parts = split(payload, [job.size for job in run.jobs])
    limits = run.limits
    return [
        Task(function, job.job, job.attempt, job.once, part, limits)
        for job, part in zip(run.jobs, parts, strict=True)
    ]


def _receive(channel: socket.socket) -> bytes:
    """Return what has arrived; nothing when the parent is gone."""
    try:
        return channel.recv(_READ)
    except ConnectionError:
        return b""  # it went without reading all that was sent to it


def _send(
    channel: socket.socket,
    connection: Connection,
    message: Message,
    payloads: Sequence[Payload] = (),
) -> None:
    connection.send(message, payloads)
    while (outgoing := connection.data_to_send(0.0)).buffers:
        if outgoing.passed is not None:
            send_passing(channel, outgoing.buffers, outgoing.passed)
            continue
        for buffer in outgoing.buffers:
            channel.sendall(buffer)


if hasattr(select, "poll"):
    _NOW: int = socket.MSG_DONTWAIT

    def waiter(*channels: socket.socket) -> Waiter:
        """Return a function that waits until one of the channels can be read."""
        poll = select.poll()
        by_descriptor = {}
        for channel in channels:
            poll.register(channel, select.POLLIN)
            by_descriptor[channel.fileno()] = channel

        def wait(seconds: float | None) -> list[socket.socket]:
            ready = poll.poll(None if seconds is None else seconds * 1000)
            return [by_descriptor[descriptor] for descriptor, _ in ready]

        return wait

else:  # Windows, where select has no limit on descriptor numbers
    _NOW = 0

    def waiter(*channels: socket.socket) -> Waiter:
        """Return a function that waits until one of the channels can be read."""

        def wait(seconds: float | None) -> list[socket.socket]:
            return select.select(channels, [], [], seconds)[0]

        return wait
