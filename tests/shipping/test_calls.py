"""Arguments on their way out."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from pickle import PickleBuffer
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.errors import NotShippable
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import OUT_OF_BAND, Parts, joined
from ppnext.shipping.loading import decode_call

Script = Callable[[str], SimpleNamespace]


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, "a", None), {}),
        ((), {"x": [1, 2]}),
        ((Decimal("1.5"), Path("/tmp"), {1, 2}), {"y": b"\x00\xff"}),
    ],
)
def test_there_and_back(args: Any, kwargs: Any, protocol: int) -> None:
    assert decode_call(joined(encode_call(args, kwargs, protocol))) == (args, kwargs)


def test_plain_arguments_go_as_plain_pickle() -> None:
    assert encode_call((1, [2]), {}, 5) == pickle.dumps(((1, [2]),), 5)


def test_the_protocol_that_was_chosen_is_used() -> None:
    assert joined(encode_call((1,), {}, 2))[:2] == b"\x80\x02"
    assert joined(encode_call(([1],), {}, 2))[:2] == b"\x80\x02"
    assert joined(encode_call((lambda: 1,), {}, 4))[:2] == b"\x80\x04"


def test_text_that_says_main_arrives_as_it_is() -> None:
    args = ("__main__", b"__main__", {"__main__": 1})
    assert decode_call(joined(encode_call(args, {}, 5))) == (args, {})


class Block:
    """Something with a large buffer, as an array has it."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (PickleBuffer(self.memory) if protocol >= 5 else bytes(self.memory),)


def test_large_buffers_are_not_copied() -> None:
    block = Block(bytearray(b"a" * OUT_OF_BAND))
    parts = encode_call((1, block), {"again": block}, 5)
    assert isinstance(parts, Parts)
    assert len(parts.buffers) == 4
    block.memory[-1:] = b"b"
    region = bytearray(parts.join())
    (one, back), kwargs = decode_call(region)
    assert one == 1
    assert back is kwargs["again"]
    assert bytes(back.memory) == b"a" * (OUT_OF_BAND - 1) + b"b"  # type: ignore[attr-defined]  # the class has it
    back.memory[-1:] = b"c"  # type: ignore[attr-defined]  # the class has it
    assert region[-1:] == b"c"


def test_large_buffers_below_protocol_5() -> None:
    payload = encode_call((Block(bytearray(OUT_OF_BAND)),), {}, 4)
    assert isinstance(payload, bytes)
    (back,), _ = decode_call(payload)
    assert bytes(back.memory) == bytes(OUT_OF_BAND)  # type: ignore[attr-defined]  # the class has it


def test_large_buffers_beside_what_goes_by_value(far: Any, script: Script) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    it = script("""
        class Scaled:
            def __init__(self, array, factor): self.array, self.factor = array, factor
            def total(self): return float(self.array.sum() * self.factor)
    """)
    array = numpy.ones(OUT_OF_BAND)
    assert isinstance(encode_call((it.Scaled(array, 2),), {}, 5), Parts)
    assert far.call(lambda scaled: scaled.total(), it.Scaled(array, 2)) == 2 * OUT_OF_BAND


def test_arrays_there_and_back(far: Any) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    array = numpy.arange(OUT_OF_BAND)

    def change(a: Any, b: Any) -> Any:
        a[0] = 7
        return a is b, a

    same, back = far.call(change, array, array)
    assert same
    assert back[0] == 7
    assert array[0] == 0
    back[1] = 8
    assert numpy.array_equal(back[2:], array[2:])


def test_functions_and_instances_as_arguments(far: Any, script: Script) -> None:
    it = script("""
        class Point:
            def __init__(self, x): self.x = x
        def twice(x): return 2 * x
    """)
    assert far.call(lambda f, p, *, g: (f(p.x), g(p.x)), it.twice, it.Point(4), g=lambda x: -x) == (
        8,
        -4,
    )


def test_the_same_object_twice_is_the_same_object_over_there(far: Any) -> None:
    thing: list[int] = []
    assert far.call(lambda a, b, c: (a is b, b is c), thing, thing, []) == (True, False)


def test_arguments_that_refer_to_themselves(far: Any) -> None:
    loop: list[object] = [1]
    loop.append(loop)
    assert far.call(lambda a: a[1][1][0], loop) == 1


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        ((1, "stuck"), {}, "argument 2: it is a generator"),
        (({"a": [0, "stuck"]},), {}, "argument 1: ['a'][1] is a generator"),
        ((1,), {"rows": "stuck"}, "keyword argument rows: it is a generator"),
    ],
)
def test_the_culprit_is_named(args: Any, kwargs: Any, where: str) -> None:
    def with_generator(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: with_generator(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(with_generator, value))
        return (x for x in ()) if value == "stuck" else value

    with pytest.raises(NotShippable) as caught:
        encode_call(with_generator(args), with_generator(kwargs), 5)
    assert f"the job's arguments cannot be shipped: {where}: cannot pickle" in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_object_that_raises_what_it_likes() -> None:
    class Stubborn:
        def __reduce__(self) -> str:
            raise ZeroDivisionError("not me")

    with pytest.raises(NotShippable, match="argument 1: it is a .*Stubborn: not me"):
        encode_call((Stubborn(),), {}, 5)


class Torn:
    """Hands out memory that it has taken back."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        buffer = PickleBuffer(bytearray(OUT_OF_BAND))
        buffer.release()
        return Torn, (buffer,)


class Gaps:
    """Hands out memory with gaps."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Gaps, (PickleBuffer(memoryview(bytes(4 * OUT_OF_BAND))[::2]),)


class Stubborn:
    """Fails when its neighbour's memory has been taken already."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("not me")


@pytest.mark.parametrize(
    ("awkward", "why"),
    [(Torn, "released PickleBuffer"), (Gaps, "contiguous"), (Stubborn, "not me")],
)
def test_awkward_memory_is_an_error_of_that_call(awkward: Callable[[], Any], why: str) -> None:
    block = Block(bytearray(OUT_OF_BAND))
    with pytest.raises(NotShippable, match=f"argument 2: it is a .*{awkward.__name__}: .*{why}"):
        encode_call((block, awkward()), {}, 5)
    gc.collect()  # the error's traceback may be part of a cycle
    block.memory.append(1)  # nothing holds it
