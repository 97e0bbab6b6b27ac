"""Amounts: how they are written, and what is none."""

from __future__ import annotations

import pytest

from ppnext.amounts import check_amounts, parse_amounts

GIVEN = "resources"


def test_they_are_sorted_by_name() -> None:
    assert check_amounts(GIVEN, {"scratch": 100, "gpu": 1}) == (("gpu", 1), ("scratch", 100))
    assert check_amounts(GIVEN, {}) == ()


class _Name(str):
    """As numpy has one."""


class _Whole(int):
    """As an enum is one."""


def test_they_are_of_plain_types() -> None:
    [(name, amount)] = check_amounts(GIVEN, {_Name("gpu"): _Whole(2)})
    assert (name, amount) == ("gpu", 2)
    assert (type(name), type(amount)) == (str, int)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("gpu", TypeError, "resources must be such as {'gpu': 1}, not 'gpu'"),
        (None, TypeError, "resources must be such as {'gpu': 1}, not None"),
        ([("gpu", 1)], TypeError, "resources must be such as {'gpu': 1}, not [('gpu', 1)]"),
        ({1: 1}, TypeError, "resources must have names such as 'gpu', not 1"),
        ({"": 1}, ValueError, "'_', '-' and '.', not ''"),
        ({"a b": 1}, ValueError, "not 'a b'"),
        ({"gpu\n": 1}, ValueError, "names such as 'gpu'"),
        ({"x" * 65: 1}, ValueError, "names such as 'gpu'"),
        ({"gpu": "1"}, TypeError, "resources: gpu must be a whole number, not '1'"),
        ({"gpu": 0.5}, TypeError, "resources: gpu must be a whole number, not 0.5"),
        ({"gpu": True}, TypeError, "resources: gpu must be a whole number, not True"),
        ({"gpu": None}, TypeError, "resources: gpu must be a whole number, not None"),
        ({"gpu": 0}, ValueError, "resources: gpu must be 1 or more, not 0"),
        ({"gpu": -1}, ValueError, "resources: gpu must be 1 or more, not -1"),
        ({"gpu": 10**20}, ValueError, "resources: gpu must be 9007199254740992 or less, not 1"),
        ({f"n{number}": 1 for number in range(65)}, ValueError, "has 65 names; at most 64"),
    ],
)
def test_what_is_none_is_named(given: object, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        check_amounts(GIVEN, given)
    assert said in str(caught.value)


def test_they_are_read_from_a_command_line() -> None:
    assert parse_amounts(GIVEN, ["scratch=100", "gpu"]) == (("gpu", 1), ("scratch", 100))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["gpu=2", "gpu=1"], "resources: gpu is given twice"),
        (["gpu="], "resources: gpu must be a whole number, not ''"),
        (["gpu=0"], "resources: gpu must be 1 or more, not 0"),
        (["gpu=-1"], "resources: gpu must be 1 or more, not -1"),
        (["gpu=1.5"], "resources: gpu must be a whole number, not '1.5'"),
        (["=1"], "not ''"),
    ],
)
def test_what_is_written_wrong_is_named(given: list[str], said: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        parse_amounts(GIVEN, given)
    assert said in str(caught.value)
