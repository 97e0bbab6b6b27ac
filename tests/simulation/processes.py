"""Worker processes of the simulated world.

To the pool that starts it a ``Process`` is a ``WorkerProcess``. Inside there are two real
connections that cut and make real frames; the rest of a worker, the threads and the code of users,
is a state machine: it reads, it runs the oldest job it has, it answers what it is asked.

A process may fail to start, die at any moment, be killed by a job, be stopped and go on. What it
has sent is read by its parent, what it had not sent is lost, as between real processes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ppnext.twins import FIRST_NUMBER
from ppnext.version import VERSION
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import (
    PROTOCOL,
    Define,
    Hello,
    Hold,
    Message,
    Need,
    Outcome,
    Result,
    Retract,
    Returned,
    Run,
    Setup,
    Stop,
)
from ppnext.wire.payloads import Payload, split, view_of
from ppnext.worker.reports import Reports
from tests.simulation.jobs import Execution, Plan, Register
from tests.simulation.kernel import Kernel
from tests.simulation.loop import VirtualLoop
from tests.simulation.sockets import Socket, join

__all__ = ["Home", "Process"]

_SPAWN = 0.3
"""Most seconds until a process is ready."""

_SHORT = 0.0005
"""Seconds below which a job's result may wait for the next one's; more than in earnest."""

_LOOK = 0.002
"""Seconds between two looks at results that are held back."""

_LIBRARY = 3
"""Functions and bundles that a worker keeps; what comes unasked drives out the oldest."""

_LIFELINE = 0.01
"""Most seconds until a process has seen that its parent is gone."""


class Home(Protocol):
    """The process that starts workers, and its machine.

    Attributes:
        lag: seconds that a worker takes at least to start.
    """

    lag: float
    loop: VirtualLoop
    name: str

    def attempt_of(self, plan: Plan, session: str, attempt: int) -> int:
        """Return the client's attempt that a worker's one belongs to."""

    def check_room(self) -> None:
        """A job has been started: check that not more is in use than there is."""


class _Task(NamedTuple):
    function: bytes
    job: int
    attempt: int
    once: bool
    arguments: Payload


class Process:
    """A worker process.

    Args:
        kernel: the world's time.
        register: the jobs.
        home: who starts it.
        environment: what it was started with.
        pid: its number.
    """

    def __init__(
        self,
        kernel: Kernel,
        register: Register,
        home: Home,
        environment: Mapping[str, str],
        pid: int,
    ) -> None:
        self.pid = pid
        self.name = f"{home.name}/{pid}"
        self.session = environment.get("SESSION", "")
        self.running: tuple[Plan, int] | None = None
        self.is_dead = False
        self.is_stopped = False
        self.is_ended = False
        """Whether its parent has ended it, and so has nothing more to do with it."""
        self._kernel = kernel
        self._register = register
        self._home = home
        self._descriptor: int | None = None
        self._how = ""
        self._last: int | None = None
        self.jobs, self._jobs = self._pair()
        self.control, self._control = self._pair()
        self._jobs_connection = Connection(0.0, in_order=True)
        self._control_connection = Connection(0.0)
        self._tasks: deque[_Task] = deque()
        self._task: _Task | None = None
        self._library: list[bytes] = []
        self._asked: bytes | None = None
        self._reports = Reports(self._send_results, self._watch_reports)
        self._node = "?"
        self._has_booted = False
        self._is_due = False
        self._began = 0.0
        self._is_being_stopped = False
        kernel.at(home.lag + _SPAWN * kernel.random.random(), self._boot)

    def _pair(self) -> tuple[Socket, Socket]:
        ours = Socket(self._kernel, self._home.loop.poke)
        theirs = Socket(self._kernel, self._wake)
        ours.number = self._home.loop.open(ours)
        join(self._kernel, ours, theirs)
        return ours, theirs

    # What its parent asks; see WorkerProcess.

    def pidfd(self) -> int | None:
        """A descriptor, which the parent closes itself; on half of the machines there are none."""
        if self._home.name[-1] in "02468":
            return None
        self._descriptor = os.open(os.devnull, os.O_RDONLY)
        return self._home.loop.open(self, self._descriptor)

    def is_readable(self) -> bool:
        return self.is_dead

    def is_writable(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.is_dead

    def wait(self, seconds: float) -> None:
        """Time does not pass here; whoever waits has done so already."""

    def end(self) -> None:
        if not self.is_ended:
            self.is_ended = True
            self._die("SIGKILL")
            self.jobs.close()
            self.control.close()

    def kill(self) -> None:
        if not self.is_ended:
            self._kernel.happened["killed by its parent"] += 1
            self._die("SIGKILL")

    def ask_where(self) -> int:
        return 0

    def where(self, asked: int) -> str:
        return "somewhere"

    def footprint(self) -> int:
        return (100 << 20) + self.running[0].padding if self.running else 0

    def last_started(self) -> int | None:
        return self._last

    def describe_end(self) -> str:
        return f"worker process {self.pid} was killed by {self._how}"

    # What happens to it.

    def die(self, how: str) -> None:
        """It is killed, or ends."""
        if not self.is_dead:
            self._kernel.note(f"{self.name} dies of {how}")
            self._die(how)

    def _die(self, how: str) -> None:
        if self.is_dead:
            return
        self.is_dead = True
        self._how = how
        self.running = None
        self._tasks.clear()
        # Its descriptor and its sockets tell of its end, in any order.
        for tell in (self._jobs.close, self._control.close, self._home.loop.poke):
            self._kernel.at(0.001 * self._kernel.random.random(), tell)

    def orphan(self) -> None:
        """Its parent is gone without having ended it."""
        self._kernel.at(_LIFELINE * self._kernel.random.random(), self._die, "its lifeline")

    def stop(self) -> None:
        """It is stopped."""
        self.is_stopped = True

    def go_on(self) -> None:
        """It goes on."""
        self.is_stopped = False
        self._wake()
        if self._is_due:
            self._is_due = False
            self._end_job()

    def suspend(self) -> None:
        """Its parent stops it."""
        self._kernel.note(f"{self.name} is suspended")
        self._kernel.happened["suspended"] += 1
        self.stop()

    def proceed(self) -> None:
        """Its parent has it go on."""
        self.go_on()

    def give_way(self) -> None:
        """Nothing is slower here for that."""
        self._kernel.happened["went on although its machine is needed"] += 1

    def close_descriptor(self) -> None:
        """Give the real descriptor back, if the parent did not live to do so."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def unwatched(self) -> None:
        """The parent closes the descriptor now."""
        self._descriptor = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to be done about it."""
        return self.is_ended and self._descriptor is None

    # What it does.

    def _boot(self) -> None:
        if self.is_dead:
            return
        self._has_booted = True
        self._wake()

    def _wake(self) -> None:
        """There may be something to do, in a moment."""
        self._kernel.at(0.0002 * self._kernel.random.random(), self._look)

    def _look(self) -> None:
        if self.is_dead or self.is_stopped or not self._has_booted:
            return
        # As in a real worker, what lies on the jobs channel is read before a question is answered.
        asked = self._read(self._control, self._control_connection)
        if self.is_dead:
            return
        for received in self._read(self._jobs, self._jobs_connection):
            self._on_message(received.message, received.payload)
        for received in asked:
            self._on_message(received.message, received.payload)
        self._next()

    def _read(self, sock: Socket, connection: Connection) -> list[Received]:
        received: list[Received] = []
        while not self.is_dead:
            try:
                data = sock.recv(1 << 17)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self._die("its parent's end")
                break
            received += connection.receive_data(data, self._kernel.now)
        return received

    def _on_message(self, message: Message, payload: Payload) -> None:
        if isinstance(message, Setup):
            self._node = message.node
            self._send(Hello(PROTOCOL, VERSION, "3.12.0", self._node, self.pid, 1))
        elif isinstance(message, Define | Hold):
            self._library.append(message.digest)
            if self._asked == message.digest:
                self._asked = None
            elif len(self._library) > _LIBRARY:
                self._library.pop(0)
        elif isinstance(message, Run):
            parts = split(payload, [start.size for start in message.jobs])
            for start, part in zip(message.jobs, parts, strict=True):
                task = _Task(message.function, start.job, start.attempt, start.once, part)
                self._tasks.append(task)
        elif isinstance(message, Retract):
            self._give_back(message)
        elif isinstance(message, Stop):
            self._interrupt(message)

    def _interrupt(self, stop: Stop) -> None:
        """Some jobs end when they are interrupted; the others wait until they are killed."""
        task = self._task
        if (
            task is None
            or self.running is None
            or (task.job, task.attempt) != (stop.job, stop.attempt)
        ):
            return
        obeys = self._kernel.chance(0.5)
        self._kernel.happened["interrupted" if obeys else "not to be interrupted"] += 1
        if obeys:
            self._end_job(self.running[1])
        self._is_being_stopped = not obeys

    def _give_back(self, message: Retract) -> None:
        asked = dict.fromkeys(message.jobs)
        returned = [(it.job, it.attempt) for it in self._tasks if (it.job, it.attempt) in asked]
        gone = dict.fromkeys(returned)
        self._tasks = deque(it for it in self._tasks if (it.job, it.attempt) not in gone)
        kept = [ref for ref in message.jobs if ref not in gone]
        self._kernel.happened["given back"] += len(returned)
        self._kernel.happened["kept"] += len(kept)
        self._control_connection.send(Returned(returned, kept))
        self._write(self._control, self._control_connection)

    def _next(self) -> None:
        if self._task is None and self._tasks:
            self._task = self._tasks.popleft()
        if self._task is None:
            self._reports.send_all()
            return
        if self.running is not None:
            return
        for digest in self._needs(self._task):
            if digest not in self._library:
                self._ask(digest)
                return
        self._start(self._task)

    def _needs(self, task: _Task) -> list[bytes]:
        """Return what a job needs to be here."""
        bundle = self._register.named(view_of(task.arguments)).bundle if task.arguments else b""
        return [task.function, bundle] if bundle else [task.function]

    def _ask(self, digest: bytes) -> None:
        if self._asked is None:
            self._kernel.happened["a function or a bundle was asked for"] += 1
            self._asked = digest
            self._send(Need(digest))

    def _start(self, task: _Task) -> None:
        if not task.arguments:
            self._refuse(task)
            return
        plan = self._register.named(view_of(task.arguments))
        attempt = self._home.attempt_of(task.job, self.session, task.attempt)
        is_twin = task.job >= FIRST_NUMBER
        self._kernel.happened["a twin was started"] += is_twin
        number = self._register.started(Execution(plan, attempt, is_twin), self._kernel.now)
        self._kernel.note(f"{self.name} starts {plan}, attempt {attempt}, execution {number}")
        self._last = task.job
        self._is_being_stopped = False
        self.running = plan, number
        self._home.check_room()
        self._began = self._kernel.now
        if plan.poison:
            self._kernel.at(plan.seconds / 2, self._poisoned, plan, number)
        else:
            self._kernel.at(plan.seconds, self._end_job, number)

    def _refuse(self, task: _Task) -> None:
        """The job was cancelled while it was being sent: there is nothing to run it with."""
        self._kernel.happened["cancelled when it was sent"] += 1
        self._task = None
        payload = b"no arguments"
        outcome = Outcome(task.job, task.attempt, len(payload), True, 0.0)
        self._reports.add(outcome, payload, self._kernel.now, True)
        self._next()

    def _poisoned(self, plan: Plan, number: int) -> None:
        if self.running == (plan, number):
            # What happens while it is being stopped may come of that, and is held against nobody.
            plan.kills += not self._is_being_stopped
            self._kernel.happened["killed by a poison job"] += 1
            self.die("SIGSEGV")

    def _end_job(self, number: int | None = None) -> None:
        task = self._task
        if self.running is None or task is None or self.is_dead:
            return
        plan, running = self.running
        if number is not None and number != running:
            return
        if self.is_stopped:
            self._is_due = True
            return
        self.running = self._task = None
        payload = self._register.outcome(running)
        seconds = self._kernel.now - self._began
        outcome = Outcome(task.job, task.attempt, len(payload), plan.raises, seconds)
        self._kernel.note(f"{self.name} ends execution {running} of {plan}")
        self._reports.add(outcome, payload, self._kernel.now, task.once or seconds > _SHORT)
        self._next()

    def _send_results(self, results: Result, payloads: list[Payload]) -> None:
        self._kernel.happened["results together"] += len(results.outcomes) > 1
        self._jobs_connection.send(results, payloads)
        self._write(self._jobs, self._jobs_connection)

    def _watch_reports(self) -> None:
        self._kernel.happened["a result was held back"] += 1
        self._kernel.at(_LOOK, self._send_old)

    def _send_old(self) -> None:
        if not self.is_dead and self._reports.send_old(self._kernel.now):
            self._kernel.at(_LOOK, self._send_old)

    def _send(self, message: Message) -> None:
        self._reports.send_all()
        self._jobs_connection.send(message)
        self._write(self._jobs, self._jobs_connection)

    def _write(self, sock: Socket, connection: Connection) -> None:
        """Write all; a real worker would wait for room, which its parent makes in the end."""
        while connection.wants_to_send:
            data = b"".join(connection.data_to_send(self._kernel.now).buffers)
            sock.force(data)
