"""Payloads: what they are to those who carry them, and how a batch is taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.errors import ProtocolError
from ppnext.wire.payloads import Block, split, view_of


def test_a_block_is_made_of_its_size_or_its_content() -> None:
    assert bytes(Block(3).view()) == b"\0\0\0"
    block = Block(bytearray(b"abc"))
    assert len(block) == 3
    assert block.descriptor() is None
    block.view()[1:] = b"xy"
    assert bytes(view_of(block)) == b"axy"


def test_the_bytes_of_a_small_payload_are_not_copied() -> None:
    payload = b"small"
    assert view_of(payload).obj is payload


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=9))
def test_a_batch_is_taken_apart_as_it_was_put_together(parts: list[bytes]) -> None:
    assert split(b"".join(parts), [len(part) for part in parts]) == parts


def test_a_large_payload_is_one_jobs_alone() -> None:
    block = Block(10)
    assert split(block, [10]) == [block]
    with pytest.raises(ProtocolError, match="share one large payload"):
        split(block, [5, 5])
    with pytest.raises(ProtocolError, match="share one large payload"):
        split(block, [10, 0])


@pytest.mark.parametrize("sizes", [[], [4], [6], [2, 2], [5, 1], [0, 0], [2**63 - 1, 5]])
def test_sizes_that_do_not_add_up(sizes: list[int]) -> None:
    with pytest.raises(ProtocolError, match=f"5 bytes is said to have {sum(sizes)}"):
        split(b"12345", sizes)
    with pytest.raises(ProtocolError, match="is said to have"):
        split(Block(5), sizes)
