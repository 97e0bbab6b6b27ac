"""Envelopes: what is out of band, what arrives, and what is not taken for one."""

from __future__ import annotations

import array
import copyreg
import mmap
import pickle
import struct
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from ppnext.shipping import byvalue
from ppnext.shipping.envelope import (
    OUT_OF_BAND,
    Buffer,
    Collector,
    Parts,
    hold_no_buffers,
    joined,
    pack,
    unpack,
)

LARGE = OUT_OF_BAND


class Block:
    """Something with a large buffer, as an array has it."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol >= 5:
            return Block, (PickleBuffer(self.memory),)
        return Block, (bytes(self.memory),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and bytes(self.memory) == bytes(other.memory)

    __hash__ = None  # type: ignore[assignment]  # it is equal by what it holds now


def parts_of(obj: object, protocol: int = 5) -> Parts:
    packed = pack(obj, protocol)
    assert isinstance(packed, Parts)
    return packed


REGIONS: dict[str, Callable[[bytes], Buffer]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "view of bytes": memoryview,
    "view of bytearray": lambda content: memoryview(bytearray(content)),
    "part of a view": lambda content: memoryview(bytearray(bytes(64) + content + b"xyz"))[64:-3],
    "mapping": lambda content: memoryview(mapping_of(content)),
}


def mapping_of(content: bytes) -> mmap.mmap:
    mapping = mmap.mmap(-1, len(content))
    mapping[:] = content
    return mapping


@pytest.fixture(params=sorted(REGIONS))
def region(request: pytest.FixtureRequest) -> Callable[[bytes], Buffer]:
    """What makes a region of each kind."""
    return REGIONS[request.param]


def there_and_back(obj: object, region: Callable[[bytes], Buffer] = bytes) -> Any:
    return unpack(region(joined(pack(obj, 5))))


# What is out of band.


@pytest.mark.parametrize(
    "obj",
    [
        None,
        [1, "a"],
        "x" * LARGE,
        bytes(LARGE),
        bytearray(LARGE),
        array.array("d", bytes(LARGE)),
        Block(bytes(LARGE - 1)),
        Block(b""),
        [Block(bytes(10))] * 1000,
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_without_large_buffers_it_is_the_plain_pickle(obj: object) -> None:
    packed = pack(obj, 5)
    assert packed == pickle.dumps(obj, 5)
    assert unpack(joined(packed)) == obj


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_below_protocol_5_nothing_is_out_of_band(protocol: int) -> None:
    obj = [Block(bytes(LARGE))]
    assert pack(obj, protocol) == pickle.dumps(obj, protocol)
    assert pack(obj, protocol, byvalue.dumps) == byvalue.dumps(obj, protocol)


@pytest.mark.parametrize("size", [LARGE, LARGE + 1, LARGE + 63, 3 * LARGE])
def test_a_large_buffer_is_the_memory_itself(size: int) -> None:
    memory = bytearray(size)
    parts = parts_of(Block(memory))
    last = parts.buffers[-1]
    assert isinstance(last, memoryview)
    memory[7] = 77
    assert last[7] == 77
    assert len(parts.pickled) < 500
    assert len(parts) == parts.size == sum(map(len, parts.buffers)) == len(parts.join())


def test_buffers_are_aligned() -> None:
    sizes = [LARGE, LARGE + 1, LARGE + 64, LARGE + 127]
    offset = 0
    for buffer in parts_of([Block(bytes(size)) for size in sizes]).buffers:
        if isinstance(buffer, memoryview):
            assert offset % 64 == 0
            assert len(buffer) == sizes.pop(0)
        offset += len(buffer)
    assert sizes == []


def test_the_head_is_no_pickle() -> None:
    region = parts_of(Block(bytes(LARGE))).join()
    with pytest.raises(pickle.UnpicklingError, match="invalid load key"):
        pickle.loads(region)


def test_while_parts_are_there_the_memory_stays_where_it_is() -> None:
    memory = bytearray(LARGE)
    parts = parts_of(Block(memory))
    with pytest.raises(BufferError):
        memory.append(1)
    del parts
    memory.append(1)


# What arrives.


def test_there_and_back(region: Callable[[bytes], Buffer]) -> None:
    obj = {
        "a": [Block(bytes([1]) * LARGE), 2, Block(bytearray(b"x"))],
        "b": Block(bytes(LARGE + 9)),
    }
    assert there_and_back(obj, region) == obj


def test_a_plain_pickle_from_any_region(region: Callable[[bytes], Buffer]) -> None:
    assert there_and_back([1, {"a": b"b"}], region) == [1, {"a": b"b"}]


def test_what_could_be_written_to_can_be(region: Callable[[bytes], Buffer]) -> None:
    one, other = there_and_back([Block(bytearray(LARGE)), Block(bytearray(LARGE))], region)
    for block in (one, other):
        memory = memoryview(block.memory)
        assert not memory.readonly
        memory[0] = 5
        memory[-1] = 6
    assert bytes(one.memory) == bytes(other.memory) == b"\5" + bytes(LARGE - 2) + b"\6"


def test_what_could_not_cannot(region: Callable[[bytes], Buffer]) -> None:
    back = there_and_back(Block(bytes(LARGE)), region)
    assert memoryview(back.memory).readonly


def test_a_writable_region_is_used_in_place() -> None:
    region = bytearray(parts_of(Block(bytearray(LARGE))).join())
    back: Any = unpack(region)
    back.memory[-1] = 9
    assert region[-1] == 9


def test_bytes_are_never_written_to() -> None:
    region = parts_of(Block(bytearray(LARGE))).join()
    before = bytes(bytearray(region))
    back: Any = unpack(region)
    back.memory[-1] = 9
    assert region == before


def test_the_same_object_twice() -> None:
    block = Block(bytearray(LARGE))
    one, other, third = there_and_back([block, block, Block(block.memory)])
    assert one is other
    assert third is not one


def test_nothing_keeps_the_region_but_the_buffers() -> None:
    mapping = mapping_of(parts_of([Block(bytearray(LARGE)), 1]).join())
    view = memoryview(mapping)
    back: Any = unpack(view)
    view.release()
    with pytest.raises(BufferError):
        mapping.close()
    back.clear()
    mapping.close()


def test_a_bare_buffer_arrives_as_a_buffer() -> None:
    back = there_and_back(PickleBuffer(bytearray(b"ab" * LARGE)), bytearray)
    assert bytes(back) == b"ab" * LARGE


@hypothesis.given(
    strategies.recursive(
        strategies.integers(0, 3).map(lambda n: Block(bytearray([n]) * (n * LARGE // 2)))
        | strategies.integers()
        | strategies.binary(max_size=10),
        lambda inner: (
            strategies.lists(inner, max_size=4)
            | strategies.dictionaries(strategies.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    strategies.sampled_from(sorted(REGIONS)),
)
@hypothesis.settings(max_examples=50)
def test_anything_there_and_back(obj: object, kind: str) -> None:
    assert there_and_back(obj, REGIONS[kind]) == obj


# By value.


def test_by_value_picklers_hand_out_buffers_too() -> None:
    class Local(Block):
        pass

    obj = [lambda: 1, Block(bytearray(LARGE))]
    for dumps in (byvalue.dumps, byvalue.dumps_home):
        packed = pack(obj, 5, dumps)
        assert isinstance(packed, Parts)
        assert len(packed.buffers) == 4
        back: Any = unpack(packed.join())
        assert back[0]() == 1
        assert back[1] == obj[1]


def test_what_only_dill_can_pickle_has_no_stale_buffers(tmp_path: Any) -> None:
    block = Block(bytearray(b"a" * LARGE))
    with open(tmp_path / "file", "w") as file:
        packed = pack([block, file, block], 5, byvalue.dumps)
    assert isinstance(packed, bytes)
    back: Any = unpack(packed)
    one, reopened, other = back
    reopened.close()
    assert one == block
    assert one is other


# Objects that are awkward while they are pickled.


class Gaps(Block):
    """Hands out memory that has gaps."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (PickleBuffer(memoryview(self.memory)[::2]),)


class Released(Block):
    """Hands out memory that it has taken back."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        buffer = PickleBuffer(self.memory)
        buffer.release()
        return Block, (buffer,)


class Fails(Block):
    """Hands out memory, and fails after that."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (PickleBuffer(self.memory), Stubborn())


class Stubborn:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError("not me")


def test_memory_with_gaps_is_left_to_the_pickler() -> None:
    collector = Collector()
    assert collector.take(PickleBuffer(memoryview(bytes(4 * LARGE))[::2]))
    assert collector == []


@pytest.mark.parametrize("kind", [Gaps, Released, Fails])
def test_an_error_is_raised_and_nothing_is_held(kind: type[Block]) -> None:
    memory = bytearray(4 * LARGE)
    with pytest.raises((pickle.PicklingError, ValueError, ZeroDivisionError)):
        pack([kind(memory)], 5)
    memory.append(1)


def test_one_that_releases_its_memory_after_it_was_taken() -> None:
    buffers = []

    class Late(Block):
        def __reduce_ex__(self, protocol: Any) -> Any:
            buffers.append(PickleBuffer(self.memory))
            return Block, (buffers[0],)

    memory = bytearray(b"a" * LARGE)
    parts = parts_of(Late(memory))
    buffers[0].release()
    with pytest.raises(BufferError):
        memory.clear()
    back: Any = unpack(parts.join())
    assert bytes(back.memory) == b"a" * LARGE


def test_one_that_lies_about_its_size() -> None:
    class Liar(Block):
        def __len__(self) -> int:
            return 1 << 60

        def __sizeof__(self) -> int:
            return -1

        nbytes = 3

    back = there_and_back([Block(Liar(bytearray(LARGE)).memory), 1])
    assert len(back[0].memory) == LARGE


def test_one_that_changes_while_it_is_pickled() -> None:
    memory = bytearray(b"a" * LARGE)

    class Changing:
        def __reduce__(self) -> Any:
            memory[:3] = b"xyz"
            return str, ()

    back = there_and_back([Block(memory), Changing()])
    assert bytes(back[0].memory) == b"xyz" + b"a" * (LARGE - 3)

    class Growing:
        def __reduce__(self) -> Any:
            memory.extend(b"more")
            return str, ()

    with pytest.raises(BufferError):
        pack([Block(memory), Growing()], 5)
    memory.extend(b"more")


def test_multidimensional_memory_goes_as_its_bytes() -> None:
    shaped = memoryview(bytearray(range(256)) * (LARGE // 256)).cast("d", (LARGE // 64, 8))
    assert bytes(there_and_back(Block(shaped)).memory) == bytes(shaped)


# What is no envelope.


def head(*spans: tuple[int, int], version: int = 1, count: int | None = None) -> bytes:
    table = b"".join(struct.pack("<QQ", *span) for span in spans)
    return struct.pack("<BBxxI", 0xF5, version, len(spans) if count is None else count) + table


SEVEN = pickle.dumps(7, 5)
AT = 8 + 16
HUGE = (1 << 64) - 1


def test_the_table_is_read() -> None:
    assert unpack(head((AT, len(SEVEN))) + SEVEN) == 7


@pytest.mark.parametrize(
    ("region", "message"),
    # By number: the bytes are no names.
    [
        (b"\xf5", "has no whole head"),
        (head()[:7], "has no whole head"),
        (head(), "claims 0 contents"),
        (head(count=1), "claims 1 contents"),
        (head(count=(1 << 32) - 1), "claims 4294967295 contents"),
        (head((AT, len(SEVEN)), version=0) + SEVEN, "version 0; 1 is known"),
        (head((AT, len(SEVEN)), version=255) + SEVEN, "version 255"),
        (head((AT, len(SEVEN) + 1)) + SEVEN, "has 6 bytes at 24"),
        (head((AT, HUGE)) + SEVEN, "bytes at 24"),
        (head((HUGE, len(SEVEN))) + SEVEN, f"bytes at {HUGE}"),
        (head((AT - 1, len(SEVEN))) + SEVEN, "at 23, after 24"),
        (head((0, 5)) + SEVEN, "at 0, after 24"),
        (head((AT, len(SEVEN) - 1)) + SEVEN, "ends at 28"),
        (head((AT, len(SEVEN))) + SEVEN + b"x", "ends at 29"),
        (head((40, 5), (40, 5)) + SEVEN, "at 40, after 45"),
        (head((40, 5), (41, 4)) + SEVEN, "at 41, after 45"),
        (head((40, 5), (45 + 64, 1)) + SEVEN + bytes(65), "at 109, after 45"),
        (head((40, 5), (64, HUGE)) + SEVEN + bytes(65), "at 64, after 45"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_head_that_makes_no_sense(
    region: bytes, message: str, kind: Callable[[bytes], Buffer]
) -> None:
    with pytest.raises(pickle.UnpicklingError, match=message):
        unpack(kind(region))


@pytest.mark.parametrize("region", [b"", b"junk", SEVEN[:-1]])
def test_what_is_no_pickle_either(region: bytes) -> None:
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        unpack(region)


def test_a_pickle_that_asks_for_more_buffers_than_there_are() -> None:
    pickled = parts_of([Block(bytearray(LARGE)), Block(bytearray(LARGE))]).pickled
    region = head((40, len(pickled)), (40 + len(pickled), 1)) + pickled + b"x"
    with pytest.raises(pickle.UnpicklingError, match="not enough"):
        unpack(region)


@hypothesis.given(strategies.integers(0, 200), strategies.integers(0, 255))
def test_a_damaged_head_never_gives_other_memory(place: int, value: int) -> None:
    region = bytearray(parts_of(Block(bytearray(LARGE))).join())
    region[place] = value
    try:
        back = unpack(region)
    except Exception:  # a pickle that is damaged may raise anything
        return
    if isinstance(back, Block):
        assert len(bytes(back.memory)) == LARGE


# numpy's arrays.


@pytest.fixture(scope="module")
def np() -> Any:
    """numpy."""
    return pytest.importorskip("numpy", reason="numpy is not installed")


ARRAYS: dict[str, Callable[[Any], Any]] = {
    "float64": lambda np: np.arange(LARGE, dtype=float),
    "small": lambda np: np.arange(10),
    "empty": lambda np: np.empty((0, 3)),
    "zero-dimensional": lambda np: np.array(7.5),
    "Fortran order": lambda np: np.asfortranarray(np.arange(2 * LARGE).reshape(2, LARGE)),
    "transposed": lambda np: np.arange(2 * LARGE).reshape(2, LARGE).T,
    "every other": lambda np: np.arange(2 * LARGE)[::2],
    "reversed": lambda np: np.arange(LARGE)[::-1],
    "broadcast": lambda np: np.broadcast_to(np.arange(3), (LARGE, 3)),
    "structured": lambda np: np.zeros(LARGE, dtype=[("a", "<i4"), ("b", "S3"), ("c", "f8", (2,))]),
    "big-endian": lambda np: np.arange(LARGE, dtype=">i8"),
    "complex": lambda np: np.ones(LARGE, dtype=complex),
    "bool": lambda np: np.ones(LARGE, dtype=bool),
    "datetime64": lambda np: np.arange(LARGE).astype("datetime64[s]"),
    "text": lambda np: np.full(LARGE, "abc"),
    "object": lambda np: np.array([{"a": 1}, None, "x"], dtype=object),
    "large object": lambda np: np.array([1, None] * LARGE, dtype=object),
    "record": lambda np: np.rec.array(np.zeros(LARGE, dtype=[("x", "i4")])),
    "masked": lambda np: np.ma.masked_equal(np.arange(LARGE), 3),
    "matrix of one row": lambda np: np.arange(LARGE).reshape(1, LARGE),
}


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_arrays(np: Any, name: str, region: Callable[[bytes], Buffer]) -> None:
    it = ARRAYS[name](np)
    back = there_and_back(it, region)
    plain = pickle.loads(pickle.dumps(it, 5))
    assert type(back) is type(plain)
    assert back.dtype == plain.dtype == it.dtype
    assert back.shape == it.shape
    assert back.flags.f_contiguous == plain.flags.f_contiguous
    assert back.flags.writeable == plain.flags.writeable
    assert back.flags.aligned
    assert np.array_equal(back, it)


def test_arrays_are_as_writable_as_they_were(np: Any, region: Callable[[bytes], Buffer]) -> None:
    one, other = np.zeros(LARGE), np.zeros(LARGE)
    other.flags.writeable = False
    back, locked = there_and_back([one, other], region)
    back += 1
    assert back.sum() == LARGE
    with pytest.raises(ValueError, match="read-only"):
        locked += 1
    assert locked.sum() == 0


def test_the_same_array_twice(np: Any) -> None:
    it = np.zeros(LARGE)
    one, other, nested = there_and_back([it, it, {"a": (it,)}], bytearray)
    assert one is other is nested["a"][0]
    assert len(parts_of([it, it]).buffers) == 4


def test_an_array_is_copied_once_on_the_way_and_not_on_arrival(np: Any) -> None:
    it = np.arange(LARGE)
    region = bytearray(parts_of(it).join())
    back: Any = unpack(region)
    assert np.shares_memory(back, np.frombuffer(region, np.uint8))


# What need not be looked at.


def test_basic_types_hold_no_buffers() -> None:
    assert hold_no_buffers(())
    assert hold_no_buffers((1, 1.5, True, None, "a", b"b", 1j))
    several: list[object] = [[], (), {}, bytearray(), PickleBuffer(b""), Block(b""), int, copyreg]
    for value in several:
        assert not hold_no_buffers((1, value))


def test_a_subclass_of_a_basic_type_may_hold_one() -> None:
    class Heavy(int):
        def __reduce_ex__(self, protocol: Any) -> Any:
            return Block, (PickleBuffer(bytearray(LARGE)),)

    assert not hold_no_buffers((Heavy(),))
