"""Culprits: the innermost part that cannot be pickled is named by its path."""

from __future__ import annotations

import types
from collections.abc import Callable

import pytest

from ppnext.shipping.culprits import find_culprit


def stuck() -> types.GeneratorType[int, None, None]:
    return (x for x in (1,))


REASON = "a generator: cannot pickle 'generator' object"


class Holder:
    def __init__(self, **content: object) -> None:
        self.__dict__.update(content)

    def method(self) -> None:
        pass


class Stubborn:
    def __reduce__(self) -> str:
        raise RuntimeError("I stay here")


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (stuck(), f"it is {REASON}"),
        ([1, stuck()], f"[1] is {REASON}"),
        ({"a": [0, (stuck(),)]}, f"['a'][1][0] is {REASON}"),
        ((1, {"deep": Holder(x=[{"k": stuck()}])}), f"[1]['deep'].x[0]['k'] is {REASON}"),
        (Holder(inner=Holder(g=stuck())), f"inner.g is {REASON}"),
        (Holder(g=stuck()).method, f"__self__.g is {REASON}"),
    ],
)
def test_the_path_to_the_culprit(thing: object, expected: str) -> None:
    assert find_culprit(thing, 5) == expected


def test_functions_say_which_global_or_variable() -> None:
    space: dict[str, object] = {"__name__": "__main__", "source": {"rows": stuck()}}
    exec("def f(): return source", space)
    assert find_culprit(space["f"], 5) == f"the global 'source'['rows'] is {REASON}"

    def make(hidden: object) -> Callable[[], object]:
        return lambda: hidden

    assert find_culprit(make(stuck()), 5) == f"the closure's 'hidden' is {REASON}"


def test_a_helper_of_a_helper() -> None:
    space: dict[str, object] = {"__name__": "__main__", "rows": stuck()}
    exec("def inner(): return rows\ndef f(): return inner()", space)
    expected = f"the global 'inner'.the global 'rows' is {REASON}"
    assert find_culprit(space["f"], 5) == expected


def test_an_object_that_refuses_by_itself_is_named_with_its_module() -> None:
    text = find_culprit([Stubborn()], 5)
    assert text == f"[0] is a {__name__}.Stubborn: I stay here"


def test_it_stops_at_some_depth() -> None:
    deep: object = stuck()
    for _ in range(50):
        deep = [deep]
    assert find_culprit(deep, 5).startswith("[0][0][0][0][0][0] is a list: ")


def test_things_that_refer_to_themselves() -> None:
    loop: list[object] = []
    loop.append(loop)
    loop.append(stuck())
    assert "cannot pickle 'generator' object" in find_culprit(loop, 5)


def test_empty_cells_are_passed_by() -> None:
    def make() -> Callable[[], object]:
        def f() -> object:
            return late, hidden

        hidden = stuck()
        if not hidden:  # never
            late = 1
        return f

    assert find_culprit(make(), 5) == f"the closure's 'hidden' is {REASON}"
