"""Simulation: a whole cluster in virtual time, driven by one seed.

The schedulers are the real ones, that of the client and that of each session of each daemon.
Everything around them is made up here: worker processes that run jobs one after another, links
that keep the order of messages as far as the wire does, and a list of misfortunes. What happens
depends on the seed alone, so that a seed is a bug report::

    python tests/sched/simulation.py 4711

After every event the invariants of the scheduler concerned are checked; the contract with the
user (``Job``, ``World.finish``) is checked when something happens to a job and at the end.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import NamedTuple

from ppnext.sched.actions import (
    Action,
    Assign,
    End,
    Failed,
    Kept,
    Release,
    Retract,
    Stop,
    Withdrawn,
)
from ppnext.sched.claim import Claim
from ppnext.sched.host import Host
from ppnext.sched.invariants import check
from ppnext.sched.model import (
    NOBODY,
    JobId,
    JobState,
    Limit,
    Need,
    NodeId,
    NodeKind,
    Status,
    Verdict,
)
from ppnext.sched.policy import Policy
from ppnext.sched.pool import Fits
from ppnext.sched.scheduler import Scheduler
from ppnext.sched.stock import Stock

__all__ = ["MISFORTUNES", "World", "main"]

Ref = tuple[JobId, int]

SPAWN = 0.3
"""Seconds until a worker process is ready."""

REPAIR = 3.0
"""Most seconds until a misfortune has been noticed and made good."""

KINDS = ("a", "b", "ab")
"""Facts of machines: the letters that they have. Jobs need one of them, or nothing."""

GPUS = ((), (("gpu", 1),), (("gpu", 2),))
"""What jobs may take besides slots."""

EVENTS = 20_000
"""More events than any seed needs; a seed that reaches it goes round in circles."""


@dataclass(frozen=True, slots=True)
class Run:
    jobs: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    jobs: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Done:
    results: tuple[tuple[JobId, int, float], ...]


@dataclass(frozen=True, slots=True)
class Died:
    job: JobId
    attempt: int
    limit: bool = False


@dataclass(frozen=True, slots=True)
class Halt:
    job: JobId
    attempt: int
    grace: float


@dataclass(frozen=True, slots=True)
class Answer:
    returned: tuple[Ref, ...]
    kept: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Slots:
    slots: int


@dataclass(frozen=True, slots=True)
class Unfit:
    job: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class Facts:
    facts: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The end of a stream."""


Message = Run | Ask | Halt | Done | Died | Answer | Slots | Unfit | Facts | Gone


class Want(NamedTuple):
    """The need of a job that takes more than a slot: a letter, or none, and what it takes."""

    letter: str | None
    claim: Claim

    def __str__(self) -> str:
        return self.letter or ""


def fits(need: Need, facts: object) -> str | None:
    return None if str(need) in str(facts) else f"has no {need}"


def claim_of(need: Need) -> Claim | None:
    return need.claim if isinstance(need, Want) else None


def want(letter: str | None, claim: Claim | None) -> Need:
    return letter if claim is None else Want(letter, claim)


@dataclass(slots=True)
class Job:
    """A job, and what has become of it."""

    seconds: float
    once: bool
    poison: bool
    need: str | None = None
    overruns: bool = False
    """Whether it goes beyond a limit, half-way."""
    really: str | None = None
    """What it needs even if nobody has said so; a machine without it refuses the job."""
    claim: Claim | None = None
    """What it takes of its machine."""
    starts: int = 0
    kills: int = 0
    losses: int = 0
    outcome: str = ""
    ended: float = 0.0


class Pipe:
    """One direction of a link; can be held up and cut.

    Jobs and results keep their order among each other, and so do all other messages; but a
    message of one lane may overtake those of the other, as on the wire.
    """

    def __init__(self, world: World, deliver: Callable[[Message], None]) -> None:
        self.world = world
        self.deliver = deliver
        self.lanes: tuple[deque[Message], deque[Message]] = (deque(), deque())
        self.latest = [0.0, 0.0]
        self.late: list[int] = []
        self.held = False
        self.closed = False

    def send(self, message: Message) -> None:
        if self.closed:
            return
        lane = 0 if isinstance(message, (Run, Done, Unfit, Died, Gone)) else 1
        due = max(self.latest[lane], self.world.now + self.world.delay())
        if isinstance(message, Gone):
            due = max(due, self.latest[1])  # a stream is read to its end
        self.latest[lane] = due
        self.lanes[lane].append(message)
        self.world.at(due - self.world.now, self.arrive, lane)

    def arrive(self, lane: int) -> None:
        if self.held:
            self.late.append(lane)
        elif not self.closed:
            self.deliver(self.lanes[lane].popleft())

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        for lane in self.late:
            self.world.at(0.0, self.arrive, lane)
        self.late.clear()

    def close(self) -> None:
        self.closed = True
        for lane in self.lanes:
            lane.clear()


class Process:
    """A worker process: one job after another, in the order in which they came."""

    kind = NodeKind.WORKER
    slots = 1

    def __init__(self, world: World, home: Client | Daemon, up: Callable[[Message], None]) -> None:
        self.world = world
        self.home = home
        self.down = Pipe(world, self.receive)
        self.up = Pipe(world, up)
        self.queue: deque[Ref] = deque()
        self.seen: set[Ref] = set()
        self.running: Ref | None = None
        self.latest: JobId | None = None
        # Results held back for a moment, so that many leave together.
        self.unsent: list[tuple[JobId, int, float]] = []
        self.paused = self.dead = self.overran = False
        # A job whose time was up while the process was paused.
        self.due: Ref | None = None

    def receive(self, message: Message) -> None:
        if isinstance(message, Run):
            self.queue.extend(message.jobs)
            self.seen.update(message.jobs)
            self.start()
        elif isinstance(message, Ask):
            asked = set(message.jobs)
            refs = tuple(ref for ref in self.queue if ref in asked)
            self.queue = deque(ref for ref in self.queue if ref not in asked)
            self.world.happened("asked before it came", len(asked - self.seen))
            self.up.send(Answer(refs, tuple(ref for ref in message.jobs if ref not in refs)))
        elif isinstance(message, Halt):
            ref = (message.job, message.attempt)
            obeys = self.world.random.random() < 0.5
            self.world.happened("interrupted", self.running == ref and obeys)
            if obeys:
                self.world.at(0.0, self.finish, ref)
            else:
                self.world.at(message.grace, self.killed, ref)

    def killed(self, ref: Ref) -> None:
        """Its parent has had enough of a job."""
        if self.running == ref and not self.dead:
            self.world.happened("killed after its grace")
            self.die()

    def start(self) -> None:
        if self.running or self.paused or not self.queue:
            return
        self.latest, self.overran = self.queue[0][0], False
        if (self.world.jobs[self.latest].really or "") not in self.home.facts:
            self.refuse(*self.queue.popleft())
            return
        self.running = self.queue.popleft()
        job = self.world.started(self.latest)
        check_room(self.home)
        if job.poison:
            self.world.at(job.seconds / 2, self.poisoned, self.running, job)
        elif job.overruns:
            self.world.at(job.seconds / 2, self.overrun, self.running)
        else:
            self.world.at(job.seconds, self.finish, self.running)

    def refuse(self, job: JobId, attempt: int) -> None:
        self.send()
        self.up.send(Unfit(job, attempt))
        self.start()

    def poisoned(self, ref: Ref, job: Job) -> None:
        if self.running == ref and not self.dead:
            job.kills += 1
            self.world.happened("killed by a poison job")
            self.die()

    def last(self) -> JobId | None:
        """The job that it has started last; of one that was stopped its parent knows."""
        return NOBODY if self.overran else self.latest

    def overrun(self, ref: Ref) -> None:
        """Its parent stops a job, and it obeys or is killed; the parent knows why."""
        if self.running == ref and not self.dead:
            self.send()
            self.up.send(Died(*ref, limit=True))
            self.overran = True
            if self.world.random.random() < 0.5:
                self.running = None
                self.start()
            else:
                self.world.happened("killed beyond its limit")
                self.die()

    def finish(self, ref: Ref) -> None:
        if self.running != ref or self.dead:
            return
        if self.paused:
            self.due = ref
        else:
            (job, attempt), self.running = self.running, None
            self.unsent.append((job, attempt, self.world.jobs[job].seconds))
            hold = self.queue and self.world.random.random() < self.world.hold
            if hold and not self.world.jobs[job].once:
                self.world.at(self.world.latency, self.send)
            else:
                self.send()
            self.start()

    def send(self) -> None:
        if self.unsent:
            self.up.send(Done(tuple(self.unsent)))
            self.unsent.clear()

    def pause(self) -> None:
        self.paused = True
        self.down.hold()

    def resume(self) -> None:
        self.paused = False
        self.down.release()
        due, self.due = self.due, None
        if due:
            self.finish(due)
        elif not self.dead:
            self.start()

    def die(self) -> None:
        """What it has sent arrives before its end is seen; what was sent to it is lost."""
        self.world.happened("ended unheard", len(self.unsent))
        self.unsent.clear()
        self.dead = True
        self.running = None
        self.queue.clear()
        self.down.close()
        self.up.send(Gone())

    def vanish(self) -> None:
        """It dies and nobody is there to see it."""
        self.die()
        self.up.close()

    leave = vanish


def check_room(machine: Client | Daemon) -> None:
    """A job has been started: no more is in use than there is."""
    claims = [claim for owner in machine.owners() for claim in owner.running()]
    things = sum(amount for claim in claims for _, amount in claim.resources)
    machine.world.happened("things in use", things)
    assert things <= machine.stock.has["gpu"], f"{things} gpu are in use on {machine.name}"
    for owner in machine.owners():
        slots = [claim.slots for claim in owner.running()]
        alone = len(slots) < 2
        machine.world.happened("a large job beside others", not alone and max(slots) > 1)
        # Without such jobs, workers that are to go finish theirs beside those that replace them.
        if max(slots, default=0) > 1:
            assert sum(slots) <= owner.peak, f"{owner.name} uses {slots} of {owner.peak} slots"


class Owner:
    """Whoever owns a scheduler: carries out its actions and tells it what happened."""

    home: Client | Daemon
    fits: Fits | None = None

    def __init__(self, world: World, name: str, policy: Policy) -> None:
        self.world = world
        self.name = name
        self.policy = policy
        self.stock = self.home.stock
        self.here = Host(0, self.stock)
        self.scheduler = Scheduler(policy, self.fits, claim_of=claim_of, here=self.here)
        self.links: dict[NodeId, Process | Session] = {}
        # Results that have arrived and are looked at together, a little later.
        self.inbox: dict[NodeId, list[tuple[JobId, int, float]]] = {}
        self.target = self.hiring = 0
        # The most workers there were to be at a time: those beyond the target finish their jobs.
        self.peak = 0
        self.over = False

    def running(self) -> list[Claim]:
        """What the jobs claim that run in its workers."""
        links = [it for it in self.links.values() if isinstance(it, Process)]
        jobs = [it.running[0] for it in links if it.running and not it.dead]
        return [self.world.jobs[job].claim or Claim() for job in jobs]

    # Worker processes.

    def staff(self) -> list[NodeId]:
        nodes = self.scheduler.nodes.values()
        return [n.id for n in nodes if n.kind is NodeKind.WORKER and not n.draining]

    def resize(self, target: int) -> None:
        self.target = target
        self.peak = max(self.peak, target)
        self.scheduler.on_here(target)
        staff = self.staff()
        for node in staff[target:]:
            self.scheduler.on_node_draining(node)
        for _ in range(target - len(staff) - self.hiring):
            self.hiring += 1
            self.world.at(SPAWN * self.world.random.random(), self.hired)
        self.act()

    def hired(self) -> None:
        self.hiring -= 1
        if not self.over and len(self.staff()) < self.target:
            node = self.world.number()
            self.join(node, self.process(node))

    def process(self, node: NodeId) -> Process:
        return Process(self.world, self.home, lambda message: self.hear(node, message))

    # Nodes.

    def join(self, node: NodeId, link: Process | Session) -> None:
        self.links[node] = link
        name = f"{self.name}/{node}"
        latency = 2 * self.world.latency
        facts = link.home.facts
        machine = link.machine() if isinstance(link, Session) else None
        self.scheduler.on_node_joined(node, name, link.kind, link.slots, latency, facts, machine)
        self.act()

    def lose(self, node: NodeId, cause: str) -> None:
        link = self.links.pop(node, None)
        if link is not None:
            self.inbox.pop(node, None)
            link.up.close()
            self.world.note(f"{self.name} loses node {node}: {cause}")
            running = link.last() if isinstance(link, Process) else None
            self.scheduler.on_node_lost(node, cause, running)
            self.act()
            self.resize(self.target)

    def hear(self, node: NodeId, message: Message) -> None:
        """A message arrived; one from a node that has been released comes too late."""
        if node not in self.links or self.over:
            return
        self.world.note(f"{self.name} hears from {node}: {message}")
        if isinstance(message, Done):
            self.collect(node, message)
            return
        self.finish(node)  # what came before is looked at before
        scheduler = self.scheduler
        if isinstance(message, Died):
            if node in self.links:
                verdict = self.world.verdict() if message.limit else None
                scheduler.on_died(node, message.job, message.attempt, "it died", verdict)
        elif isinstance(message, Answer):
            self.world.happened("given back", len(message.returned))
            self.world.happened("kept", len(message.kept))
            if node in self.links:
                scheduler.on_returned(node, message.returned, message.kept)
        elif isinstance(message, Slots):
            if node in self.links:
                scheduler.on_node_resized(node, message.slots)
        elif isinstance(message, Facts):
            if node in self.links:
                scheduler.on_facts(node, message.facts)
        elif isinstance(message, Unfit):
            if node in self.links:
                self.unfit(node, message)
        else:
            self.lose(node, "end of stream")
        self.act()

    def collect(self, node: NodeId, message: Done) -> None:
        """Look at results at once, or let them gather for a moment."""
        if node not in self.inbox:
            self.inbox[node] = []
            if self.world.gather:
                moment = self.world.gather * self.world.random.random()
                self.world.at(moment, self.finish, node)
        self.inbox[node].extend(message.results)
        if not self.world.gather:
            self.finish(node)

    def finish(self, node: NodeId) -> None:
        results = self.inbox.pop(node, None)
        if results is None or self.over:
            return
        dropped = self.scheduler.dropped
        states = self.scheduler.on_finished(node, results)
        assert len(states) == len(results), "a result is not answered for"
        wanted = [
            (job, state.call, seconds)
            for (job, _, seconds), state in zip(results, states, strict=True)
            if state is not None
        ]
        missing = len(results) - len(wanted)
        assert self.scheduler.dropped == dropped + missing, "a dropped result is not counted"
        self.world.happened("result dropped", missing)
        self.world.happened("results together", len(results) > 1)
        if wanted:
            self.done(wanted)
        self.act()

    def act(self) -> None:
        check(self.scheduler, self.policy)
        for action in self.scheduler.take_actions():
            self.world.note(f"{self.name}: {action}")
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        if isinstance(action, Assign):
            node = self.scheduler.nodes.get(action.node)
            ahead = node is not None and len(node.held) > node.slots
            self.world.happened("sent ahead", ahead)
            self.world.happened("sent together", len(action.jobs) > 1)
            assert all(state.node == action.node for state in action.jobs)
            refs = tuple((state.id, state.attempt) for state in action.jobs)
            self.links[action.node].down.send(Run(refs))
        elif isinstance(action, Retract):
            self.world.happened("asked back")
            self.links[action.node].down.send(Ask(tuple(action.jobs)))
        elif isinstance(action, Stop):
            self.world.happened("stopped")
            self.links[action.node].down.send(Halt(*action.job, action.grace))
        elif isinstance(action, Failed):
            assert action.job.mishaps[-1] is action.mishap
            self.world.happened("attempt failed")
        elif isinstance(action, Release):
            self.world.happened("released")
            self.links.pop(action.node).leave()
        else:
            self.report(action)

    def done(self, wanted: list[tuple[JobId, object, float]]) -> None:
        raise NotImplementedError

    def unfit(self, node: NodeId, message: Unfit) -> None:
        raise NotImplementedError

    def report(self, action: End | Withdrawn | Kept) -> None:
        raise NotImplementedError


class Client(Owner):
    """The user's side: every job ends here, once."""

    fits = staticmethod(fits)

    def __init__(self, world: World, policy: Policy, facts: str) -> None:
        self.home = self
        self.facts = facts
        self.stock = Stock({"gpu": world.random.choice((0, 1, 2))})
        super().__init__(world, "client", policy)

    def submit(self, *jobs: JobId) -> None:
        self.world.open.update(jobs)
        self.world.happened("submitted together", len(jobs) > 1)
        self.scheduler.on_submit([self.state(job, self.world.jobs[job]) for job in jobs])
        self.act()

    def owners(self) -> list[Owner]:
        return [self]

    def state(self, number: JobId, job: Job) -> JobState:
        return JobState(number, ("call of", number), job.once, want(job.need, job.claim))

    def unfit(self, node: NodeId, message: Unfit) -> None:
        self.world.happened("refused")
        job = self.world.jobs[message.job]
        need = want(job.really, job.claim)
        self.scheduler.on_unfit(node, message.job, message.attempt, need)

    def cancel(self, job: JobId) -> None:
        if job in self.world.open:
            placed = self.scheduler.jobs[job].node is not None
            self.scheduler.on_cancel(job, self.world.random.random())
            self.world.ended(job, "cancelled, placed" if placed else "cancelled, waiting")
            self.act()

    def lose(self, node: NodeId, cause: str) -> None:
        link = self.links.get(node)
        if isinstance(link, Session):
            for job in self.scheduler.nodes[node].held:
                self.world.jobs[job].losses += 1
            link.daemon.reconnect()
        super().lose(node, cause)

    def carry_out(self, action: Action) -> None:
        if isinstance(action, Assign):
            for state in action.jobs:
                assert state.id in self.world.open, f"job {state.id} has ended and is placed again"
        super().carry_out(action)

    def done(self, wanted: list[tuple[JobId, object, float]]) -> None:
        for number, call, _ in wanted:
            assert call == ("call of", number), "a job has come back with another's call"
            once = self.world.jobs[number].once
            self.world.ended(number, "result of a once job" if once else "result")

    def report(self, action: End | Withdrawn | Kept) -> None:
        assert isinstance(action, End), "the client never withdraws a job"
        blamed = sum(mishap.blamed for mishap in action.mishaps)
        assert action.job.call == ("call of", action.job.id)
        job = self.world.jobs[action.job.id]
        assert job.poison or blamed <= self.world.counts["killed"], "an innocent job was blamed"
        self.world.ended(action.job.id, action.cause.name)


class Session(Owner):
    """What a daemon does for one client: the other end of the client's node."""

    kind = NodeKind.DAEMON

    def __init__(self, daemon: Daemon, client: Client, node: NodeId) -> None:
        self.daemon = self.home = daemon
        super().__init__(daemon.world, f"{daemon.name}:{node}", Policy(poison_limit=1))
        self.node = node
        self.slots = daemon.slots
        self.down = Pipe(self.world, self.receive)
        self.up = Pipe(self.world, lambda message: client.hear(node, message))
        self.attempts: dict[JobId, int] = {}
        # Jobs that are being withdrawn, each with the list in which its answer is collected.
        self.leaving: dict[JobId, Withdrawal] = {}
        self.resize(self.slots)

    def receive(self, message: Message) -> None:
        if isinstance(message, Run):
            self.attempts.update(message.jobs)
            self.scheduler.on_submit(list(map(self.state, message.jobs)))
            self.act()
        elif isinstance(message, Ask):
            self.withdraw(message.jobs)
        elif isinstance(message, Halt):
            self.halt(message)

    def machine(self) -> Host:
        """What the daemon says that it has."""
        return Host(self.daemon.total, Stock({"gpu": self.daemon.stock.has["gpu"]}))

    def state(self, ref: Ref) -> JobState:
        number, attempt = ref
        job = self.world.jobs[number]
        return JobState(number, attempt, job.once, want(None, job.claim))

    def halt(self, message: Halt) -> None:
        state = self.scheduler.jobs.get(message.job)
        if state and self.attempts.get(message.job) == message.attempt and state.node:
            halt = Halt(state.id, state.attempt, message.grace)
            self.links[state.node].down.send(halt)

    def withdraw(self, refs: Iterable[Ref]) -> None:
        withdrawal = Withdrawal()
        for job, attempt in refs:
            if self.attempts.get(job) != attempt or job in self.leaving:
                withdrawal.kept.append((job, attempt))
            else:
                self.leaving[job] = withdrawal
                withdrawal.open[job] = attempt
        for job in list(withdrawal.open):
            self.scheduler.on_withdraw(job)
        self.answer(withdrawal)
        self.act()

    def give_all_back(self) -> None:
        """Unasked: nothing that has not started will be."""
        self.withdraw([ref for ref in self.attempts.items() if ref[0] not in self.leaving])

    def answer(self, withdrawal: Withdrawal) -> None:
        if not withdrawal.open:
            self.send(Answer(tuple(withdrawal.returned), tuple(withdrawal.kept)))

    def done(self, wanted: list[tuple[JobId, object, float]]) -> None:
        for job, attempt, _ in wanted:
            assert self.attempts.pop(job) == attempt
        refs = [(job, int(str(attempt)), seconds) for job, attempt, seconds in wanted]
        self.send(Done(tuple(refs)))

    def unfit(self, node: NodeId, message: Unfit) -> None:
        [state] = self.scheduler.on_finished(node, [(message.job, message.attempt, 0.0)])
        if state is not None:
            self.send(Unfit(message.job, self.attempts.pop(message.job)))

    def report(self, action: End | Withdrawn | Kept) -> None:
        if isinstance(action, End):
            limit = action.mishaps[-1].verdict is not None
            self.send(Died(action.job.id, self.attempts.pop(action.job.id), limit))
            return
        job = action.job.id if isinstance(action, Withdrawn) else action.job
        withdrawal = self.leaving.pop(job)
        ref = (job, withdrawal.open.pop(job))
        if isinstance(action, Withdrawn):
            del self.attempts[job]
            withdrawal.returned.append(ref)
        else:
            withdrawal.kept.append(ref)
        self.answer(withdrawal)

    def send(self, message: Message) -> None:
        self.up.send(message)
        if self.world.random.random() < self.world.stutter:
            self.world.happened("said twice")
            self.up.send(message)

    def end(self) -> None:
        """The daemon has noticed that the client is not there any more."""
        self.over = True
        self.here.close()
        self.down.close()
        self.up.close()
        for link in self.links.values():
            link.leave()
        self.daemon.sessions.pop(self.node, None)

    def leave(self) -> None:
        self.end()
        self.daemon.reconnect()


class Withdrawal:
    """What was asked back together is answered together."""

    def __init__(self) -> None:
        self.open: dict[JobId, int] = {}
        self.returned: list[Ref] = []
        self.kept: list[Ref] = []


class Daemon:
    """A machine with a ppserver; the client connects again whenever it can."""

    def __init__(
        self,
        world: World,
        name: str,
        slots: int,
        facts: str | None = None,
        gpus: int | None = None,
    ) -> None:
        self.world = world
        self.name = name
        self.slots = self.total = slots
        gpus = world.random.choice((0, 1, 2, 3)) if gpus is None else gpus
        self.stock = Stock({"gpu": gpus}, self.freed)
        self.waking = False
        self.facts = facts or world.random.choice(KINDS)
        self.sessions: dict[NodeId, Session] = {}
        self.connecting = False
        self.reconnect()

    def resize(self, slots: int) -> None:
        """Its sessions have another part of it."""
        self.slots = slots
        for session in self.sessions.values():
            session.slots = slots
            session.up.send(Slots(slots))
            session.resize(slots)

    def freed(self) -> None:
        if not self.waking:
            self.waking = True
            self.world.at(0.0, self.wake)

    def wake(self) -> None:
        self.waking = False
        for session in list(self.sessions.values()):
            self.world.happened("woken")
            session.scheduler.on_here()
            session.act()

    def owners(self) -> list[Owner]:
        return list(self.sessions.values())

    def reconnect(self) -> None:
        if not self.connecting:
            self.connecting = True
            self.world.at(SPAWN * self.world.random.random(), self.connect)

    def connect(self) -> None:
        self.connecting = False
        node = self.world.number()
        session = self.sessions[node] = Session(self, self.world.client, node)
        self.world.client.join(node, session)


class World:
    """Time, chance, all jobs and machines, and what has happened."""

    def __init__(self, seed: int, calm: bool = False, trace: bool = False) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        self.trace = trace
        self.heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self.order = count()
        self.nodes = count(1)
        self.jobs: dict[JobId, Job] = {}
        self.open: set[JobId] = set()
        self.start_order: list[JobId] = []
        self.latency = self.random.choice([0.0001, 0.001, 0.02])
        self.gather = self.latency * self.random.choice([0.0, 1.0, 10.0])
        self.hold = self.random.choice([0.0, 0.8])
        self.stutter = 0.0 if calm else self.random.choice([0.0, 0.0, 0.2])
        policy = Policy(loss_limit=self.random.choice([2, 10]))
        self.client = Client(self, policy, "ab" if calm else self.random.choice(KINDS))
        self.daemons: list[Daemon] = []
        self.prepare(calm)

    # Chance and time.

    def delay(self) -> float:
        return self.latency * (0.5 + self.random.random())

    def repair(self) -> float:
        """Seconds until a misfortune is noticed or over: mostly short."""
        return REPAIR * self.random.random() ** 3

    def number(self) -> NodeId:
        return NodeId(next(self.nodes))

    def at(self, delay: float, call: Callable[..., None], *arguments: object) -> None:
        heappush(self.heap, (self.now + delay, next(self.order), call, arguments))

    def happened(self, what: str, times: int = 1) -> None:
        if times:
            self.counts[what] += times

    def verdict(self) -> Verdict:
        """Return why a job was stopped: for its own sake, or for its machine's."""
        limit = self.random.choice((Limit.TIMEOUT, Limit.PRESSURE))
        self.happened("gave way", limit is Limit.PRESSURE)
        return Verdict(limit, limit.value)

    def note(self, text: str) -> None:
        if self.trace:
            print(f"{self.now:10.6f}  {text}")

    # What is to happen.

    def prepare(self, calm: bool) -> None:
        chance = self.random
        scale = chance.choice([0.001, 0.02, 0.2, 1.0])
        needs = chance.choice([(None,), (None, None, "a", "b"), ("a", "b")])
        claiming = 0.0 if calm else chance.choice([0.0, 0.0, 0.1, 0.5])
        claims = [Claim(slots, gpus) for slots in (1, 2, 3) for gpus in GPUS][1:]
        for number in range(chance.randint(5, 60)):
            seconds = min(scale * chance.paretovariate(1.2), 50 * scale)
            once = chance.random() < 0.2
            poison = not calm and chance.random() < 0.03
            need = chance.choice(needs)
            really = need or (chance.choice(needs) if chance.random() < 0.1 else None)
            overruns = not calm and chance.random() < 0.05
            claim = chance.choice(claims) if chance.random() < claiming else None
            self.jobs[JobId(number)] = Job(seconds, once, poison, need, overruns, really, claim)
        self.client.resize(1 if calm else chance.randint(0, 3))
        self.busy = SPAWN + sum(job.seconds for job in self.jobs.values()) / 2
        burst = chance.random() < 0.5
        left, batches = list(self.jobs), list[list[JobId]]()
        while left:
            together = chance.choice([1, 1, 2, 5, 30])
            batches.append(left[:together])
            del left[:together]
        times = [0.0 if burst else chance.random() * self.busy for _ in batches]
        for time, jobs in zip(sorted(times) if calm else times, batches, strict=True):
            self.at(time, self.client.submit, *jobs)
        if not calm:
            for number in range(chance.randint(not self.client.target, 2)):
                self.daemons.append(Daemon(self, f"d{number}", chance.randint(1, 3)))
            for _ in range(chance.choice([0, 3, 10, 30])):
                self.at(chance.random() * self.busy, self.misfortune)

    def misfortune(self) -> None:
        what = self.random.choice(MISFORTUNES)
        if what(self):
            self.note(f"misfortune: {what.__name__}")
            self.happened(what.__name__)

    # What happens to jobs.

    def started(self, number: JobId) -> Job:
        job = self.jobs[number]
        job.starts += 1
        self.start_order.append(number)
        assert job.starts == 1 or not job.once, f"job {number} was started twice"
        self.happened("started again", job.starts == 2)
        return job

    def ended(self, number: JobId, outcome: str) -> None:
        job = self.jobs[number]
        assert not job.outcome, f"job {number} ended twice: {job.outcome}, {outcome}"
        assert job.starts or not outcome.startswith("result"), f"job {number} has a made-up result"
        self.open.remove(number)
        job.outcome, job.ended = outcome, self.now
        self.happened(outcome)

    # The course of events.

    def run(self) -> Counter[str]:
        """Let everything happen; return how often what has happened."""
        self.drain()
        self.rescue()
        self.finish()
        slots = sum(node.slots for node in self.client.scheduler.nodes.values())
        if slots:
            self.fill(slots)
        return self.counts

    def rescue(self) -> None:
        """Jobs that are left are those that no node fits; a machine comes that does."""
        scheduler = self.client.scheduler
        if not self.open:
            return
        for number in self.open:
            assert scheduler.jobs[number].status is Status.WAITING, "a job is held for ever"
            reasons = scheduler.why_not(number)
            names = [node.name for node in scheduler.nodes.values()]
            assert [name for name, _ in reasons] == names, "a job waits though a node fits it"
        self.happened("rescued")
        self.busy = self.now
        self.daemons.append(Daemon(self, f"d{len(self.daemons)}", 3, "ab", 2))
        self.drain()

    def drain(self) -> None:
        for _ in range(EVENTS):
            if not self.heap:
                return
            self.now, _, call, arguments = heappop(self.heap)
            call(*arguments)
        raise AssertionError(f"{EVENTS} events have led nowhere")

    def finish(self) -> None:
        """Nothing is left to happen: check what has become of everything."""
        for number, job in self.jobs.items():
            assert job.outcome, f"job {number} has not ended"
            assert job.ended <= self.bound(), f"job {number} ended late"
            limit = self.client.policy.poison_limit + job.losses
            assert job.kills <= limit, f"job {number} killed {job.kills} workers"
        self.check_idle(self.client)
        for daemon in self.daemons:
            [session] = daemon.sessions.values()
            assert self.client.links[session.node] is session, "connected to a session of the past"
            node = self.client.scheduler.nodes[session.node]
            assert (node.slots, node.facts) == (daemon.slots, daemon.facts)
            assert not session.attempts, "a session has kept a job"
            assert not session.leaving, "a session owes an answer"
            assert session.target == daemon.slots
            self.check_idle(session)

    def bound(self) -> float:
        """When all jobs must have ended: even if one slot alone had to do everything."""
        work = sum(job.seconds * (1 + job.starts) for job in self.jobs.values())
        deaths = sum(job.kills for job in self.jobs.values()) + self.counts["killed"]
        ways = 10 * len(self.jobs) * (3 * self.latency + 2 * self.gather)
        return self.busy + 2 * REPAIR + work + deaths * SPAWN + ways

    def check_idle(self, owner: Owner) -> None:
        scheduler = owner.scheduler
        assert not scheduler.jobs, "a job is left"
        assert scheduler.waiting == 0
        for node in scheduler.nodes.values():
            assert not node.held, "a node holds a job"
            assert not node.asked, "a node owes an answer"
            assert not node.draining, "a draining node was not released"
        assert not owner.inbox, "a result was not looked at"
        assert owner.hiring == 0
        assert len(owner.staff()) == owner.target, "a worker is missing"
        assert owner.links.keys() == scheduler.nodes.keys()
        for link in owner.links.values():
            if isinstance(link, Process):
                assert not (link.dead or link.paused or link.running or link.queue)

    def fill(self, slots: int) -> None:
        """No slot was lost: as many jobs as there are slots all start at once."""
        self.stutter = 0.0
        first = len(self.jobs)
        numbers = [JobId(number) for number in range(first, first + slots)]
        self.jobs.update((number, Job(1.0, once=True, poison=False)) for number in numbers)
        self.client.submit(*numbers)
        for node in self.client.scheduler.nodes.values():
            assert len(node.held) == node.slots, "a slot stays free"
        start = self.now
        self.drain()
        for number in numbers:
            job = self.jobs[number]
            assert job.outcome, f"job {number} has not ended"
            assert job.ended < start + 2.0 + 10 * self.latency + 2 * self.gather, "a slot was lost"
        self.check_idle(self.client)


# Misfortunes: each picks its victim and tells whether there was one.


def pick_session(world: World) -> Session | None:
    links = [link for link in world.client.links.values() if isinstance(link, Session)]
    sound = [link for link in links if not (link.over or link.up.held)]
    return world.random.choice(sound) if sound else None


def pick_process(world: World) -> Process | None:
    owners = [world.client, *(s for d in world.daemons for s in d.sessions.values())]
    links = [link for owner in owners for link in owner.links.values()]
    sound = [link for link in links if isinstance(link, Process) and not link.dead]
    return world.random.choice(sound) if sound else None


def killed(world: World) -> bool:
    process = pick_process(world)
    if process is None:
        return False
    world.happened("killed while idle", not process.running)
    process.die()
    return True


def paused(world: World) -> bool:
    process = pick_process(world)
    if process is None or process.paused:
        return False
    process.pause()
    world.at(world.repair(), process.resume)
    return True


def crashed(world: World) -> bool:
    """A machine goes down; what it had sent is lost or arrives, and the end is seen later."""
    session = pick_session(world)
    if session is None:
        return False
    lost = world.random.random() < 0.5
    up, held = session.up, [*session.up.lanes[1], *session.up.lanes[0]]
    for other in list(session.daemon.sessions.values()):
        other.end()
    if not lost:
        for message in held:
            world.at(world.latency, up.deliver, message)
    seen = world.latency + world.repair()
    world.at(seen, world.client.lose, session.node, "the machine crashed")
    return True


def stalled(world: World) -> bool:
    """A short partition: messages are held up and arrive in the end."""
    session = pick_session(world)
    if session is None:
        return False
    for pipe in (session.up, session.down):
        pipe.hold()
        world.at(world.repair(), pipe.release)
    return True


def cut(world: World) -> bool:
    """A long partition: messages are lost, and the two ends notice it in any order."""
    session = pick_session(world)
    if session is None:
        return False
    session.up.hold()
    session.down.hold()
    world.at(world.repair(), world.client.lose, session.node, "silence")
    world.at(world.repair(), session.end)
    return True


def drained(world: World) -> bool:
    session = pick_session(world)
    if session is None or world.client.scheduler.nodes[session.node].draining:
        return False
    world.client.scheduler.on_node_draining(session.node)
    world.client.act()
    return True


def joined(world: World) -> bool:
    if len(world.daemons) > 3:
        return False
    world.daemons.append(Daemon(world, f"d{len(world.daemons)}", world.random.randint(1, 3)))
    return True


def resized_here(world: World) -> bool:
    world.client.resize(world.random.randint(not world.daemons, 3))
    return True


def resized_there(world: World) -> bool:
    session = pick_session(world)
    if session is None:
        return False
    daemon = session.daemon
    daemon.resize(world.random.randint(1, daemon.total))
    world.at(world.repair(), daemon.resize, daemon.total)
    return True


def became_another(world: World) -> bool:
    """A machine has another Python, or the news of which it has arrives late."""
    session = pick_session(world)
    if session is None:
        return False
    session.daemon.facts = world.random.choice(KINDS)
    for other in session.daemon.sessions.values():
        other.up.send(Facts(session.daemon.facts))
    return True


def rethought(world: World) -> bool:
    """It turns out that jobs need something else than was said."""
    if not world.open:
        return False
    need = world.random.choice([None, "a", "b"])
    jobs = [job for job in sorted(world.open) if world.jobs[job].really in (None, need)]
    changed = world.random.sample(jobs, len(jobs) // 2)
    for claim in dict.fromkeys(world.jobs[job].claim for job in changed):
        alike = [job for job in changed if world.jobs[job].claim == claim]
        world.client.scheduler.on_need(alike, want(need, claim))
    world.client.act()
    return True


def gave_all_back(world: World) -> bool:
    session = pick_session(world)
    if session is None or not session.attempts:
        return False
    session.give_all_back()
    return True


def cancelled(world: World) -> bool:
    if not world.open:
        return False
    world.client.cancel(world.random.choice(sorted(world.open)))
    return True


def measured(world: World) -> bool:
    if not world.client.links:
        return False
    node = world.random.choice(list(world.client.links))
    world.client.scheduler.on_latency(node, world.random.choice([0.0001, 0.01, 1.0]))
    world.client.act()
    return True


MISFORTUNES: tuple[Callable[[World], bool], ...] = (
    killed,
    paused,
    crashed,
    stalled,
    cut,
    drained,
    joined,
    resized_here,
    resized_there,
    became_another,
    became_another,
    rethought,
    gave_all_back,
    cancelled,
    cancelled,
    measured,
)


def main(seed: int) -> None:
    """Print what happens with a seed, step by step."""
    world = World(seed, trace=True)
    for number, job in world.jobs.items():
        print(f"job {number}: {job}")
    for what, times in sorted(world.run().items()):
        print(f"{times:6} {what}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
