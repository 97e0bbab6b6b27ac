"""Dialling: how a connection to a daemon is made and authenticated; and the steps both ends share.

TCP, then TLS 1.3, then the four messages of ``ppnext.wire.handshake``; one deadline covers all of
it. What comes out is a socket with an authenticated daemon at its other end. Until then nothing
that arrived was read as anything but bytes of a fixed size.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Coroutine
from typing import NamedTuple, TypeVar

from ppnext.errors import HandshakeError, NetworkError
from ppnext.runtime.addresses import Address
from ppnext.runtime.tls import check_channel, client_context, peer_certificate
from ppnext.wire.handshake import NONCE_SIZE, PRE_AUTH_SIZE, ClientHandshake
from ppnext.wire.keys import Key

__all__ = ["Dialled", "Impostor", "dial", "read_some", "shake_tls", "tune", "within", "write_all"]

T = TypeVar("T")

_DEADLINE = 15.0
"""Seconds from the first packet to the daemon's proof."""

_CONNECT = 3.0
"""Seconds for one address to answer at all, so that dead addresses do not hold up living ones."""


_MOST_UNSENT = 256 * 1024
"""Bytes that wait in the kernel before it says that the socket is full."""


class Impostor(HandshakeError):
    """The peer answered as a daemon does, with a proof that no daemon of ours gives."""


class Dialled(NamedTuple):
    """An authenticated connection to a daemon."""

    socket: ssl.SSLSocket
    daemon_id: bytes
    session_id: bytes
    leftover: bytes
    """Bytes that arrived after the handshake."""


async def dial(
    address: Address, key: Key, client_id: bytes, deadline: float = _DEADLINE
) -> Dialled:
    """Connect to a daemon and authenticate both ends.

    Args:
        address: where it listens.
        key: the key both ends know.
        client_id: 16 bytes that name this process.
        deadline: seconds from the first packet to the daemon's proof.

    Raises:
        NetworkError: it did not work; the message says how far it came and what to do.
        Impostor: the peer does not know the key.
    """
    try:
        return await within(deadline, _dial(address, key, client_id))
    except asyncio.TimeoutError:
        raise NetworkError(f"{address} did not answer within {deadline:g} s") from None
    except OSError as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"{address}: {error.strerror or error}") from error


async def _dial(address: Address, key: Key, client_id: bytes) -> Dialled:
    sock = await _connect(address)
    try:
        tune(sock)
        channel = client_context().wrap_socket(sock, do_handshake_on_connect=False)
    except BaseException:  # also when cancelled
        sock.close()
        raise
    try:
        try:
            await shake_tls(channel)
        except (ssl.SSLError, ConnectionError) as error:
            raise HandshakeError(
                f"{address} refused the TLS handshake ({_reason(error)}): it is no ppserver, or "
                "it is overloaded or refuses this address for a while; its log says which"
            ) from error
        check_channel(channel)
        return await _authenticate(channel, key, client_id)
    except BaseException:  # also when cancelled
        channel.close()
        raise


async def _authenticate(channel: ssl.SSLSocket, key: Key, client_id: bytes) -> Dialled:
    nonce = secrets.token_bytes(NONCE_SIZE)
    handshake = ClientHandshake(key, nonce, client_id, peer_certificate(channel))
    try:
        await write_all(channel, handshake.hello())
        while not handshake.done:
            data = await read_some(channel, PRE_AUTH_SIZE)
            if not data:
                raise handshake.closed()
            await write_all(channel, handshake.receive(data))
    except HandshakeError as error:
        raise (Impostor(str(error)) if handshake.impostor else error) from None
    except (ConnectionError, ssl.SSLError) as error:
        raise handshake.closed() from error
    return Dialled(channel, handshake.daemon_id, handshake.session_id, handshake.leftover)


async def _connect(address: Address) -> socket.socket:
    """Connect to the first of a host's addresses that answers."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    failure: Exception = NetworkError(f"{address}: the name has no address")
    for family, kind, protocol, _, target in found:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await within(_CONNECT, loop.sock_connect(sock, target))
        except (OSError, asyncio.TimeoutError) as error:
            sock.close()
            failure = error
        except BaseException:  # also when cancelled
            sock.close()
            raise
        else:
            return sock
    if isinstance(failure, asyncio.TimeoutError):
        raise NetworkError(f"{address} does not answer: is it up, and the port open?")
    if isinstance(failure, ConnectionRefusedError):
        raise NetworkError(f"{address}: nothing listens there; is ppserver running?") from failure
    raise failure


async def within(seconds: float, work: Coroutine[object, object, T]) -> T:
    """Await ``work`` for so long at most.

    Unlike ``asyncio.wait_for`` before Python 3.12, it does not swallow a cancellation from
    outside that arrives in the turn in which something that is waited for is done.

    Raises:
        asyncio.TimeoutError: it took longer, and has been cancelled.
    """
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("a coroutine runs outside of a task")
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        return await work
    except asyncio.CancelledError:
        if expired:
            raise asyncio.TimeoutError from None
        raise
    finally:
        timer.cancel()


def tune(sock: socket.socket) -> None:
    """Set what both ends want of their TCP sockets.

    Small messages leave at once, and what is queued is queued here, where small messages overtake
    large payloads, and not in the kernel, where they cannot.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux and macOS
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)


async def shake_tls(channel: ssl.SSLSocket) -> None:
    """Carry out the TLS handshake of a non-blocking socket."""
    while True:
        try:
            channel.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(channel, writing=False)
        except ssl.SSLWantWriteError:
            await _ready(channel, writing=True)
        else:
            return


async def read_some(channel: ssl.SSLSocket, size: int) -> bytes:
    """Return at least one byte and at most ``size``; nothing at the end of the stream."""
    while True:
        try:
            return channel.recv(size)
        except ssl.SSLWantReadError:
            await _ready(channel, writing=False)
        except ssl.SSLWantWriteError:
            await _ready(channel, writing=True)


async def write_all(channel: ssl.SSLSocket, data: bytes) -> None:
    """Send all of ``data``."""
    view = memoryview(data)
    while view:
        try:
            view = view[channel.send(view) :]
        except ssl.SSLWantReadError:
            await _ready(channel, writing=False)
        except ssl.SSLWantWriteError:
            await _ready(channel, writing=True)


async def _ready(channel: ssl.SSLSocket, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    descriptor = channel.fileno()
    (loop.add_writer if writing else loop.add_reader)(descriptor, wake)
    try:
        await ready
    finally:
        (loop.remove_writer if writing else loop.remove_reader)(descriptor)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
