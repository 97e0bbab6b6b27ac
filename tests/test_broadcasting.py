"""Broadcasting: equal objects are one, others never, and the end of each is told once."""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppnext.broadcasting import Broadcasts, Buffer, Held, Known
from ppnext.engine import Engine
from ppnext.errors import NotShippable
from ppnext.sched.model import JobId, JobState, NodeKind
from ppnext.shipping.broadcasts import Broadcast, note_used, take_used
from ppnext.shipping.functions import Definition
from ppnext.wire.payloads import Block, Payload, view_of

SMALL, LARGE = 1000, (4 << 20) + 1000


def content(size: int) -> bytearray:
    return bytearray(hashlib.shake_128(b"content").digest(size))


@pytest.fixture
def known() -> Known:
    return Known()


def kept(known: Known, *buffers: Buffer) -> Held:
    """What is known of the content, made if it is nothing."""
    look, held = known.find(buffers)
    if held is None:
        held = Held(os.urandom(32), Block(bytearray(b"".join(buffers))), ())
        known.keep(look, held)
    return held


# By their content.


@pytest.mark.parametrize("size", [0, 1, SMALL, 4 << 20, LARGE, 3 * LARGE])
def test_equal_objects_are_one(known: Known, size: int) -> None:
    first = kept(known, content(size))
    assert kept(known, content(size)) is first


def test_equal_small_objects_are_one_in_whatever_parts_they_come(known: Known) -> None:
    small = content(SMALL)
    assert kept(known, small[:10], b"", small[10:]) is kept(known, small)


@pytest.mark.parametrize("size", [1, SMALL, LARGE, 3 * LARGE])
@pytest.mark.parametrize("place", [0, 0.4999, 0.5, 0.7317, -1])
def test_objects_that_differ_in_one_byte_are_two(known: Known, size: int, place: float) -> None:
    first = kept(known, content(size))
    other = content(size)
    other[int(place * size) if place >= 0 else -1] ^= 1
    assert kept(known, other) is not first


def test_large_objects_that_look_alike_are_told_apart(known: Known) -> None:
    held = []
    for number in range(6):
        it = content(LARGE)
        it[100_000:100_001] = bytes([number])  # of that byte nothing is seen
        held.append(kept(known, it))
        assert kept(known, it) is held[-1]
    assert len(set(map(id, held))) == 6
    assert len({known.find([view_of(it.payload)])[0] for it in held}) == 1


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_is_gone_is_not_found(known: Known, size: int) -> None:
    held = kept(known, content(size))
    del held
    gc.collect()
    assert known.find([content(size)])[1] is None
    assert not known._by_look


# Handles.


class Node:
    """Notes what is shared and what is dropped."""

    def __init__(self) -> None:
        self.shared: list[bytes] = []
        self.dropped: list[bytes] = []
        self.broadcasts = Broadcasts(self._share, self.dropped.append)

    def _share(self, buffers: Sequence[Buffer]) -> Payload:
        self.shared.append(b"".join(buffers))
        return self.shared[-1]


def used(handle: Broadcast) -> Held:
    """What keeps the object of a handle."""
    note_used()
    pickle.dumps(handle)
    [held] = take_used()
    assert isinstance(held, Held)
    return held


def test_equal_objects_are_shared_once_and_dropped_once() -> None:
    node = Node()
    first, second = (node.broadcasts.hold([b"ab", b"c"], ()) for _ in range(2))
    assert node.shared == [b"abc"] and first.size == second.size == 3
    name = used(first).digest
    assert used(first) is used(second)
    del first
    gc.collect()
    assert node.dropped == []
    del second
    gc.collect()
    assert node.dropped == [name]


def test_an_object_is_kept_by_its_handle_or_by_what_uses_it() -> None:
    node = Node()
    handle = node.broadcasts.hold([b"abc"], ())
    held = used(handle)
    del handle
    gc.collect()
    assert node.dropped == []
    del held
    gc.collect()
    assert len(node.dropped) == 1


def test_who_refers_to_an_object_of_his_own_goes_with_it() -> None:
    """As a client that ends while jobs that use it are on their way: nothing else may keep both."""

    class Client:
        def __init__(self) -> None:
            broadcasts = Broadcasts(lambda buffers: b"".join(buffers), self.drop)
            self.broadcasts, self.used = broadcasts, broadcasts.hold([content(SMALL)], ())

        def drop(self, name: bytes) -> None:
            raise AssertionError("it is too late")

    gone = weakref.ref(Client())
    gc.collect()
    assert gone() is None


def test_an_object_keeps_those_that_it_refers_to() -> None:
    node = Node()
    inner = node.broadcasts.hold([b"inner"], ())
    outer = node.broadcasts.hold([b"outer"], (used(inner),))
    names = [used(it).digest for it in (outer, inner)]
    del inner
    gc.collect()
    assert node.dropped == []
    del outer
    gc.collect()
    assert sorted(node.dropped) == sorted(names)


def test_an_object_that_comes_again_has_another_name() -> None:
    node = Node()
    for turn in range(3):
        handle = node.broadcasts.hold([b"abc"], ())
        assert len(node.shared) == turn + 1
        del handle
        gc.collect()
        assert len(set(node.dropped)) == turn + 1


def test_what_is_of_another_server_is_refused() -> None:
    node, other = Node(), Node()
    own, strange = used(node.broadcasts.hold([b"a"], ())), used(other.broadcasts.hold([b"a"], ()))
    node.broadcasts.check([own])
    node.broadcasts.check([])
    with pytest.raises(NotShippable, match="another server"):
        node.broadcasts.check([own, strange])


def test_many_threads_hold_the_same() -> None:
    node = Node()
    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(lambda n: node.broadcasts.hold([b"%d" % (n % 5)], ()), range(400)))
    assert len(node.shared) == 5
    assert len({used(it).digest for it in handles}) == 5


# On nodes.


class Link:
    """Notes what it is asked for."""

    hello = None

    def __init__(self, engine: Engine, kind: NodeKind) -> None:
        self.node = engine.new_node()
        self.name, self.kind, self.slots, self.latency = "here", kind, 1, 0.001
        self.defined: list[bytes] = []

    def define(self, definition: Held) -> None:
        self.defined.append(definition.digest)

    def run(self, jobs: object) -> None:
        """Of no interest."""


class Nobody:
    """Is told things, and does not listen."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class Call:
    """What a job is about."""

    arguments = b""

    def __init__(self, definition: Definition, *uses: Held) -> None:
        self.definition, self.uses = definition, uses


@pytest.mark.parametrize("where", ["arguments", "function", "another object"])
def test_a_node_that_has_lost_an_object_gets_it_again(where: str) -> None:
    engine = Engine(Nobody())
    link = Link(engine, NodeKind.DAEMON)
    engine.on_joined(link)  # type: ignore[arg-type]  # a fake link
    held = Held(b"h" * 32, b"abc", ())
    outer = Held(b"o" * 32, b"outer", [held])
    call = {
        "arguments": Call(Definition(b"f" * 32, b"function"), held),
        "function": Call(Definition(b"f" * 32, b"function", [held])),
        "another object": Call(Definition(b"f" * 32, b"function"), outer),
    }[where]
    engine.submit([JobState(JobId(1), call)])
    engine.on_need(link, held.digest)  # type: ignore[arg-type]  # a fake link
    assert link.defined == [held.digest]
