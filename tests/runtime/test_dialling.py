"""Dialling: what a client says of each way in which a peer is not its daemon."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable

import pytest

from ppnext.errors import HandshakeError, NetworkError
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import Dialled, Impostor, _authenticate, dial, tune, within
from ppnext.runtime.tls import ephemeral_certificate, server_context
from ppnext.wire.frames import CHUNK_LIMIT
from ppnext.wire.handshake import HELLO_SIZE, PROOF_SIZE, ServerHandshake
from ppnext.wire.keys import new_key

PATIENCE = 20.0
IDENTITY = ephemeral_certificate()
CLIENT, DAEMON = b"c" * 16, b"d" * 16
KEY = new_key(secrets.token_bytes(32), bytes(range(16)), "lab")
OTHER = new_key(secrets.token_bytes(32), KEY.kid, "lab")

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def meet(
    peer: Peer, context: ssl.SSLContext | None, deadline: float = PATIENCE, own: bytes = CLIENT
) -> Dialled:
    """Dial somebody who behaves like ``peer``."""
    done: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        done.append(task)
        try:
            await peer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client has left, as it should
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        host, port = server.sockets[0].getsockname()
        return await dial(Address(host, port), KEY, own, deadline)
    finally:
        server.close()
        for task in done:
            task.cancel()
        await asyncio.gather(*done, return_exceptions=True)
        await asyncio.sleep(0.01)  # asyncio's own TLS transports take a while to notice


def told(
    peer: Peer, context: ssl.SSLContext | None, deadline: float = PATIENCE, own: bytes = CLIENT
) -> NetworkError:
    """What dialling such a peer says."""

    async def main() -> NetworkError:
        with pytest.raises(NetworkError) as caught:
            await meet(peer, context, deadline, own)
        assert "\n" not in str(caught.value)
        assert KEY.secret.hex() not in str(caught.value)
        return caught.value

    return asyncio.run(main())


def bare(alpn: list[str], version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A server that knows nothing of us."""
    context = server_context(IDENTITY)
    context.set_alpn_protocols(alpn or ["none"])
    if version is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
    return context


def handshake(key: object = KEY, daemon: bytes = DAEMON) -> ServerHandshake:
    keys = {KEY.kid: KEY} if key is KEY else {OTHER.kid: OTHER}
    return ServerHandshake(keys.get, secrets.token_bytes(32), daemon, IDENTITY.der, OTHER)


async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close at once."""


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def after_proof(answer: Callable[[bytes, bytes], bytes]) -> Peer:
    """A peer that answers both messages, the second with ``answer(hello, proof)``."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await reader.readexactly(HELLO_SIZE)
        writer.write(handshake().receive(hello))
        proof = await reader.readexactly(PROOF_SIZE)
        writer.write(answer(hello, proof))
        await writer.drain()

    return peer


def test_within_keeps_the_deadline_and_passes_on_what_happens() -> None:
    async def main() -> None:
        never = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await never

        async def give() -> int:
            return 3

        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, wait())
        assert await within(PATIENCE, give()) == 3

    asyncio.run(main())


def test_within_does_not_swallow_a_cancellation() -> None:
    """Not even one that arrives in the turn in which what was waited for is done."""

    async def main() -> None:
        ready = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await ready

        task = asyncio.ensure_future(within(PATIENCE, wait()))
        await asyncio.sleep(0)  # one turn of the loop
        ready.set_result(None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_socket_sends_at_once_and_queues_little() -> None:
    """In the kernel nothing overtakes anything; what waits there is what a small job waits for."""
    with socket.socket() as sock:
        tune(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if sys.platform == "linux":
            unsent = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert 0 < unsent <= CHUNK_LIMIT


def test_nothing_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NetworkError, match="nothing listens there; is ppserver running"):
        asyncio.run(dial(Address("127.0.0.1", port), KEY, CLIENT))


def test_closed_before_tls() -> None:
    error = told(leave, None)
    assert "refused the TLS handshake" in str(error)
    assert "overloaded" in str(error)


def test_a_peer_without_tls() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()

    assert "it is no ppserver" in str(told(peer, None))


def test_a_peer_with_tls_1_2() -> None:
    assert "refused the TLS handshake" in str(
        told(stay_silent, bare(["ppnext/1"], ssl.TLSVersion.TLSv1_2))
    )


@pytest.mark.parametrize("alpn", [[], ["h2"], ["ppnext/2"]], ids=str)
def test_a_peer_of_another_protocol(alpn: list[str]) -> None:
    error = told(stay_silent, bare(alpn))
    assert isinstance(error, HandshakeError)
    assert "not a ppnext daemon, or one of an incompatible version" in str(error)


def test_closed_before_the_hello() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(HELLO_SIZE)

    assert "closed the connection before its hello" in str(told(peer, server_context(IDENTITY)))


def test_another_version_of_the_handshake() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = bytearray(handshake().receive(await reader.readexactly(HELLO_SIZE)))
        hello[5] = 2
        writer.write(bytes(hello))
        await writer.drain()
        await reader.read()

    assert "the same version of ppnext" in str(told(peer, server_context(IDENTITY)))


def test_closed_after_the_proof_names_the_key_and_the_command() -> None:
    error = told(after_proof(lambda hello, proof: b""), server_context(IDENTITY))
    assert f"the daemon does not accept key {KEY.label}" in str(error)
    assert "ppserver --list-keys" in str(error)
    assert not isinstance(error, Impostor)


@pytest.mark.parametrize(
    "answer",
    [
        lambda hello, proof: secrets.token_bytes(PROOF_SIZE),
        lambda hello, proof: bytes(PROOF_SIZE),
        lambda hello, proof: proof,
        lambda hello, proof: hello[:PROOF_SIZE],
    ],
    ids=["random", "zeros", "ours sent back", "our hello sent back"],
)
def test_a_false_proof_is_an_impostor(answer: Callable[[bytes, bytes], bytes]) -> None:
    error = told(after_proof(answer), server_context(IDENTITY))
    assert isinstance(error, Impostor)
    assert "SECURITY: the peer does not know key" in str(error)


def test_a_daemon_with_another_certificate_than_it_says_is_refused() -> None:
    """A man in the middle: it relays a real daemon's messages over a channel of its own."""
    real = ephemeral_certificate()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = ServerHandshake({KEY.kid: KEY}.get, secrets.token_bytes(32), DAEMON, real.der, OTHER)
        writer.write(ours.receive(await reader.readexactly(HELLO_SIZE)))
        with pytest.raises(HandshakeError):
            ours.receive(await reader.readexactly(PROOF_SIZE))

    assert "does not accept key" in str(told(peer, server_context(IDENTITY)))


def test_a_mirror_is_refused() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(HELLO_SIZE))
        await writer.drain()
        await reader.read()

    assert "message type 1 in its place" in str(told(peer, server_context(IDENTITY)))


def test_this_very_process_is_refused() -> None:
    error = told(after_proof(lambda hello, proof: b""), server_context(IDENTITY), own=DAEMON)
    assert "connected to itself" in str(error)


@pytest.mark.parametrize("secure", [False, True], ids=["before tls", "after tls"])
def test_silence_ends_at_the_deadline(secure: bool) -> None:
    error = told(stay_silent, server_context(IDENTITY) if secure else None, deadline=0.3)
    assert "did not answer within 0.3 s" in str(error)


def test_what_arrives_behind_the_proof_is_kept() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = handshake()
        writer.write(ours.receive(await reader.readexactly(HELLO_SIZE)))
        writer.write(ours.receive(await reader.readexactly(PROOF_SIZE)) + b"the first frame")
        await writer.drain()
        await reader.read()

    async def main() -> None:
        dialled = await meet(peer, server_context(IDENTITY))
        with dialled.socket:
            assert dialled.daemon_id == DAEMON
            assert b"the first frame".startswith(dialled.leftover)

    asyncio.run(main())


class CutChannel:
    """A TLS channel whose other end went away without a word, as sockets report it."""

    def getpeercert(self, binary_form: bool) -> bytes:
        return b"certificate"

    def send(self, data: memoryview) -> int:
        raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")


def test_a_connection_that_is_cut_is_told_in_words_for_people() -> None:
    with pytest.raises(HandshakeError, match="closed the connection before its hello"):
        asyncio.run(_authenticate(CutChannel(), KEY, CLIENT))  # type: ignore[arg-type]  # a fake channel
