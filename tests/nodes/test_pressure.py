"""Pressure: when a machine is short of memory, and which job gives way."""

from __future__ import annotations

import pytest

from ppnext.nodes.pressure import Sized, has_room, least, newest_large, short_of
from ppnext.runtime.memory import Room

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("total", "left"),
    [
        pytest.param(100 * GIB, 3 * GIB, id="a part"),
        pytest.param(4 * GIB, 256 * MIB, id="more than a part, where that is little"),
        pytest.param(1000 * MIB, 100 * MIB, id="less, where there is little altogether"),
    ],
)
def test_what_is_to_be_left(total: int, left: int) -> None:
    assert least(total) == left
    room = Room(total, left)
    assert short_of([room]) is None and not has_room([room])
    assert short_of([Room(total, left - 1)]) is not None
    assert has_room([Room(total, 2 * left)])


def test_the_machine_or_any_group_may_be_short() -> None:
    well, short = Room(100 * GIB, 50 * GIB), Room(2 * GIB, MIB)
    assert short_of([well, short]) is short and not has_room([well, short])
    assert short_of([]) is None and has_room([])


@pytest.mark.parametrize(
    ("jobs", "place"),
    [
        pytest.param([], None, id="no job"),
        pytest.param([(63, 1.0)], None, id="none worth it"),
        pytest.param([(64, 1.0)], 0, id="the only one"),
        pytest.param([(1000, 1.0), (100, 9.0)], 0, id="the largest, though not the newest"),
        pytest.param([(1000, 1.0), (600, 9.0), (900, 5.0)], 1, id="the newest of the large"),
        pytest.param([(600, 1.0), (1000, 1.0), (700, 1.0)], 1, id="of equally new the largest"),
    ],
)
def test_who_gives_way(jobs: list[tuple[int, float]], place: int | None) -> None:
    assert newest_large([Sized(size * MIB, began) for size, began in jobs]) == place
