"""Remote nodes: daemons on other machines, found, dialled, and dialled again.

Named servers and discovered ones are candidates; candidates say when which address is to be tried.
Discovery only suggests addresses: a node counts from the moment its daemon has proved that it
knows the key, and until its connection ends or falls silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from ppnext.errors import DiscoveryUnavailable, NetworkError
from ppnext.nodes.link import Link
from ppnext.nodes.roles import Owner
from ppnext.runtime.addresses import Address, Wildcard
from ppnext.runtime.candidates import UNTRUSTED_PENALTY, Candidates
from ppnext.runtime.dialling import Dialled, Impostor, dial
from ppnext.runtime.discovery import Browser, choose_interfaces
from ppnext.runtime.loop import Turn
from ppnext.runtime.streams import Stream
from ppnext.runtime.vicinity import on_link
from ppnext.sched.model import NodeId, NodeKind
from ppnext.wire.connection import Connection, Heartbeat, Received
from ppnext.wire.keys import Key
from ppnext.wire.messages import Hello, Result
from ppnext.wire.payloads import Block, Large

__all__ = ["RemoteNodes"]

_log = logging.getLogger("ppnext.network")

_LATENCY = 0.001
"""Seconds assumed for the way to a daemon and back until it has been measured."""


class RemoteNodes:
    """The daemons that a client works with. Lives on the owner's event loop.

    Args:
        turn: of the event loop.
        owner: whose nodes they are.
        new_node: gives numbers for nodes.
        key: proves to each daemon that this client may use it, and to this client who it is.
        client_id: 16 bytes that name this process.
        hello: what this client says of itself.
        servers: named addresses.
        wildcards: which discovered addresses are wanted; empty for no discovery.
        interfaces: where to look for daemons, as ``choose_interfaces`` takes it.
        heartbeat: when a silent daemon is given up.
        allocate: makes room for large results.
    """

    def __init__(
        self,
        turn: Turn,
        owner: Owner,
        new_node: Callable[[], NodeId],
        key: Key,
        client_id: bytes,
        hello: Hello,
        servers: list[Address],
        wildcards: list[Wildcard],
        interfaces: str | list[str] | None,
        heartbeat: Heartbeat,
        allocate: Callable[[int], Large] = Block,
    ) -> None:
        self._turn = turn
        self._loop = loop = turn.loop
        self._owner = owner
        self._new_node = new_node
        self._key = key
        self._client_id = client_id
        self._hello = hello
        self._heartbeat = heartbeat
        self._allocate = allocate
        self._interfaces = interfaces
        self._candidates = Candidates(
            own_ids=(client_id,),
            wildcards=tuple(wildcards),
            allow_loopback=_includes_loopback(interfaces),
        )
        for address in servers:
            self._candidates.add_named(address, loop.time())
        self._discovers = bool(wildcards)
        # Why each address that was tried last did not work, for whoever asks.
        self.troubles: dict[str, str] = {}
        self._links: dict[Address, Link] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._browser: Browser | None = None

    async def run(self) -> None:
        """Look for daemons and keep connections to them until cancelled."""
        try:
            if self._discovers:
                self._spawn(self._browse())
            while True:
                self._changed.clear()
                for address in self._candidates.due(self._loop.time()):
                    self._spawn(self._try(address))
                await self._wait(self._candidates.next_due(self._loop.time()))
        finally:
            await self._close()

    async def _wait(self, until: float | None) -> None:
        # Not wait_for: before Python 3.12 it may take no notice of being cancelled.
        timer = None if until is None else self._loop.call_at(until, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in list(self._links.values()):
            link.close("the client is done")
        if self._browser is not None:
            await self._browser.close()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Discovery.

    async def _browse(self) -> None:
        try:
            self._candidates.update_networks(on_link())
            interfaces = choose_interfaces(self._interfaces)
            browser = Browser(interfaces, self._found, self._candidates.removed, log=_log)
            await browser.start()
        except (DiscoveryUnavailable, OSError) as error:
            _log.warning("%s", error)
        else:
            self._browser = browser

    def _found(self, name: str, instance: bytes | None, hosts: list[str], port: int) -> None:
        refused = self._candidates.add(name, instance, hosts, port, self._loop.time())
        for line in refused:
            _log.info("not dialling a discovered address: %s", line)
        self._changed.set()

    # One daemon.

    async def _try(self, address: Address) -> None:
        try:
            dialled = await dial(address, self._key, self._client_id)
        except NetworkError as error:
            self._failed(address, error)
            return
        except BaseException:  # cancelled; the address must not count as being dialled for ever
            self._candidates.failed(address, self._loop.time())
            raise
        if self._candidates.connected(address, dialled.daemon_id, self._loop.time()):
            self._connect(address, dialled)
        else:
            dialled.socket.close()
        self._changed.set()

    def _failed(self, address: Address, error: NetworkError) -> None:
        penalty = UNTRUSTED_PENALTY if isinstance(error, Impostor) else None
        self._candidates.failed(address, self._loop.time(), penalty)
        named = str(address) in str(error)
        trouble = str(error) if named else f"{address} is not used: {error}"
        # The same trouble again and again is one line; a new one is a new line.
        if self.troubles.get(str(address)) != trouble:
            self.troubles[str(address)] = trouble
            _log.warning("%s", trouble)
        self._changed.set()

    def _connect(self, address: Address, dialled: Dialled) -> None:
        self.troubles.pop(str(address), None)
        connection = Connection(self._loop.time(), self._heartbeat, allocate=self._allocate)
        link = Link(
            self._new_node(),
            str(address),
            NodeKind.DAEMON,
            self._owner,
            _LATENCY,
            lambda link: self._closed(address),
        )

        def on_messages(arrived: list[Received]) -> None:
            self._measure(link, connection, arrived)
            link.on_messages(arrived)

        def on_end(cause: str | None) -> None:
            link.lose(cause or connection.farewell or "it said goodbye")

        stream = Stream(self._turn, dialled.socket, connection, on_messages, on_end)
        link.attach(stream, stream)
        self._links[address] = link
        stream.send(self._hello)
        connection.probe(self._loop.time())
        stream.feed(dialled.leftover)
        _log.info("connected to %s, session %s", address, dialled.session_id.hex())

    def _measure(self, link: Link, connection: Connection, arrived: list[Received]) -> None:
        """Keep the link's latency up to date with the way there and back, as pings measure it."""
        trip = connection.round_trip
        if (
            trip is not None
            and not 0.5 < trip / link.latency < 2.0
            and any(isinstance(it.message, Result) for it in arrived)
        ):
            link.latency = max(trip, _LATENCY / 10)
            self._owner.on_resized(link)

    def _closed(self, address: Address) -> None:
        del self._links[address]
        self._candidates.lost(address, self._loop.time())
        self._changed.set()


def _includes_loopback(interfaces: str | list[str] | None) -> bool:
    """Whether announcements on the loopback interface are looked for."""
    if interfaces is None or isinstance(interfaces, str):
        return True
    return any(interface.startswith("127.") or interface == "::1" for interface in interfaces)
