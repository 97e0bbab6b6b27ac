"""Ranking: always the smallest key first, whatever happened before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppnext.sched.model import NodeId
from ppnext.sched.ranking import Ranking


def ranking(*entries: tuple[int, float, int]) -> Ranking:
    made = Ranking()
    for node, key, rank in entries:
        made.put(NodeId(node), key, rank)
    return made


def test_an_empty_ranking_has_no_first() -> None:
    assert ranking().first() is None
    assert len(ranking()) == 0


def test_the_smallest_key_is_first() -> None:
    made = ranking((1, 0.5, 0), (2, 0.25, 1), (3, 0.75, 0))
    assert made.first() == 2
    assert len(made) == 3


def test_equal_keys_are_ordered_by_rank_and_then_by_node_number() -> None:
    assert ranking((3, 0.0, 0), (1, 0.0, 0), (2, 0.0, 0)).first() == 1
    assert ranking((3, 0.0, 0), (1, 0.0, 1), (2, 0.0, 1)).first() == 3


def test_a_new_key_replaces_the_old_one() -> None:
    made = ranking((1, 0.0, 0), (2, 0.5, 0), (1, 1.0, 0))
    assert made.first() == 2
    assert len(made) == 2


def test_the_same_key_again_costs_nothing() -> None:
    made = ranking(*[(1, 0.0, 0)] * 1000)
    assert len(made._heap) == 1


def test_what_is_taken_out_is_not_first() -> None:
    made = ranking((1, 0.0, 0), (2, 0.5, 0))
    made.discard(NodeId(1))
    made.discard(NodeId(7))
    assert made.first() == 2
    assert NodeId(1) not in made
    assert NodeId(2) in made


def test_what_was_taken_out_comes_back_with_its_old_key() -> None:
    made = ranking((1, 0.0, 0))
    made.discard(NodeId(1))
    made.put(NodeId(1), 0.0)
    assert made.first() == 1


def test_stale_entries_are_swept_out() -> None:
    made = ranking(*[(number % 10, float(-number), 0) for number in range(10_000)])
    assert len(made._heap) <= 4 * 10 + 64 + 1
    assert made.first() == 9


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.none() | st.tuples(st.integers(0, 3), st.integers(0, 1))),
        max_size=300,
    )
)
def test_as_a_sorted_dictionary_would_have_it(
    steps: list[tuple[int, tuple[int, int] | None]],
) -> None:
    made, plain = Ranking(), dict[NodeId, tuple[int, int]]()
    for number, key in steps:
        node = NodeId(number)
        if key is None:
            made.discard(node)
            plain.pop(node, None)
        else:
            made.put(node, *key)
            plain[node] = key
        expected = min(((key, node) for node, key in plain.items()), default=None)
        assert made.first() == (expected and expected[1])
        assert len(made) == len(plain)
