"""A state machine over the simulated world: hypothesis looks for the shortest story that fails.

What seeds decide by chance is decided here by hypothesis: what happens next, and how much time
passes in between. What remains is left to a seed that hypothesis chooses as well.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.simulation import faults
from tests.simulation.world import Rules, World

CRASHES = [
    faults.idle_worker_killed,
    faults.busy_worker_killed,
    faults.out_of_memory,
    faults.daemon_killed,
    faults.power_lost,
    faults.daemon_told_to_finish,
    faults.workers_do_not_start,
]
PAUSES = [faults.worker_stopped, faults.process_stopped, faults.slow_disk]


class Life(RuleBasedStateMachine):
    """One client or two, with as many daemons; nothing is left of any when the story is over."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world: World | None = None
        self.cuts: list[tuple[str, str]] = []
        self.submitted = 0

    @initialize(
        seed=st.integers(0, 2**16),
        clients=st.integers(1, 2),
        daemons=st.integers(1, 2),
        slots=st.integers(1, 2),
        local=st.integers(0, 1),
    )
    def begin(self, seed: int, clients: int, daemons: int, slots: int, local: int) -> None:
        rules = Rules(clients=clients, daemons=daemons, slots=slots, local=local)
        self.world = World(seed, rules=rules)
        self.stack.enter_context(self.world.running())
        self.world.boot()

    @property
    def there(self) -> World:
        """The world, once it has begun."""
        assert self.world is not None
        return self.world

    @rule(
        client=st.integers(0, 1),
        number=st.integers(1, 6),
        longest=st.sampled_from([0.001, 1.0, 10.0]),
        poison=st.sampled_from([0.0, 0.0, 0.5]),
    )
    def submit(self, client: int, number: int, longest: float, poison: float) -> None:
        machine = self.there.clients[client % len(self.there.clients)]
        first, self.submitted = self.submitted, self.submitted + number
        plans = [
            self.there.plan(machine, first + place, longest, poison) for place in range(number)
        ]
        machine.use(machine.submit, plans)

    @rule(number=st.integers(0, 50))
    def cancel(self, number: int) -> None:
        for machine in self.there.clients:
            machine.use(machine.cancel_if_there, number)

    @rule(fault=st.sampled_from(CRASHES))
    def crash(self, fault: Callable[[World], bool]) -> None:
        self.there.strike(fault)

    @rule(fault=st.sampled_from(PAUSES))
    def pause(self, fault: Callable[[World], bool]) -> None:
        self.there.strike(fault)

    @rule()
    def reset(self) -> None:
        self.there.strike(faults.connection_reset)

    @rule(client=st.integers(0, 1), daemon=st.integers(0, 1), outward=st.booleans())
    def partition(self, client: int, daemon: int, outward: bool) -> None:
        one = self.there.clients[client % len(self.there.clients)].name
        other = self.there.daemons[daemon % len(self.there.daemons)].name
        way = (one, other) if outward else (other, one)
        self.there.network.cut(*way)
        self.cuts.append(way)

    @precondition(lambda self: self.cuts)
    @rule(which=st.integers(0, 10))
    def heal(self, which: int) -> None:
        self.there.network.heal(*self.cuts.pop(which % len(self.cuts)))

    @rule(seconds=st.sampled_from([0.001, 0.05, 1.0, 10.0, 40.0]))
    def tick(self, seconds: float) -> None:
        self.there.run(self.there.kernel.now + seconds)

    @invariant()
    def no_job_has_ended_twice(self) -> None:
        if self.world is not None:
            told = [plan.told for plan in self.world.register.plans.values()]
            assert all(len(it) <= 1 for it in told)

    def teardown(self) -> None:
        with self.stack:
            if self.world is not None:
                for way in self.cuts:
                    self.world.network.heal(*way)
                self.world.finish()


TestLife = Life.TestCase
TestLife.settings = settings(settings.default, stateful_step_count=25)  # of the suite's profile
