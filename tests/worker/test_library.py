"""The library: functions by content hash, loaded once, the oldest forgotten."""

from __future__ import annotations

import pytest

from ppnext.shipping.functions import FunctionShipper
from ppnext.wire.messages import Drop
from ppnext.worker.library import Library

NAME = b"n" * 32


def enter(entries: object) -> None:
    """These functions see none of the user's modules."""
    assert entries == ()


def fetch(digest: bytes) -> None:
    raise ConnectionError("nobody is asked here")


def definition(n: int) -> tuple[bytes, bytes]:
    shipped = FunctionShipper().ship(lambda: n)
    return shipped.digest, shipped.payload


def test_a_function_is_loaded_once() -> None:
    library = Library()
    digest, payload = definition(1)
    assert digest not in library
    library.add(digest, payload)
    assert digest in library
    function = library.get(digest, enter, fetch)
    assert function() == 1
    assert library.get(digest, enter, fetch) is function


def test_a_function_sent_again_is_loaded_again() -> None:
    library = Library()
    digest, payload = definition(1)
    library.add(digest, payload)
    function = library.get(digest, enter, fetch)
    library.add(digest, payload)
    assert library.get(digest, enter, fetch) is not function


def test_the_one_that_was_used_longest_ago_goes_first() -> None:
    library = Library(size=3)
    digests = []
    for n in range(3):
        digest, payload = definition(n)
        digests.append(digest)
        library.add(digest, payload)
    library.get(digests[0], enter, fetch)
    last, payload = definition(3)
    library.add(last, payload)
    library.get(last, enter, fetch)
    assert [digest in library for digest in digests] == [True, False, True]


def test_a_function_that_was_just_sent_again_does_not_go_first() -> None:
    library = Library(size=2)
    first, second, third = (definition(n) for n in range(3))
    for digest, payload in (first, second, first, third):
        library.add(digest, payload)
    library.get(third[0], enter, fetch)
    assert [digest in library for digest, _ in (first, second, third)] == [True, False, True]


def test_one_that_cannot_be_loaded_fails_each_time_and_alone() -> None:
    library = Library()
    shipped = FunctionShipper().ship(lambda: 1, (), ("no_such_module",))
    good, payload = definition(5)
    library.add(shipped.digest, shipped.payload)
    library.add(good, payload)
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            library.get(shipped.digest, enter, fetch)
    assert library.get(good, enter, fetch)() == 5


def test_what_is_waited_for_may_turn_out_to_be_gone() -> None:
    library = Library()
    library.expect(NAME)
    assert not library.is_gone(NAME)
    library.keep(Drop(NAME), b"")
    assert library.is_gone(NAME)
    library.expect(NAME)  # it has been asked for again
    assert not library.is_gone(NAME)
    library.expect_no_more(NAME)
    assert library.is_gone(NAME)  # for others, who find that it is here, or not


def test_one_that_is_not_here_is_fetched() -> None:
    library = Library()
    digest, payload = definition(1)
    assert library.get(digest, enter, lambda wanted: library.add(wanted, payload))() == 1
    with pytest.raises(ConnectionError):
        Library().get(digest, enter, fetch)
