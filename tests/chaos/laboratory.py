"""The laboratory: machines, the customer, the ledger, and the story of what happened to them.

Machines are named ``a``, ``b``, …; the first two are on the loopback behind fault proxies, the
others in network namespaces if the kernel permits it. The last machine is spared: its daemon is
never killed, so that what it holds can be watched over the whole campaign.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ppnext.runtime import keystore
from tests.chaos.customer import Customer
from tests.chaos.errands import marks
from tests.chaos.leaks import MARK, Vigil, descriptors, end_all, family, marked
from tests.chaos.ledger import Excuse, Ledger
from tests.chaos.machine import Machine
from tests.chaos.wires import INSIDE, Loopback, Namespace, Wire

__all__ = ["GRACE", "Laboratory", "Scale"]

GRACE = 5.0
"""Seconds after which nothing may be left of a client or a daemon: the contract."""


class Scale(NamedTuple):
    """How large the laboratory is.

    Attributes:
        machines: how many daemons.
        workers: jobs that each of them runs at a time.
        local: workers of the client itself.
        silence: seconds after which a silent end is given up, on both sides.
    """

    machines: int = 4
    workers: int = 2
    local: int = 1
    silence: float = 2.0


class Laboratory:
    """All that a campaign harms.

    Args:
        folder: for everything that is written; it must be empty.
        scale: how large it is.
        tell: is told each line of the story at once.

    Attributes:
        machines: the machines.
        customer: the client.
        ledger: the jobs.
        vigil: processes that have to end.
        story: what happened, with the time.
        violations: what must not have happened, besides what ledger and vigil have found.
        calm_descriptors: descriptors of each daemon before the first client came.
        client_descriptors: those of the first client once everything worked.
    """

    def __init__(
        self, folder: Path, scale: Scale, tell: Callable[[str], object] = lambda line: None
    ) -> None:
        self.folder = folder
        self.scale = scale
        self.marks = folder / "marks"
        self.key_file = folder / "keys"
        self.ledger = Ledger(lambda dice: marks(str(self.marks), dice))
        self.vigil = Vigil(GRACE)
        self.machines: list[Machine] = []
        self.story: list[tuple[float, str]] = []
        self.violations: list[str] = []
        self.calm_descriptors: dict[str, int] = {}
        self.client_descriptors = 0
        self.customer = Customer(self.ledger, {}, folder / "log-client")
        self._tell = tell
        self._began = time.monotonic()
        self._mark = os.urandom(8).hex()

    async def open(self) -> None:
        """Plug everything in and start it."""
        os.environ[MARK] = self._mark
        self.marks.mkdir()
        keystore.create(self.key_file, "chaos")
        for number in range(self.scale.machines):
            await self._add_machine("abcdefghijklmnop"[number], await self._wire(number))
        self.machines[-1].spared = True
        self.customer.replace_settings(
            servers=[machine.address for machine in self.machines],
            key_file=str(self.key_file),
            workers=self.scale.local,
            silence=self.scale.silence,
            folder=str(self.marks),
        )
        await self.customer.start()

    async def _wire(self, number: int) -> Wire:
        if INSIDE not in os.environ or number < 2:
            return Loopback()
        namespace = Namespace()
        try:
            await namespace.open()
        except BaseException:  # half a namespace is not left behind
            await namespace.close()
            raise
        return namespace

    async def _add_machine(self, name: str, wire: Wire) -> None:
        machine = Machine(name, wire, self.folder, self.scale.workers, self.scale.silence)
        self.machines.append(machine)
        await machine.prepare(self.key_file, small_disk=INSIDE in os.environ)
        await machine.start()
        self.calm_descriptors[name] = len(descriptors(machine.pid))

    async def close(self) -> None:
        """End everything that was started here, whatever state it is in."""
        ends: list[Callable[[], Awaitable[None]]] = [self.customer.close]
        ends += [machine.close for machine in self.machines]
        for end in ends:
            with suppress(OSError, asyncio.TimeoutError):  # the others are to be ended as well
                await end()
        left = marked(self._mark)
        if left:
            self.violations += [f"left at the end: {process}" for process in left]
            end_all(left)
        os.environ.pop(MARK, None)

    # What everybody here needs.

    @property
    def now(self) -> float:
        """Seconds on the clock of all processes of this machine."""
        return time.monotonic()

    @property
    def capacity(self) -> int:
        """How many jobs run at a time if all is well."""
        return self.scale.local + self.scale.machines * self.scale.workers

    def note(self, text: str) -> None:
        """Add a line to the story."""
        self.story.append((self.now - self._began, text))
        self._tell(f"{self.now - self._began:8.2f} {text}")

    def blame(self, text: str) -> None:
        """Note that something happened that must not."""
        self.violations.append(f"at {self.now - self._began:.1f} s: {text}")
        self.note(f"VIOLATION: {text}")

    def excuse(self, *names: str) -> Excuse:
        """Let jobs that are under way from now on end like this, until the excuse has an end."""
        excuse = Excuse(frozenset(names), self.now)
        self.ledger.excuse(excuse)
        return excuse

    def expect_gone(self, pid: int, why: str) -> None:
        """All processes below this one have to end within the grace time."""
        self.vigil.expect(family(pid), self.now, why)

    async def look_after(self) -> None:
        """Start again what has ended by itself, which it must not."""
        self.vigil.look(self.now)
        for machine in self.machines:
            if not machine.busy and not machine.is_up:
                status = await machine.ended()
                self.blame(f"daemon {machine.name} ended by itself, with status {status}")
                await machine.start()
        if not self.customer.busy and not self.customer.is_up:
            self.blame(f"client {self.customer.number} ended by itself")
            self.ledger.client_killed(self.customer.number, self.now)
            await self.customer.start()
