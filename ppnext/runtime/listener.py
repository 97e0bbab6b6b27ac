"""The listener: how a daemon admits and authenticates clients.

It accepts connections itself, so that each can be counted and refused before TLS costs anything.
An admitted stranger has one deadline for TLS and the handshake together; whatever goes wrong, the
connection is closed without a byte of explanation, and the reason stays in this daemon's log.

Where all slots are taken, whoever has held one longest gives way to the newcomer: an honest client
needs milliseconds, and the rate at which newcomers are admitted leaves it most of a second. So slow
strangers keep nobody out.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ppnext.errors import HandshakeError, ListenError
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import read_some, shake_tls, tune, within, write_all
from ppnext.runtime.tls import Identity, check_channel, server_context
from ppnext.wire.admission import Admission, Offence, Refusal, same_source
from ppnext.wire.handshake import NONCE_SIZE, PRE_AUTH_SIZE, ServerHandshake
from ppnext.wire.keys import Key

__all__ = ["Admitted", "Listener", "listen"]

_log = logging.getLogger("ppnext.network")

_TLS_DEADLINE = 5.0
_DEADLINE = 10.0
_BACKLOG = 128
_ACCEPTS_PER_TURN = 16
_PAUSE = 1.0
"""Most seconds without accepting when there are no descriptors left."""
_COMPLAINTS = 10.0
"""Least seconds between two complaints about that."""

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Admitted(NamedTuple):
    """An authenticated client."""

    socket: ssl.SSLSocket
    peer: str
    """Its IP address."""
    key: Key
    client_id: bytes
    session_id: bytes
    leftover: bytes


@dataclass(slots=True)
class _Stranger:
    """A connection that is not authenticated.

    Attributes:
        socket: its socket.
        peer: its IP address.
        offence: what its failing now would be.
        admitted: whether it holds a slot.
        authenticated: whether it is no stranger any more, and its socket somebody else's.
    """

    socket: socket.socket
    peer: str
    offence: Offence = Offence.BAD_TLS
    admitted: bool = True
    authenticated: bool = False


def listen(addresses: list[str], port: int) -> list[socket.socket]:
    """Listen on each of these IP addresses, with the same port.

    Args:
        port: 0 for any free one.

    Raises:
        ListenError: one of them cannot be listened on; none is then.
    """
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            port = sock.getsockname()[1]
    except OSError as error:
        for sock in sockets:
            sock.close()
        where = Address(address, port)
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = "; another ppserver may be running: stop it, or give this one another --port"
        raise ListenError(f"cannot listen on {where}: {error.strerror or error}{hint}") from error
    return sockets


class Listener:
    """Accepts, admits and authenticates. Lives on the daemon's event loop.

    Args:
        loop: the event loop.
        sockets: listening sockets; the listener closes them.
        identity: this daemon's certificate.
        daemon_id: 16 bytes that name this daemon.
        lookup: finds an accepted key by its id.
        admission: the limits.
        on_client: called with each authenticated client.
        deadline: seconds that a stranger has for everything.
        tls_deadline: seconds of them for TLS.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sockets: list[socket.socket],
        identity: Identity,
        daemon_id: bytes,
        lookup: Callable[[bytes], Key | None],
        admission: Admission,
        on_client: Callable[[Admitted], None],
        deadline: float = _DEADLINE,
        tls_deadline: float = _TLS_DEADLINE,
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._identity = identity
        self._context = server_context(identity)
        self._daemon_id = daemon_id
        self._lookup = lookup
        self._admission = admission
        self._on_client = on_client
        self._deadline = deadline
        self._tls_deadline = tls_deadline
        # Stands in for a key that is not known, so that this costs the same time.
        self._dummy = Key(secrets.token_bytes(16), secrets.token_bytes(32), "dummy")
        # Whoever is not authenticated yet; who has waited longest is first.
        self._strangers: dict[asyncio.Task[None], _Stranger] = {}
        # Sockets on which nothing is accepted for now, and when that ends at the latest.
        self._paused: list[socket.socket] = []
        self._resume: asyncio.TimerHandle | None = None
        self._complain_from = 0.0
        self._closed = False
        for sock in sockets:
            loop.add_reader(sock.fileno(), self._accept, sock)

    def close(self) -> None:
        """Stop listening, and drop those who are not authenticated yet."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        for task in self._strangers:
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                self._pause(listening, error)
                return
            self._admit(sock, address[0])

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Without descriptors accepting would fail again and again; somebody may give one back."""
        if self._loop.time() >= self._complain_from:
            self._complain_from = self._loop.time() + _COMPLAINTS
            _log.warning("cannot accept connections for now: %s", error.strerror)
        self._loop.remove_reader(listening.fileno())
        self._paused.append(listening)
        if self._resume is None:
            self._resume = self._loop.call_later(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        """Accept again: a descriptor was given back, or it may be tried."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        paused, self._paused = self._paused, []
        for listening in paused if not self._closed else ():
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _admit(self, sock: socket.socket, peer: str) -> None:
        refusal = self._admission.admit(peer, self._loop.time())
        if refusal in (Refusal.SOURCE_FULL, Refusal.FULL) and self._make_room(peer, refusal):
            refusal = self._admission.admit(peer, self._loop.time())
        if refusal is not None:
            self._note(peer, f"refused: {refusal.value}")
            sock.close()
            return
        stranger = _Stranger(sock, peer)
        task = self._loop.create_task(self._serve(stranger))
        self._strangers[task] = stranger
        task.add_done_callback(self._ended)

    def _make_room(self, peer: str, refusal: Refusal) -> bool:
        """Have whoever has waited longest give way; of the newcomer's source if that is full."""
        for task, stranger in self._strangers.items():
            theirs = refusal is Refusal.FULL or same_source(stranger.peer, peer)
            if stranger.admitted and theirs:
                self._fail(stranger, "had to give way, it was too slow")
                self._give_back(stranger)
                task.cancel()
                return True
        return False

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Close what was not authenticated; a task that gave way may not even have begun."""
        stranger = self._strangers.pop(task)
        self._give_back(stranger)
        if not stranger.authenticated:
            stranger.socket.close()
            self._go_on()

    def _fail(self, stranger: _Stranger, how: str) -> None:
        self._admission.penalise(stranger.peer, stranger.offence, self._loop.time())
        self._note(stranger.peer, how)

    def _give_back(self, stranger: _Stranger) -> None:
        """Give the slot back, once."""
        if stranger.admitted:
            stranger.admitted = False
            self._admission.release(stranger.peer)

    async def _serve(self, stranger: _Stranger) -> None:
        """Authenticate one client; whatever fails, the connection is closed without a word."""
        try:
            handshake = await within(self._deadline, self._greet(stranger))
        except (HandshakeError, OSError, asyncio.TimeoutError) as error:
            self._fail(stranger, f"not authenticated: {str(error) or 'it was too slow'}")
            return
        finally:
            self._give_back(stranger)
        admitted = self._session(stranger.socket, stranger.peer, handshake)
        if admitted is not None:
            stranger.authenticated = True
            self._on_client(admitted)

    async def _greet(self, stranger: _Stranger) -> ServerHandshake:
        stranger.socket.setblocking(False)
        tune(stranger.socket)
        channel = self._context.wrap_socket(
            stranger.socket, server_side=True, do_handshake_on_connect=False
        )
        stranger.socket = channel
        await within(self._tls_deadline, shake_tls(channel))
        check_channel(channel)
        nonce = secrets.token_bytes(NONCE_SIZE)
        handshake = ServerHandshake(
            self._lookup, nonce, self._daemon_id, self._identity.der, self._dummy
        )
        while not handshake.done:
            stranger.offence = Offence.NO_ATTEMPT
            data = await read_some(channel, PRE_AUTH_SIZE)
            if not data:
                raise handshake.closed()
            stranger.offence = Offence.BAD_PROOF
            await write_all(channel, handshake.receive(data))
        return handshake

    def _session(
        self, channel: socket.socket, peer: str, handshake: ServerHandshake
    ) -> Admitted | None:
        if handshake.key is None or not isinstance(channel, ssl.SSLSocket):
            raise AssertionError("a finished handshake has no key or no TLS")
        refusal = self._admission.authenticated(handshake.key.kid)
        if refusal is not None:
            self._note(peer, f"key {handshake.key.label} refused: {refusal.value}")
            return None
        return Admitted(
            channel,
            peer,
            handshake.key,
            handshake.client_id,
            handshake.session_id,
            handshake.leftover,
        )

    def _note(self, peer: str, what: str) -> None:
        if self._admission.may_log(peer, self._loop.time()):
            _log.warning("client at %s %s", peer, what)
