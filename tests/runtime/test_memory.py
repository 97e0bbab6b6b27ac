"""How much memory a process may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppnext.runtime.memory import Room, rooms, usable_memory
from tests.folders import write

PHYSICAL = 1 << 34


@pytest.mark.parametrize(
    ("files", "groups", "limit"),
    [
        pytest.param({}, "", PHYSICAL, id="no cgroups"),
        pytest.param({"memory.max": "max\n"}, "0::/\n", PHYSICAL, id="unlimited"),
        pytest.param({"memory.max": "1000\n"}, "0::/\n", 1000, id="at the mount"),
        pytest.param({"a/b/memory.max": "500"}, "0::/a/b", 500, id="own group"),
        pytest.param(
            {"a/b/memory.max": "500", "a/memory.max": "400"}, "0::/a/b", 400, id="of a parent"
        ),
        pytest.param({"memory.max": "300"}, "0::/host/only", 300, id="path not mounted"),
        pytest.param({"x/memory.max": "200"}, "0::/../x", 200, id="outside the namespace"),
        pytest.param(
            {"memory.max": "99999999999999999"}, "0::/", PHYSICAL, id="more than there is"
        ),
        pytest.param({"memory.max": "what is this"}, "0::/", PHYSICAL, id="unknown format"),
        pytest.param({"memory.max": "-1"}, "0::/", PHYSICAL, id="negative"),
        pytest.param(
            {"memory/m/memory.limit_in_bytes": "700"},
            "4:cpu:/c\n3:memory:/m\n0::/\n",
            700,
            id="version 1",
        ),
    ],
)
def test_limits(tmp_path: Path, files: dict[str, str], groups: str, limit: int) -> None:
    own = tmp_path / "own"
    own.write_text(groups)
    assert usable_memory(PHYSICAL, write(tmp_path / "root", files), own) == limit


def test_of_this_machine() -> None:
    assert usable_memory() > 1 << 20


def test_where_nothing_says() -> None:
    nowhere = Path("/no/such/place")
    assert usable_memory(PHYSICAL, nowhere, nowhere) == PHYSICAL


MEMINFO = "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  400 kB\nHugePages_Total:  0\n"
MACHINE = Room(1000 << 10, 400 << 10)


@pytest.mark.parametrize(
    ("files", "groups", "group"),
    [
        pytest.param({}, "", None, id="no cgroups"),
        pytest.param({"memory.max": "max", "memory.current": "5"}, "0::/", None, id="unlimited"),
        pytest.param({"memory.max": "5000"}, "0::/", None, id="it does not say"),
        pytest.param(
            {"memory.max": "5000", "memory.current": "3000"}, "0::/", Room(5000, 2000), id="used"
        ),
        pytest.param(
            {
                "memory.max": "5000",
                "memory.current": "4900",
                "memory.stat": "anon 1\ninactive_file 1000\n",
            },
            "0::/",
            Room(5000, 1100),
            id="the cache can be had",
        ),
        pytest.param(
            {"memory.max": "5000", "memory.current": "6000"}, "0::/", Room(5000, 0), id="too much"
        ),
        pytest.param(
            {
                "memory/m/memory.limit_in_bytes": "700",
                "memory/m/memory.usage_in_bytes": "500",
                "memory/m/memory.stat": "total_inactive_file 50\n",
            },
            "3:memory:/m",
            Room(700, 250),
            id="version 1",
        ),
        pytest.param(
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "500",
            },
            "3:memory:/",
            None,
            id="version 1, unlimited",
        ),
    ],
)
def test_what_is_left(
    tmp_path: Path, files: dict[str, str], groups: str, group: Room | None
) -> None:
    own, meminfo = tmp_path / "own", tmp_path / "meminfo"
    own.write_text(groups)
    meminfo.write_text(MEMINFO)
    found = rooms(meminfo, write(tmp_path / "root", files), own)
    assert found == [MACHINE, *([] if group is None else [group])]


def test_a_system_that_cannot_be_asked_now_has_no_room_that_is_made_up(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        rooms(tmp_path)


def test_what_is_left_of_this_machine() -> None:
    nowhere = Path("/no/such/place")
    [told] = rooms(cgroup_root=nowhere, self_cgroup=nowhere)
    [asked] = rooms(nowhere, nowhere, nowhere)
    for room in (told, asked):
        assert 0 < room.available <= room.total
    assert asked.total == told.total
