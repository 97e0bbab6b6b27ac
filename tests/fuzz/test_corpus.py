"""The corpus: every file is tried on its parser, and its name says what is to come of it.

``good-...`` is accepted, ``bad-...`` is refused. Of ``found-...``, which a fuzzer has left here, it
is only known that it must do no harm.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from tests.fuzz.inputs import FILES, UNMENDED, name_of
from tests.fuzz.targets import PAYLOAD_LIMIT, TARGETS

MEMORY = 4 * PAYLOAD_LIMIT
"""Bytes that parsing a small file may take, whatever it announces."""


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert all(path.name.startswith(("good-", "bad-", "found-")) for path in FILES)
    assert all(path.stat().st_size <= 8192 for path in FILES)


def marked(path: Path) -> object:
    reason = UNMENDED.get(name_of(path))
    marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
    return pytest.param(path, id=name_of(path), marks=marks)


@pytest.mark.parametrize("path", [marked(path) for path in FILES])
def test_the_corpus(path: Path) -> None:
    target = TARGETS[path.parent.name]
    data = path.read_bytes()
    target(data)  # whatever is loaded or kept once is loaded now
    tracemalloc.start()
    try:
        accepted = target(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    if not path.name.startswith("found-"):
        assert accepted == path.name.startswith("good-")
