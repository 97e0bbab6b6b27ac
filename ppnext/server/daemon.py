"""The daemon: sessions, their fair shares, signals, and the end.

Each client session has workers of its own. The daemon decides how many: whenever what a session
could use changes, or a worker has gone, shares are computed anew, sessions above their share lose
workers (after the job they run), and those below get new ones as slots become free. A session that
has given its slots to others may keep a worker that is idle.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
import signal
import socket
import sys
from collections.abc import Mapping

from ppnext.errors import DiscoveryUnavailable
from ppnext.nodes.local import WorkerPool
from ppnext.nodes.relief import Relief
from ppnext.runtime.addresses import Address
from ppnext.runtime.discovery import Advertiser, advertise
from ppnext.runtime.listener import Admitted, Listener
from ppnext.runtime.loop import Turn
from ppnext.runtime.processes import reap_orphans
from ppnext.runtime.tls import ephemeral_certificate
from ppnext.sched.fairshare import is_crowded, offers, shares
from ppnext.sched.stock import Stock
from ppnext.server.config import Config
from ppnext.server.draining import SIGNAL as DRAIN
from ppnext.server.guests import Guests
from ppnext.server.interfaces import is_loopback
from ppnext.server.keyring import AcceptedKeys
from ppnext.server.session import Session
from ppnext.server.shelf import Shelf
from ppnext.server.yielding import Courtesy, Yielding
from ppnext.version import VERSION
from ppnext.wire.admission import Admission
from ppnext.wire.connection import Heartbeat
from ppnext.wire.messages import PROTOCOL, Hello

__all__ = ["Daemon"]

_log = logging.getLogger("ppnext.server")

_KEY_CHECK = 5.0
"""Seconds between two looks at the key file."""

_TURN = 1.0
"""Seconds after which the odd slot goes to the next session."""

_MOST_EXTENSIONS = 30
"""How often a turn goes on because a worker is being started; it may be one that hangs."""

_SPARE = 1
"""Idle workers that a session may keep while others use its slots: its next job then waits for a
slot only, and not for a process to be started as well."""


class Daemon:
    """A ppserver.

    Args:
        loop: the event loop of the process.
        config: what it was told.
        sockets: listening sockets.
        keys: the keys that clients may prove.
        environment: for workers.
        courtesy: how it gives slots back while others use its machine; None if it does not.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        sockets: list[socket.socket],
        keys: AcceptedKeys,
        environment: Mapping[str, str],
        courtesy: Courtesy | None = None,
    ) -> None:
        self.daemon_id = secrets.token_bytes(16)
        self._loop = loop
        self._loop_turn = Turn(loop)
        self._config = config
        self._keys = keys
        self._environment = environment
        self._addresses = [Address(*sock.getsockname()[:2]) for sock in sockets]
        self._admission = Admission()
        self._listener = Listener(
            loop,
            sockets,
            ephemeral_certificate(),
            self.daemon_id,
            keys.lookup,
            self._admission,
            self._on_client,
        )
        self._shelf = Shelf()
        self._stock = Stock(dict(config.offers), self._on_freed)
        self._is_waking = False
        self._sessions: list[Session] = []
        self._relief = Relief(self._loop_turn, loop.time, self._pools, self._has_jobs)
        self._turn = self._extensions = 0
        # Processes of workers that were not ready when the present turn began.
        self._starting: set[int] = set()
        self._turn_timer: asyncio.TimerHandle | None = None
        self._key_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._advertiser: Advertiser | None = None
        self._advertising: asyncio.Task[None] | None = None
        self._yielding = None if courtesy is None else self._yield(courtesy)
        self._draining = False
        self._ended = asyncio.Event()
        # Before anybody can read that the daemon is there, and tell it to go again.
        self._watch_signals()

    async def run(self) -> None:
        """Serve until told to stop and the last session has ended."""
        self._look_at_keys()
        self._nobody_is_here()
        if self._yielding is not None:
            self._yielding.look()
        if self._config.announce:
            self._advertising = self._loop.create_task(self._advertise())
        try:
            await self._ended.wait()
        finally:
            await self._close()

    # Signals.

    def _watch_signals(self) -> None:
        handlers = {
            "SIGTERM": self.stop,
            "SIGINT": self.stop,
            "SIGHUP": self._reload,
            "SIGUSR1": self._log_stats,
            DRAIN: self.drain,
        }
        for name, handler in handlers.items():
            number = getattr(signal, name, None)
            if number is not None:
                self._loop.add_signal_handler(number, handler)
        if os.getpid() == 1:  # in a container without an init of its own
            self._loop.add_signal_handler(signal.SIGCHLD, self._reap_orphans)

    def _reap_orphans(self) -> None:
        reap_orphans({pid for pool in self._pools() for pid in pool.processes})

    def stop(self) -> None:
        """Drain: take no more jobs, finish those that run, and end. The second time: end now."""
        if self._draining:
            _log.warning("told to stop again: ending now")
            self._ended.set()
        else:
            self.drain()

    def drain(self) -> None:
        """Take no more jobs, finish those that run, and end."""
        if self._draining:
            return
        self._draining = True
        self._listener.close()
        _log.info("draining: %d sessions", len(self._sessions))
        for session in list(self._sessions):
            session.drain()
        if not self._sessions:
            self._ended.set()

    def _reload(self) -> None:
        if self._keys.reload():
            self._close_revoked()

    def _log_stats(self) -> None:
        _log.warning("%d sessions, %s", len(self._sessions), dict(self._admission.counters))
        for session in self._sessions:
            _log.warning(
                "%s: %d jobs done, %d here, %d workers",
                session.label,
                session.jobs_done,
                session.jobs_here,
                len(session.pool.processes),
            )

    # Keys.

    def _look_at_keys(self) -> None:
        if self._keys.reload_if_changed():
            self._close_revoked()
        self._key_timer = self._loop.call_later(_KEY_CHECK, self._look_at_keys)

    def _close_revoked(self) -> None:
        for session in list(self._sessions):
            if self._keys.lookup(session.key.kid) is None:
                _log.warning("the key of %s is not accepted any more", session.label)
                session.close("its key is not accepted any more")

    # Sessions.

    def _on_client(self, client: Admitted) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        silence = min(60.0, max(self._config.socket_timeout, 1.0))
        hello = Hello(
            PROTOCOL,
            VERSION,
            platform.python_version(),
            self._config.name,
            os.getpid(),
            self._config.workers,
            self._config.offers,
        )
        session = Session(
            self._loop_turn,
            self,
            client,
            hello,
            list(sys.path),
            self._environment,
            self._config.restart,
            Heartbeat(interval=min(5.0, silence / 4), dead=silence),
            self._shelf,
            self._stock,
        )
        self._sessions.append(session)
        session.begin()
        self._share_out()

    def on_demand(self, session: Session) -> None:
        self._relief.watch()
        # A session that is alone and has the workers it can use needs no decision.
        enough = session.pool.wanted >= min(session.demand, self._slots)
        if not enough or len(self._sessions) > 1:
            self._share_out()

    def on_closed(self, session: Session) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
        self._admission.departed(session.key.kid)
        self._share_out()
        if not self._sessions:
            if self._draining:
                self._ended.set()
            else:
                self._nobody_is_here()

    def _share_out(self) -> None:
        """Give every session as many workers as it may have now, and tell it how many that is."""
        total = self._slots
        demands = {session: min(session.demand, total) for session in self._sessions}
        lumps = {it: lump for it in self._sessions if (lump := it.lump) is not None}
        parts = shares(total, demands, self._turn, lumps)
        growth = sum(max(0, part - session.pool.wanted) for session, part in parts.items())
        if self._taken() + growth > total:
            for session, part in parts.items():
                session.pool.resize(min(part, session.pool.wanted), _SPARE)
        for session, part in parts.items():
            more = min(part - session.pool.wanted, total - self._taken())
            if more > 0:
                session.pool.resize(session.pool.wanted + more, _SPARE)
        for session, slots in offers(total, demands).items():
            session.offer(slots)
        self._take_turns(is_crowded(total, demands, lumps))

    def _pools(self) -> list[WorkerPool]:
        return [session.pool for session in self._sessions]

    def _has_jobs(self) -> bool:
        return any(session.jobs_here for session in self._sessions)

    @property
    def _slots(self) -> int:
        """How many jobs may run at a time now."""
        return self._config.workers if self._yielding is None else self._yielding.slots

    def _yield(self, courtesy: Courtesy) -> Yielding:
        def guests() -> list[Guests]:
            return [session.guests for session in self._sessions]

        return Yielding(self._loop, courtesy, guests, self._share_out)

    def _taken(self) -> int:
        """Slots that have a worker or will get one: it may be tried again to start one later."""
        return sum(max(it.occupied, it.pool.wanted) for it in self._sessions)

    def _on_freed(self) -> None:
        """Countable things have come back, and a session waits for some."""
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake_sessions)

    def _wake_sessions(self) -> None:
        self._is_waking = False
        for session in list(self._sessions):
            session.look_again()

    def _take_turns(self, crowded: bool) -> None:
        """While sessions cannot all have room for a job, each is to have it now and then."""
        if not crowded and self._turn_timer is not None:
            self._turn_timer.cancel()
            self._turn_timer = None
        elif crowded and self._turn_timer is None:
            self._turn_timer = self._loop.call_later(_TURN, self._next_turn)

    def _next_turn(self) -> None:
        self._turn_timer = None
        # A slot whose job has yet to end before it can change hands is still in the old turn.
        has_begun = all(it.occupied <= it.pool.wanted for it in self._sessions)
        # Where workers take longer than a turn to start, nobody would ever have a turn of use.
        is_of_use = self._starting.isdisjoint(self._start_ups())
        if has_begun and (is_of_use or self._extensions == _MOST_EXTENSIONS):
            self._turn += 1
            self._extensions = 0
        elif has_begun:
            self._extensions += 1
        self._share_out()
        self._starting = self._start_ups()

    def _start_ups(self) -> set[int]:
        return {pid for it in self._sessions for pid in it.pool.starting}

    # The end.

    def _nobody_is_here(self) -> None:
        if self._config.idle_exit is not None:
            self._idle_timer = self._loop.call_later(self._config.idle_exit, self._idle)

    def _idle(self) -> None:
        _log.info("no client for %g s: ending", self._config.idle_exit)
        self.stop()

    async def _close(self) -> None:
        for timer in (self._turn_timer, self._key_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._draining = True
        if self._yielding is not None:
            self._yielding.close()
        self._listener.close()
        for session in list(self._sessions):
            session.close("the daemon has been shut down")
        if self._advertising is not None:
            self._advertising.cancel()
            await asyncio.gather(self._advertising, return_exceptions=True)
        if self._advertiser is not None:
            await self._advertiser.close()

    # mDNS.

    async def _advertise(self) -> None:
        hosts = [address.host for address in self._addresses]
        # Others would take a loopback address for their own; it is told only to this machine.
        hosts = [host for host in hosts if not is_loopback(host)] or hosts
        try:
            self._advertiser = await advertise(
                f"ppnext-{secrets.token_hex(4)}",
                self._addresses[0].port,
                hosts,
                self.daemon_id,
                list(self._config.announce_on) or [host for host in hosts if ":" not in host],
                _log,
            )
        except DiscoveryUnavailable as error:
            _log.warning("not announced: %s", error)
