"""The world: clients and daemons on machines, jobs for them to do, and what goes wrong meanwhile.

A life has three parts. First jobs are submitted and misfortunes happen. When the last of these is
over, all jobs have to end within a bound. Then nothing may be left of them anywhere, every client
has to be connected to every daemon again, and as many jobs as there are slots have to run at once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ppnext.nodes.guard import GRACE
from ppnext.sched.policy import Policy
from ppnext.wire.connection import Heartbeat
from tests.simulation.clients import ClientMachine
from tests.simulation.daemons import DaemonMachine
from tests.simulation.faults import FAULTS
from tests.simulation.jobs import BUNDLES, Plan, Register
from tests.simulation.kernel import Kernel
from tests.simulation.loop import VirtualLoop
from tests.simulation.machines import Machine
from tests.simulation.network import Network
from tests.simulation.seam import seam

__all__ = ["Rules", "World"]

_SLOWEST = 0.9
"""Rate of the slowest clock."""

_SILENCE = 60.0 / _SLOWEST
"""Seconds until a daemon has given up a silent client; a client gives it up after half of that."""

_AGAIN = 62.0 / _SLOWEST
"""Seconds until a server is dialled again that could not be reached for long, and is connected."""

_START_AGAIN = 31.0 / _SLOWEST
"""Seconds until a worker is tried again after many that could not be started."""

_NOTICE = 2.0
"""Seconds until the end of a worker, or of a connection that was reset, has been noticed."""

_SPAN = 40.0
"""Seconds in which jobs are submitted and misfortunes begin."""

_BUNDLES = (b"", b"", b"", *BUNDLES)
"""What jobs need besides their function."""

_SLOW_DISKS = 0.1
"""Share of machines on which a worker takes two seconds to start."""

_RESTARTING = 0.15
"""Share of machines that start a new process for every job."""

_PADDINGS = (*(0,) * 20, 1000, 100_000, 300_000)
"""Bytes of arguments and results; jobs with the largest may be overtaken by others on the way."""

_EVENTS = 400_000
"""More events than any life needs; one that has had so many goes round in circles."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is not left to chance in a world.

    Attributes:
        policy: of the clients' schedulers.
        heartbeat: when clients give up a silent daemon.
        calm: whether nothing goes wrong, and nobody cancels anything.
        clients: how many there are; None for any number, here and below.
        daemons: how many there are.
        slots: of each daemon.
        local: workers of each client's own.
    """

    policy: Policy = field(default_factory=Policy)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    calm: bool = False
    clients: int | None = None
    daemons: int | None = None
    slots: int | None = None
    local: int | None = None


class World:
    """A world.

    Args:
        seed: decides everything.
        tell: takes the lines of the trace.
        rules: what is not left to chance.

    Attributes:
        kernel: its time.
        network: what its machines are connected by.
        register: its jobs.
        daemons: machines with a daemon.
        clients: machines with a client.
    """

    def __init__(
        self,
        seed: int,
        tell: Callable[[str], object] | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.rules = rules = rules or Rules()
        self.kernel = Kernel(seed, tell)
        self.network = Network(self.kernel)
        self.register = Register()
        self._whole_at = 0.0
        claiming = self.kernel.random.choice((0.0, 0.0, 0.1, 0.5))
        # Of different needs the smaller numbers go first; here they may be submitted later.
        self._claiming = 0.0 if rules.calm else claiming
        daemons = self._some((1, 1, 2, 3, 4), rules.daemons)
        self.daemons = [self._daemon(1 + number) for number in range(daemons)]
        clients = self._some((1, 1, 1, 2, 3), rules.clients)
        self.clients = [self._client(11 + number) for number in range(clients)]
        if rules == Rules():
            for machine in self.machines:
                machine.lag = 2.0 if self.kernel.chance(_SLOW_DISKS) else 0.0
                self.kernel.happened["workers start slowly"] += bool(machine.lag)

    def _some(self, usual: Sequence[int], ruled: int | None) -> int:
        drawn = self.kernel.random.choice(usual)
        return drawn if ruled is None else ruled

    def _daemon(self, number: int) -> DaemonMachine:
        slots = self._some((1, 2, 3, 4), self.rules.slots)
        restart = self.kernel.chance(_RESTARTING)
        return DaemonMachine(self.kernel, self.network, self.register, number, slots, restart)

    def _client(self, number: int) -> ClientMachine:
        rules = self.rules
        slots = self._some((0, 0, 1, 2), rules.local)
        names = [machine.name for machine in self.daemons]
        use = [] if slots and self.kernel.chance(0.1) else names
        return ClientMachine(
            self.kernel,
            self.network,
            self.register,
            number,
            slots,
            use,
            rules.policy,
            rules.heartbeat,
            self.kernel.chance(_RESTARTING),
        )

    @property
    def machines(self) -> list[Machine]:
        """All machines."""
        return [*self.clients, *self.daemons]

    # A life.

    def live(self) -> None:
        """Live from beginning to end.

        Raises:
            AssertionError: something that must not happen has happened.
        """
        with self.running():
            self.boot()
            self._plan_jobs()
            if not self.rules.calm:
                self._plan_faults()
            self.run(_SPAN + 3.0)
            self.finish()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the product run in this world until the block is left."""
        collects = gc.isenabled()
        gc.disable()  # when it runs depends on what the process did before
        try:
            with seam(self.kernel, self.network):
                try:
                    yield
                finally:
                    for machine in self.machines:
                        machine.leave()
        finally:
            if collects:
                gc.enable()

    def boot(self) -> None:
        """Start all machines, each at a moment of its own."""
        for machine in self.machines:
            self.kernel.at(2.0 * self.kernel.random.random(), machine.boot)

    def finish(self) -> None:
        """See to it that all misfortunes end, and check what has become of everything."""
        self._await_peace()
        self._await_ends()
        self._await_connections()
        # What was cancelled has ended for its user, and may go on until it is killed.
        self.run(self.kernel.now + GRACE + 0.5)
        for machine in self.machines:
            machine.check_idle(self.clients)
        for client in self.clients:
            self._fill(client)
        self._check_ends()

    def run(self, until: float) -> None:
        """Let time pass until a moment."""
        self.kernel.run_until(until)
        assert self.kernel.events < _EVENTS, f"{_EVENTS} events have led nowhere"

    # What is to happen.

    def _plan_jobs(self) -> None:
        random = self.kernel.random
        for client in self.clients:
            number = 0
            share = random.choice((0.0, 0.0, 0.1)) if not self.rules.calm else 0.0
            longest = random.choice((0.002, 0.5, 3.0, 10.0))
            for _ in range(random.randint(1, 5)):
                batch = [
                    self.plan(client, number + place, longest, share)
                    for place in range(random.choice((1, 1, 2, 5, 10, 30)))
                ]
                number += len(batch)
                when = _SPAN * random.random() ** 2
                self.kernel.at(2.0 + when, client.use, client.submit, batch)
                for plan in batch:
                    if self.kernel.chance(0.1) and not self.rules.calm:
                        moment = 2.0 + when + random.choice((0.0, 0.001, 1.0)) * random.random()
                        self.kernel.at(moment, client.use, client.cancel_if_there, plan.number)

    def plan(self, client: ClientMachine, number: int, longest: float, poison: float = 0.0) -> Plan:
        """Return a job for a client.

        Args:
            number: that no other job of the client has.
            longest: most seconds that it takes.
            poison: share of those that kill their workers.
        """
        random = self.kernel.random
        threads, gpus = self._claim(client)
        return Plan(
            client.number,
            number,
            seconds=longest * random.random(),
            once=self.kernel.chance(0.2),
            poison=self.kernel.chance(poison),
            raises=self.kernel.chance(0.1),
            padding=random.choice(_PADDINGS[: -1 if self.rules.calm else None]),
            function=random.randrange(4),
            bundle=random.choice(_BUNDLES),
            threads=threads,
            gpus=gpus,
        )

    def _claim(self, client: ClientMachine) -> tuple[int, int]:
        """Return slots and gpus for a job: of a daemon that will be there in the end."""
        random = self.kernel.random
        if not client.has_daemons or not self.kernel.chance(self._claiming):
            return 1, 0
        machine = random.choice(self.daemons)
        return random.randint(1, machine.slots), random.randint(0, machine.gpus)

    def _plan_faults(self) -> None:
        random = self.kernel.random
        for _ in range(random.choice((0, 1, 1, 2, 3, 5, 8, 15))):
            fault = random.choice(FAULTS)
            self.kernel.at(2.0 + _SPAN * random.random(), self.strike, fault)

    def strike(self, fault: Callable[[World], bool]) -> None:
        """Have a misfortune happen, if there is a victim for it."""
        if fault(self):
            self.is_busy_for(0.0)
            self.kernel.happened[fault.__name__] += 1

    def is_busy_for(self, seconds: float) -> None:
        """Something is wrong for so long."""
        self._whole_at = max(self._whole_at, self.kernel.now + seconds)

    def start_again(self, machine: DaemonMachine, ended: VirtualLoop) -> None:
        """Start a daemon as soon as it has ended and its machine is on.

        Args:
            ended: the loop of the process that ends; if there is another, it has been started.
        """
        if machine.loop is not ended:
            return
        if machine.is_up or machine.name in self.network.down:
            self.is_busy_for(1.0)
            self.kernel.at(1.0, self.start_again, machine, ended)
        else:
            self.is_busy_for(0.0)
            self.kernel.happened["started again"] += 1
            machine.boot()

    # How it ends.

    def _await_peace(self) -> None:
        while self._whole_at > self.kernel.now:
            self.run(self._whole_at)
        self.run(self.kernel.now + 0.1)  # what users had to wait with happens now

    def _await_ends(self) -> None:
        peace = self.kernel.now
        while True:
            open_jobs = [plan for client in self.clients for plan in client.unended()]
            if not open_jobs:
                return
            assert self.kernel.now < peace + self._bound(), (
                f"{open_jobs[0]} has not ended {self.kernel.now - peace:.0f} s after all was well"
            )
            self.run(self.kernel.now + 0.5)

    def _bound(self) -> float:
        """Return in how many seconds all jobs must end: if one slot alone had to do everything."""
        plans = self.register.plans.values()
        work = sum(plan.seconds * (1 + len(plan.starts)) for plan in plans)
        return _SILENCE + 2 * _AGAIN + _START_AGAIN + 2 * work + 10.0

    def _await_connections(self) -> None:
        self.run(self.kernel.now + _NOTICE)
        until = self.kernel.now + 2 * _SILENCE + 2 * _AGAIN + _START_AGAIN
        while not all(self._is_settled(machine) for machine in self.machines):
            assert self.kernel.now < until, self._unsettled()
            self.run(self.kernel.now + 1.0)
        if self.kernel.happened["workers_do_not_start"]:
            self.run(self.kernel.now + _START_AGAIN)

    def _is_settled(self, machine: Machine) -> bool:
        return machine.is_settled(self.clients)

    def _unsettled(self) -> str:
        names = [it.name for it in self.machines if not self._is_settled(it)]
        return f"not as it should be again: {', '.join(names)}"

    def _fill(self, client: ClientMachine) -> None:
        """No slot was lost: as many jobs as there are slots run at the same time."""
        if not client.is_up or client.is_destroyed:
            return
        slots = client.slots + sum(it.slots for it in self.daemons if client.has_daemons)
        first = 1000
        plans = [Plan(client.number, first + place, 3.0, once=True) for place in range(slots)]
        start = self.kernel.now
        client.use(client.submit, plans)
        self.run(start + 10.0)
        for plan in plans:
            assert plan.told == ["result"], f"{plan} was to fill a slot, and ended as {plan.told}"
            late = plan.starts[0] - start
            lag = max(it.lag for it in self.machines)
            assert late < 2.5 + lag, (
                f"a slot was lost: {plan} began {late:.1f} s after it was submitted"
            )

    def _check_ends(self) -> None:
        """Every job has ended, once, and as it should."""
        for client in self.clients:
            for plan in client.plans():
                if client.is_up or plan.told:
                    assert len(plan.told) == 1, f"{plan} has ended as {plan.told}"
                if plan.poison:
                    assert plan.told not in (["result"], ["raised"]), f"{plan} has ended well"
