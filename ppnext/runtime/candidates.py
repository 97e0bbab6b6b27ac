"""Which addresses a client dials, and when.

No I/O and no clock here: ``now`` is an argument, in monotonic seconds. The caller dials what
``due`` returns and reports how each dial ended, with exactly one of ``connected`` and
``failed``; a connection that ends later is reported with ``lost``.

Discovery is a hint and never an authority, because anybody on the network can forge it:

* An address is dialled only if ``vicinity`` finds it near enough.
* A withdrawn announcement stops new dials. It never touches a connection.
* Failures are remembered per address and port, since an attacker has names for free. The
  first costs 30 s, each further one twice as much, up to 10 min. Only where a daemon has proved
  itself before does a new name mean that it has started again, and shortens the wait to 5 s.
* At most 256 announced addresses are kept. Those never connected give way first: addresses
  that failed before those never tried, then those announced longest ago.
* Dials start at most 10 a second, with at most 32 in flight: as many as are started until one
  that does not answer is given up, so that silent hosts do not keep others waiting. Hosts with
  fewer failed or running dials come first, so that a flood of ports on one host does not either.
* A daemon is known by the id it proved to have, never by the id it announced. Two addresses
  of one daemon make one connection.

Servers that the user named go through the same queue, but are neither filtered nor dropped,
and are tried again after 1 s, doubling to 1 min.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ppnext.runtime.addresses import Address, Wildcard
from ppnext.runtime.vicinity import parse_networks, plain, refusal

__all__ = [
    "DIALS_IN_FLIGHT",
    "DIALS_PER_SECOND",
    "KEPT",
    "UNTRUSTED_PENALTY",
    "Candidates",
]

KEPT = 256
DIALS_PER_SECOND = 10
DIALS_IN_FLIGHT = 32
UNTRUSTED_PENALTY = 600.0
"""Seconds before an address is dialled again whose daemon does not know the key."""

_ADDRESSES_PER_NAME = 8
_BACKOFF = (30.0, 600.0)
_NAMED_BACKOFF = (1.0, 60.0)
# A connection that held this long was a good one: its loss starts a fresh backoff.
_STEADY_SECONDS = 30.0
_REDIAL_SECONDS = 1.0
# How soon after a failure a new name counts for an address where a daemon has been before.
_NEWS_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class _Candidate:
    address: Address
    named: bool = False
    names: set[str] = field(default_factory=set)
    in_flight: bool = False
    failures: int = 0
    not_before: float = 0.0
    news_from: float = 0.0  # when an announcement under a new name counts
    daemon_id: bytes | None = None  # the daemon proved to be there, connected through here or not
    connected_at: float | None = None
    ever_connected: bool = False

    @property
    def wanted(self) -> bool:
        return self.named or bool(self.names)

    @property
    def busy(self) -> bool:
        return self.in_flight or self.connected_at is not None

    @property
    def expendable(self) -> bool:
        proved = self.ever_connected and self.wanted
        return not (self.named or self.busy or proved)

    def fail(self, now: float, penalty: float | None) -> None:
        first, most = _NAMED_BACKOFF if self.named else _BACKOFF
        # The exponent is bounded so that a server down for years does not overflow a float.
        delay = min(most, first * 2.0 ** min(self.failures, 20))
        self.failures += 1
        self.not_before = now + (delay if penalty is None else penalty)
        self.news_from = now + _NEWS_SECONDS if penalty is None else self.not_before

    def announce(self, name: str, now: float) -> None:
        """Note a name; a new one says that the daemon which was there has started again."""
        if name not in self.names and self.ever_connected:
            self.not_before = min(self.not_before, max(now, self.news_from))
        self.names.add(name)


class Candidates:
    """The addresses worth dialling, with their history.

    Args:
        own_ids: instance ids of this process's own daemon, which it must not dial.
        networks: networks of this machine's interfaces (``"192.168.1.7/24"``); their addresses
            are near even where they are public, as on many campuses.
        wildcards: patterns that choose among discovered servers; any that fits is enough.
        allowed: networks to accept although they are neither private nor on-link.
        allow_loopback: accept loopback addresses; only for discovery on the loopback interface.
    """

    def __init__(
        self,
        own_ids: Iterable[bytes] = (),
        networks: Iterable[str] = (),
        *,
        wildcards: Iterable[Wildcard] = (Wildcard(),),
        allowed: Iterable[str] = (),
        allow_loopback: bool = False,
    ) -> None:
        self._own_ids = frozenset(own_ids)
        self._networks = parse_networks(networks)
        self._wildcards = tuple(wildcards)
        self._allowed = parse_networks(allowed)
        self._allow_loopback = allow_loopback
        # In order of last announcement, oldest first.
        self._candidates: dict[Address, _Candidate] = {}
        self._connected: dict[bytes, Address] = {}
        self._in_flight = 0
        self._tokens = float(DIALS_PER_SECOND)
        self._tokens_at: float | None = None

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, address: Address) -> bool:
        return address in self._candidates

    def update_networks(self, networks: Iterable[str]) -> None:
        """Replace the networks that count as on-link, after this machine changed its own."""
        self._networks = parse_networks(networks)

    def add_named(self, address: Address, now: float) -> None:
        """Add a server that the user named; it is never filtered and never dropped.

        Args:
            address: where it is.
            now: monotonic seconds.
        """
        candidate = self._candidates.setdefault(address, _Candidate(address, not_before=now))
        candidate.named = True

    def add(
        self,
        name: str,
        instance_id: bytes | None,
        addresses: Iterable[str],
        port: int,
        now: float,
    ) -> list[str]:
        """Take in an announcement.

        A repeated announcement does not shorten the wait after failures.

        Args:
            name: the announced name, for ``removed``.
            instance_id: the announced daemon id; only used to leave out ourselves.
            addresses: the announced IP addresses; those beyond the eighth are ignored.
            port: the announced TCP port.
            now: monotonic seconds.

        Returns:
            One line for each address refused; patterns that do not fit refuse silently.
        """
        if instance_id in self._own_ids:
            return []
        refused = []
        for host in list(addresses)[:_ADDRESSES_PER_NAME]:
            reason = refusal(host, port, self._networks, self._allowed, self._allow_loopback)
            if reason is not None:
                # Quoted, because a stranger chose the name and it goes to the log.
                refused.append(f"{name!r} announces {host!r} port {port}: {reason}")
                continue
            address = Address(str(plain(ipaddress.ip_address(host))), port)
            if any(wildcard.matches(address.host, port) for wildcard in self._wildcards):
                self._announce(address, name, now)
        return refused

    def removed(self, name: str) -> None:
        """Take in the withdrawal of an announcement: no new dials, nothing else."""
        for candidate in list(self._candidates.values()):
            candidate.names.discard(name)
            self._drop_if_done(candidate)

    def due(self, now: float) -> list[Address]:
        """Choose the addresses to dial now; they count as in flight until reported.

        Args:
            now: monotonic seconds.
        """
        self._refill(now)
        # A token that lacks a rounding error is whole, or a caller could wait for it forever.
        room = min(DIALS_IN_FLIGHT - self._in_flight, int(self._tokens + 1e-6))
        ready = [candidate for candidate in self._waiting() if candidate.not_before <= now]
        self._sort(ready)
        for candidate in ready[: max(0, room)]:
            candidate.in_flight = True
            self._in_flight += 1
            self._tokens -= 1.0
        return [candidate.address for candidate in ready[: max(0, room)]]

    def next_due(self, now: float) -> float | None:
        """Say when ``due`` is worth calling again, if nothing is reported or added before.

        Args:
            now: monotonic seconds.

        Returns:
            Monotonic seconds, not before ``now``, or ``None`` if only an event can help.
        """
        if self._in_flight >= DIALS_IN_FLIGHT:
            return None
        first = min((candidate.not_before for candidate in self._waiting()), default=None)
        if first is None:
            return None
        self._refill(now)
        missing = max(0.0, 1.0 - self._tokens)
        return max(now, first, now + missing / DIALS_PER_SECOND)

    def failed(self, address: Address, now: float, penalty: float | None = None) -> None:
        """Report a dial that did not become an authenticated connection.

        Args:
            address: what was dialled.
            now: monotonic seconds.
            penalty: seconds to wait instead of the backoff, such as ``UNTRUSTED_PENALTY``.
        """
        candidate = self._landed(address)
        if candidate is not None:
            candidate.fail(now, penalty)

    def connected(self, address: Address, daemon_id: bytes, now: float) -> bool:
        """Report a dial that became an authenticated connection.

        Args:
            address: what was dialled.
            daemon_id: the id the daemon proved to have.
            now: monotonic seconds.

        Returns:
            False if the connection must be closed, because this daemon is connected through
            another address already, or is this process itself.
        """
        candidate = self._landed(address)
        if candidate is None:  # dropped while it was dialled, or never asked for
            candidate = self._candidates.setdefault(address, _Candidate(address))
        candidate.daemon_id = daemon_id
        candidate.ever_connected = True
        if daemon_id in self._own_ids or self._connected.get(daemon_id, address) != address:
            return False
        self._connected[daemon_id] = address
        candidate.connected_at = now
        return True

    def lost(self, address: Address, now: float) -> None:
        """Report the end of a connection for which ``connected`` was true.

        A connection that had held for a while is redialled at once, a short one counts as a
        failure: a server that throws us out again and again must not keep us busy.

        Args:
            address: what had been dialled.
            now: monotonic seconds.
        """
        candidate = self._candidates.get(address)
        if candidate is None or candidate.connected_at is None:
            return
        steady = now - candidate.connected_at >= _STEADY_SECONDS
        daemon_id, candidate.daemon_id, candidate.connected_at = candidate.daemon_id, None, None
        if daemon_id is not None and self._connected.get(daemon_id) == address:
            del self._connected[daemon_id]
        if steady:
            candidate.failures = 0
            candidate.not_before = now + _REDIAL_SECONDS
        else:
            candidate.fail(now, None)
        self._free_aliases(daemon_id, now)
        self._drop_if_done(candidate)

    def _waiting(self) -> list[_Candidate]:
        """Those that may be dialled as soon as their time has come."""
        return [
            candidate
            for candidate in self._candidates.values()
            if candidate.wanted and not candidate.in_flight and candidate.daemon_id is None
        ]

    def _sort(self, ready: list[_Candidate]) -> None:
        """Put first what the user named, then hosts with little trouble, then who waits longest."""
        trouble: Counter[str] = Counter()
        for candidate in self._candidates.values():
            trouble[candidate.address.host] += candidate.in_flight or candidate.failures > 0
        # The sort is stable, so ties keep the announced order.
        ready.sort(
            key=lambda candidate: (
                not candidate.named,
                trouble[candidate.address.host],
                candidate.not_before,
            )
        )

    def _announce(self, address: Address, name: str, now: float) -> None:
        candidate = self._candidates.pop(address, None)
        if candidate is None:
            if not self._make_room():
                return
            candidate = _Candidate(address, not_before=now)
        candidate.announce(name, now)
        self._candidates[address] = candidate  # at the end: announced last

    def _make_room(self) -> bool:
        """Drop the least promising candidate if there are too many; False if none may go."""
        found = [candidate for candidate in self._candidates.values() if not candidate.named]
        if len(found) < KEPT:
            return True
        idle = [candidate for candidate in found if candidate.expendable]
        if not idle:
            return False
        victim = next((candidate for candidate in idle if candidate.failures), idle[0])
        del self._candidates[victim.address]
        return True

    def _landed(self, address: Address) -> _Candidate | None:
        candidate = self._candidates.get(address)
        if candidate is not None and candidate.in_flight:
            candidate.in_flight = False
            self._in_flight -= 1
        return candidate

    def _free_aliases(self, daemon_id: bytes | None, now: float) -> None:
        """Other addresses of a lost daemon may lead to it where the lost one does not."""
        for candidate in list(self._candidates.values()):
            if daemon_id is not None and candidate.daemon_id == daemon_id:
                candidate.daemon_id = None
                candidate.not_before = max(candidate.not_before, now + _REDIAL_SECONDS)
                self._drop_if_done(candidate)

    def _drop_if_done(self, candidate: _Candidate) -> None:
        """Forget a withdrawn candidate that has neither a dial, a connection nor a penalty."""
        if not (candidate.wanted or candidate.busy or candidate.failures):
            self._candidates.pop(candidate.address, None)

    def _refill(self, now: float) -> None:
        if self._tokens_at is not None:
            earned = (now - self._tokens_at) * DIALS_PER_SECOND
            self._tokens = min(float(DIALS_PER_SECOND), self._tokens + max(0.0, earned))
        self._tokens_at = now
