"""The shelf: bundles by digest, fetched when they are needed, in so many bytes."""

from __future__ import annotations

import threading

import pytest

from ppnext.shipping.bundles import Bundle, SourceFile, pack
from ppnext.worker.shelf import Shelf


def bundle(n: int) -> Bundle:
    return pack(f"t_{n}", [SourceFile(f"t_{n}.py", "/a", f"VALUE = {n}".encode())])


class Store:
    def __init__(self, *bundles: Bundle) -> None:
        self.payloads = {one.digest: one.payload for one in bundles}
        self.fetched: list[bytes] = []

    def fetch(self, digest: bytes) -> bytes:
        self.fetched.append(digest)
        return self.payloads[digest]


def test_a_bundle_is_fetched_once() -> None:
    one = bundle(1)
    store = Store(one)
    shelf = Shelf(store.fetch)
    assert shelf.here(one.digest) is None
    assert shelf.contents(one.digest, "t_1") is shelf.contents(one.digest, "t_1")
    assert shelf.here(one.digest) is shelf.contents(one.digest, "t_1")
    assert store.fetched == [one.digest]


def test_a_source_is_compiled_once() -> None:
    one = bundle(1)
    shelf = Shelf(Store(one).fetch)
    code = shelf.code(one.digest, "t_1", "t_1.py")
    assert code is shelf.code(one.digest, "t_1", "t_1.py")
    assert code.co_filename == "/a/t_1.py"


def test_the_one_that_was_used_longest_ago_goes_first() -> None:
    bundles = [bundle(n) for n in range(3)]
    store = Store(*bundles)
    shelf = Shelf(store.fetch, kept=2 * len(bundles[0].payload))
    for n in (0, 1, 0, 2, 0, 1):
        shelf.contents(bundles[n].digest, f"t_{n}")
    assert store.fetched == [bundles[n].digest for n in (0, 1, 2, 1)]


def test_what_is_not_what_was_asked_for_is_not_kept() -> None:
    one = bundle(1)
    store = Store(one)
    store.payloads[one.digest] = bundle(2).payload
    shelf = Shelf(store.fetch)
    with pytest.raises(ImportError, match="its SHA-256 is"):
        shelf.contents(one.digest, "t_1")
    assert shelf.here(one.digest) is None


def test_a_fetch_that_fails_can_be_tried_again() -> None:
    one = bundle(1)
    store = Store()
    shelf = Shelf(store.fetch)
    with pytest.raises(KeyError):
        shelf.contents(one.digest, "t_1")
    store.payloads[one.digest] = one.payload
    assert shelf.contents(one.digest, "t_1").name == "t_1"


def test_threads_that_need_the_same_bundle_fetch_it_once() -> None:
    one = bundle(1)
    store = Store(one)
    shelf = Shelf(store.fetch)
    start = threading.Barrier(4)

    def need() -> None:
        start.wait()
        shelf.contents(one.digest, "t_1")

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.fetched) == 1
