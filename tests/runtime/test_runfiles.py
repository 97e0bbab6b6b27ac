"""Run files: who lives is found, who is gone is not, and no stranger's file is believed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from threading import Thread

import pytest

from ppnext.runtime.runfiles import create, folders, running

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs locks of files")

ADDRESSES = ["127.0.0.1:60000", "[::1]:60000"]


def test_the_places_are_those_of_the_user() -> None:
    elsewhere = Path(tempfile.gettempdir()) / f"ppnext-{os.getuid()}"
    assert folders({}) == [elsewhere]
    assert folders({"XDG_RUNTIME_DIR": "run"}) == [elsewhere]
    assert folders({"XDG_RUNTIME_DIR": "/run/user/1"}) == [Path("/run/user/1/ppnext"), elsewhere]


def test_a_process_is_found_until_it_removes_its_file(tmp_path: Path) -> None:
    place = tmp_path / "ppnext"
    file = create([place], ADDRESSES)
    assert place.stat().st_mode & 0o777 == 0o700
    (found,) = running([tmp_path / "nothing", place])
    assert (found.pid, found.addresses) == (os.getpid(), tuple(ADDRESSES))
    assert [found.is_at(it) for it in ("", "60000", "127.0.0.1:60000", "6000", "::1")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    waiting = Thread(target=found.wait)
    waiting.start()
    file.remove()
    waiting.join(20)
    assert not waiting.is_alive()
    assert running([place]) == []
    assert list(place.iterdir()) == []


def test_the_file_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "ppserver-1"
    left.write_text("1\n127.0.0.1:60000")
    assert running([tmp_path]) == []
    assert not left.exists()


def test_processes_of_containers_that_share_the_folder_are_not_mistaken(tmp_path: Path) -> None:
    """They may have the same number, and neither is the process that has it here."""
    files = [create([tmp_path], ADDRESSES, counted=f"pid:[{number}]") for number in (1, 2)]
    assert running([tmp_path]) == []
    assert all(file.path.exists() for file in files)
    files.append(create([tmp_path], ADDRESSES))
    (found,) = running([tmp_path])
    assert found.pid == os.getpid()
    found.close()
    for file in files:
        file.remove()
    assert list(tmp_path.iterdir()) == []


def test_who_comes_removes_what_others_have_left(tmp_path: Path) -> None:
    left = tmp_path / "ppserver-1"
    left.write_text("1\n127.0.0.1:60000")
    file = create([tmp_path], ADDRESSES)
    assert list(tmp_path.iterdir()) == [file.path]
    file.remove()


def test_a_folder_that_others_may_change_is_not_used(tmp_path: Path) -> None:
    open_to_all, ours = tmp_path / "open", tmp_path / "ours"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    file = create([open_to_all, ours], ADDRESSES)
    assert file.path.parent == ours
    with pytest.raises(OSError, match="not a folder that only its user can change"):
        create([open_to_all], ADDRESSES)
    os.rename(file.path, open_to_all / file.path.name)
    assert running([open_to_all]) == []
    file.remove()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    file = create([ours], ADDRESSES)
    (tmp_path / "link").symlink_to(ours)
    assert running([tmp_path / "link"]) == []
    file.remove()
