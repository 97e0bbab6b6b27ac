"""Streams: bytes between a socket and a connection, plain and over TLS."""

from __future__ import annotations

import array
import asyncio
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from ppnext.errors import ProtocolError
from ppnext.runtime.loop import Turn
from ppnext.runtime.streams import Stream
from ppnext.runtime.tls import client_context, ephemeral_certificate, server_context
from ppnext.wire.connection import Connection, Heartbeat, Received
from ppnext.wire.frames import CHUNK_LIMIT, encode_header
from ppnext.wire.messages import (
    KINDS,
    Define,
    Message,
    Offer,
    Outcome,
    Ping,
    Result,
    encode_control,
)
from ppnext.wire.payloads import Block, Payload, view_of
from tests.descriptors import open_descriptors

PATIENCE = 20.0
RESULT = Result([Outcome(1, 1, 0, False, 0.5)])
Pair = tuple[socket.socket, socket.socket]


class End:
    """One end: a stream, what it received, and how it ended."""

    def __init__(
        self,
        sock: socket.socket,
        heartbeat: Heartbeat | None = None,
        connection: Connection | None = None,
        passing: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self.received: asyncio.Queue[Received] = asyncio.Queue()
        self.ended: asyncio.Future[str | None] = loop.create_future()
        self.ends = 0
        self.connection = connection or Connection(loop.time(), heartbeat)
        self.turn = Turn(loop)
        self.batches: list[int] = []
        self.stream = Stream(
            self.turn, sock, self.connection, self._on_messages, self._on_end, passing
        )

    def _on_messages(self, arrived: list[Received]) -> None:
        self.batches.append(len(arrived))
        for message, payload in arrived:
            self.received.put_nowait(Received(message, bytes(view_of(payload))))

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

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        mood = self._moods.pop(0) if self._moods else len(data)
        if not isinstance(mood, int):
            raise mood
        self.sizes.append(self._sock.send(memoryview(data)[:mood]))
        return self.sizes[-1]

    def sendmsg(
        self, buffers: Iterable[bytes | memoryview], passed: Any = (), flags: int = 0
    ) -> int:
        if passed:
            return self._sock.sendmsg(buffers, passed, flags)
        return self.send(b"".join(buffers))

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
        left, right = End(sock), End(pair[1])  # type: ignore[arg-type]  # a fake socket
        for slots in range(50):
            left.stream.send(Offer(slots))
        assert [(await right.next()).message for _ in range(50)] == [Offer(n) for n in range(50)]
        assert len(sock.sizes) == 1
        assert right.batches == [50]
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
        left.stream.send(RESULT, (there,))
        right.stream.send(RESULT, (Block(bytearray(back)),))
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
        left, right = End(Stubborn(pair[0], moods)), End(pair[1])  # type: ignore[arg-type]  # a fake socket
        left.stream.send(Define(bytes(32)), (b"a function",))
        left.stream.send(RESULT, (payload,))
        assert (await right.next()).payload == b"a function"
        assert (await right.next()).payload == payload
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


def test_a_reader_that_wants_is_asked_again(pair: Pair) -> None:
    async def main() -> None:
        sock = Stubborn(pair[1], [ssl.SSLWantReadError, ssl.SSLWantWriteError])
        left, right = End(pair[0]), End(sock)  # type: ignore[arg-type]  # a fake socket
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


# Large payloads.


class Watched(Stubborn):
    """Notes how much is read to where it belongs, and how much to be copied there."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, [])
        self.placed = self.copied = 0

    def recv_into(self, room: memoryview) -> int:
        count = self._sock.recv_into(room)
        self.placed += count
        return count

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        self.copied += len(data)
        return data


def test_a_large_payload_is_read_to_its_place(pair: Pair) -> None:
    payload = bytes(range(256)) * 40_000
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)

    async def main() -> None:
        sock = Watched(pair[1])
        left, right = End(pair[0]), End(sock)  # type: ignore[arg-type]  # a fake socket
        left.stream.send(RESULT, (payload,))
        assert (await right.next()).payload == payload
        assert sock.placed > sock.copied
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


def test_heartbeats_and_small_messages_pass_a_large_payload(pair: Pair) -> None:
    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.stream.send(RESULT, (bytes(64 * CHUNK_LIMIT),))
        await asyncio.sleep(0)  # the turn in which it begins to leave
        left.stream.send(Define(bytes(32)), (b"small",))
        left.stream.send(Offer(1))
        assert [(await right.next()).message for _ in range(3)] == [
            Offer(1),
            Define(bytes(32)),
            RESULT,
        ]
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


@pytest.mark.parametrize("visit", [False, True])
def test_a_large_payload_leaves_the_loop_time_for_others(pair: Pair, visit: bool) -> None:
    """Also when the socket takes all of it at once."""

    class Bottomless(Stubborn):
        def sendmsg(
            self, buffers: Iterable[bytes | memoryview], passed: Any = (), flags: int = 0
        ) -> int:
            self.sizes.append(sum(map(len, buffers)))
            return self.sizes[-1]

    async def main() -> None:
        sock = Bottomless(pair[0], [])
        left = End(sock)  # type: ignore[arg-type]  # a fake socket
        if visit:
            left.turn.begin_visit()
        left.stream.send(RESULT, (bytes(64 * CHUNK_LIMIT),))
        if visit:
            left.turn.end_visit()
        seen = []
        while left.connection.wants_to_send:
            seen.append(sum(sock.sizes))
            await asyncio.sleep(0)  # one turn of the loop
        assert len(seen) >= 8
        assert max(b - a for a, b in pairwise(seen)) <= 10 * CHUNK_LIMIT
        left.stream.close()

    asyncio.run(main())


def test_an_end_within_a_large_payload_is_a_cut(pair: Pair) -> None:
    async def main() -> None:
        right = End(pair[1])
        end = Connection(0.0)
        end.send(RESULT, (bytes(3 * CHUNK_LIMIT),))
        data = b"".join(end.data_to_send(0.0).buffers)
        pair[0].setblocking(True)
        await asyncio.to_thread(pair[0].sendall, data[:100_000])
        pair[0].close()
        assert await right.end() == "the connection was cut"
        assert right.received.empty()

    asyncio.run(main())


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_write_of_several_buffers_may_be_partial(pair: Pair, most: int) -> None:
    sizes = [3, 0, 20_000, 1, 500]

    async def main() -> None:
        sock = Stubborn(pair[0], [most] * 200)
        left, right = End(sock), End(pair[1])  # type: ignore[arg-type]  # a fake socket
        for size in sizes:
            left.stream.send(RESULT, (b"x" * size,))
        assert [len((await right.next()).payload) for _ in sizes] == sizes
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


# Descriptors.


class Memory(Block):
    """A payload in memory that the system knows by a descriptor."""

    def __init__(self, content: bytes) -> None:
        super().__init__(bytearray(content))
        self._descriptor = os.memfd_create("test")
        os.write(self._descriptor, content)

    def descriptor(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def adopt(descriptor: int, size: int) -> Block:
    """Read the memory, and close its descriptor."""
    try:
        if os.fstat(descriptor).st_size != size:
            raise ProtocolError("the memory has not the size that was announced")
        return Block(bytearray(os.pread(descriptor, size, 0)))
    finally:
        os.close(descriptor)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd and /proc")


@pytest.fixture
def memories() -> Iterator[list[Memory]]:
    made = [Memory(bytes([number]) * 1000 * number) for number in range(1, 100)]
    yield made
    for memory in made:
        memory.close()


@linux_only
def test_memory_is_passed_along_and_keeps_its_place(pair: Pair, memories: list[Memory]) -> None:
    before = open_descriptors()

    async def main() -> None:
        passing = [Connection(0.0, adopt=adopt, in_order=True) for _ in pair]
        left = End(pair[0], connection=passing[0], passing=True)
        right = End(pair[1], connection=passing[1], passing=True)
        sent: list[Payload] = [b"first"]
        for memory in memories:
            sent += [memory, b"between", bytes(CHUNK_LIMIT + 1)]
        for payload in sent:
            left.stream.send(RESULT, (payload,))
        for payload in sent:
            assert (await right.next()).payload == bytes(view_of(payload))
        left.stream.close()
        right.stream.close()

    asyncio.run(main())
    assert open_descriptors() == before - len(pair)


@linux_only
def test_a_descriptor_is_passed_once_however_its_message_is_cut(
    pair: Pair, memories: list[Memory]
) -> None:
    class Miser(Stubborn):
        """Takes one byte of a write with a descriptor, and first of all nothing."""

        passed = 0

        def sendmsg(
            self, buffers: Iterable[bytes | memoryview], passed: Any = (), flags: int = 0
        ) -> int:
            if not passed:
                return super().sendmsg(buffers)
            self.passed += 1
            if self.passed == 1:
                raise BlockingIOError
            first = memoryview(b"".join(buffers))[:1]
            return super().sendmsg([first], passed)

    async def main() -> None:
        sock = Miser(pair[0], [])
        ends = [Connection(0.0, adopt=adopt) for _ in pair]
        left = End(sock, connection=ends[0], passing=True)  # type: ignore[arg-type]  # a fake socket
        right = End(pair[1], connection=ends[1], passing=True)
        for memory in memories[:3]:
            left.stream.send(RESULT, (memory,))
        for memory in memories[:3]:
            assert (await right.next()).payload == bytes(memory.view())
        assert sock.passed == 4
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


@linux_only
@pytest.mark.parametrize("adopted", [True, False])
def test_descriptors_that_nobody_wanted_are_closed(
    pair: Pair, memories: list[Memory], adopted: bool
) -> None:
    before = open_descriptors()
    rights = array.array("i", [memory.descriptor() for memory in memories[:9]])
    data = _frame(Offer(1)) if adopted else b"\xff" * 16
    pair[0].sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    async def main() -> None:
        right = End(pair[1], connection=Connection(0.0, adopt=adopt), passing=True)
        if adopted:
            assert (await right.next()).message == Offer(1)
            right.stream.close()
        else:
            assert "unknown flags" in (await right.end() or "")

    asyncio.run(main())
    assert open_descriptors() == before - 1  # the stream's socket


@linux_only
def test_memory_that_is_not_as_long_as_it_was_said_ends_the_stream(
    pair: Pair, memories: list[Memory]
) -> None:
    before = open_descriptors()

    async def main() -> None:
        right = End(pair[1], connection=Connection(0.0, adopt=adopt), passing=True)
        control = encode_control(RESULT)
        data = encode_header(KINDS[Result], 2, len(control), 0, 5) + control
        rights = array.array("i", [memories[0].descriptor()])
        pair[0].sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert "not the size" in (await right.end() or "")

    asyncio.run(main())
    assert open_descriptors() == before - 1


@linux_only
def test_a_stream_that_takes_no_descriptors_gets_none(pair: Pair, memories: list[Memory]) -> None:
    before = open_descriptors()
    rights = array.array("i", [memories[0].descriptor()])
    pair[0].sendmsg([_frame(Offer(1))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    async def main() -> None:
        right = End(pair[1])
        assert (await right.next()).message == Offer(1)
        right.stream.close()

    asyncio.run(main())
    assert open_descriptors() == before - 1


# Visits.


def test_what_is_sent_in_a_visit_leaves_at_its_end(pair: Pair) -> None:
    async def main() -> None:
        sock = Stubborn(pair[0], [])
        left = End(sock)  # type: ignore[arg-type]  # a fake socket
        left.turn.begin_visit()
        left.stream.send(Offer(1))
        left.stream.send(Offer(2))
        assert sock.sizes == []
        left.turn.end_visit()
        assert len(sock.sizes) == 1
        pair[1].settimeout(PATIENCE)
        assert pair[1].recv(100) == _frame(Offer(1)) + _frame(Offer(2))
        left.stream.close()

    asyncio.run(main())


def test_what_a_visit_cannot_write_is_written_by_the_loop(pair: Pair) -> None:
    payload = bytes(8 << 20)

    async def main() -> None:
        left, right = End(pair[0]), End(pair[1])
        left.turn.begin_visit()
        left.stream.send(RESULT, (payload,))
        left.turn.end_visit()
        assert not left.stream._writer_watched  # a visitor changes nothing of the loop's
        left.turn.begin_visit()
        left.stream.send(Offer(2))
        left.turn.end_visit()
        arrived = [(await right.next()).message for _ in range(2)]
        assert Offer(2) in arrived and RESULT in arrived
        left.stream.close()
        right.stream.close()

    asyncio.run(main())


def test_a_failure_in_a_visit_is_met_by_the_loop(pair: Pair) -> None:
    async def main() -> None:
        left = End(pair[0])
        pair[1].close()
        left.turn.begin_visit()
        left.stream.send(Offer(1))
        left.turn.end_visit()
        assert left.ends == 0
        assert await left.end() is not None
        assert left.ends == 1

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
        await asyncio.sleep(0)  # one turn of the loop
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


def test_a_handler_may_close_the_stream(pair: Pair) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pair[1].setblocking(False)
        seen: list[Received] = []
        done = loop.create_future()

        def on_messages(arrived: list[Received]) -> None:
            seen.extend(arrived)
            stream.close()
            done.set_result(None)

        stream = Stream(
            Turn(loop), pair[1], Connection(loop.time()), on_messages, lambda cause: None
        )
        pair[0].sendall(_frame(Offer(1)) + _frame(Offer(2)))
        await asyncio.wait_for(done, PATIENCE)
        pair[0].close()
        await asyncio.sleep(0)  # one turn of the loop
        assert [received.message for received in seen] == [Offer(1), Offer(2)]

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
        left.stream.send(RESULT, (payload,))
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
            left.stream.send(RESULT, (payload,))
            left.stream.finish("that is all")
            await asyncio.sleep(0)  # the turn in which it is written
            reading = asyncio.get_running_loop().run_in_executor(pool, read_all, peer)
            received = await asyncio.wait_for(reading, PATIENCE)
            assert [bytes(view_of(it.payload)) for it in received if it.message == RESULT] == [
                payload
            ]
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
        left.stream.send(RESULT, (payload,))
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


def _frame(message: Message, payload: bytes = b"") -> bytes:
    control = encode_control(message)
    return encode_header(KINDS[type(message)], 0, len(control), 0, len(payload)) + control + payload


WRITES = """
import asyncio, signal, socket, sys
from ppnext.runtime.loop import Turn
from ppnext.runtime.streams import Stream
from ppnext.wire.connection import Connection

async def write():
    here, there = socket.socketpair()
    here.setblocking(False)
    stream = Stream(Turn(asyncio.get_running_loop()), here, Connection(0.0), print, print)
    there.close()
    stream.say_bye("nobody hears it")

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
asyncio.run(write())
"""


@pytest.mark.skipif(not hasattr(socket, "MSG_NOSIGNAL"), reason="the system cannot be told")
def test_a_program_that_pipes_may_end_is_not_ended_by_ours() -> None:
    """As many that print a lot want to be ended by SIGPIPE."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WRITES], env=environment, check=True, timeout=60)
