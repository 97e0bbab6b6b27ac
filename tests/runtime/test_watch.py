"""Watch: an event loop that reads many, and some of them not for a while."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from ppnext.runtime import watch
from ppnext.runtime.watch import Watch
from tests.descriptors import open_descriptors

pytestmark = pytest.mark.skipif(not watch.is_possible, reason="this system has no such watch")


class Watched:
    """An event loop, its watch, and pairs of sockets of which it reads one end each."""

    def __init__(self) -> None:
        self.loop = asyncio.SelectorEventLoop()
        self.watch = Watch(self.loop)
        self.heard: list[tuple[int, bytes]] = []
        self.pairs: list[tuple[socket.socket, socket.socket]] = []

    def add(self) -> int:
        """Watch another pair. Return its number."""
        number = len(self.pairs)
        here, there = socket.socketpair()
        self.pairs.append((here, there))
        self.watch.add(there.fileno(), lambda: self.read(number))
        return number

    def read(self, number: int) -> None:
        self.heard.append((number, self.pairs[number][1].recv(100)))

    def descriptor(self, number: int) -> int:
        return self.pairs[number][1].fileno()

    def say(self, number: int, data: bytes = b"x") -> None:
        self.pairs[number][0].sendall(data)

    def turn(self) -> list[tuple[int, bytes]]:
        """Let the loop do what there is to do. Return what has been heard since."""
        for _ in range(3):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        heard, self.heard = self.heard, []
        return heard

    def close(self) -> None:
        self.watch.close()
        self.loop.close()
        for here, there in self.pairs:
            here.close()
            there.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.close()


def test_what_has_something_to_read_is_told(watched: Watched) -> None:
    first, second = watched.add(), watched.add()
    assert watched.turn() == []
    watched.say(second, b"two")
    assert watched.turn() == [(second, b"two")]
    watched.say(first)
    watched.say(second)
    assert sorted(watched.turn()) == [(first, b"x"), (second, b"x")]


def test_what_is_put_aside_is_not_told_and_its_neighbour_is(watched: Watched) -> None:
    first, second = watched.add(), watched.add()
    watched.watch.put_aside(watched.descriptor(first))
    watched.say(first)
    watched.say(second)
    assert watched.turn() == [(second, b"x")]
    watched.watch.resume(watched.descriptor(first))
    assert watched.turn() == [(first, b"x")]


def test_what_was_read_meanwhile_is_not_told_afterwards(watched: Watched) -> None:
    only = watched.add()
    watched.watch.put_aside(watched.descriptor(only))
    watched.say(only)
    assert watched.pairs[only][1].recv(100) == b"x"
    watched.watch.resume(watched.descriptor(only))
    assert watched.turn() == []
    watched.say(only, b"y")
    assert watched.turn() == [(only, b"y")]


def test_the_end_is_told(watched: Watched) -> None:
    only = watched.add()
    watched.pairs[only][0].close()
    assert watched.turn()[0] == (only, b"")


def test_what_was_removed_is_not_told(watched: Watched) -> None:
    first, second = watched.add(), watched.add()
    watched.watch.remove(watched.descriptor(first))
    watched.say(first)
    watched.say(second)
    assert watched.turn() == [(second, b"x")]


def test_to_remove_what_is_not_there_is_nothing(watched: Watched) -> None:
    only = watched.add()
    descriptor = watched.descriptor(only)
    watched.watch.remove(descriptor)
    watched.watch.remove(descriptor)
    assert watched.turn() == []


def test_a_reader_may_remove_another_that_is_due(watched: Watched) -> None:
    numbers = [watched.add() for _ in range(2)]
    read = watched.read

    def remove_the_other(number: int) -> None:
        read(number)
        watched.watch.remove(watched.descriptor(1 - number))

    watched.read = remove_the_other  # type: ignore[method-assign]  # a fake reader
    for number in numbers:
        watched.say(number)
    assert len(watched.turn()) == 1


def test_a_number_that_is_used_again_is_another_descriptor(watched: Watched) -> None:
    first = watched.add()
    number = watched.descriptor(first)
    watched.watch.remove(number)
    here, there = socket.socketpair()
    with there:
        os.dup2(there.fileno(), number)
    watched.watch.add(number, lambda: watched.heard.append((7, os.read(number, 100))))
    with here:
        here.sendall(b"x")
        assert watched.turn() == [(7, b"x")]


def test_the_end_leaves_no_descriptor() -> None:
    before = open_descriptors()
    watched = Watched()
    watched.add()
    watched.close()
    assert open_descriptors() == before
