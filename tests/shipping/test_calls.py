"""Arguments on their way out."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.errors import NotShippable
from ppnext.shipping.calls import encode_call
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
    assert decode_call(encode_call(args, kwargs, protocol)) == (args, kwargs)


def test_plain_arguments_go_as_plain_pickle() -> None:
    assert encode_call((1, [2]), {}, 5) == pickle.dumps(((1, [2]),), 5)


def test_the_protocol_that_was_chosen_is_used() -> None:
    assert encode_call((1,), {}, 2)[:2] == b"\x80\x02"
    assert encode_call((lambda: 1,), {}, 4)[:2] == b"\x80\x04"


def test_text_that_says_main_arrives_as_it_is() -> None:
    args = ("__main__", b"__main__", {"__main__": 1})
    assert decode_call(encode_call(args, {}, 5)) == (args, {})


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
