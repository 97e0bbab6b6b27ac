"""What ``map`` is told, and what it remembers."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ppnext.errors import NotShippable
from ppnext.mapper import Mapper, check_map
from ppnext.shipping.envelope import Parts, joined
from ppnext.shipping.functions import Definition, FunctionShipper
from ppnext.shipping.loading import decode_call, load_definition


class Done:
    """A job that has made its calls."""

    tid, node, attempts, seconds = 1, "here", 1, 0.0001

    def __init__(self, value: object) -> None:
        self._value = value

    def exception(self) -> None:
        return None

    def result(self) -> object:
        return self._value

    def drop(self) -> bool:
        return False


class Here:
    """Runs jobs at once, in this process."""

    def __init__(self) -> None:
        self.chunks: list[list[Any]] = []
        self.digests: set[bytes] = set()

    def submit(
        self, definition: Definition, arguments: bytes | Parts, ended: Callable[[object], object]
    ) -> Done:
        args, _ = decode_call(joined(arguments))
        self.chunks.append(list(args[0]))  # type: ignore[call-overload]  # a fake, of any arguments
        self.digests.add(definition.digest)
        job = Done(load_definition(definition.payload)(*args))
        ended(job)
        return job


@pytest.fixture
def mapper() -> Mapper:
    return Mapper(FunctionShipper(), pickle.HIGHEST_PROTOCOL)


def run(mapper: Mapper, here: Here, func: Any, *iterables: Any, chunksize: Any = "auto") -> Any:
    return mapper.start(here.submit, lambda: 2, func, iterables, chunksize).results()


def test_arguments_are_sent_flat(mapper: Mapper) -> None:
    here = Here()
    assert list(run(mapper, here, abs, [1, -2, 3, -4], chunksize=3)) == [1, 2, 3, 4]
    assert list(run(mapper, here, pow, [1, 2], [3, 4], chunksize=3)) == [1, 16]
    assert here.chunks == [[1, -2, 3], [-4], [(1, 3), (2, 4)]]
    assert len(here.digests) == 2


def test_the_next_map_begins_with_what_this_one_has_learnt(mapper: Mapper) -> None:
    first, second, other = Here(), Here(), Here()
    assert len(list(run(mapper, first, abs, range(10_000)))) == 10_000
    assert len(list(run(mapper, second, abs, range(10_000)))) == 10_000
    assert len(list(run(mapper, other, float, range(10_000)))) == 10_000
    # One call at first in any case: how large its arguments are is not known.
    assert len(first.chunks[1]) == len(second.chunks[0]) == len(other.chunks[1]) == 1
    assert len(second.chunks[1]) > 100


@pytest.mark.parametrize(("func", "rows"), [(str, [[1, None]]), (max, [[1, None], [2, 3]])])
def test_an_argument_that_cannot_be_shipped_is_named(
    mapper: Mapper, func: Any, rows: list[list[Any]]
) -> None:
    rows[0][1] = (x for x in ())
    results = run(mapper, Here(), func, *rows, chunksize=2)
    next(results)
    with pytest.raises(NotShippable, match="argument 1: it is a generator"):
        next(results)


# What the user says.


def test_arguments_of_several_iterables_are_tuples() -> None:
    fixed, inputs, expected = check_map(pow, ([1, 2, 3], (4, 5)), "auto", True)
    assert (fixed, expected) == (None, 2)
    assert list(inputs) == [(1, 4), (2, 5)]
    assert list(check_map(abs, ([(1,), 2],), 3, True)[1]) == [(1,), 2]


@pytest.mark.parametrize(
    ("iterables", "expected"),
    [
        (([1, 2],), 2),
        ((range(5), iter([1, 2])), 2),
        (((x for x in ()),), None),
        ((itertools.count(), "abc"), 3),
    ],
)
def test_how_many_calls_there_seem_to_be(iterables: tuple[Any, ...], expected: int | None) -> None:
    assert check_map(abs, iterables, "auto", True)[2] == expected


@pytest.mark.parametrize("length", [-1, "many", ZeroDivisionError()])
def test_a_length_that_is_nonsense_is_not_known(length: object) -> None:
    class Odd:
        def __len__(self) -> Any:
            if isinstance(length, Exception):
                raise length
            return length

        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

    _, inputs, expected = check_map(abs, (Odd(),), "auto", True)  # type: ignore[arg-type]  # odd on purpose
    assert expected is None
    assert list(inputs) == [1, 2]


@pytest.mark.parametrize(
    ("func", "iterables", "chunksize", "ordered", "error"),
    [
        (None, ([1],), "auto", True, TypeError),
        (abs, (), "auto", True, TypeError),
        (abs, (3,), "auto", True, TypeError),
        (abs, ([1], None), "auto", True, TypeError),
        (abs, ([1],), 0, True, ValueError),
        (abs, ([1],), "foo", True, ValueError),
        (abs, ([1],), 1.5, True, TypeError),
        (abs, ([1],), True, True, TypeError),
        (abs, ([1],), 1, 0, TypeError),
        (abs, ([1],), 1, "yes", TypeError),
    ],
)
def test_wrong_arguments(
    func: Any, iterables: Any, chunksize: Any, ordered: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        check_map(func, iterables, chunksize, ordered)
