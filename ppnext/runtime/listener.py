"""The listener: how a daemon admits and authenticates clients.

It accepts connections itself, so that each can be counted and refused before TLS costs anything.
An admitted stranger has one deadline for TLS and the handshake together; whatever goes wrong, the
connection is closed without a byte of explanation, and the reason stays in this daemon's log.
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
from ppnext.wire.admission import Admission, Offence
from ppnext.wire.handshake import NONCE_SIZE, PRE_AUTH_SIZE, ServerHandshake
from ppnext.wire.keys import Key

__all__ = ["Admitted", "Listener", "listen"]

_log = logging.getLogger("ppnext.network")

_TLS_DEADLINE = 5.0
_DEADLINE = 10.0
_BACKLOG = 128
_ACCEPTS_PER_TURN = 16
_PAUSE = 1.0
"""Seconds without accepting when there are no descriptors left."""

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
    """A connection that is not authenticated: its socket, and what its failing now would be."""

    socket: socket.socket
    offence: Offence = Offence.BAD_TLS


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
        self._tasks: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
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
        for task in self._tasks:
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
        """Without descriptors accepting would fail again and again; sessions may free some."""
        _log.warning("cannot accept connections for now: %s", error.strerror)
        self._loop.remove_reader(listening.fileno())

        def resume() -> None:
            if self._closed:
                return
            self._loop.add_reader(listening.fileno(), self._accept, listening)

        self._resume = self._loop.call_later(_PAUSE, resume)

    def _admit(self, sock: socket.socket, peer: str) -> None:
        refusal = self._admission.admit(peer, self._loop.time())
        if refusal is not None:
            self._note(peer, f"refused: {refusal.value}")
            sock.close()
            return
        task = self._loop.create_task(self._serve(sock, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        """Authenticate one client; whatever fails, close without a word."""
        stranger = _Stranger(sock)
        admitted: Admitted | None = None
        try:
            handshake = await within(self._deadline, self._greet(stranger))
            admitted = self._session(stranger.socket, peer, handshake)
        except (HandshakeError, OSError, asyncio.TimeoutError) as error:
            self._admission.penalise(peer, stranger.offence, self._loop.time())
            self._note(peer, f"not authenticated: {str(error) or 'it was too slow'}")
        finally:
            self._admission.release(peer)
            if admitted is None:
                stranger.socket.close()
        if admitted is not None:
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
