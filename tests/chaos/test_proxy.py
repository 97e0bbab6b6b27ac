"""The fault proxy does the harm that it is told to, and no other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.chaos.proxy import FaultProxy

PATIENCE = 10.0
AT_ONCE = 0.2
"""Seconds in which what is held back would have arrived."""


class Pair:
    """A client and a server, joined through a proxy."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._ends: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def join(self, server: asyncio.Queue[Any]) -> None:
        host, _, port = self.proxy.address.rpartition(":")
        self._ends = [await asyncio.open_connection(host, int(port)), await server.get()]

    def write(self, direction: str, data: bytes) -> None:
        self._ends[direction == "down"][1].write(data)

    def reader(self, direction: str) -> asyncio.StreamReader:
        return self._ends[direction == "up"][0]

    async def read(self, direction: str, size: int) -> bytes:
        return await asyncio.wait_for(self.reader(direction).readexactly(size), PATIENCE)

    def end(self) -> None:
        """Have the client say that nothing more comes."""
        self._ends[0][1].write_eof()

    def close(self) -> None:
        for _, writer in self._ends:
            writer.close()


def joined(check: Callable[[Pair], Awaitable[None]]) -> None:
    """Run a check with a pair."""

    async def run() -> None:
        arrived: asyncio.Queue[Any] = asyncio.Queue()

        async def accept(*ends: object) -> None:
            await arrived.put(ends)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        proxy = FaultProxy(server.sockets[0].getsockname()[:2])
        pair = Pair(proxy)
        try:
            await pair.join(arrived)
            await check(pair)
        finally:
            pair.close()
            await proxy.close()
            server.close()
        assert proxy.connections == 0

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


both = pytest.mark.parametrize("direction", ["down", "up"])


@both
def test_bytes_pass_unchanged(direction: str) -> None:
    data = bytes(range(256)) * 4000

    async def check(pair: Pair) -> None:
        pair.write(direction, data)
        assert await pair.read(direction, len(data)) == data

    joined(check)


@both
def test_a_delay_is_of_one_direction_and_does_not_add_up(direction: str) -> None:
    async def check(pair: Pair) -> None:
        loop = asyncio.get_running_loop()
        pair.proxy.treatment(direction).delay = 0.3
        began = loop.time()
        for number in range(5):
            pair.write(direction, bytes([number]))
            await asyncio.sleep(0.01)  # so that they do not arrive as one
        other = "up" if direction == "down" else "down"
        pair.write(other, b"quick")
        assert await pair.read(other, 5) == b"quick"
        assert loop.time() - began < 0.3
        assert await pair.read(direction, 5) == bytes(range(5))
        assert 0.3 <= loop.time() - began < 5 * 0.3

    joined(check)


def test_a_rate_is_kept() -> None:
    async def check(pair: Pair) -> None:
        loop = asyncio.get_running_loop()
        pair.proxy.down.rate = 200_000.0
        began = loop.time()
        pair.write("down", bytes(100_000))
        await pair.read("down", 100_000)
        pair.write("down", b"x")
        await pair.read("down", 1)
        assert 0.4 < loop.time() - began < 3.0

    joined(check)


@both
def test_a_black_hole_holds_back_what_comes_and_gives_it_out_when_healed(direction: str) -> None:
    async def check(pair: Pair) -> None:
        pair.proxy.treatment(direction).hold()
        pair.write(direction, b"held")
        reading = asyncio.ensure_future(pair.read(direction, 4))
        done, _ = await asyncio.wait([reading], timeout=AT_ONCE)
        assert not done
        pair.proxy.heal()
        assert await reading == b"held"

    joined(check)


@both
def test_a_cut_comes_after_so_many_bytes(direction: str) -> None:
    async def check(pair: Pair) -> None:
        pair.proxy.treatment(direction).left = 1000
        pair.write(direction, bytes(5000))
        assert len(await asyncio.wait_for(pair.reader(direction).read(), PATIENCE)) == 1000
        other = "up" if direction == "down" else "down"
        assert await ends(pair.reader(other))

    joined(check)


def test_a_reset_is_seen_as_one_at_both_ends() -> None:
    async def check(pair: Pair) -> None:
        pair.write("up", b"x")
        await pair.read("up", 1)
        pair.proxy.reset()
        for direction in ("down", "up"):
            with pytest.raises(ConnectionResetError):
                await pair.read(direction, 1)

    joined(check)


@both
def test_a_half_closed_connection_still_carries_the_other_direction(direction: str) -> None:
    async def check(pair: Pair) -> None:
        pair.proxy.half_close(direction)
        assert await pair.reader(direction).read() == b""
        other = "up" if direction == "down" else "down"
        pair.write(other, b"still")
        assert await pair.read(other, 5) == b"still"

    joined(check)


def test_segments_are_split_and_gathered() -> None:
    data = bytes(range(256)) * 20

    async def check(pair: Pair) -> None:
        pair.proxy.up.piece = 7
        pair.proxy.down.gather = 0.1
        pair.write("up", data)
        assert await pair.read("up", len(data)) == data
        for number in range(10):
            pair.write("down", bytes([number]))
        assert await pair.read("down", 10) == bytes(range(10))

    joined(check)


def test_the_end_of_a_stream_is_passed_on() -> None:
    async def check(pair: Pair) -> None:
        pair.write("up", b"last")
        pair.end()
        assert await asyncio.wait_for(pair.reader("up").read(), PATIENCE) == b"last"

    joined(check)


def test_where_nobody_listens_the_client_is_sent_away() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            target = gone.getsockname()[:2]
        proxy = FaultProxy(target)
        try:
            reader, writer = await asyncio.open_connection(*address(proxy))
            assert await ends(reader)
            writer.close()
        finally:
            await proxy.close()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def address(proxy: FaultProxy) -> tuple[str, int]:
    host, _, port = proxy.address.rpartition(":")
    return host, int(port)


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the stream ends, in whatever way."""
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE) == b""
    except ConnectionError:
        return True
