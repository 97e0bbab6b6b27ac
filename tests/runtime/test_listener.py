"""The listener: who is let in, and what everybody else gets to see: nothing."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType

import pytest

from ppnext.errors import HandshakeError, ListenError, NetworkError
from ppnext.runtime.addresses import Address
from ppnext.runtime.dialling import dial, read_some, shake_tls, write_all
from ppnext.runtime.listener import Admitted, Listener, listen
from ppnext.runtime.tls import client_context, ephemeral_certificate, peer_certificate
from ppnext.wire.admission import Admission, AdmissionLimits
from ppnext.wire.handshake import HELLO_SIZE, NONCE_SIZE, ClientHandshake
from ppnext.wire.keys import Key, new_key

PATIENCE = 20.0
IDENTITY = ephemeral_certificate()
DAEMON, CLIENT = b"d" * 16, b"c" * 16
KEY = new_key(secrets.token_bytes(32), bytes(range(16)), "lab")
IMPOSTOR = new_key(secrets.token_bytes(32), KEY.kid, "lab")
STRANGER = new_key(secrets.token_bytes(32), b"o" * 16, "other")


class Door:
    """A listener on loopback in this event loop, and those it has admitted."""

    def __init__(self, limits: AdmissionLimits | None = None, **deadlines: float) -> None:
        self.admission = Admission(limits)
        self.admitted: asyncio.Queue[Admitted] = asyncio.Queue()
        self._open: list[socket.socket] = []
        self._sockets = listen(["127.0.0.1"], 0)
        self.address = Address("127.0.0.1", self._sockets[0].getsockname()[1])
        self.listener = Listener(
            asyncio.get_running_loop(),
            self._sockets,
            IDENTITY,
            DAEMON,
            {KEY.kid: KEY}.get,
            self.admission,
            self._on_client,
            **deadlines,
        )

    def _on_client(self, client: Admitted) -> None:
        self._open.append(client.socket)
        self.admitted.put_nowait(client)

    def counts(self) -> dict[str, int]:
        """What was counted, but for the log."""
        counters = self.admission.counters
        return {name: n for name, n in counters.items() if n and name != "log suppressed"}

    async def connect(self) -> socket.socket:
        sock = socket.socket()
        self._open.append(sock)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (self.address.host, self.address.port))
        return sock

    async def tls(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        channel = (context or client_context()).wrap_socket(
            await self.connect(), do_handshake_on_connect=False
        )
        self._open.append(channel)
        await asyncio.wait_for(shake_tls(channel), PATIENCE)
        return channel

    async def __aenter__(self) -> Door:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.listener.close()
        for sock in self._open:
            sock.close()
        await asyncio.sleep(0)  # cancelled handshakes end in the next turn


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), PATIENCE)

    asyncio.run(bounded())


async def all_that_comes(sock: socket.socket) -> bytes:
    """Everything up to the end of the stream, however it ends."""
    loop = asyncio.get_running_loop()
    received = b""
    try:
        while True:
            if isinstance(sock, ssl.SSLSocket):
                data = await read_some(sock, 4096)
            else:
                data = await loop.sock_recv(sock, 4096)
            if not data:
                return received
            received += data
    except (ConnectionError, ssl.SSLError):  # an alert is no byte of ours
        return received


def hello(key: Key, channel: ssl.SSLSocket) -> ClientHandshake:
    nonce = secrets.token_bytes(NONCE_SIZE)
    return ClientHandshake(key, nonce, CLIENT, peer_certificate(channel))


# Admitted.


def test_a_client_with_the_key_is_admitted() -> None:
    async def main() -> None:
        async with Door() as door:
            dialled = await dial(door.address, KEY, CLIENT)
            client = await door.admitted.get()
            assert dialled.daemon_id == DAEMON
            assert client[1:] == ("127.0.0.1", KEY, CLIENT, dialled.session_id, b"")
            assert door.counts() == {"admitted": 1}
            door.admission.departed(KEY.kid)
            await write_all(dialled.socket, b"both ways")
            assert await read_some(client.socket, 100) == b"both ways"
            dialled.socket.close()

    run(main)


def test_the_slot_comes_back_whatever_happened() -> None:
    async def main() -> None:
        async with Door(AdmissionLimits(loopback=1)) as door:
            for _ in range(3):
                with pytest.raises(HandshakeError):
                    await dial(door.address, IMPOSTOR, CLIENT)
                dialled = await dial(door.address, KEY, CLIENT)
                await door.admitted.get()
                dialled.socket.close()

    run(main)


def test_bytes_behind_the_proof_come_before_ours_and_are_refused() -> None:
    async def main() -> None:
        async with Door() as door:
            channel = await door.tls()
            handshake = hello(KEY, channel)
            await write_all(channel, handshake.hello())
            proof = handshake.receive(await read_some(channel, HELLO_SIZE))
            await write_all(channel, proof + b"too early")
            assert await all_that_comes(channel) == b""
            assert door.counts() == {"admitted": 1, "bad proof": 1}

    run(main)


# Refused without a word.


def test_the_wrong_key_and_an_unknown_one_look_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Same bytes, same order, same end; only the daemon's own log tells them apart."""

    async def transcript(door: Door, key: Key) -> list[int | bytes]:
        channel = await door.tls()
        handshake = hello(key, channel)
        await write_all(channel, handshake.hello())
        answer = await read_some(channel, 4096)
        await write_all(channel, handshake.receive(answer))
        rest = await all_that_comes(channel)
        nonce = slice(8, 8 + NONCE_SIZE)
        return [len(answer), answer[: nonce.start] + answer[nonce.stop :], rest]

    async def main() -> None:
        limits = AdmissionLimits(log_interval=0)
        async with Door(limits) as door:
            wrong, unknown = await transcript(door, IMPOSTOR), await transcript(door, STRANGER)
            assert wrong == unknown
            assert wrong[2] == b""
            assert door.counts() == {"admitted": 2, "bad proof": 2}

    run(main)
    assert "does not know the secret of key lab" in caplog.text
    assert "unknown, revoked or expired" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\x00" * 200,
        b"\x80\x2e\x01\x03\x01",
    ],
    ids=["http", "ssh", "zeros", "sslv2"],
)
def test_other_protocols_get_no_byte_of_ours(text: bytes) -> None:
    async def main() -> None:
        async with Door(tls_deadline=0.2) as door:
            sock = await door.connect()
            await asyncio.get_running_loop().sock_sendall(sock, text)
            answer = await all_that_comes(sock)
            # TLS itself may send an alert, which says nothing but that this is TLS.
            assert len(answer) in (0, 7)
            assert answer[:1] in (b"", b"\x15")
            assert door.counts() == {"admitted": 1, "bad tls": 1}

    run(main)


def test_tls_1_2_is_refused() -> None:
    async def main() -> None:
        async with Door() as door:
            context = client_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError, match="protocol version"):
                await door.tls(context)
            while "bad tls" not in door.counts():
                await asyncio.sleep(0)  # one turn of the loop
            assert door.counts() == {"admitted": 1, "bad tls": 1}

    run(main)


@pytest.mark.parametrize("names", [[], ["h2"], ["ppnext/2"]], ids=str)
def test_another_alpn_name_is_refused_before_a_byte(names: list[str]) -> None:
    async def main() -> None:
        async with Door() as door:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if names:
                context.set_alpn_protocols(names)
            channel = await door.tls(context)
            assert channel.selected_alpn_protocol() is None
            assert await all_that_comes(channel) == b""
            assert door.counts() == {"admitted": 1, "bad tls": 1}

    run(main)


@pytest.mark.parametrize(("place", "value"), [(0, 0), (4, 2), (5, 0), (5, 2), (6, 1)], ids=str)
def test_a_malformed_hello_gets_no_answer(place: int, value: int) -> None:
    async def main() -> None:
        async with Door() as door:
            channel = await door.tls()
            message = bytearray(hello(KEY, channel).hello())
            message[place] = value
            await write_all(channel, bytes(message))
            assert await all_that_comes(channel) == b""
            assert door.counts() == {"admitted": 1, "bad proof": 1}

    run(main)


# Too slow.


def test_a_silent_stranger_is_dropped_at_the_tls_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Door(tls_deadline=0.05) as door:
            assert await all_that_comes(await door.connect()) == b""
            assert door.counts() == {"admitted": 1, "bad tls": 1}

    run(main)
    assert "not authenticated: it was too slow" in caplog.text


def test_silence_after_tls_is_dropped_at_the_deadline() -> None:
    async def main() -> None:
        async with Door(deadline=0.3) as door:
            assert await all_that_comes(await door.tls()) == b""
            assert door.counts() == {"admitted": 1, "no attempt": 1}

    run(main)


def test_a_drip_does_not_move_the_deadline() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Door(deadline=0.4) as door:
            channel = await door.tls()
            ends = asyncio.ensure_future(all_that_comes(channel))
            began = loop.time()
            for byte in hello(KEY, channel).hello()[:-1]:
                await write_all(channel, bytes([byte]))
                await asyncio.wait([ends], timeout=0.02)  # the drip itself
                if ends.done():
                    break
            assert await ends == b""
            assert loop.time() - began < 1.5

    run(main)


@pytest.mark.parametrize("after", ["tcp", "tls", "hello"])
def test_a_half_closed_connection_ends_at_once(after: str) -> None:
    async def main() -> None:
        async with Door() as door:
            sock = await door.connect() if after == "tcp" else await door.tls()
            if after == "hello" and isinstance(sock, ssl.SSLSocket):
                await write_all(sock, hello(KEY, sock).hello())
                assert len(await read_some(sock, 4096)) == HELLO_SIZE
            socket.socket.shutdown(sock, socket.SHUT_WR)  # and TLS knows nothing of it
            await all_that_comes(sock)
            offence = "bad tls" if after == "tcp" else "no attempt"
            assert door.counts() == {"admitted": 1, offence: 1}

    run(main)


# Limits.


def test_who_has_waited_longest_gives_way_to_a_newcomer() -> None:
    async def main() -> None:
        async with Door(AdmissionLimits(loopback=2)) as door:
            first, _second = await door.connect(), await door.connect()
            dialled = await dial(door.address, KEY, CLIENT)
            assert await all_that_comes(first) == b""
            dialled.socket.close()
            assert door.counts() == {"admitted": 3, "source full": 1, "bad tls": 1}

    run(main)


def test_whoever_gives_way_before_its_turn_is_closed_as_well() -> None:
    async def main() -> None:
        async with Door(AdmissionLimits(loopback=1)) as door:
            # They are connected before the listener's next turn, which accepts them all.
            socks = [
                socket.create_connection((door.address.host, door.address.port)) for _ in range(5)
            ]
            for sock in socks:
                sock.setblocking(False)
            for sock in socks[:-1]:
                assert await all_that_comes(sock) == b""
            assert door.counts() == {"admitted": 5, "source full": 4, "bad tls": 4}
            for sock in socks:
                sock.close()

    run(main)


def test_strangers_who_come_too_fast_are_closed_before_tls() -> None:
    async def main() -> None:
        async with Door(AdmissionLimits(loopback=1, burst=1, rate=0.001)) as door:
            first = await door.connect()
            assert await all_that_comes(await door.connect()) == b""
            assert door.counts() == {"admitted": 1, "rate": 1}
            first.close()

    run(main)


def test_too_many_sessions_of_a_key_are_closed_after_the_proof() -> None:
    async def main() -> None:
        async with Door(AdmissionLimits(sessions_per_key=1)) as door:
            first = await dial(door.address, KEY, CLIENT)
            await door.admitted.get()
            second = await dial(door.address, KEY, CLIENT)
            assert await all_that_comes(second.socket) == b""
            assert door.counts() == {"admitted": 2, "key full": 1}
            assert door.admitted.empty()
            first.socket.close()
            second.socket.close()

    run(main)


def test_many_bad_clients_and_then_a_good_one() -> None:
    async def main() -> None:
        async with Door() as door:
            for _ in range(5):
                with pytest.raises(HandshakeError):
                    await dial(door.address, IMPOSTOR, CLIENT)
            dialled = await dial(door.address, KEY, CLIENT)
            dialled.socket.close()
            assert (await door.admitted.get()).key == KEY

    run(main)


def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Door() as door:
            for _ in range(5):
                with pytest.raises(HandshakeError):
                    await dial(door.address, IMPOSTOR, CLIENT)
            assert door.admission.counters["log suppressed"] == 4

    run(main)
    assert caplog.text.count("not authenticated") == 1


# Descriptors, and the end.


class Exhausted:
    """A listening socket for which there are no descriptors, once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.refusals = 1

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()


def test_without_descriptors_it_pauses_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        sockets = listen(["127.0.0.1"], 0)
        admitted: asyncio.Queue[Admitted] = asyncio.Queue()
        address = Address(*sockets[0].getsockname())
        listener = Listener(
            asyncio.get_running_loop(),
            [Exhausted(sockets[0])],  # type: ignore[list-item]  # a fake socket
            IDENTITY,
            DAEMON,
            {KEY.kid: KEY}.get,
            Admission(),
            admitted.put_nowait,
        )
        dialled = await dial(address, KEY, CLIENT)
        (await admitted.get()).socket.close()
        dialled.socket.close()
        listener.close()

    run(main)
    assert "cannot accept connections for now: Too many open files" in caplog.text


def test_closing_drops_strangers_and_refuses_the_next() -> None:
    async def main() -> None:
        async with Door() as door:
            channel = await door.tls()
            door.listener.close()
            door.listener.close()
            assert await all_that_comes(channel) == b""
            with pytest.raises(NetworkError, match="nothing listens there"):
                await dial(door.address, KEY, CLIENT)

    run(main)


def test_one_port_for_all_addresses() -> None:
    sockets = listen(["127.0.0.1", "127.0.0.2"], 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        for sock in sockets:
            sock.close()


def test_a_port_in_use_is_one_clear_line_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127.0.0.2:{port}.*--port") as caught:
            listen(["127.0.0.1", "127.0.0.2"], port)
        assert "\n" not in str(caught.value)
        with socket.create_server(("127.0.0.1", port)):
            pass  # the first of the two was closed again


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ListenError, match="192.0.2.1"):
        listen(["192.0.2.1"], 0)
