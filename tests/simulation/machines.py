"""Machines of the simulated world: a process with an event loop, its workers, its sockets.

What may befall a machine is here: its process is stopped and goes on, is killed, or the whole
machine loses its power. Which process it is, a client's or a daemon's, is in ``clients`` and
``daemons``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ppnext.runtime.memory import Room
from tests.simulation.jobs import Register
from tests.simulation.kernel import Kernel
from tests.simulation.loop import Timer, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.processes import Process
from tests.simulation.sockets import Socket

if TYPE_CHECKING:
    from tests.simulation.clients import ClientMachine

__all__ = ["Machine"]


class Machine:
    """A machine.

    Args:
        kernel: the world's time.
        network: what it is connected to.
        register: the jobs.
        number: of the machine.
        name: of the machine.

    Attributes:
        gpus: how many it has.
        lag: seconds that a worker takes at least to start, as where Python is on a slow disk.
        peak: the most slots that it had at a time.
        is_up: whether its process runs, or is stopped.
        processes: the workers that its process has started, but for those that it has ended.
        refusals: share of workers that the system refuses to start.
        stillbirths: share of workers that die while they start.
        rooms: what memory is left, if that is little.
    """

    def __init__(
        self, kernel: Kernel, network: Network, register: Register, number: int, name: str
    ) -> None:
        self.kernel = kernel
        self.network = network
        self.register = register
        self.number = number
        self.name = name
        self.is_up = False
        self.gpus = kernel.random.choice((0, 1, 2))
        self.lag = 0.0
        self.peak = 0
        self.processes: list[Process] = []
        self.refusals = 0.0
        self.stillbirths = 0.0
        self.rooms: list[Room] = []
        self._loops: list[VirtualLoop] = []
        self.loop = self._new_loop(1.0)
        self._sockets: list[Socket] = []
        self._pids = 100 * number
        # What its user does while the process is stopped happens when it goes on.
        self._waiting: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        network.machines[name] = self

    def _new_loop(self, rate: float) -> VirtualLoop:
        offset = 1000.0 * self.kernel.random.random()
        loop = VirtualLoop(self.kernel, rate, offset, self.on_turn)
        self._loops.append(loop)
        return loop

    def boot(self) -> None:
        """Start the process."""
        rate = self.kernel.random.choice((0.9, 1.0, 1.0, 1.1))
        self.kernel.happened["a clock runs slow" if rate < 1 else "a clock runs fast"] += rate != 1
        self.loop = self._new_loop(rate)
        self.is_up = True
        self.kernel.note(f"{self.name} starts, its clock runs at {rate}")
        self.loop.enter(self.start)

    def start(self) -> None:
        """What the process does first."""
        raise NotImplementedError

    def on_turn(self) -> None:
        """Check what must hold after each turn of the loop."""

    def is_settled(self, clients: Sequence[ClientMachine]) -> bool:
        """Whether its process has all the nodes or clients that it should have in peace."""
        raise NotImplementedError

    def check_idle(self, clients: Sequence[ClientMachine]) -> None:
        """Raise AssertionError if anything is left of jobs although all have ended."""
        raise NotImplementedError

    def attempt_of(self, job: int, session: str, attempt: int) -> int:
        """Return the client's attempt that a worker's one belongs to."""
        raise NotImplementedError

    def check_room(self) -> None:
        """Raise AssertionError if jobs with claims use more than there is."""
        working = [it for it in self.processes if it.running and self.knows(it)]
        plans = [it.running[0] for it in working if it.running]
        if any(plan.limits for plan in plans):
            slots, gpus = sum(it.threads for it in plans), sum(it.gpus for it in plans)
            self.kernel.happened["claims beside each other"] += len(plans) > 1
            assert gpus <= self.gpus, f"{self.name} has {self.gpus} gpus and uses {gpus}"
            if max(plan.threads for plan in plans) > 1:
                assert slots <= self.peak, f"{self.name} has {self.peak} slots and uses {slots}"

    def knows(self, process: Process) -> bool:
        """Whether a worker is one of the process that runs now."""
        return not process.is_dead and not process.is_ended

    # What the process does.

    def socket(self) -> Socket:
        """Return a new socket of the process."""
        sock = Socket(self.kernel, self.loop.poke)
        return self.adopt(sock)

    def adopt(self, sock: Socket) -> Socket:
        """A socket belongs to the process from now on."""
        sock.on_change = self.loop.poke
        sock.number = self.loop.open(sock)
        self._sockets = [it for it in self._sockets if not it.is_over]
        self._sockets.append(sock)
        return sock

    def start_worker(self, environment: Mapping[str, str]) -> Process:
        """Start a worker process."""
        if self.kernel.chance(self.refusals):
            self.kernel.happened["the system refused a process"] += 1
            raise OSError(11, "Resource temporarily unavailable")
        self._pids += 1
        process = Process(self.kernel, self.register, self, environment, self._pids)
        if self.kernel.chance(self.stillbirths):
            self.kernel.happened["a worker died at its start"] += 1
            self.kernel.at(0.1 * self.kernel.random.random(), process.die, "a failed start")
        self.processes = [it for it in self.processes if not it.is_settled]
        self.processes.append(process)
        return process

    def soon(self, call: Callable[..., object], *args: object) -> Timer | None:
        """Have the process make a call, unless it has ended."""
        return None if self.loop.is_closed() else self.loop.call_soon(call, *args)

    def use(self, call: Callable[..., object], *args: object) -> None:
        """The user of the process makes a call in another thread of it."""
        if not self.is_up:
            return
        if self.loop.is_stopped:
            self._waiting.append((call, args))
        elif self.kernel.chance(0.5):
            self.loop.interrupt(call, *args)
        else:
            self.loop.enter(call, *args)

    # What befalls it.

    def stop(self) -> None:
        """The process is stopped; its sockets stay open."""
        self.kernel.note(f"{self.name} is stopped")
        self.loop.stop_process()

    def go_on(self) -> None:
        """The process goes on."""
        if not self.loop.is_stopped or not self.is_up:
            return
        self.kernel.note(f"{self.name} goes on")
        self.loop.continue_process()
        waiting, self._waiting = self._waiting, []
        for call, args in waiting:
            self.use(call, *args)

    def kill(self) -> None:
        """The process is killed: the system closes its sockets, its workers notice."""
        self.kernel.note(f"{self.name} is killed")
        self._gone()
        for sock in self._sockets:
            sock.close()
        for process in self.processes:
            process.orphan()
        self._sockets = []

    def power_off(self) -> None:
        """The machine goes down: nothing is left, and nobody is told."""
        self.kernel.note(f"{self.name} loses its power")
        self.network.power(self.name, False)
        self._gone()
        for sock in self._sockets:
            sock.vanish()
        for process in self.processes:
            process.die("a loss of power")
        self._sockets = []

    def power_on(self) -> None:
        """The machine comes up; its process is not started yet."""
        self.network.power(self.name, True)

    def leave(self) -> None:
        """The world ends."""
        if self.is_up:
            self._gone()
        for loop in self._loops:
            loop.bury()

    def _gone(self) -> None:
        self.is_up = False
        self._waiting = []
        self.loop.end_process()
        self.network.listening.pop(self.name, None)
        for process in self.processes:
            process.close_descriptor()
