"""Fair share: nobody gets more than it wants, less than its part, or a slot that stays free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.sched.fairshare import Lump, is_crowded, offers, shares

demands = st.dictionaries(st.integers(0, 9), st.integers(0, 40), max_size=8)


@pytest.mark.parametrize(
    ("total", "wanted", "given_out"),
    [
        pytest.param(8, {}, {}, id="no session"),
        pytest.param(8, {"a": 0}, {"a": 0}, id="a session that wants nothing"),
        pytest.param(8, {"a": 100}, {"a": 8}, id="one session has all"),
        pytest.param(8, {"a": 100, "b": 100}, {"a": 4, "b": 4}, id="two have half each"),
        pytest.param(8, {"a": 1, "b": 100}, {"a": 1, "b": 7}, id="what one leaves, the other has"),
        pytest.param(
            9, {"a": 1, "b": 4, "c": 100}, {"a": 1, "b": 4, "c": 4}, id="max-min in steps"
        ),
        pytest.param(8, {"a": 3, "b": 2}, {"a": 3, "b": 2}, id="enough for all"),
        pytest.param(0, {"a": 3, "b": 2}, {"a": 0, "b": 0}, id="no slots"),
    ],
)
def test_shares(total: int, wanted: dict[str, int], given_out: dict[str, int]) -> None:
    assert shares(total, wanted) == given_out


def test_the_odd_slots_go_round() -> None:
    wanted = {"a": 9, "b": 9, "c": 9}
    odd = [shares(4, wanted, turn) for turn in range(4)]
    assert [max(share, key=share.__getitem__) for share in odd] == ["a", "b", "c", "a"]
    assert all(sorted(share.values()) == [1, 1, 2] for share in odd)


def test_with_fewer_slots_than_sessions_each_has_its_turn() -> None:
    wanted = {"a": 5, "b": 0, "c": 5, "d": 5}
    turns = [{s for s, slots in shares(1, wanted, turn).items() if slots} for turn in range(3)]
    assert turns == [{"a"}, {"c"}, {"d"}]


@given(st.integers(0, 100), demands, st.integers(0, 20))
def test_shares_are_fair_and_waste_nothing(total: int, wanted: dict[int, int], turn: int) -> None:
    share = shares(total, wanted, turn)
    assert share.keys() == wanted.keys()
    assert all(0 <= share[session] <= wanted[session] for session in wanted)
    assert sum(share.values()) == min(total, sum(wanted.values()))
    most = max(share.values(), default=0)
    for session, slots in share.items():
        assert slots == wanted[session] or slots >= most - 1


@pytest.mark.parametrize(
    ("total", "wanted", "told"),
    [
        pytest.param(8, {}, {}, id="no session"),
        pytest.param(8, {"a": 0}, {"a": 8}, id="alone: everything"),
        pytest.param(8, {"a": 0, "b": 0}, {"a": 8, "b": 8}, id="the other wants nothing now"),
        pytest.param(8, {"a": 0, "b": 100}, {"a": 4, "b": 8}, id="half, if it wants it"),
        pytest.param(8, {"a": 2, "b": 100}, {"a": 4, "b": 6}, id="the rest of what is wanted"),
        pytest.param(1, {"a": 9, "b": 9}, {"a": 1, "b": 1}, id="one at least, in its turn"),
    ],
)
def test_offers(total: int, wanted: dict[str, int], told: dict[str, int]) -> None:
    assert offers(total, wanted) == told


@given(st.integers(0, 100), demands)
def test_an_offer_is_never_less_than_the_share(total: int, wanted: dict[int, int]) -> None:
    told, share = offers(total, wanted), shares(total, wanted)
    assert all(told[session] >= max(1, share[session]) for session in wanted) or total == 0


def test_nobody_is_offered_a_slot_when_there_is_none() -> None:
    assert offers(0, {"a": 0, "b": 0}) == {"a": 0, "b": 0}
    assert shares(0, {"a": 3, "b": 0}) == {"a": 0, "b": 0}


# Jobs that take several slots.

LARGE = Lump(4, 4)


@pytest.mark.parametrize(
    ("wanted", "lumps", "turns"),
    [
        pytest.param({"a": 4}, {"a": LARGE}, [{"a": 4}], id="alone"),
        pytest.param(
            {"a": 4, "b": 9},
            {"a": LARGE},
            [{"a": 4, "b": 0}, {"a": 0, "b": 4}, {"a": 4, "b": 0}],
            id="in turn, and in the turn of the other it could use nothing",
        ),
        pytest.param(
            {"a": 5, "b": 9},
            {"a": Lump(1, 3)},
            [{"a": 3, "b": 1}, {"a": 2, "b": 2}],
            id="in the turn of the other it has its part for its small jobs",
        ),
        pytest.param(
            {"a": 8, "b": 8},
            {"a": LARGE, "b": LARGE},
            [{"a": 4, "b": 0}, {"a": 0, "b": 4}],
            id="both have large jobs",
        ),
        pytest.param(
            {"a": 0, "b": 8}, {"a": LARGE}, [{"a": 0, "b": 4}], id="who wants nothing has no turn"
        ),
        pytest.param({"a": 2, "b": 2}, {"a": Lump(2, 2)}, [{"a": 2, "b": 2}], id="room for all"),
        pytest.param(
            {"a": 4, "b": 4},
            {"a": Lump(6, 6)},
            2 * [{"a": 0, "b": 4}],
            id="whose jobs are too large for the slots that are left has no turn",
        ),
    ],
)
def test_who_has_large_jobs_has_room_for_them_in_turn(
    wanted: dict[str, int], lumps: dict[str, Lump], turns: list[dict[str, int]]
) -> None:
    assert [shares(4, wanted, turn, lumps) for turn in range(len(turns))] == turns


@pytest.mark.parametrize(
    ("wanted", "lumps", "crowded"),
    [
        pytest.param({"a": 9, "b": 9}, {}, False, id="each has some"),
        pytest.param(dict.fromkeys("abcde", 1), {}, True, id="more sessions than slots"),
        pytest.param({"a": 9, "b": 9}, {"a": LARGE}, True, id="no room for a large job"),
        pytest.param({"a": 9}, {"a": LARGE}, False, id="alone"),
    ],
)
def test_when_sessions_take_turns(
    wanted: dict[str, int], lumps: dict[str, Lump], crowded: bool
) -> None:
    assert is_crowded(4, wanted, lumps) is crowded


@given(st.integers(1, 20), st.integers(0, 20), st.data())
def test_everybody_has_room_for_his_largest_job_in_some_turn(
    total: int, start: int, data: st.DataObject
) -> None:
    sizes = st.integers(1, total)
    largest = data.draw(st.dictionaries(st.integers(0, 5), sizes, min_size=1, max_size=5))
    lumps = {it: Lump(data.draw(st.integers(1, most)), most) for it, most in largest.items()}
    wanted = {it: most + data.draw(st.integers(0, 5)) for it, most in largest.items()}
    room = dict.fromkeys(wanted, 0)
    for turn in range(start, start + len(wanted)):
        share = shares(total, wanted, turn, lumps)
        assert share.keys() == wanted.keys() and sum(share.values()) <= total
        room = {it: max(room[it], share[it]) for it in room}
    assert all(room[it] >= largest[it] for it in wanted)
