"""Admission: whom a daemon lets in before it knows who they are, and how many after.

Asked right after ``accept``, before a byte is read or TLS begins, so that a refusal costs one
``close``. A source is an IPv4 address, an IPv6 /64, or this machine (all of loopback together).

Before authentication a connection holds one of ``total`` slots, at most ``per_source`` of them
for one source (``loopback`` for this machine). The last ``reserved`` slots are for sources
without a penalty. New connections draw from one token bucket, before the slots are looked at: so
whoever gives way to newcomers, as the listener has it, had time. ``release`` gives the slot back,
whether the handshake succeeded or not; after success ``authenticated`` takes a place of the
other kind, total and per key.

Penalties are seconds that run off by themselves. An offence adds some; while a source has
``refuse_at`` seconds or more left, it is refused. So three bad keys in a row do not lock out the
fourth, good one for long. Loopback is never refused for penalties, but they are counted. The
table of sources is bounded; the least recently used one is forgotten first.

``now`` is monotonic seconds everywhere.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Admission", "AdmissionLimits", "Offence", "Refusal", "same_source"]

_LOOPBACK = "loopback"
_Counted = TypeVar("_Counted", str, bytes)


class Refusal(enum.Enum):
    """Why a connection is closed at once; the value is for logs and counters."""

    PENALISED = "penalised"
    RESERVED = "reserved"
    SOURCE_FULL = "source full"
    FULL = "full"
    RATE = "rate"
    SESSIONS_FULL = "sessions full"
    KEY_FULL = "key full"


class Offence(enum.Enum):
    """What a connection did wrong before it was authenticated."""

    BAD_PROOF = "bad proof"
    NO_ATTEMPT = "no attempt"
    BAD_TLS = "bad tls"


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The limits of one daemon.

    Attributes:
        total: unauthenticated connections in all.
        per_source: unauthenticated connections of one source.
        loopback: unauthenticated connections of this machine.
        reserved: slots of ``total`` that only sources without a penalty may take.
        rate: new connections per second, in the long run.
        burst: new connections at once after a quiet time.
        bad_proof: penalty for a wrong or malformed proof, seconds.
        no_attempt: penalty for leaving, or idling, before a proof, seconds.
        bad_tls: penalty for a failed TLS handshake, seconds.
        refuse_at: penalty from which a source is refused, seconds.
        penalty_cap: the most penalty that a source can have, seconds.
        sources: sources remembered.
        log_interval: least time between two log lines about one source, seconds.
        sessions: authenticated connections in all.
        sessions_per_key: authenticated connections of one key.
    """

    total: int = 64
    per_source: int = 8
    loopback: int = 32
    reserved: int = 8
    rate: float = 50.0
    burst: int = 100
    bad_proof: float = 5.0
    no_attempt: float = 1.0
    bad_tls: float = 1.0
    refuse_at: float = 15.0
    penalty_cap: float = 300.0
    sources: int = 4096
    log_interval: float = 10.0
    sessions: int = 256
    sessions_per_key: int = 64

    def penalty(self, offence: Offence) -> float:
        """Seconds that ``offence`` costs."""
        if offence is Offence.BAD_PROOF:
            return self.bad_proof
        return self.no_attempt if offence is Offence.NO_ATTEMPT else self.bad_tls


@dataclass(slots=True)
class _Source:
    """What is remembered about a source: when its penalty ends, when it may be logged again."""

    penalty_ends: float
    log_again: float


class Admission:
    """The counts behind the door.

    Args:
        limits: the limits; the defaults suit a lab.

    Attributes:
        counters: how often what happened: ``admitted``, ``log suppressed``, and the values of
            :class:`Refusal` and :class:`Offence`.
    """

    def __init__(self, limits: AdmissionLimits | None = None) -> None:
        self.limits = AdmissionLimits() if limits is None else limits
        self.counters: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._sessions: Counter[bytes] = Counter()
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._tokens = float(self.limits.burst)
        self._refilled: float | None = None

    def admit(self, address: str, now: float) -> Refusal | None:
        """Ask whether a connection from ``address`` may have a slot, and take it if so.

        Args:
            address: the peer's IP address as the socket tells it.
            now: monotonic seconds.

        Returns:
            None if admitted (then :meth:`release` is due later), else why not.
        """
        source = _source(address)
        refusal = self._refusal(source, now)
        if refusal is None:
            self._tokens -= 1
            self._open[source] += 1
        self.counters["admitted" if refusal is None else refusal.value] += 1
        return refusal

    def release(self, address: str) -> None:
        """Give the slot back: the connection has ended or has been authenticated.

        Raises:
            ValueError: ``address`` holds no slot.
        """
        _decrement(self._open, _source(address), address)

    def penalise(self, address: str, offence: Offence, now: float) -> None:
        """Count an offence of ``address`` and add its penalty."""
        self.counters[offence.value] += 1
        record = self._remember(_source(address), now)
        ends = max(record.penalty_ends, now) + self.limits.penalty(offence)
        record.penalty_ends = min(ends, now + self.limits.penalty_cap)

    def authenticated(self, kid: bytes) -> Refusal | None:
        """Ask whether one more session of key ``kid`` may begin, and count it if so.

        Returns:
            None if it may (then :meth:`departed` is due later), else why not.
        """
        refusal = None
        if self._sessions.total() >= self.limits.sessions:
            refusal = Refusal.SESSIONS_FULL
        elif self._sessions[kid] >= self.limits.sessions_per_key:
            refusal = Refusal.KEY_FULL
        if refusal is None:
            self._sessions[kid] += 1
        else:
            self.counters[refusal.value] += 1
        return refusal

    def departed(self, kid: bytes) -> None:
        """A session of key ``kid`` has ended.

        Raises:
            ValueError: there is none.
        """
        _decrement(self._sessions, kid, kid.hex())

    def may_log(self, address: str, now: float) -> bool:
        """Whether a line about ``address`` may be logged now; if so, the next must wait."""
        record = self._remember(_source(address), now)
        if now < record.log_again:
            self.counters["log suppressed"] += 1
            return False
        record.log_again = now + self.limits.log_interval
        return True

    def _refusal(self, source: str, now: float) -> Refusal | None:
        limits = self.limits
        penalty = 0.0 if source == _LOOPBACK else self._penalty(source, now)
        if penalty >= limits.refuse_at:
            return Refusal.PENALISED
        self._refill(now)
        if self._tokens < 1:
            return Refusal.RATE
        waiting = self._open.total()
        if penalty > 0 and waiting >= limits.total - limits.reserved:
            return Refusal.RESERVED
        if self._open[source] >= (limits.loopback if source == _LOOPBACK else limits.per_source):
            return Refusal.SOURCE_FULL
        return Refusal.FULL if waiting >= limits.total else None

    def _refill(self, now: float) -> None:
        if self._refilled is not None:
            gained = max(0.0, now - self._refilled) * self.limits.rate
            self._tokens = min(float(self.limits.burst), self._tokens + gained)
        self._refilled = now

    def _penalty(self, source: str, now: float) -> float:
        record = self._sources.get(source)
        if record is None:
            return 0.0
        self._sources.move_to_end(source)
        return max(0.0, record.penalty_ends - now)

    def _remember(self, source: str, now: float) -> _Source:
        record = self._sources.setdefault(source, _Source(penalty_ends=now, log_again=now))
        self._sources.move_to_end(source)
        if len(self._sources) > self.limits.sources:
            self._sources.popitem(last=False)
        return record


def same_source(one: str, other: str) -> bool:
    """Whether two addresses share their slots and their penalties."""
    return _source(one) == _source(other)


def _source(address: str) -> str:
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # a dual-stack socket shows IPv4 peers this way
    if ip.is_loopback:
        return _LOOPBACK
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    # Whoever has one IPv6 address has its whole /64.
    return ip.packed[:8].hex()


def _decrement(counts: Counter[_Counted], counted: _Counted, shown: str) -> None:
    if counts[counted] <= 0:
        raise ValueError(f"{shown} holds no place that could be given back")
    counts[counted] -= 1
    if not counts[counted]:
        del counts[counted]  # or the table would grow with every address ever seen
