"""Misfortunes: each picks its victim by chance, sees to its own end, and says whether it happened.

What a misfortune starts it also ends, after a time that may be shorter or longer than the silence
after which machines give each other up. When the last one has ended the world is whole again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ppnext.runtime.memory import Room
from tests.simulation.daemons import PATIENCE
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.clients import ClientMachine
    from tests.simulation.machines import Machine
    from tests.simulation.world import World

__all__ = ["FAULTS"]

T = TypeVar("T")

_LONG = (0.05, 2.0, 20.0, 50.0)
"""Most seconds that a misfortune lasts; machines give each other up after 30 or 60 of silence."""

_GIVEN_BACK = 35.0
"""Seconds until a machine that was short of memory runs as many jobs as before."""


def _while(world: World) -> float:
    """Return how long a misfortune lasts; the world is not whole before it has ended."""
    seconds = world.kernel.random.choice(_LONG) * world.kernel.random.random()
    world.is_busy_for(seconds)
    return seconds


def _one(world: World, things: list[T]) -> T | None:
    return world.kernel.random.choice(things) if things else None


# Workers.


def _workers(world: World, running: bool | None = None) -> list[Process]:
    all_of_them = (it for machine in world.machines for it in machine.processes)
    alive = [it for it in all_of_them if not it.is_dead]
    return [it for it in alive if running is None or (it.running is not None) == running]


def idle_worker_killed(world: World) -> bool:
    worker = _one(world, _workers(world, running=False))
    if worker is not None:
        worker.die("SIGKILL")
    return worker is not None


def busy_worker_killed(world: World) -> bool:
    worker = _one(world, _workers(world, running=True))
    if worker is not None:
        worker.die("SIGBUS")
    return worker is not None


def out_of_memory(world: World) -> bool:
    """The system kills the largest worker of a machine, and sometimes the next one at once."""
    worker = _one(world, _workers(world, running=True))
    if worker is None:
        return False
    machine = next(it for it in world.machines if worker in it.processes)
    largest = [it for it in machine.processes if it.running is not None]
    largest.sort(key=lambda it: it.running[0].padding if it.running else 0)
    for victim in largest[-world.kernel.random.choice((1, 1, 2)) :]:
        victim.die("SIGKILL, out of memory")
    return True


def worker_stopped(world: World) -> bool:
    worker = _one(world, [it for it in _workers(world) if not it.is_stopped])
    if worker is not None:
        world.kernel.note(f"{worker.name} is stopped")
        worker.stop()
        world.kernel.at(_while(world), worker.go_on)
    return worker is not None


def workers_do_not_start(world: World) -> bool:
    """For a while workers of a machine die while they start, or are refused by the system; one that
    was there dies as well, so that there is one to be started."""
    machine = _one(world, [it for it in world.machines if it.is_up])
    if machine is None:
        return False

    def over() -> None:
        machine.stillbirths = machine.refusals = 0.0

    machine.stillbirths = world.kernel.random.choice((0.3, 1.0))
    machine.refusals = world.kernel.random.choice((0.2, 0.6))
    world.kernel.note(f"{machine.name}: workers do not start")
    victim = _one(world, [it for it in machine.processes if not it.is_dead])
    if victim is not None:
        victim.die("SIGKILL")
    world.kernel.at(min(_while(world), 20.0), over)
    return True


def memory_runs_short(world: World) -> bool:
    """For a while a machine has hardly any memory left, whoever has it."""
    machine = _one(world, [it for it in world.machines if it.is_up])
    if machine is None:
        return False
    world.kernel.note(f"{machine.name} runs short of memory")
    machine.rooms = [Room(100 << 30, 1 << 20)]
    seconds = _while(world)
    world.is_busy_for(seconds + _GIVEN_BACK)
    world.kernel.at(seconds, machine.rooms.clear)
    return True


# Machines.


def _running(world: World) -> list[Machine]:
    return [it for it in world.machines if it.is_up and not it.loop.is_stopped]


def process_stopped(world: World) -> bool:
    machine = _one(world, _running(world))
    if machine is not None:
        machine.stop()
        world.kernel.at(_while(world), machine.go_on)
    return machine is not None


def slow_disk(world: World) -> bool:
    """A machine answers late, again and again, for a moment each."""
    machine = _one(world, _running(world))
    if machine is None:
        return False
    moment = 0.0
    for _ in range(world.kernel.random.randint(2, 6)):
        moment += world.kernel.random.random()
        pause = 0.5 * world.kernel.random.random()
        world.kernel.at(moment, _pause, world, machine, pause)
        moment += pause
    world.is_busy_for(moment + 1.0)
    return True


def _pause(world: World, machine: Machine, pause: float) -> None:
    if machine in _running(world):
        machine.stop()
        world.kernel.at(pause, machine.go_on)


def daemon_killed(world: World) -> bool:
    """A daemon's process is killed; its system tells the clients. It is started again."""
    machine = _one(world, [it for it in world.daemons if it.is_up])
    if machine is not None:
        machine.kill()
        world.kernel.at(_while(world), world.start_again, machine, machine.loop)
    return machine is not None


def power_lost(world: World) -> bool:
    """A daemon's machine goes down; nobody is told. It comes up again, under the same name."""
    machine = _one(world, [it for it in world.daemons if it.is_up])
    if machine is not None:
        machine.power_off()
        until = _while(world)
        world.kernel.at(until, machine.power_on)
        later = 1.0 * world.kernel.random.random()
        world.is_busy_for(until + later)
        world.kernel.at(until + later, world.start_again, machine, machine.loop)
    return machine is not None


def daemon_told_to_finish(world: World) -> bool:
    """A daemon drains; it is started again when it has ended."""
    machine = _one(world, [it for it in world.daemons if it.is_up and not it.is_draining])
    if machine is not None:
        machine.drain()
        world.kernel.at(_while(world), world.start_again, machine, machine.loop)
    return machine is not None


def machine_needed(world: World) -> bool:
    """Somebody sits down at the machine of a daemon that runs jobs, and computes. It is polite."""
    polite = [it for it in world.daemons if it.is_up and it.is_polite]
    busy = [it for it in polite if any(process.running is not None for process in it.processes)]
    machine = _one(world, busy or polite)
    if machine is not None:
        cores = world.kernel.random.randint(1, machine.slots)
        machine.needs(cores)
        seconds = _while(world)
        world.is_busy_for(seconds + PATIENCE)
        world.kernel.at(seconds, machine.needs, -cores)
    return machine is not None


# The network.


def _pairs(world: World) -> list[tuple[str, str]]:
    return [(client.name, daemon.name) for client in world.clients for daemon in world.daemons]


def _cut(world: World, source: str, target: str, seconds: float) -> None:
    world.kernel.note(f"nothing gets from {source} to {target}")
    world.network.cut(source, target)
    world.kernel.at(seconds, _heal, world, source, target)


def _heal(world: World, source: str, target: str) -> None:
    world.kernel.note(f"again from {source} to {target}")
    world.network.heal(source, target)


def one_way_silent(world: World) -> bool:
    one, other = world.kernel.random.choice(_pairs(world))
    if world.kernel.chance(0.5):
        one, other = other, one
    _cut(world, one, other, _while(world))
    return True


def partition(world: World) -> bool:
    """A machine is cut off from all others, and the ways to it heal one by one, in any order."""
    victim = world.kernel.random.choice(world.machines)
    for one, other in _pairs(world):
        if victim.name in (one, other):
            _cut(world, one, other, _while(world))
            _cut(world, other, one, _while(world))
    return True


def ways_cut_one_by_one(world: World) -> bool:
    """Ways are cut one after the other and heal in another order."""
    pairs = _pairs(world)
    world.kernel.random.shuffle(pairs)
    for place, (one, other) in enumerate(pairs[: world.kernel.random.randint(1, 4)]):
        seconds = _while(world)
        delay = place * world.kernel.random.random()
        world.is_busy_for(delay + seconds)
        both = ((one, other), (other, one))
        for way in both[: world.kernel.random.randint(1, 2)]:
            world.kernel.at(delay, partial(_cut, world, *way, seconds))
    return True


def connection_reset(world: World) -> bool:
    """Something on the way resets a connection; at both ends, or at one."""
    alive = [it for it in world.network.connections if not (it[2].is_over or it[3].is_over)]
    chosen = _one(world, alive)
    if chosen is None:
        return False
    client, daemon, near, far = chosen
    world.kernel.note(f"a connection of {client.name} and {daemon.name} is reset")
    ends = [near, far]
    world.kernel.random.shuffle(ends)
    for end in ends[: world.kernel.random.choice((1, 2, 2))]:
        end.break_off()
    return True


# Users.


def client_destroyed(world: World) -> bool:
    machine = _one(world, [it for it in world.clients if it.is_up and not it.is_destroyed])
    if machine is None or world.kernel.chance(0.7):
        return False
    machine.use(machine.destroy)
    return True


def client_killed(world: World) -> bool:
    machine = _one(world, [it for it in world.clients if it.is_up])
    if machine is None or world.kernel.chance(0.7):
        return False
    machine.kill()
    return True


def resized(world: World) -> bool:
    machine = _one(world, [it for it in world.clients if it.is_up and not it.is_destroyed])
    if machine is None:
        return False
    slots = world.kernel.random.randint(0 if machine.has_daemons else 1, 4)
    machine.use(_resize, machine, slots)
    return True


def _resize(machine: ClientMachine, slots: int) -> None:
    if not machine.is_destroyed:
        machine.resize(slots)


FAULTS: tuple[Callable[[World], bool], ...] = (
    idle_worker_killed,
    busy_worker_killed,
    busy_worker_killed,
    out_of_memory,
    worker_stopped,
    workers_do_not_start,
    memory_runs_short,
    memory_runs_short,
    process_stopped,
    process_stopped,
    slow_disk,
    daemon_killed,
    daemon_killed,
    power_lost,
    power_lost,
    daemon_told_to_finish,
    machine_needed,
    machine_needed,
    one_way_silent,
    one_way_silent,
    partition,
    partition,
    ways_cut_one_by_one,
    connection_reset,
    connection_reset,
    client_destroyed,
    client_killed,
    resized,
    resized,
)
