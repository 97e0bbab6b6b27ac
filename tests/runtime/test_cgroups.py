"""Control groups: the way up from a group, and files that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppnext.runtime.cgroups import groups, text


@pytest.mark.parametrize("path", ["/a/b", "/../a/b", "a/b"])
def test_the_way_up_ends_at_the_mount_point(path: str) -> None:
    assert list(groups(Path("/m"), path)) == [Path("/m/a/b"), Path("/m/a"), Path("/m")]


def test_the_root_group_is_the_mount_point() -> None:
    assert list(groups(Path("/m"), "/")) == [Path("/m")]


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert text(tmp_path / "none") is None
    (tmp_path / "some").write_text("max 100000")
    assert text(tmp_path / "some") == "max 100000"
