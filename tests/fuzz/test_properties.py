"""Any bytes, and valid bytes with some damage, are accepted or refused by every parser.

The targets themselves say what must hold (see ``targets``); here hypothesis looks for bytes for
which it does not, beginning from the corpus. The search that is guided by coverage is
``python -m tests.fuzz``.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import FILES, UNMENDED, name_of
from tests.fuzz.targets import TARGETS

Damage = tuple[int, int, bytes]
"""Where, how many bytes are taken out, and what is put in their place."""

damages = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 9), st.binary(max_size=9)))


def sources(name: str) -> list[bytes]:
    files = [path for path in FILES if path.parent.name == name and name_of(path) not in UNMENDED]
    return [path.read_bytes() for path in files]


def damaged(data: bytes, changes: list[Damage]) -> bytes:
    for place, count, instead in changes:
        at = place % (len(data) + 1)
        data = data[:at] + instead + data[at + count :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    target = TARGETS[name]

    @given(st.binary(max_size=300))
    def holds(data: bytes) -> None:
        target(data)

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes(name: str) -> None:
    target, known = TARGETS[name], sources(name)

    @given(st.sampled_from(known), damages)
    def holds(data: bytes, changes: list[Damage]) -> None:
        target(damaged(data, changes))

    holds()


@pytest.mark.parametrize("name", ["frames", "connection"])
def test_streams_one_after_the_other(name: str) -> None:
    target, known = TARGETS[name], sources(name)

    @given(st.lists(st.sampled_from(known), max_size=5))
    def holds(parts: list[bytes]) -> None:
        target(b"".join(parts))

    holds()
