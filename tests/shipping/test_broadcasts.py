"""Broadcasts: what a handle is pickled as, and who hears of it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ppnext.errors import NotShippable
from ppnext.shipping.broadcasts import Broadcast, fetch, note_used, take_used
from ppnext.shipping.calls import encode_call, encode_object
from ppnext.shipping.envelope import Parts, joined, unpack
from ppnext.shipping.functions import FunctionShipper


@pytest.fixture(autouse=True)
def nothing_is_noted() -> Iterator[None]:
    take_used()
    yield
    assert take_used() == ()


@pytest.fixture
def handle() -> Broadcast:
    return Broadcast(b"n" * 32, 100, "held")


def test_a_handle_is_pickled_as_its_name(handle: Broadcast) -> None:
    assert handle.__reduce__() == (fetch, (b"n" * 32,))
    assert len(pickle.dumps(handle)) < 150


def test_what_is_not_in_a_job_has_no_objects(handle: Broadcast) -> None:
    with pytest.raises(LookupError, match="only there for jobs; keep the object itself"):
        pickle.loads(pickle.dumps(handle))
    with pytest.raises(LookupError):
        copy.deepcopy(handle)


def test_where_there_is_a_source_it_is_asked() -> None:
    source = (
        "import pickle, sys; from ppnext.shipping.broadcasts import Broadcast, set_source;"
        "set_source(lambda name: name + b'!');"
        "assert pickle.loads(pickle.dumps(Broadcast(b'n', 1, None))) == b'n!'"
    )
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


def test_its_name_is_shown_in_short(handle: Broadcast) -> None:
    assert repr(handle) == "<Broadcast 6e6e6e6e of 100 bytes>"


# What a job uses.


def test_what_is_pickled_for_a_job_is_noted_once(handle: Broadcast) -> None:
    other = Broadcast(b"m" * 32, 100, "other")
    encode_call((handle, [handle, {"a": other}]), {"key": handle}, 5)
    assert take_used() == ("held", "other")
    assert take_used() == ()


def test_what_a_function_refers_to_is_its_own(handle: Broadcast) -> None:
    definition = FunctionShipper().ship(lambda: handle)
    assert definition.uses == ("held",)
    assert take_used() == ()
    assert FunctionShipper().ship(lambda: 1).uses == ()


def test_what_a_chunked_function_is_bound_to_is_its_own(handle: Broadcast) -> None:
    class Bound:
        def __init__(self, it: object) -> None:
            self.it = it

        def method(self, x: int) -> object:
            return self.it

    assert FunctionShipper().ship_chunked(Bound(handle).method, False).uses == ("held",)


def test_what_an_object_refers_to_is_noted(handle: Broadcast) -> None:
    encode_object([handle], 5)
    assert take_used() == ("held",)


def test_what_users_pickle_themselves_is_not_noted(handle: Broadcast) -> None:
    pickle.dumps(handle)
    copy.copy([handle])
    assert take_used() == ()
    encode_call((1,), {}, 5)
    assert take_used() == ()


def test_what_could_not_be_pickled_is_forgotten(handle: Broadcast) -> None:
    lock = threading.Lock()
    for fail in (
        lambda: encode_call((handle, lock), {}, 5),
        lambda: encode_object((handle, lock), 5),
        lambda: FunctionShipper().ship(lambda: (handle, lock)),
    ):
        with pytest.raises(NotShippable):
            fail()
        assert take_used() == ()


def test_threads_do_not_hear_of_each_other(handle: Broadcast) -> None:
    note_used()
    thread = threading.Thread(target=encode_call, args=((handle,), {}, 5))
    thread.start()
    thread.join()
    assert take_used() == ()


# Objects.


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_no_buffer_of_an_object_can_be_written_to_where_it_cannot(size: int) -> None:
    payload = encode_object([pickle.PickleBuffer(bytearray(size))], 5)
    assert isinstance(payload, Parts)
    [got] = unpack(memoryview(joined(payload)), frozen=True)  # type: ignore[misc]  # a list, as was packed
    assert memoryview(got).readonly and bytes(got) == bytes(size)


def test_an_object_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(NotShippable, match="the object cannot be shipped: .*lock"):
        encode_object({"a": [threading.Lock()]}, 5)
