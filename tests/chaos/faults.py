"""Faults: which there are, how often, how long; and the plan, which is made of a seed alone.

A fault is one function: it does harm to a machine, waits as long as it is to last, mends what it
has broken, and says what it did. The table here gives each its weight, its length and the machines
it fits. A machine suffers one fault at a time; who comes to one that is taken goes to the next.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from tests.chaos import breaking, killing, rekeying, starving
from tests.chaos.laboratory import Laboratory
from tests.chaos.machine import Machine
from tests.chaos.wires import Namespace

__all__ = ["FAULTS", "Fault", "Misfortune", "fitting", "inflict", "plan"]

_LARGE = 1 << 30


def _any(machine: Machine) -> bool:
    return True


def _not_spared(machine: Machine) -> bool:
    return not machine.spared


def _has_cable(machine: Machine) -> bool:
    return isinstance(machine.wire, Namespace)


class Fault(NamedTuple):
    """A kind of fault.

    Attributes:
        weight: how many of them there are, in relation to others.
        shortest, longest: seconds that it lasts.
        fits: whether a machine can suffer it.
        inflict: does it, mends it, and says what was done.
    """

    weight: int
    shortest: float
    longest: float
    fits: Callable[[Machine], bool]
    inflict: Callable[[Laboratory, Machine, float, int], Awaitable[str]]


FAULTS = {
    "kill-worker": Fault(20, 0, 0, _any, killing.kill_worker),
    "stop-worker": Fault(8, 0.5, 4, _any, killing.stop_worker),
    "kill-daemon": Fault(6, 0.1, 3, _not_spared, killing.kill_daemon),
    "stop-daemon": Fault(6, 0.5, 5, _any, killing.stop_daemon),
    "kill-client": Fault(2, 0, 0, _any, killing.kill_client),
    "stop-client": Fault(2, 0.5, 4, _any, killing.stop_client),
    "delay": Fault(6, 1, 5, breaking.is_proxied, breaking.delay),
    "throttle": Fault(4, 1, 5, breaking.is_proxied, breaking.throttle),
    "black-hole": Fault(5, 0.5, 5, breaking.is_proxied, breaking.hold),
    "split": Fault(4, 1, 5, breaking.is_proxied, breaking.split),
    "gather": Fault(4, 1, 5, breaking.is_proxied, breaking.gather),
    "cut": Fault(4, 1, 3, breaking.is_proxied, breaking.cut),
    "reset": Fault(4, 0, 0, breaking.is_proxied, breaking.reset),
    "half-close": Fault(3, 0, 0, breaking.is_proxied, breaking.half_close),
    "link-down": Fault(6, 0.5, 5, _has_cable, breaking.pull),
    "scanners": Fault(3, 1, 3, _any, breaking.scan),
    "few-descriptors": Fault(3, 1, 4, _any, starving.starve_descriptors),
    "little-memory": Fault(3, 1, 4, _any, starving.starve_memory),
    "little-memory-for-workers": Fault(3, 1, 4, _any, starving.starve_workers),
    "full-disk": Fault(3, 1, 5, starving.has_small_disk, starving.fill_disk),
    "key-file-removed": Fault(2, 6, 8, _any, rekeying.remove_key_file),
    "key-revoked": Fault(2, 6, 8, _any, rekeying.revoke_key),
    "keys-rotated": Fault(1, 0, 0, _any, rekeying.rotate_keys),
}


class Misfortune(NamedTuple):
    """One fault that is going to happen.

    Attributes:
        at: seconds after the beginning.
        fault: its name.
        machine: place of the machine that is tried first.
        length: seconds that it lasts.
        dice: from which all else about it follows.
    """

    at: float
    fault: str
    machine: int
    length: float
    dice: int


def plan(seed: int, seconds: float, names: Sequence[str], every: float = 1.0) -> list[Misfortune]:
    """Return what is going to happen; the same for the same arguments.

    Args:
        seed: any number.
        seconds: for how long.
        names: the faults to choose from.
        every: seconds from one to the next.
    """
    chance = random.Random(seed)
    weights = [FAULTS[name].weight for name in names]
    misfortunes = []
    for number in range(int(seconds / every)):
        (name,) = chance.choices(names, weights)
        fault = FAULTS[name]
        length = chance.uniform(fault.shortest, fault.longest)
        misfortunes.append(
            Misfortune(number * every, name, chance.randrange(64), length, chance.randrange(_LARGE))
        )
    return misfortunes


async def inflict(lab: Laboratory, it: Misfortune) -> bool:
    """Let a misfortune happen. Return whether there was a machine for it."""
    fault = FAULTS[it.fault]
    start = it.machine % len(lab.machines)
    order = lab.machines[start:] + lab.machines[:start]
    machine = next((one for one in order if not one.busy and fault.fits(one)), None)
    if machine is None:
        return False
    machine.busy = it.fault
    lab.note(f"{it.fault} at {machine.name}: begins")
    try:
        what = await fault.inflict(lab, machine, it.length, it.dice)
        lab.note(f"{it.fault} at {machine.name}: over; {what}")
    finally:
        machine.busy = ""
    return True


def fitting(machines: Sequence[Machine]) -> list[str]:
    """Return the faults that some machine can suffer."""
    return [name for name, fault in FAULTS.items() if any(map(fault.fits, machines))]
