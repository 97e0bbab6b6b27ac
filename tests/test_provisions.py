"""Provisions: nodes that ask are answered, and those that ask for nonsense cost nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from ppnext.provisions import Provisions
from ppnext.shipping.outfit import Outfitter

PATIENCE = 20.0


class Engine:
    """Notes what it is given."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes]] = []

    def provide(self, digest: bytes, payload: bytes) -> None:
        self.told.append(("provide", digest))

    def drop(self, digest: bytes) -> None:
        self.told.append(("drop", digest))


class Link:
    """A node that notes what it is told."""

    def __init__(self) -> None:
        self.told: SimpleQueue[tuple[str, bytes, str]] = SimpleQueue()

    def found(self, module: str, digest: bytes, why: str = "") -> None:
        self.told.put((module, digest, why))


class Stage:
    """Provisions with their surroundings; what is posted is called at once or kept."""

    def __init__(self, folder: Path) -> None:
        self.engine, self.link = Engine(), Link()
        self.outfitter = Outfitter([str(folder)])
        self.kept: list[Callable[[], None]] | None = None
        self.provisions = Provisions(self.outfitter, self.engine, self._post)  # type: ignore[arg-type]  # a fake

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        if self.kept is None:
            call(*args)
        else:
            self.kept.append(lambda: call(*args))

    def seek(self, module: str) -> None:
        self.provisions.seek(self.link, module)  # type: ignore[arg-type]  # a fake

    def answer(self) -> tuple[str, bytes, str]:
        return self.link.told.get(timeout=PATIENCE)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    (tmp_path / "provided.py").write_text("VALUE = 1\n")
    return Stage(tmp_path)


def test_a_module_that_is_sought_is_found_and_sent_when_it_is_asked_for(stage: Stage) -> None:
    stage.seek("provided")
    module, digest, why = stage.answer()
    assert (module, len(digest), why) == ("provided", 32, "")
    stage.provisions.provide(digest)
    assert stage.engine.told == [("provide", digest)]


@pytest.mark.parametrize("name", ["nobody_has_this", "../provided", "a.b", "", "x" * 10_000, "os"])
def test_what_is_not_the_users_is_answered_with_nothing(stage: Stage, name: str) -> None:
    stage.seek(name)
    assert stage.answer() == (name, b"", "")


def test_who_asks_for_what_no_job_uses_is_told_to_wait_no_more(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ppnext.shipping"):
        for number in range(100):
            stage.provisions.provide(bytes([number]) * 32)
    assert stage.engine.told == [("drop", bytes([n]) * 32) for n in range(100)]
    assert not caplog.records  # a node may ask for anything, and often


def test_questions_without_end_are_not_kept(stage: Stage) -> None:
    stage.kept = []
    for _ in range(1500):
        stage.seek("nobody_has_this")
    refused = [stage.answer() for _ in range(500)]
    assert {why for _, _, why in refused} == {"too many modules are looked for at a time"}
    stage.provisions.close()
