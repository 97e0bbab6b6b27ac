"""The scheduler alone: what a decision costs, and how good decisions are, in virtual time.

``decisions`` and ``scaling`` drive a scheduler with events and measure its CPU time; nothing is
sent and no job runs. ``makespan`` and ``efficiency`` play a cluster in virtual time, where sending
takes what it takes on a network and computing takes nothing: what they tell depends on the
scheduler's decisions and a seed alone, and on no machine.

A decision is a job submitted, assigned and finished: all that the scheduler does for it.

The bound that a makespan is compared with is what no scheduler can beat, even one that knows all
durations: the time in which all slots together could do the work if it were a liquid, counting
each node from when it joins to when it is lost, or the longest job on the fastest node.
"""

from __future__ import annotations

import gc
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count

from ppnext.sched.actions import Action, Assign, Release, Retract
from ppnext.sched.model import JobId, JobState, Need, NodeId, NodeKind
from ppnext.sched.policy import Policy
from ppnext.sched.scheduler import Scheduler

__all__ = [
    "Cluster",
    "decisions",
    "efficiency",
    "main",
    "makespan",
    "mixed",
    "needs",
    "scaling",
]

Result = tuple[JobId, int, float]


# What a decision costs.


def decisions() -> dict[str, float]:
    """Return decisions a second on one core.

    Returns:
        ``singly``: 1,000 nodes of 16 slots, a million jobs, all submitted before the first ends,
        every job and every result an event of its own. ``in batches``: two workers of tiny jobs,
        a hundred jobs and results in each event.
    """
    return {
        "singly": 1 / _seconds_each(1_000, 16, 1_000_000, batch=1),
        "in batches": 1 / _seconds_each(2, 1, 200_000, batch=100, duration=5e-6),
    }


def scaling() -> dict[str, list[tuple[int, float]]]:
    """Return the microseconds of a decision, by jobs that wait and by nodes.

    Every job and every result is an event of its own.

    Returns:
        ``queue``: 1,000 nodes of 16 slots with ever more jobs waiting. ``nodes``: ever more nodes
        of 16 slots with 200,000 jobs. The rest is measured at the given size after as many
        results as warm it up; the queue stays as long as it is, each result being followed by a
        new job.
    """
    return {
        "queue": [(size, _steady(1_000, size)) for size in (1_000, 10_000, 100_000, 1_000_000)],
        "nodes": [(size, _steady(size, 10_000)) for size in (10, 100, 1_000, 10_000)],
    }


def needs() -> list[tuple[int, float]]:
    """Return the microseconds of a decision by the number of needs that jobs have.

    Measured as in ``scaling``, with 1,000 nodes that can run everything and 10,000 jobs that
    wait; the needs go round. 0: no job needs anything.
    """
    return [(number, _steady(1_000, 10_000, 20_000, number)) for number in (0, 1, 10, 100, 200)]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Measure without the collector, whose share depends on what else the process holds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _cluster_of(nodes: int, slots: int) -> Scheduler:
    scheduler = Scheduler()
    for node in range(nodes):
        scheduler.on_node_joined(NodeId(node), f"n{node}", NodeKind.DAEMON, slots, 0.0001)
    return scheduler


def _results(actions: Sequence[Action], seconds: float) -> Iterator[tuple[NodeId, list[Result]]]:
    for action in actions:
        if isinstance(action, Assign):
            yield action.node, [(state.id, state.attempt, seconds) for state in action.jobs]


def _seconds_each(nodes: int, slots: int, jobs: int, batch: int, duration: float = 1.0) -> float:
    """Return the CPU seconds of one job, from a full queue to an empty one."""
    with _uncollected():
        start = time.process_time()
        scheduler = _cluster_of(nodes, slots)
        for first in range(0, jobs, batch):
            numbers = range(first, min(first + batch, jobs))
            scheduler.on_submit([JobState(JobId(number), None) for number in numbers])
        while actions := scheduler.take_actions():
            for node, results in _results(actions, duration):
                for first in range(0, len(results), batch):
                    scheduler.on_finished(node, results[first : first + batch])
            for action in actions:
                if isinstance(action, Retract):
                    scheduler.on_returned(action.node, (), action.jobs)
        assert not scheduler.jobs
        return (time.process_time() - start) / jobs


def _steady(nodes: int, waiting: int, rounds: int = 50_000, needs: int = 0) -> float:
    """Return the CPU microseconds of a result and a new job while ``waiting`` jobs wait.

    Args:
        needs: how many different needs jobs have; 0: they need nothing.
    """

    def job() -> JobState:
        number = next(numbers)
        return JobState(JobId(number), None, need=number % needs if needs else None)

    scheduler = _cluster_of(nodes, 16)
    numbers = count()
    everything = [job() for _ in range(nodes * 16 + waiting)]
    scheduler.on_submit(everything)
    running: deque[tuple[NodeId, list[Result]]] = deque()
    for node, results in _results(scheduler.take_actions(), 1.0):
        running.extend((node, [result]) for result in results)
    random.Random(1).shuffle(running)
    with _uncollected():
        for counted in (rounds // 5, rounds):
            start = time.process_time()
            for _ in range(counted):
                node, results = running.popleft()
                scheduler.on_finished(node, results)
                scheduler.on_submit([job()])
                running.extend(_results(scheduler.take_actions(), 1.0))
            spent = time.process_time() - start
    assert scheduler.waiting == waiting
    return spent / rounds * 1e6


# How good decisions are.


def _same(need: Need, facts: object) -> str | None:
    return None if need == facts else f"{facts}, not {need}"


class _Machine:
    """A node in virtual time: starts jobs in the order in which they come, ``slots`` at a time."""

    def __init__(self, node: NodeId, slots: int, speed: float, facts: object) -> None:
        self.node = node
        self.facts = facts
        self.slots = slots
        self.speed = speed
        self.queue: deque[tuple[JobId, int]] = deque()
        self.running = 0
        self.lost = False


class Cluster:
    """Nodes and the scheduler that feeds them, in virtual time.

    Args:
        work: of each job, in seconds on a node of speed 1.
        latency: seconds to a node and back.
        turn: the client looks at what has arrived only every so many seconds; 0: at once.
        policy: the scheduler's numbers.
        needs: of each job; a node must have the same as its facts. None: no job needs anything.
    """

    def __init__(
        self,
        work: Sequence[float],
        latency: float,
        turn: float = 0.0,
        policy: Policy | None = None,
        needs: Sequence[Need] | None = None,
    ) -> None:
        self.now = 0.0
        self.retracted = 0
        self._scheduler = Scheduler(policy, _same)
        self._work = work
        self._needs = needs or [None] * len(work)
        self._latency = latency
        self._turn = turn
        self._machines: dict[NodeId, _Machine] = {}
        self._results: dict[NodeId, list[Result]] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()

    def join(
        self,
        node: int,
        slots: int = 1,
        speed: float = 1.0,
        at: float = 0.0,
        facts: object = None,
    ) -> None:
        """A node joins."""
        self._at(at, self._joined, _Machine(NodeId(node), slots, speed, facts))

    def lose(self, node: int, at: float) -> None:
        """A node is lost with all that it holds."""
        self._at(at, self._lost, NodeId(node))

    def run(self) -> float:
        """Submit all jobs at once and return when the last one has ended, in seconds."""
        jobs = enumerate(self._needs)
        self._scheduler.on_submit([JobState(JobId(job), None, need=need) for job, need in jobs])
        while self._heap and self._scheduler.jobs:
            self.now, _, call, arguments = heappop(self._heap)
            call(*arguments)
            self._act()
        assert not self._scheduler.jobs, "the jobs have not ended"
        return self.now

    def _at(self, moment: float, call: Callable[..., None], *arguments: object) -> None:
        heappush(self._heap, (moment, next(self._order), call, arguments))

    def _joined(self, machine: _Machine) -> None:
        self._machines[machine.node] = machine
        name, slots = f"n{machine.node}", machine.slots
        self._scheduler.on_node_joined(
            machine.node, name, NodeKind.DAEMON, slots, self._latency, machine.facts
        )

    def _lost(self, node: NodeId) -> None:
        self._machines.pop(node).lost = True
        self._results.pop(node, None)
        self._scheduler.on_node_lost(node, "lost")

    def _act(self) -> None:
        there = self.now + self._latency / 2
        for action in self._scheduler.take_actions():
            if isinstance(action, Assign):
                jobs = [(state.id, state.attempt) for state in action.jobs]
                self._at(there, self._receive, self._machines[action.node], jobs)
            elif isinstance(action, Retract):
                self._at(there, self._give_back, self._machines[action.node], action.jobs)
            else:
                assert not isinstance(action, Release), "nothing is drained here"

    # On the machines.

    def _receive(self, machine: _Machine, jobs: list[tuple[JobId, int]]) -> None:
        machine.queue.extend(jobs)
        self._start(machine)

    def _start(self, machine: _Machine) -> None:
        while machine.queue and machine.running < machine.slots:
            job, attempt = machine.queue.popleft()
            machine.running += 1
            seconds = self._work[job] / machine.speed
            self._at(self.now + seconds, self._end, machine, (job, attempt, seconds))

    def _end(self, machine: _Machine, result: Result) -> None:
        if not machine.lost:
            machine.running -= 1
            self._at(self.now + self._latency / 2, self._hear, machine, result)
            self._start(machine)

    def _give_back(self, machine: _Machine, asked: list[tuple[JobId, int]]) -> None:
        wanted = set(asked)
        back = [job for job in machine.queue if job in wanted]
        machine.queue = deque(job for job in machine.queue if job not in wanted)
        kept = wanted.difference(back)
        self.retracted += len(back)
        self._at(self._seen(self.now + self._latency / 2), self._returned, machine, back, kept)

    # At the client.

    def _seen(self, moment: float) -> float:
        """When the client looks at what arrives at ``moment``."""
        return moment if not self._turn else (moment // self._turn + 1) * self._turn

    def _hear(self, machine: _Machine, result: Result) -> None:
        if machine.lost:
            return
        if machine.node not in self._results:
            self._results[machine.node] = []
            self._at(self._seen(self.now), self._finished, machine)
        self._results[machine.node].append(result)

    def _finished(self, machine: _Machine) -> None:
        if not machine.lost:
            self._scheduler.on_finished(machine.node, self._results.pop(machine.node))

    def _returned(
        self, machine: _Machine, back: list[tuple[JobId, int]], kept: set[tuple[JobId, int]]
    ) -> None:
        if not machine.lost:
            self._scheduler.on_returned(machine.node, back, sorted(kept))


def efficiency(
    median: float, sigma: float, jobs: int, workers: int = 2, turn: float = 0.0, seed: int = 1
) -> float:
    """Return the share of the workers' time that log-normal jobs take, from submit to the last.

    Args:
        median: seconds of a job.
        sigma: 0 makes all jobs equal.
        turn: seconds between two looks of the client at what has arrived.
    """
    chance = random.Random(seed)
    work = [median * chance.lognormvariate(0.0, sigma) for _ in range(jobs)]
    cluster = Cluster(work, latency=0.0002, turn=turn)
    for node in range(workers):
        cluster.join(node)
    return sum(work) / (workers * cluster.run())


def makespan(seed: int = 1, sigma: float = 1.0, jobs: int = 100_000) -> dict[str, float]:
    """Return how long a heavy-tailed load takes on an uneven cluster, and the least it can take.

    100 nodes, the fastest up to 8 times as fast as the slowest; two are lost with what they run
    and three join, at any time. Log-normal jobs, all submitted at once; the way to a node and back
    takes 1 ms.

    Args:
        sigma: of the logarithm of a job's work. The longest of 100,000 jobs is about 70 times the
            median with 1.0, and 600 times with 1.5.

    Returns:
        ``seconds`` that it took, the two terms of the bound (``work over capacity`` and ``longest
        job``), the ``ratio`` of it to the larger of them; and what the longest job takes ``on the
        slowest node``, where it may well be, because the scheduler knows no durations.
    """
    chance = random.Random(seed)
    work = [chance.lognormvariate(0.0, sigma) for _ in range(jobs)]
    speeds = [chance.uniform(1.0, 8.0) for _ in range(103)]
    about = sum(work) / sum(speeds)
    joined = {number: about * chance.random() for number in (100, 101, 102)}
    lost = {number: about * chance.random() for number in (0, 1)}
    cluster = Cluster(work, latency=0.001)
    for number, speed in enumerate(speeds):
        cluster.join(number, speed=speed, at=joined.get(number, 0.0))
    for number, moment in lost.items():
        cluster.lose(number, moment)
    changes = [(moment, speeds[number]) for number, moment in joined.items()]
    changes += [(moment, -speeds[number]) for number, moment in lost.items()]
    took = cluster.run()
    liquid = _liquid(sum(work), sum(speeds[:100]), changes)
    longest = max(work) / max(speeds)
    return {
        "ratio": took / max(liquid, longest),
        "seconds": took,
        "work over capacity": liquid,
        "longest job": longest,
        "on the slowest node": max(work) / min(speeds),
    }


def mixed(seed: int = 1, sigma: float = 1.0, jobs: int = 20_000, old: int = 30) -> float:
    """Return how much longer a load with needs takes than it must on nodes of two kinds.

    100 nodes, ``old`` of them of the one kind. A third of the jobs need the one kind, a third the
    other, in any order; log-normal, all submitted at once; the way to a node and back takes 1 ms.

    Returns:
        the time that it took, as a multiple of the largest of: all work over all slots, the work
        for each kind over its slots, the longest job.
    """
    chance = random.Random(seed)
    work = [chance.lognormvariate(0.0, sigma) for _ in range(jobs)]
    needs = [chance.choice([None, "old", "new"]) for _ in range(jobs)]
    cluster = Cluster(work, latency=0.001, needs=needs)
    for node in range(100):
        cluster.join(node, facts="old" if node < old else "new")
    of_old, of_new = (
        sum(seconds for seconds, need in zip(work, needs, strict=True) if need == kind)
        for kind in ("old", "new")
    )
    bound = max(sum(work) / 100, of_old / old, of_new / (100 - old), max(work))
    return cluster.run() / bound


def _liquid(work: float, rate: float, changes: list[tuple[float, float]]) -> float:
    """Return when so much work is done at a rate that changes at these moments."""
    now = 0.0
    for moment, change in sorted(changes):
        done = (moment - now) * rate
        if done >= work:
            break
        work, now, rate = work - done, moment, rate + change
    return now + work / rate


def main() -> None:
    """Print everything."""
    for how, value in decisions().items():
        print(f"decisions a second, {how}: {value:,.0f}")
    for what, points in scaling().items():
        curve = ", ".join(f"{size:,}: {value:.2f}" for size, value in points)
        print(f"microseconds of a decision by {what}: {curve}")
    curve = ", ".join(f"{number}: {value:.2f}" for number, value in needs())
    print(f"microseconds of a decision by needs: {curve}")
    shares = ", ".join(f"{old} of 100: {mixed(old=old):.3f}" for old in (10, 30, 50, 90))
    print(f"makespan with needs as a multiple of the bound, by nodes of one kind: {shares}")
    for turn in (0.0, 0.005):
        print(f"share of two workers' time that jobs take, the client looking every {turn} s:")
        uneven = efficiency(0.001, 1.5, 2_000, turn=turn)
        print(f"    2,000 log-normal jobs, median 1 ms, sigma 1.5: {uneven:.3f}")
        for duration in (5e-6, 1e-4, 1e-3, 1e-2):
            share = efficiency(duration, 0.0, round(min(1 / duration, 100_000)), turn=turn)
            print(f"    jobs of {duration * 1e6:,.0f} microseconds: {share:.3f}")
    for sigma in (1.0, 1.5):
        for seed in range(1, 4):
            figures = makespan(seed, sigma).items()
            text = ", ".join(f"{what} {value:.3f}" for what, value in figures)
            print(f"makespan, sigma {sigma}, seed {seed}: {text}")


if __name__ == "__main__":
    main()
