"""Faults of the network: what the proxies do, links that go down, and strangers at the port."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from tests.chaos.laboratory import Laboratory
from tests.chaos.machine import Machine
from tests.chaos.proxy import FaultProxy
from tests.chaos.wires import Namespace

__all__ = [
    "cut",
    "delay",
    "gather",
    "half_close",
    "hold",
    "is_proxied",
    "pull",
    "reset",
    "scan",
    "split",
    "throttle",
]

SCANNERS = 200
_GARBAGE = (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", bytes(300), b"\xff" * 5000)
_DIRECTIONS = (("down",), ("up",), ("down", "up"))


def is_proxied(machine: Machine) -> bool:
    """Whether there is a proxy before the machine."""
    return machine.wire.proxy is not None


def _proxy(machine: Machine) -> FaultProxy:
    if machine.wire.proxy is None:
        raise AssertionError(f"there is no proxy before {machine.name}")
    return machine.wire.proxy


async def _for_a_while(
    machine: Machine, length: float, dice: int, harm: Callable[[FaultProxy, str], None]
) -> str:
    """Do harm to one direction or to both, and heal it."""
    proxy, directions = _proxy(machine), _DIRECTIONS[dice % 3]
    for direction in directions:
        harm(proxy, direction)
    try:
        await asyncio.sleep(length)  # the fault itself
    finally:
        proxy.heal()
    return " and ".join(directions)


async def delay(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """Everything comes late."""
    seconds = 0.05 + dice % 10 * 0.05

    def harm(proxy: FaultProxy, direction: str) -> None:
        proxy.treatment(direction).delay = seconds

    return f"{seconds:.2f} s, " + await _for_a_while(machine, length, dice, harm)


async def throttle(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """Little gets through."""
    rate = 20_000.0 * (1 + dice % 20)

    def harm(proxy: FaultProxy, direction: str) -> None:
        proxy.treatment(direction).rate = rate

    return f"{rate:.0f} B/s, " + await _for_a_while(machine, length, dice, harm)


async def hold(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """A black hole, one way or both."""
    return await _for_a_while(machine, length, dice, lambda it, way: it.treatment(way).hold())


async def split(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """Segments arrive in small pieces."""
    size = 1 + dice % 1000

    def harm(proxy: FaultProxy, direction: str) -> None:
        proxy.treatment(direction).piece = size

    return f"{size} B, " + await _for_a_while(machine, length, dice, harm)


async def gather(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """Segments are joined to large ones."""

    def harm(proxy: FaultProxy, direction: str) -> None:
        proxy.treatment(direction).gather = 0.1

    return await _for_a_while(machine, length, dice, harm)


async def cut(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """Connections end after some bytes."""
    left = dice % 100_000

    def harm(proxy: FaultProxy, direction: str) -> None:
        proxy.treatment(direction).left = left

    return f"after {left} B, " + await _for_a_while(machine, length, dice, harm)


async def reset(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """Connections are reset."""
    _proxy(machine).reset()
    return "both ends"


async def half_close(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """One direction of the connections ends."""
    direction = _DIRECTIONS[dice % 2][0]
    _proxy(machine).half_close(direction)
    return direction


async def pull(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """The link of a machine goes down, and up again."""
    wire = machine.wire
    if not isinstance(wire, Namespace):
        raise AssertionError(f"{machine.name} has no cable")
    await wire.pull()
    try:
        await asyncio.sleep(length)  # the fault itself
    finally:
        await wire.plug_in()
    return f"{length:.1f} s"


async def scan(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """Strangers come, say nothing or nonsense, and stay for a while."""
    chance = random.Random(dice)
    visits = [_visit(machine, chance.choice((b"", *_GARBAGE)), length) for _ in range(SCANNERS)]
    answers = await asyncio.gather(*visits)
    return f"{SCANNERS} came, {sum(answers)} were let in"


async def _visit(machine: Machine, words: bytes, length: float) -> bool:
    """Come to a port. Return whether there was a connection."""
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(machine.wire.host, machine.port), length
        )
    except (OSError, asyncio.TimeoutError):
        return False
    try:
        with suppress(OSError):
            writer.write(words)
            await asyncio.sleep(length)  # a slow scanner
    finally:
        writer.close()
    return True
