"""Dialling: how a client of the simulated world comes to be connected to a daemon.

It takes as many messages as in earnest, there and back and there and back, and any of them may be
held up, find nobody, or arrive when the other end has given up. What they contain, TLS and the
handshake, is not simulated: ``tests/wire`` and ``tests/security`` test that.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple

from ppnext.errors import NetworkError
from ppnext.runtime.addresses import Address
from ppnext.wire.keys import Key
from tests.simulation.machines import Machine
from tests.simulation.network import Network
from tests.simulation.sockets import Socket, join

__all__ = ["Accepted", "Connected", "Listening", "dial"]

_CONNECT = 3.0
"""Seconds for an address to answer at all; see ``ppnext.runtime.dialling``."""


class Connected(NamedTuple):
    """What the client has after dialling; see ``ppnext.runtime.dialling.Dialled``."""

    socket: Socket
    daemon_id: bytes
    session_id: bytes
    leftover: bytes = b""


class Accepted(NamedTuple):
    """What the daemon has; see ``ppnext.runtime.listener.Admitted``."""

    socket: Socket
    peer: str
    key: Key
    client_id: bytes
    session_id: bytes
    leftover: bytes = b""


async def dial(
    network: Network,
    client: Machine,
    address: Address,
    key: Key,
    client_id: bytes,
    deadline: float,
) -> Connected:
    """Connect a client to the daemon at an address.

    Raises:
        NetworkError: it did not work.
    """
    dialling = _Dialling(network, client, address, key, client_id)
    timers = (
        client.loop.call_later(_CONNECT, dialling.silence),
        client.loop.call_later(deadline, dialling.fail, "did not answer in time"),
    )
    try:
        return await dialling.connected
    except BaseException:  # cancelled as well: whatever it is, nobody will close it later
        dialling.socket.close()
        raise
    finally:
        for timer in timers:
            timer.cancel()


class _Dialling:
    """One attempt to connect: there, back, there, back."""

    def __init__(
        self, network: Network, client: Machine, address: Address, key: Key, client_id: bytes
    ) -> None:
        self.network = network
        self.client = client
        self.daemon = network.machines[address.host]
        self.address = address
        self.key = key
        self.client_id = client_id
        self.connected: asyncio.Future[Connected] = client.loop.create_future()
        self.session_id = network.new_session()
        self.has_answered = False
        self.socket = client.socket()
        there = network.way(client.name, self.daemon.name)
        back = network.way(self.daemon.name, client.name)
        self.far = Socket(network.kernel, lambda: None)
        join(network.kernel, self.socket, self.far, there, back)
        self.socket.post(self.arrive)

    def arrive(self) -> None:
        """The first packet is there."""
        listening = self.network.listening.get(self.daemon.name)
        if listening is None:
            self.far.post(partial(self.fail, "refused the connection"))
            self.far.close()
            return
        self.daemon.adopt(self.far)
        self.far.post(self.answered)

    def answered(self) -> None:
        """The daemon's machine has answered; its process may still sleep."""
        self.has_answered = True
        if not (self.socket.is_over or self.connected.done()):
            self.client.soon(self.socket.post, self.prove)

    def prove(self) -> None:
        """The client's proof is there."""
        if not self.far.is_over:
            self.daemon.soon(self.accept)

    def accept(self) -> None:
        """The daemon looks at it."""
        listening = self.network.listening.get(self.daemon.name)
        if listening is None or self.far.is_over:
            self.far.close()
            return
        peer = f"10.0.0.{self.client.number}"
        accepted = Accepted(self.far, peer, self.key, self.client_id, self.session_id)
        self.far.post(self.succeed)
        self.network.connections.append((self.client, self.daemon, self.socket, self.far))
        listening.accept(accepted)

    def succeed(self) -> None:
        """The daemon's proof is there."""
        listening = self.network.listening.get(self.daemon.name)
        if not self.connected.done():
            daemon_id = listening.daemon_id if listening else bytes(16)
            connected = Connected(self.socket, daemon_id, self.session_id)
            self.client.soon(self._resolve, connected)

    def _resolve(self, connected: Connected) -> None:
        if not self.connected.done():
            self.connected.set_result(connected)

    def silence(self) -> None:
        """Time is up for the first answer."""
        if not self.has_answered:
            self.fail("did not answer")

    def fail(self, why: str) -> None:
        """It will not work."""
        if not self.connected.done() and not self.client.loop.is_closed():
            self.network.kernel.happened["dialling failed"] += 1
            self.connected.set_exception(NetworkError(f"{self.address} {why}"))


class Listening:
    """Stands for ``ppnext.runtime.listener.Listener``, whose arguments it takes."""

    def __init__(
        self,
        network: Network,
        machine: str,
        daemon_id: bytes,
        admission: Any,
        on_client: Any,
    ) -> None:
        self.daemon_id = daemon_id
        self._network = network
        self._machine = machine
        self._admission = admission
        self._on_client = on_client
        network.listening[machine] = self

    def accept(self, accepted: Accepted) -> None:
        """A client has proved that it may."""
        if self._admission.authenticated(accepted.key.kid) is not None:
            raise AssertionError("the daemon refuses a client")
        self._on_client(accepted)

    def close(self) -> None:
        """Accept nobody any more."""
        if self._network.listening.get(self._machine) is self:
            del self._network.listening[self._machine]
