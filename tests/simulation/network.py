"""The network of the simulated world: machines, and the ways between them.

Every ordered pair of machines has a way with a latency of its own. A way can be cut, one direction
or both, by several causes at a time; what is sent meanwhile is held up and arrives when the last
cause is gone, unless one end has given up by then. What is sent to a machine that is down arrives
when it is up again, where nobody knows of it any more.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.kernel import Kernel
from tests.simulation.sockets import Held, Socket

if TYPE_CHECKING:
    from tests.simulation.dialling import Listening
    from tests.simulation.loop import VirtualLoop
    from tests.simulation.machines import Machine

__all__ = ["Network"]

_RETRANSMIT = 1.0
"""Most seconds until what was held up is sent again once the way is open."""


class _Way:
    """The way from one machine to another."""

    def __init__(self, network: Network, source: str, target: str, latency: float) -> None:
        self.source = source
        self.target = target
        self.latency = latency
        self._network = network
        self._flows: list[Held] = []

    def delay(self) -> float:
        kernel = self._network.kernel
        return self.latency * (0.5 + kernel.random.random())

    def is_open(self) -> bool:
        network = self._network
        return not (network.cuts[self.source, self.target] or self.target in network.down)

    def hold(self, flow: Held) -> None:
        self._network.kernel.happened["held up"] += 1
        self._flows.append(flow)

    def reopen(self) -> None:
        """Let through what was held up, if nothing stands in its way any more."""
        if self.is_open():
            flows, self._flows = self._flows, []
            for flow in flows:
                self._network.kernel.at(
                    _RETRANSMIT * self._network.kernel.random.random(), flow.release
                )


class Network:
    """All ways, and all machines by name.

    Args:
        kernel: the world's time.

    Attributes:
        cuts: how many causes there are for each way to be cut.
        down: names of the machines that are off.
        machines: by name.
        listening: daemons that accept connections, by name.
        connections: pairs of machines and of sockets that were connected.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.cuts: Counter[tuple[str, str]] = Counter()
        self.down: dict[str, None] = {}
        self.machines: dict[str, Machine] = {}
        self.listening: dict[str, Listening] = {}
        self.connections: list[tuple[Machine, Machine, Socket, Socket]] = []
        self._ways: dict[tuple[str, str], _Way] = {}
        self._sessions = 0

    def way(self, source: str, target: str) -> _Way:
        """Return the way from one machine to another."""
        way = self._ways.get((source, target))
        if way is None:
            latency = self.kernel.random.choice((0.0001, 0.0005, 0.02, 0.02, 0.2))
            way = self._ways[source, target] = _Way(self, source, target, latency)
        return way

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from one machine to another any more."""
        self.cuts[source, target] += 1

    def heal(self, source: str, target: str) -> None:
        """One cause for that is gone."""
        self.cuts[source, target] -= 1
        self.way(source, target).reopen()

    def power(self, machine: str, on: bool) -> None:
        """A machine goes down or comes up."""
        if on:
            self.down.pop(machine, None)
            for way in list(self._ways.values()):
                if way.target == machine:
                    way.reopen()
        else:
            self.down[machine] = None

    def of(self, loop: VirtualLoop) -> Machine:
        """Return the machine that a loop belongs to."""
        return next(it for it in self.machines.values() if it.loop is loop)

    def new_session(self) -> bytes:
        """Return a number that no session has had."""
        self._sessions += 1
        return self._sessions.to_bytes(16, "big")
