"""A daemon of the simulated world: the real ``Daemon`` with its sessions, on a machine of its own.

Only what the daemon gets from its system is made up: connections that have been accepted and
authenticated, signals, worker processes.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from ppnext.runtime.listener import Admitted
from ppnext.runtime.loop import Turn
from ppnext.server.config import Config
from ppnext.server.daemon import Daemon
from ppnext.server.keyring import AcceptedKeys
from ppnext.server.politeness import Politeness
from ppnext.server.session import JOBS_LIMIT, Session, SessionOwner
from ppnext.server.yielding import Courtesy
from ppnext.wire.messages import Hello
from tests.simulation.checks import EngineCheck, check_idle
from tests.simulation.clients import KEY, PYTHON, ClientMachine
from tests.simulation.jobs import Register
from tests.simulation.kernel import Kernel
from tests.simulation.loop import VirtualLoop
from tests.simulation.machines import Machine
from tests.simulation.network import Network
from tests.simulation.processes import Process

__all__ = ["PATIENCE", "DaemonMachine", "LabelledSession"]

PATIENCE = 5.0
"""Seconds after which a polite daemon has all its slots again, when nobody needs its machine."""

_GIVEN_UP_AFTER = 1.0
"""Seconds that a job may be suspended."""


class DaemonMachine(Machine):
    """A machine with a daemon.

    Args:
        slots: of the daemon.
        restart: whether it starts a new process for every job.

    Attributes:
        is_polite: whether it gives slots back while others use the machine.
        sessions: those that have not ended, by a label of their own.
    """

    def __init__(
        self,
        kernel: Kernel,
        network: Network,
        register: Register,
        number: int,
        slots: int,
        restart: bool,
    ) -> None:
        super().__init__(kernel, network, register, number, f"daemon{number}")
        self.slots = self.peak = slots
        self.restart = restart
        self.sessions: dict[str, LabelledSession] = {}
        self.is_draining = False
        self.is_polite = number % 2 == 1
        # Processors that others use, and how long they have used them, until when.
        self._load = 0
        self._used = self._used_until = 0.0

    def start(self) -> None:
        self.sessions.clear()
        self.is_draining = False
        offers = (f"gpu={self.gpus}",) if self.gpus else ()
        config = Config(workers=self.slots, name=self.name, restart=self.restart, resource=offers)
        loop = self.loop.as_asyncio
        environment = _Environment(self)
        politeness = Politeness(self.slots, self.slots, smoothing=0.1, patience=2.0)
        courtesy = Courtesy(politeness, self.used, _GIVEN_UP_AFTER, every=0.25)
        self.daemon = Daemon(
            loop,
            config,
            [],
            AcceptedKeys([KEY], None),
            environment,
            courtesy if self.is_polite else None,
        )
        self.loop.create_task(self._run())

    async def _run(self) -> None:
        await self.daemon.run()
        # Its process ends; what it has sent is still on its way.
        self.kernel.at(0.0, self._exit, self.loop)

    def _exit(self, loop: VirtualLoop) -> None:
        if self.is_up and loop is self.loop:
            self.kernel.happened["a daemon has drained and gone"] += 1
            self.kill()

    def drain(self) -> None:
        """The daemon is told to finish."""
        if self.is_up:
            self.kernel.note(f"{self.name} is told to finish")
            self.is_draining = True
            self.soon(self.loop.signals[signal.SIGTERM])

    def needs(self, processors: int) -> None:
        """Others use so many more processors from now on."""
        self.used()
        self._load += processors
        self.kernel.note(f"{self.name}: others use {self._load} processors")

    def used(self) -> float:
        """How much processor time others have used."""
        now = self.kernel.now
        self._used += self._load * (now - self._used_until)
        self._used_until = now
        return self._used

    def attempt_of(self, job: int, session: str, attempt: int) -> int:
        known = self.sessions[session].client_attempt(job)
        assert known is not None, f"job {job} is started for a session that does not have it"
        return known

    def knows(self, process: Process) -> bool:
        return super().knows(process) and process.session in self.sessions

    def on_turn(self) -> None:
        for label, session in list(self.sessions.items()):
            if session.is_closed:
                assert not session.pool.processes, "a session has left workers behind"
                del self.sessions[label]
        workers = 0
        for session in self.sessions.values():
            session.check()
            assert session.jobs_here <= JOBS_LIMIT, "a session has more jobs than it may"
            workers += session.pool.active
        assert workers <= self.slots, f"{self.name} has {workers} workers and {self.slots} slots"

    def is_settled(self, clients: Sequence[ClientMachine]) -> bool:
        expected = sum(client.is_alive and client.has_daemons for client in clients)
        return self.is_up and len(self.sessions) == expected

    def check_idle(self, clients: Sequence[ClientMachine]) -> None:
        living = [it.pid for it in self.processes if not it.is_dead]
        owned = [pid for it in self.sessions.values() for pid in it.pool.processes]
        assert sorted(living) == sorted(owned), f"{self.name} has workers that no session has"
        for session in self.sessions.values():
            assert not session.jobs_here, "a session has kept a job"
            check_idle(session.engine)


class _Environment(dict[str, str]):
    """The environment of a daemon's workers; it knows its machine, for ``LabelledSession``."""

    def __init__(self, machine: DaemonMachine) -> None:
        super().__init__()
        self.machine = machine


class LabelledSession(Session):
    """The real session, whose workers can tell which session they belong to.

    Nothing in what it sends depends on the process that simulates it.

    Attributes:
        check: checks its engine.
    """

    def __init__(
        self,
        turn: Turn,
        owner: SessionOwner,
        client: Admitted,
        hello: Hello,
        path: list[str],
        environment: Mapping[str, str],
        *rest: Any,
        **named: Any,
    ) -> None:
        machine = cast(_Environment, environment).machine
        label = client.session_id.hex()
        machine.sessions[label] = self
        hello = msgspec.structs.replace(hello, pid=machine.number, python=PYTHON)
        super().__init__(turn, owner, client, hello, [], {"SESSION": label}, *rest, **named)

        self.check = EngineCheck(self._engine)

    @property
    def engine(self) -> Any:
        """The session's engine."""
        return self._engine

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def client_attempt(self, job: int) -> int | None:
        """Return the client's attempt of a job that has not ended here."""
        return self._attempts.get(job)
