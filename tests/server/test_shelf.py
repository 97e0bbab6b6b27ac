"""The shelf: what clients have brought, by key and content, bounded."""

from __future__ import annotations

from ppnext.server.shelf import Shelf

ANN, BOB = b"a" * 16, b"b" * 16


def test_what_was_put_there_is_found_under_the_same_key_only() -> None:
    shelf = Shelf()
    shelf.put(ANN, b"1", b"content")
    assert shelf.get(ANN, b"1") == b"content"
    assert shelf.get(BOB, b"1") is None
    assert shelf.get(ANN, b"2") is None


def test_what_was_used_longest_ago_goes_first() -> None:
    shelf = Shelf(most=100)
    for name in (b"1", b"2", b"3", b"4"):
        shelf.put(ANN, name, bytes(25))
    shelf.get(ANN, b"1")
    shelf.put(BOB, b"5", bytes(25))
    assert [shelf.get(ANN, name) is not None for name in (b"1", b"2", b"3", b"4")] == [
        True,
        False,
        True,
        True,
    ]


def test_the_same_thing_again_counts_once() -> None:
    shelf = Shelf(most=100)
    for _ in range(10):
        shelf.put(ANN, b"1", bytes(25))
    shelf.put(ANN, b"2", bytes(25))
    assert shelf.get(ANN, b"1") is not None and shelf.get(ANN, b"2") is not None


def test_what_would_drive_out_all_others_is_not_kept() -> None:
    shelf = Shelf(most=100)
    shelf.put(ANN, b"1", bytes(25))
    shelf.put(ANN, b"2", bytes(26))
    assert shelf.get(ANN, b"2") is None
    assert shelf.get(ANN, b"1") is not None
