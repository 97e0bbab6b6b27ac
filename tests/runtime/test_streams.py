"""Streams: bytes between a socket and a connection, plain and over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppnext.runtime.streams import Stream
from ppnext.runtime.tls import client_context, ephemeral_certificate, server_context
from ppnext.wire.connection import Connection, Heartbeat, Received
from ppnext.wire.frames import encode_header
from ppnext.wire.messages import KINDS, Bye, Define, Offer, Ping, Result, encode_control

PATIENCE = 20.0
RESULT = Result(1, 1, False, 0.5)
Pair = tuple[socket.socket, socket.socket]


class End:
    """One end: a stream, what it received, and how it ended."""

    def __init__(self, sock: socket.socket, heartbeat: Heartbeat | None = None) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self.received: asyncio.Queue[Received] = asyncio.Queue()
        self.ended: asyncio.Future[str | None] = loop.create_future()
        self.ends = 0
        self.connection = Connection(loop.time(), heartbeat)
        self.stream = Stream(loop, sock, self.connection, self.received.put_nowait, self._on_end)

    def _on_end(self, cause: str | None) -> None:
        self.ends += 1
        self.ended.set_result(cause)

    async def next(self) -> Received:
        return await asyncio.wait_for(self.received.get(), PATIENCE)

    async def end(self) -> str | None:
        return await asyncio.wait_for(asyncio.shield(self.ended), PATIENCE)


class Stubborn:
    """A socket that takes a few bytes at a time and now and then wants to wait, as TLS does."""

    def __init__(self, sock: socket.socket, moods: list[type[Exception] | int]) -> None:
        self._sock = sock
        self._moods = moods
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def send(self, data: bytes | memoryview) -> int:
        mood = self._moods.pop(0) if self._moods else len(data)
        if not isinstance(mood, int):
            raise mood
        self.sizes.append(self._sock.send(memoryview(data)[:mood]))
        return self.sizes[-1]

    def recv(self, size: int) -> bytes:
        if self._moods and not isinstance(self._moods[0], int):
            raise self._moods.pop(0)
        return self._sock.recv(size)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def tcp_pair() -> Iterator[Pair]:
    """Two ends of a TCP connection; the second takes little before it is read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(listening.getsockname())
        ours, _ = listening.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    peer.settimeout(PATIENCE)
    yield ours, peer
    ours.close()
    peer.close()


@pytest.fixture
def tls_pair(pair: Pair) -> Iterator[Pair]:
    with ThreadPoolExecutor(1) as pool:
        context = server_context(ephemeral_certificate())
        accepted = pool.submit(context.wrap_socket, pair[1], server_side=True)
        ends = client_context().wrap_socket(pair[0]), accepted.result(PATIENCE)
    yield ends
    for end in ends:
        end.close()


def read_all(sock: socket.socket) -> list[Received]:
    """What arrives at a blocking socket until its end, as messages."""
    connection = Connection(0.0)
    received: list[Received] = []
    while data := sock.recv(1 << 16):
        received += connection.receive_data(data, 0.0)
    assert connection.receive_eof(), "the stream ended in the middle of something"
    return received


def test_messages_arrive_in_order_and_a_turn_is_one_write(pair: Pair) -> None:
    async def main() -> None:
        sock = Stubborn(pair[0], [])
        left, right = End(sock), End(pair[1])  # type: ignore[arg-type]
        for slots in range(50):
            left.stream.send(Offer(slots))
        assert [(await right.next()).message for _ in range(50)] == [Offer(n) for n in range(50)]
        assert len(sock.sizes) == 1
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True], ids=["socketpair", "tls"])
def test_large_payloads_cross_in_both_directions(
    secure: bool, request: pytest.FixtureRequest
) -> None:
    ends: Pair = request.getfixturevalue("tls_pair" if secure else "pair")
    there, back = bytes(range(256)) * 20_000, bytes(range(255, -1, -1)) * 16_001

    async def main() -> None:
        left, right = End(ends[0]), End(ends[1])
        left.stream.send(RESULT, there)
        right.stream.send(RESULT, memoryview(back))
        assert (await right.next()).payload == there
        assert (await left.next()).payload == back
        left.stream.say_bye("done")
        assert await right.end() is None
        assert right.connection.farewell == "done"

    asyncio.run(main())


@pytest.mark.parametrize(
    "moods",
    [
        [1, 2, 3, 5, 8, 13],
        [ssl.SSLWantWriteError, 4, ssl.SSLWantReadError, 1, BlockingIOError, 7],
    ],
    ids=["a few bytes at a time", "wants"],
)
def test_partial_writes_lose_nothing(pair: Pair, moods: list[type[Exception] | int]) -> None:
    payload = bytes(range(256)) * 2000

    async def main() -> None:
        left, right = End(Stubborn(pair[0], moods)), End(pair[1])  # type: ignore[arg-type]
        left.stream.send(Define(bytes(32)), b"a function")
        left.stream.send(RESULT, payload)
        assert (await right.next()).payload == b"a function"
        assert (await right.next()).payload == payload
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


def test_a_reader_that_wants_is_asked_again(pair: Pair) -> None:
    async def main() -> None:
        sock = Stubborn(pair[1], [ssl.SSLWantReadError, ssl.SSLWantWriteError])
        left, right = End(pair[0]), End(sock)  # type: ignore[arg-type]
        left.stream.send(Offer(3))
        assert (await right.next()).message == Offer(3)
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


def test_tls_data_that_no_reader_would_be_told_of_is_read(tls_pair: Pair) -> None:
    # Many small records: all of them lie in the kernel or in TLS before the first is handled.
    for slots in range(200):
        tls_pair[0].sendall(_frame(Offer(slots)))

    async def main() -> None:
        right = End(tls_pair[1])
        for slots in range(200):
            assert (await right.next()).message == Offer(slots)
        right.stream.close()

    asyncio.run(main())


def test_bytes_that_came_with_the_handshake_are_fed(pair: Pair) -> None:
    async def main() -> None:
        frame = _frame(Offer(9))
        pair[0].sendall(frame[7:])
        right = End(pair[1])
        right.stream.feed(frame[:7])
        assert (await right.next()).message == Offer(9)
        right.stream.close()

    asyncio.run(main())


# The end.


def test_a_cut_is_told_once_and_is_no_goodbye(pair: Pair) -> None:
    async def main() -> None:
        right = End(pair[1])
        pair[0].sendall(_frame(RESULT, b"whole")[:-1])
        pair[0].close()
        assert await right.end() == "the connection was cut"
        assert right.received.empty()
        assert right.stream.is_closed
        right.stream.close()
        right.stream.say_bye("again")
        right.stream.send(Offer(1))
        await asyncio.sleep(0)
        assert right.ends == 1

    asyncio.run(main())


def test_whoever_closes_is_not_told(pair: Pair) -> None:
    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.stream.close()
        assert await right.end() == "the connection was cut"
        assert left.ends == 0

    asyncio.run(main())


def test_nonsense_ends_the_stream_with_the_reason(pair: Pair) -> None:
    async def main() -> None:
        right = End(pair[1])
        pair[0].sendall(b"\xff" * 16)
        assert "unknown flags" in (await right.end() or "")

    asyncio.run(main())


def test_a_handler_may_close_the_stream_in_the_middle_of_a_batch(pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pair[1].setblocking(False)
        seen: list[Received] = []
        done = loop.create_future()

        def on_message(received: Received) -> None:
            seen.append(received)
            stream.close()
            done.set_result(None)

        stream = Stream(loop, pair[1], Connection(loop.time()), on_message, lambda cause: None)
        pair[0].sendall(_frame(Offer(1)) + _frame(Offer(2)))
        await asyncio.wait_for(done, PATIENCE)
        assert [received.message for received in seen] == [Offer(1)]

    asyncio.run(main())


def test_what_the_other_end_said_before_it_went_is_read(pair: Pair) -> None:
    async def main() -> None:
        right = End(pair[1])
        # The last words and the end are both there before the failing write notices the end.
        pair[0].sendall(_frame(Offer(5)))
        pair[0].close()
        right.stream.send(Offer(1))
        assert (await right.next()).message == Offer(5)
        assert await right.end() is not None
        assert right.ends == 1

    asyncio.run(main())


def test_finish_sends_all_that_is_queued(pair: Pair) -> None:
    payload = bytes(3 << 20)

    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.stream.send(RESULT, payload)
        left.stream.finish("that is all")
        assert (await right.next()).payload == payload
        assert await right.end() is None
        assert right.connection.farewell == "that is all"
        assert await left.end() is None

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_finish_loses_nothing_though_the_other_end_still_talks(
    tcp_pair: Pair, secure: bool
) -> None:
    """Closing a socket with unread data resets the connection, and what is on its way is gone."""
    ours, peer = tcp_pair
    payload = bytes(300_000)
    with ThreadPoolExecutor(1) as pool:
        if secure:
            context = server_context(ephemeral_certificate())
            accepted = pool.submit(context.wrap_socket, ours, server_side=True)
            peer = client_context().wrap_socket(peer)
            ours = accepted.result(PATIENCE)

        async def main() -> None:
            peer.sendall(_frame(Ping(1)))
            left = End(ours)
            left.stream.send(RESULT, payload)
            left.stream.finish("that is all")
            await asyncio.sleep(0)  # the turn in which it is written
            reading = asyncio.get_running_loop().run_in_executor(pool, read_all, peer)
            received = await asyncio.wait_for(reading, PATIENCE)
            assert [it.payload for it in received if it.message == RESULT] == [payload]
            peer.close()
            assert await left.end() is None

        asyncio.run(main())
    peer.close()
    ours.close()


def test_finish_twice_says_bye_once(pair: Pair) -> None:
    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.stream.finish("first")
        left.stream.finish("second")
        assert await right.end() is None
        assert right.connection.farewell == "first"

    asyncio.run(main())


def test_after_finish_nothing_is_said_behind_the_bye(pair: Pair) -> None:
    payload = bytes(3 << 20)

    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.stream.send(RESULT, payload)
        left.stream.finish("that is all")
        left.stream.send(Offer(1))
        assert (await right.next()).payload == payload
        left.stream.send(Offer(2))
        assert await right.end() is None
        assert right.received.empty()
        assert await left.end() is None

    asyncio.run(main())


def test_say_bye_after_finish_closes_and_says_no_second_bye(pair: Pair) -> None:
    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.stream.finish("that is all")
        left.stream.say_bye("now")
        assert await right.end() is None
        assert right.connection.farewell == "that is all"
        assert left.ends == 0

    asyncio.run(main())


def test_finish_does_not_wait_for_ever_for_the_other_end(pair: Pair) -> None:
    async def main() -> None:
        left = End(pair[0])
        left.stream.finish("that is all", patience=0.01)
        assert await left.end() is None

    asyncio.run(main())


def test_say_bye_writes_what_the_socket_takes_and_closes(pair: Pair) -> None:
    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.stream.send(Offer(1))
        left.stream.say_bye("now")
        assert left.stream.is_closed
        assert (await right.next()).message == Offer(1)
        assert await right.end() is None
        assert left.ends == 0

    asyncio.run(main())


# Heartbeats.


def test_a_silent_end_is_given_up(pair: Pair) -> None:
    async def main() -> None:
        left = End(pair[0], Heartbeat(interval=0.01, dead=0.05))
        assert "nothing was heard" in (await left.end() or "")
        pair[1].setblocking(False)
        assert pair[1].recv(4096).startswith(_frame(Ping(1)))

    asyncio.run(main())


def test_two_idle_ends_keep_each_other_alive(pair: Pair) -> None:
    async def main() -> None:
        beat = Heartbeat(interval=0.01, dead=5.0)
        left, right = End(pair[0], beat), End(pair[1])
        while left.connection.round_trip is None:
            await asyncio.sleep(0.005)  # the time the heartbeat itself takes
        assert left.ends == right.ends == 0
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


def _frame(message: Offer | Ping | Result | Bye, payload: bytes = b"") -> bytes:
    control = encode_control(message)
    return encode_header(KINDS[type(message)], 0, len(control), 0, len(payload)) + control + payload
