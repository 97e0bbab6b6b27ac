"""Definitions: functions are known while they are of use, and objects while there is room."""

from __future__ import annotations

import pytest

from ppnext.definitions import Definitions

KEPT = 256
"""Functions that are kept although no job calls them."""

KEPT_BYTES = 64 << 20


class Function:
    """A function that jobs call."""

    is_held = False

    def __init__(self, digest: bytes, payload: object = b"code", uses: tuple[object, ...] = ()):
        self.digest, self.payload, self.uses = digest, payload, uses


class Heavy(bytes):
    """A payload that says to be large."""

    def __new__(cls, size: int) -> Heavy:
        made = super().__new__(cls)
        made.size = size
        return made

    size: int

    def __len__(self) -> int:
        return self.size


def named(number: int) -> bytes:
    return b"%032d" % number


@pytest.fixture
def definitions() -> Definitions:
    """Definitions of nothing, with room for a hundred bytes of objects."""
    return Definitions(100)


def is_known(definitions: Definitions, number: int) -> bool:
    """Whether the content of a function or an object is here."""
    return definitions.get(named(number)).payload is not None


# Functions.


def test_a_function_is_known_as_long_as_a_job_calls_it(definitions: Definitions) -> None:
    called = Function(named(1))
    definitions.note(called)
    definitions.note(called)
    definitions.note(Function(named(2)))
    assert definitions.get(named(1)) is called
    del called
    assert not is_known(definitions, 1)


def test_the_newest_is_known_without_any_job(definitions: Definitions) -> None:
    definitions.note(Function(named(1)))
    assert is_known(definitions, 1)


def test_one_that_uses_objects_is_not_kept_for_it_would_keep_them(
    definitions: Definitions,
) -> None:
    definitions.note(Function(named(1), uses=(object(),)))
    assert not is_known(definitions, 1)


def test_the_newer_of_two_equal_ones_is_known(definitions: Definitions) -> None:
    old, new = Function(named(1)), Function(named(1))
    definitions.note(old)
    definitions.note(new)
    assert definitions.get(named(1)) is new


def test_what_has_not_arrived_has_a_name_and_no_content(definitions: Definitions) -> None:
    awaited = definitions.get(named(1))
    assert (awaited.digest, awaited.payload, awaited.is_held) == (named(1), None, False)
    assert list(awaited.uses) == []
    assert definitions.get(named(1)) is awaited


def test_what_arrives_reaches_the_jobs_that_wait_for_it(definitions: Definitions) -> None:
    awaited = definitions.get(named(1))
    assert definitions.provide(named(1), b"code", False) is awaited
    assert awaited.payload == b"code"


def test_what_arrives_before_its_jobs_is_kept(definitions: Definitions) -> None:
    definitions.provide(named(1), b"code", False)
    assert is_known(definitions, 1)


def test_what_is_here_with_its_content_stays_as_it_is(definitions: Definitions) -> None:
    function = Function(named(1), b"own")
    definitions.note(function)
    assert definitions.provide(named(1), b"sent", True) is function
    assert function.payload == b"own" and not function.is_held


def test_of_many_functions_the_last_are_kept(definitions: Definitions) -> None:
    for number in range(KEPT + 3):
        definitions.provide(named(number), b"code", False)
    known = [number for number in range(KEPT + 3) if is_known(definitions, number)]
    assert known == list(range(3, KEPT + 3))


def test_one_that_arrives_again_counts_once(definitions: Definitions) -> None:
    for _ in range(2 * KEPT):
        definitions.provide(named(0), b"code", False)
    for number in range(1, KEPT):
        definitions.provide(named(number), b"code", False)
    assert is_known(definitions, 0)


def test_large_functions_make_room_for_newer_ones(definitions: Definitions) -> None:
    for number in range(3):
        definitions.provide(named(number), Heavy(KEPT_BYTES // 2), False)
    assert [is_known(definitions, number) for number in range(3)] == [False, True, True]


def test_the_newest_is_kept_however_large(definitions: Definitions) -> None:
    definitions.provide(named(0), b"code", False)
    definitions.provide(named(1), Heavy(KEPT_BYTES + 1), False)
    assert [is_known(definitions, number) for number in range(2)] == [False, True]
    definitions.provide(named(2), b"code", False)
    assert [is_known(definitions, number) for number in range(3)] == [False, False, True]


# Objects.


def test_objects_are_held_until_they_are_dropped(definitions: Definitions) -> None:
    assert definitions.provide(named(1), b"object", True).is_held
    for number in range(2, 2 * KEPT):
        definitions.provide(named(number), b"code", False)
    assert is_known(definitions, 1)
    definitions.drop(named(1))
    assert not is_known(definitions, 1)


def test_to_drop_what_is_not_here_does_nothing(definitions: Definitions) -> None:
    definitions.drop(named(1))
    assert not is_known(definitions, 1)


def test_an_object_that_a_job_uses_is_known_after_it_was_dropped(definitions: Definitions) -> None:
    used = definitions.provide(named(1), b"object", True)
    definitions.drop(named(1))
    assert definitions.get(named(1)) is used and is_known(definitions, 1)


def test_without_room_the_oldest_objects_go(definitions: Definitions) -> None:
    for number in range(4):
        definitions.provide(named(number), Heavy(40), True)
    assert [is_known(definitions, number) for number in range(4)] == [False, False, True, True]


def test_objects_that_just_fit_stay(definitions: Definitions) -> None:
    for number in range(2):
        definitions.provide(named(number), Heavy(50), True)
    assert is_known(definitions, 0) and is_known(definitions, 1)


def test_the_newest_object_is_held_however_large(definitions: Definitions) -> None:
    definitions.provide(named(0), Heavy(1), True)
    definitions.provide(named(1), Heavy(1000), True)
    assert [is_known(definitions, number) for number in range(2)] == [False, True]


def test_an_object_that_arrives_again_counts_once(definitions: Definitions) -> None:
    definitions.provide(named(0), Heavy(40), True)
    for _ in range(5):
        definitions.provide(named(1), Heavy(60), True)
    assert is_known(definitions, 0) and is_known(definitions, 1)


def test_once_cleared_nothing_that_arrived_is_kept(definitions: Definitions) -> None:
    definitions.provide(named(1), Heavy(KEPT_BYTES), False)
    definitions.provide(named(2), b"object", True)
    definitions.clear()
    assert not is_known(definitions, 1) and not is_known(definitions, 2)
    # What was forgotten takes no room.
    for number in (3, 4):
        definitions.provide(named(number), Heavy(KEPT_BYTES // 2), False)
    assert is_known(definitions, 3) and is_known(definitions, 4)


def test_once_cleared_no_function_is_kept(definitions: Definitions) -> None:
    definitions.note(Function(named(1)))
    definitions.clear()
    assert not is_known(definitions, 1)
