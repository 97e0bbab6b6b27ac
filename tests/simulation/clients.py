"""A client of the simulated world: all of ``ppnext.Server`` but pickling, on a machine of its own.

The client, its engine, its pool of workers and its connections to daemons are the real ones, put
together as ``ppnext.assembly`` does it. ``Watched`` stands between the engine and the client's real
jobs, and notes what users are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from ppnext.audience import Finished
from ppnext.client import Client
from ppnext.endings import given_up
from ppnext.errors import DestroyedServerError, JobCancelled
from ppnext.job import Job
from ppnext.nodes.link import Link
from ppnext.nodes.local import WorkerPool
from ppnext.nodes.relief import Relief
from ppnext.nodes.remote import RemoteNodes
from ppnext.rescue import Rescue
from ppnext.runtime.addresses import Address
from ppnext.runtime.loop import LoopThread
from ppnext.runtime.sharing import Sharing
from ppnext.sched.actions import Cause
from ppnext.sched.model import JobState, Mishap
from ppnext.sched.policy import Policy
from ppnext.shipping.outfit import Outfitter
from ppnext.terms import Terms
from ppnext.twins import FIRST_NUMBER
from ppnext.version import VERSION
from ppnext.wire.connection import Heartbeat
from ppnext.wire.keys import Key
from ppnext.wire.messages import PROTOCOL, Hello
from tests.simulation.checks import EngineCheck, check_idle
from tests.simulation.jobs import BUNDLES, Plan, Register, definition
from tests.simulation.kernel import Kernel
from tests.simulation.machines import Machine
from tests.simulation.network import Network
from tests.simulation.threads import Thread

__all__ = ["KEY", "ClientMachine"]

KEY = Key(bytes(range(1, 17)), bytes(range(100, 132)), "lab")

PYTHON = "3.12.0"


class _Bundle(NamedTuple):
    payload: bytes


class _Suitcase:
    """Stands for ``ppnext.shipping.outfit.Outfitter``: has the bundles that jobs need."""

    @property
    def project(self) -> _Suitcase:
        """Where they are found."""
        return self

    def bundle(self, digest: bytes) -> _Bundle:
        """Return one by its content hash."""
        return _Bundle(BUNDLES[digest])


class Watched(Client):
    """The real client, and a witness of what it tells users."""

    def __init__(
        self, machine: ClientMachine, thread: Thread, policy: Policy, sharing: Sharing
    ) -> None:
        self._machine = machine
        outfitter = cast(Outfitter, _Suitcase())
        super().__init__(cast(LoopThread, thread), policy, outfitter, sharing)

    def jobs_finished(self, jobs: Sequence[Finished], link: Link) -> None:
        # Of a job and its twin, if they end together, the first counts.
        wanted = {it.job.call: it for it in reversed(jobs) if not cast(Job, it.job.call).done()}
        super().jobs_finished(jobs, link)
        for it in reversed(wanted.values()):
            self._machine.finished(it, link)

    def job_ended(self, job: JobState, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        was_done = cast(Job, job.call).done()
        if job.id >= FIRST_NUMBER:
            self._machine.twin_lost(cast(Job, job.call), mishaps[-1])
        super().job_ended(job, cause, mishaps)
        if job.id >= FIRST_NUMBER:
            return  # with it the first may have ended, of which this was told
        if not was_done and cast(Job, job.call).done():
            self._machine.given_up(job, cause, mishaps)
        elif not was_done:
            self._machine.kernel.happened["a first was given up before its twin"] += 1


class ClientMachine(Machine):
    """A machine with a client.

    Args:
        slots: local workers.
        daemons: names of the machines whose daemons it is to use.
        policy: of its scheduler.
        heartbeat: when it gives up a silent daemon.
        restart: whether it starts a new process for every job.
    """

    def __init__(
        self,
        kernel: Kernel,
        network: Network,
        register: Register,
        number: int,
        slots: int,
        daemons: list[str],
        policy: Policy,
        heartbeat: Heartbeat,
        restart: bool,
    ) -> None:
        super().__init__(kernel, network, register, number, f"client{number}")
        self.restart = restart
        self.slots = self.peak = slots
        self.is_destroyed = False
        self.has_daemons = bool(daemons)
        self.policy = replace(policy, prefetch_limit=0) if restart else policy
        self._heartbeat = heartbeat
        self._daemons = daemons
        self.jobs: dict[int, Job] = {}

    def start(self) -> None:
        self.thread = thread = Thread(self.kernel, self.loop, self._ended)
        sharing = Sharing()
        self.client = Watched(self, thread, self.policy, sharing)
        engine = self.engine = self.client.engine
        engine.here.offer({"gpu": self.gpus})
        self._check = EngineCheck(engine)
        new_node = engine.new_node
        self.pool = WorkerPool(
            thread.turn, engine, new_node, "local", [], 5, {}, sharing, self.restart
        )
        thread.post(self.pool.resize, self.slots)
        self.client.fitting.has_network = True
        turn, clock = thread.turn, self.loop.time
        relief = Relief(
            turn, clock, lambda: [self.pool], lambda: engine.unfinished > 0, lambda: self.rooms
        )
        self.client.watchers = [
            Rescue(turn, clock, engine, self.client.twins).watch,
            relief.watch,
        ]
        thread.post(self._start_network)

    def _start_network(self) -> None:
        remote = RemoteNodes(
            self.thread.turn,
            self.engine,
            self.engine.new_node,
            KEY,
            self.number.to_bytes(16, "big"),
            Hello(PROTOCOL, VERSION, PYTHON, self.name, 1, 0),
            [Address(name, 60000) for name in self._daemons],
            [],
            None,
            self._heartbeat,
        )
        self.client.troubles = remote.troubles
        self.thread.spawn(remote.run())

    def attempt_of(self, job: int, session: str, attempt: int) -> int:
        return attempt

    def on_turn(self) -> None:
        self._check()

    # The user.

    def submit(self, plans: Sequence[Plan]) -> None:
        """Submit jobs, one after the other."""
        for plan in plans:
            if self.is_destroyed:
                return
            self.register.add(plan)
            plan.submitted = self.kernel.now
            job = Job(
                self.client,
                plan.number,
                "default",
                None,
                definition(plan.function, 100 + 300 * plan.function),
                plan.arguments,
                terms=Terms(0 if plan.once else None, limits=plan.limits),
            )
            self.jobs[plan.number] = job
            self.kernel.note(f"{self.name} submits {plan}")
            self.client.submit(job)

    def cancel_if_there(self, number: int) -> None:
        """Cancel a job that has been submitted."""
        if number not in self.jobs:
            return
        job = self.jobs[number]
        plan = self._plan(job)
        was_done = job.done()
        if job.cancel() and not was_done:
            plan.cancelled = True
            self._tell(plan, "cancelled")

    def resize(self, slots: int) -> None:
        """Have another number of local workers."""
        self.slots = slots
        self.peak = max(self.peak, slots)
        self.thread.post(self.pool.resize, slots)

    def destroy(self) -> None:
        """End the server; see ``Assembly.close``."""
        self.kernel.note(f"{self.name} destroys its server")
        self.is_destroyed = True
        self.client.destroy()
        self.thread.post(self.pool.close)
        self.thread.stop()
        self.client.callbacks.stop()

    def _ended(self) -> None:
        """The server has been destroyed, and the program ends."""
        left = [it.name for it in self.processes if not it.is_ended]
        assert not left, f"{self.name} has left {', '.join(left)} behind"
        self.look()
        open_jobs = self.unended()
        assert not open_jobs, f"{open_jobs[0]} has not ended with its server"
        self.kill()

    # What the user is told.

    def finished(self, finished: Finished, link: Link) -> None:
        """A job has ended by itself."""
        job = cast(Job, finished.job.call)
        plan = self._plan(job)
        if not job.done():
            assert self.is_destroyed, f"{plan} has a result and has not ended"
            return
        try:
            number = job.result(0)[0]
            assert not plan.raises, f"{plan} returned though it raised"
        except ValueError as error:
            number = error.args[0]
            assert plan.raises, f"{plan} raised though it did not"
        execution = self.register.executions[number]
        assert execution.plan is plan, f"{plan} was given the result of {execution.plan}"
        assert execution.attempt == finished.job.attempt, (
            f"{plan}: the result of attempt {execution.attempt} was taken for that of attempt "
            f"{finished.job.attempt}"
        )
        if finished.job.id >= FIRST_NUMBER:
            self.kernel.happened["a twin was first"] += 1
        elif any(it.plan is plan and it.is_twin for it in self.register.executions):
            self.kernel.happened["a twin was too late"] += 1
        self._tell(plan, "raised" if plan.raises else "result")

    def twin_lost(self, job: Job, mishap: Mishap) -> None:
        """A second attempt at a job has ended without a result."""
        self.kernel.happened["a twin was lost"] += 1
        self._plan(job).twins_lost += not mishap.blamed

    def given_up(self, job: JobState, cause: Cause, mishaps: tuple[Mishap, ...]) -> None:
        """A job has ended without a result."""
        user = cast(Job, job.call)
        error = user.exception(0)
        assert type(error) is type(given_up(job.id, cause, mishaps)), f"{user} ended as {error!r}"
        plan = self._plan(user)
        # Nobody hears of deaths on a silent machine; it may not be given up yet.
        most = Policy().poison_limit + job.losses + plan.twins_lost + 1
        assert plan.kills <= most, f"{plan} was let kill {plan.kills} workers"
        self._tell(plan, type(error).__name__)

    def _tell(self, plan: Plan, what: str) -> None:
        plan.told.append(what)
        plan.ended = self.kernel.now
        self.kernel.happened[what] += 1
        self.kernel.note(f"{self.name}: {plan} ends: {what}")
        assert len(plan.told) == 1, f"{plan} has ended more than once: {plan.told}"

    def _plan(self, job: Job) -> Plan:
        return self.register.plans[self.number, job.tid]

    def plans(self) -> list[Plan]:
        """All jobs of this client."""
        return [self._plan(job) for job in self.jobs.values()]

    def unended(self) -> list[Plan]:
        """The jobs that have not ended; none if the client is not there to care."""
        return [plan for plan in self.plans() if not plan.told] if self.is_up else []

    def look(self) -> None:
        """See which jobs have ended with the server."""
        for job in self.jobs.values():
            plan = self._plan(job)
            if plan.told or not job.done():
                continue
            try:
                error = job.exception(0)
            except JobCancelled:
                self._tell(plan, "cancelled")
            else:
                assert isinstance(error, DestroyedServerError), f"{plan} has ended as {error!r}"
                assert self.is_destroyed, f"{plan} ended with a server that is there"
                self._tell(plan, "destroyed")

    # How it should be.

    @property
    def is_alive(self) -> bool:
        """Whether it goes on working with its daemons."""
        return self.is_up and not self.is_destroyed

    def is_settled(self, clients: Sequence[ClientMachine]) -> bool:
        if not self.is_up:
            return True
        nodes = [link.name for link in self.engine.links.values()]
        daemons = [f"{name}:60000" for name in self._daemons]
        return sorted(nodes) == sorted([*daemons, *["local"] * self.slots])

    def check_idle(self, clients: Sequence[ClientMachine]) -> None:
        living = [it for it in self.processes if not it.is_dead]
        if not self.is_up:
            assert not living, f"{living[0].name} has outlived its client"
            return
        assert self.client.unfinished == 0, f"{self.name} counts jobs that have ended"
        assert len(self.client.twins) == 0, f"{self.name} has twins of jobs that have ended"
        assert len(living) == len(self.pool.processes) == self.slots
        check_idle(self.engine)
