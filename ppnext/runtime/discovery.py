"""mDNS: a ppserver advertises itself, a client browses for ppservers.

The service type is ``_ppnext._tcp.local.``. The TXT record holds ``txtvers=1``, ``proto=1``
and ``id=<daemon instance id in hex>`` and nothing else: nothing derived from a secret, nothing
about the user, nothing that changes. Everything is learnt again after authentication.

Anybody on the network can forge, withdraw and redirect announcements. So what is found here
is only a suggestion for ``Candidates``, and what is removed only stops new dials.

Discovery is a convenience: where it cannot start, ``DiscoveryUnavailable`` says so in one
line and servers named explicitly still work. Everything runs on the asyncio loop that it is
called on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING

from ppnext.errors import DiscoveryUnavailable

# zeroconf is imported inside functions: a run on this machine alone must not pay for loading it.
if TYPE_CHECKING:
    from zeroconf import InterfaceChoice, ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

    Interfaces = InterfaceChoice | list[str]

__all__ = ["SERVICE_TYPE", "Advertiser", "Browser", "advertise", "choose_interfaces"]

SERVICE_TYPE = "_ppnext._tcp.local."

_RESCAN_SECONDS = 60.0
_RESOLVE_SECONDS = 3.0
_RESOLVING = 8
_KNOWN_NAMES = 1024
_RENAMES = 8

_log = logging.getLogger("ppnext.discovery")


def choose_interfaces(setting: str | Sequence[str] | None = None) -> Interfaces:
    """Translate the user's choice of interfaces for ``advertise`` and ``Browser``.

    Args:
        setting: ``None`` or ``"auto"`` for all interfaces, ``"loopback"``, or IP addresses of
            interfaces of this machine.
    """
    if setting == "loopback":
        return ["127.0.0.1"]
    if setting is None or setting == "auto":
        with _explained():
            from zeroconf import InterfaceChoice
        return InterfaceChoice.All
    return [setting] if isinstance(setting, str) else list(setting)


class Advertiser:
    """A running advertisement; made by ``advertise``.

    Attributes:
        name: the instance name in use, which differs from the wanted one after a conflict.
    """

    def __init__(self, mdns: _Mdns, info: AsyncServiceInfo) -> None:
        self._mdns = mdns
        self.name = _instance(info.name)

    async def close(self) -> None:
        """Say goodbye and stop; harmless when repeated. Takes about a quarter of a second."""
        await self._mdns.close()


async def advertise(
    name: str,
    port: int,
    addresses: Sequence[str],
    daemon_id: bytes,
    interfaces: Interfaces,
    log: logging.Logger = _log,
) -> Advertiser:
    """Advertise a ppserver. Takes about 1.5 s, in which others may object to the name.

    Args:
        name: the instance name, ``ppnext-<8 hex>``; gets a number if it is taken.
        port: the TCP port that is listened on.
        addresses: the IP addresses that are really listened on.
        daemon_id: the daemon's instance id, 16 bytes.
        interfaces: what ``choose_interfaces`` returned.
        log: where renaming and later trouble is told.

    Returns:
        The advertisement, to be closed.

    Raises:
        DiscoveryUnavailable: mDNS cannot be used here; the daemon works without.
    """
    mdns = await _Mdns.open(interfaces, log)
    try:
        with _explained():
            info = await _register(mdns, name, port, addresses, daemon_id)
    except BaseException:  # also when cancelled, sockets must not be left open
        await mdns.close()
        raise
    advertiser = Advertiser(mdns, info)
    if advertiser.name != name:
        log.warning("the mDNS name %s is taken; advertised as %s", name, advertiser.name)
    return advertiser


async def _register(
    mdns: _Mdns, name: str, port: int, addresses: Sequence[str], daemon_id: bytes
) -> AsyncServiceInfo:
    """Register under the first free name."""
    from zeroconf import NonUniqueNameException

    # Renamed here and not by zeroconf, which would keep the address record's name, owned by the
    # other one, and would go on for ever if somebody claims every name.
    for attempt in range(1, _RENAMES + 1):
        instance = name if attempt == 1 else f"{name}-{attempt}"
        info = _service_info(instance, port, addresses, daemon_id)
        with contextlib.suppress(NonUniqueNameException):
            mdns.spawn(_announced(await mdns.zeroconf.async_register_service(info)))
            return info
    raise DiscoveryUnavailable(_line(f"the name {name} and {_RENAMES - 1} others are taken"))


async def _announced(announcement: Awaitable[object]) -> None:
    """Wait for the announcements that zeroconf sends after registering."""
    await announcement


def _service_info(
    instance: str, port: int, addresses: Sequence[str], daemon_id: bytes
) -> AsyncServiceInfo:
    from zeroconf.asyncio import AsyncServiceInfo

    return AsyncServiceInfo(
        SERVICE_TYPE,
        f"{instance}.{SERVICE_TYPE}",
        port=port,
        properties={"txtvers": "1", "proto": "1", "id": daemon_id.hex()},
        # A name of its own for the address records: with the host's name, two daemons of one
        # host, or a daemon and the system's responder, would fight over them.
        server=f"{instance}.local.",
        parsed_addresses=list(addresses),
    )


class Browser:
    """Watches for ppservers.

    Args:
        interfaces: what ``choose_interfaces`` returned.
        on_found: called with name, announced daemon id (or ``None``), IP addresses and port,
            when a ppserver is announced, changed, and now and then again.
        on_removed: called with the name when an announcement is withdrawn or has expired.
        log: where trouble is told.
        repeat_seconds: how often everything known is reported again.
    """

    def __init__(
        self,
        interfaces: Interfaces,
        on_found: Callable[[str, bytes | None, list[str], int], None],
        on_removed: Callable[[str], None],
        log: logging.Logger = _log,
        repeat_seconds: float = 60.0,
    ) -> None:
        self._interfaces = interfaces
        self._on_found = on_found
        self._on_removed = on_removed
        self._log = log
        self._repeat_seconds = repeat_seconds
        self._mdns: _Mdns | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._known: set[str] = set()
        self._pending: dict[str, None] = {}  # names to resolve, in order
        self._resolving = 0

    async def start(self) -> None:
        """Start browsing.

        Raises:
            DiscoveryUnavailable: mDNS cannot be used here.
        """
        # Opened first, because it explains a zeroconf that cannot be imported.
        self._mdns = await _Mdns.open(self._interfaces, self._log)
        from zeroconf import DNSQuestionType
        from zeroconf.asyncio import AsyncServiceBrowser

        self._browser = AsyncServiceBrowser(
            self._mdns.zeroconf.zeroconf,
            SERVICE_TYPE,
            handlers=[self._changed],
            # Answers to unicast questions reach only one of the programs that share the port.
            question_type=DNSQuestionType.QM,
        )
        self._mdns.spawn(self._repeat())

    async def close(self) -> None:
        """Stop browsing; harmless when repeated. Nothing is called back afterwards."""
        mdns, self._mdns = self._mdns, None
        browser, self._browser = self._browser, None
        self._pending.clear()
        self._known.clear()
        if browser is not None:
            await browser.async_cancel()
        if mdns is not None:
            await mdns.close()

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """Note a change; zeroconf calls this on the loop, where nothing may wait."""
        if state_change.name == "Removed":
            self._pending.pop(name, None)
            if name in self._known:
                self._known.discard(name)
                self._on_removed(_instance(name))
        elif name in self._known or len(self._known) < _KNOWN_NAMES:
            self._known.add(name)
            self._pending[name] = None
            self._resolve_next()

    async def _repeat(self) -> None:
        """Report everything again now and then: the client may have dropped some in a flood."""
        while True:
            await asyncio.sleep(self._repeat_seconds)  # it is time itself that is waited for
            self._pending.update(dict.fromkeys(sorted(self._known)))
            self._resolve_next()

    def _resolve_next(self) -> None:
        while self._mdns is not None and self._pending and self._resolving < _RESOLVING:
            name = next(iter(self._pending))
            del self._pending[name]
            self._resolving += 1
            self._mdns.spawn(self._resolve_in_turn(name))

    async def _resolve_in_turn(self, name: str) -> None:
        try:
            await self._resolve(name)
        finally:
            self._resolving -= 1
            self._resolve_next()

    async def _resolve(self, name: str) -> None:
        from zeroconf import DNSQuestionType, Error
        from zeroconf.asyncio import AsyncServiceInfo

        if self._mdns is None:
            return
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, name)
            complete = await info.async_request(
                self._mdns.zeroconf.zeroconf, _RESOLVE_SECONDS * 1000, DNSQuestionType.QM
            )
        except (Error, OSError, ValueError) as error:
            # Names come from strangers; one that makes no sense concerns nobody else.
            self._log.info("mDNS: %r cannot be resolved: %s", name, _reason(error))
            return
        if not complete:
            self._log.info("mDNS: %r is announced but does not say where it is", name)
        elif name in self._known and info.port is not None:
            addresses = info.parsed_scoped_addresses()
            self._on_found(_instance(name), _daemon_id(info), addresses, info.port)


def _instance(name: str) -> str:
    """The part of a full service name that tells one instance from another."""
    return name.removesuffix(f".{SERVICE_TYPE}")


def _daemon_id(info: AsyncServiceInfo) -> bytes | None:
    """The announced daemon id, or None where it is missing or malformed."""
    text = info.properties.get(b"id") or b""
    try:
        daemon_id = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return None
    return daemon_id if len(daemon_id) == 16 else None


class _Mdns:
    """One zeroconf instance, the look for new interfaces, and the tasks that use it."""

    def __init__(self, zeroconf: AsyncZeroconf, log: logging.Logger) -> None:
        self.zeroconf = zeroconf
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        interfaces: Interfaces,
        log: logging.Logger,
    ) -> _Mdns:
        with _explained():
            from zeroconf import IPVersion
            from zeroconf.asyncio import AsyncZeroconf

            if interfaces == []:
                raise ValueError("no interface was chosen")
            # All interfaces means IPv4 on all: joining ::1 fails, and loudly.
            with_v6 = isinstance(interfaces, list) and any(":" in name for name in interfaces)
            version = None if with_v6 else IPVersion.V4Only
            mdns = cls(AsyncZeroconf(interfaces, ip_version=version), log)
        try:
            with _explained():
                await mdns.zeroconf.zeroconf.async_wait_for_start()
        except BaseException:  # also when cancelled, sockets must not be left open
            await mdns.close()
            raise
        if not isinstance(interfaces, list):
            mdns.spawn(mdns._look_for_interfaces())
        return mdns

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run something until it ends or ``close`` cancels it; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Close once; everybody who calls waits for it."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        from zeroconf import Error

        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self.zeroconf.async_close()
        except (Error, OSError, RuntimeError) as error:
            # The goodbye is a courtesy, and its failure must not stop a shutdown.
            self._log.info("mDNS: closing failed: %s", _reason(error))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("mDNS: a background task failed", exc_info=error)

    async def _look_for_interfaces(self) -> None:
        from zeroconf import Error

        # By the clock, because no system tells of new interfaces in a portable way.
        while True:
            await asyncio.sleep(_RESCAN_SECONDS)  # no event tells of a new interface
            try:
                await self.zeroconf.async_update_interfaces()
            except (Error, OSError, RuntimeError) as error:
                self._log.warning("mDNS: looking for new interfaces failed: %s", _reason(error))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever keeps mDNS from working into the one line that the user sees."""
    try:
        yield
    except _expected_errors() as error:
        raise DiscoveryUnavailable(_line(_reason(error))) from error


def _expected_errors() -> tuple[type[Exception], ...]:
    # A function, so that it is asked after zeroconf was needed and not before.
    try:
        from zeroconf import Error
    except ImportError:
        return (ImportError,)
    # ValueError: an interface that is no IP address.
    return (Error, OSError, RuntimeError, ValueError)


def _line(reason: str) -> str:
    return f'discovery unavailable: {reason}; name the servers instead: ppservers=("host",)'


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) else str(error)
    return text or type(error).__name__
