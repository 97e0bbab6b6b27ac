"""Distributions: what is installed, as workers see it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ppnext.runtime.distributions import versions


def install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_what_is_installed_and_what_is_not() -> None:
    assert versions(["msgspec", "no-such-thing"]) == {
        "msgspec": msgspec.__version__,
        "no-such-thing": "",
    }


def test_names_in_any_spelling() -> None:
    found = versions(["pytest-xdist", "pytest_xdist", "Pytest.Xdist"])
    assert len(set(found.values())) == 1 and all(found.values())


def test_folders_of_the_workers_come_first(tmp_path: Path) -> None:
    install(tmp_path, "msgspec", "0.0.1")
    assert versions(["msgspec"], [str(tmp_path)]) == {"msgspec": "0.0.1"}


def test_broken_metadata_are_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "broken_thing-1.0.dist-info").mkdir()
    (tmp_path / "broken_thing-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00")
    assert versions(["broken-thing"], [str(tmp_path)]) == {"broken-thing": ""}
    assert versions([""]) == {"": ""}
