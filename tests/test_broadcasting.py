"""Broadcasting: equal objects have one name, others never, and the end of each is told once."""

from __future__ import annotations

import gc
import hashlib
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from ppnext.broadcasting import Broadcasts, Buffer, Held, Names
from ppnext.shipping.broadcasts import Broadcast, take_used
from ppnext.wire.payloads import Block, Payload

SMALL, LARGE = 1000, (4 << 20) + 1000


def content(size: int) -> bytearray:
    return bytearray(hashlib.shake_128(b"content").digest(size))


@pytest.fixture
def names() -> Names:
    numbers = count(1)
    return Names(lambda: next(numbers).to_bytes(32, "big"))


def kept(names: Names, *buffers: Buffer) -> Held:
    """What bears the name of the content, made if there is none."""
    name, held = names.find(buffers)
    if held is None:
        held = Held(name, Block(bytearray(b"".join(buffers))), ())
        names.keep(held)
    return held


# Names.


def test_the_name_of_a_small_object_is_the_hash_of_its_content(names: Names) -> None:
    small = content(SMALL)
    held = kept(names, small[:10], b"", small[10:])
    assert held.digest == hashlib.sha256(small).digest()


@pytest.mark.parametrize("size", [0, 1, SMALL, 4 << 20, LARGE, 3 * LARGE])
def test_equal_objects_are_one(names: Names, size: int) -> None:
    first = kept(names, content(size))
    assert kept(names, content(size)) is first
    assert len(first.digest) == 32


@pytest.mark.parametrize("size", [1, SMALL, LARGE, 3 * LARGE])
@pytest.mark.parametrize("place", [0, 0.4999, 0.5, 0.7317, -1])
def test_objects_that_differ_in_one_byte_are_two(names: Names, size: int, place: float) -> None:
    first = kept(names, content(size))
    other = content(size)
    other[int(place * size) if place >= 0 else -1] ^= 1
    second = kept(names, other)
    assert second is not first and second.digest != first.digest
    assert kept(names, content(size)) is first and kept(names, other) is second


def test_many_large_objects_that_look_alike_are_told_apart(names: Names) -> None:
    held = []
    for number in range(6):
        it = content(LARGE)
        it[100_000:100_001] = bytes([number])  # no sample is taken there
        held.append((it, kept(names, it)))
    assert len({it.digest for _, it in held}) == 6
    assert all(kept(names, it) is found for it, found in held)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_is_gone_is_not_found(names: Names, size: int) -> None:
    held = kept(names, content(size))
    name = held.digest
    del held
    names.forget(name)
    assert names.find([content(size)])[1] is None
    names.forget(name)


def test_names_that_nobody_bears_take_no_room(names: Names) -> None:
    for number in range(3):
        it = content(LARGE)
        it[0] = number
        name = kept(names, it).digest
        names.forget(name)
    assert not names._looks and not len(names._all)


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
    take_used()
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


def test_an_object_that_comes_again_is_shared_again() -> None:
    node = Node()
    for turn in range(3):
        handle = node.broadcasts.hold([b"abc"], ())
        assert len(node.shared) == turn + 1
        del handle
        gc.collect()
        assert len(node.dropped) == turn + 1


def test_many_threads_hold_the_same() -> None:
    node = Node()
    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(lambda n: node.broadcasts.hold([b"%d" % (n % 5)], ()), range(400)))
    assert len(node.shared) == 5
    assert len({used(it).digest for it in handles}) == 5
