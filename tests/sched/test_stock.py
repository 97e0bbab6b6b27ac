"""Stock: who has how much of what there is, and who is next."""

from __future__ import annotations

import pytest

from ppnext.sched.stock import Amounts, Stock

ONE: Amounts = (("gpu", 1),)
TWO: Amounts = (("gpu", 2),)
BOTH: Amounts = (("gpu", 1), ("scratch", 60))


@pytest.mark.parametrize(
    ("amounts", "why"),
    [
        pytest.param((), None, id="nothing"),
        pytest.param(TWO, None, id="all of it"),
        pytest.param(BOTH, None, id="of two things"),
        pytest.param((("gpu", 3),), "has 2 gpu, not 3", id="too much"),
        pytest.param(
            (("tpu", 1),), "offers no tpu (it offers: gpu=2, scratch=100)", id="another thing"
        ),
    ],
)
def test_what_can_never_be_had(amounts: Amounts, why: str | None) -> None:
    assert Stock({"scratch": 100, "gpu": 2}).lacks(amounts) == why


def test_who_has_nothing_says_so() -> None:
    assert Stock().lacks(ONE) == "offers no gpu"


def test_what_is_in_use_cannot_be_had() -> None:
    stock = Stock({"gpu": 2, "scratch": 100})
    assert stock.strain(ONE, "a") == 0.5
    assert stock.strain(BOTH, "a") == 0.6
    stock.count(BOTH, 1)
    assert stock.strain(ONE, "a") == 1.0
    assert stock.strain(TWO, "a") == 1.5
    assert stock.strain(BOTH, "a") == 1.2
    assert stock.strain((), "a") == 0.0
    stock.count(BOTH, -1)
    assert stock.used == {"gpu": 0, "scratch": 0}


def test_nobody_overtakes_who_waits_for_the_same() -> None:
    stock = Stock({"gpu": 1, "tpu": 1})
    stock.wait("first", frozenset({"gpu"}))
    stock.wait("second", frozenset({"gpu", "tpu"}))
    stock.wait("first", frozenset({"gpu"}))  # again: he keeps his place
    assert stock.strain(ONE, "first") == 1.0
    assert stock.strain(ONE, "second") > 1.0
    assert stock.strain(ONE, "third") > 1.0
    assert stock.strain((("tpu", 1),), "first") == 1.0, "he is before those who wait for it"
    stock.wait("first", frozenset())
    assert not stock.is_waiting("first")
    assert stock.strain(ONE, "second") == 1.0


def test_who_waits_for_another_thing_is_before_nobody() -> None:
    stock = Stock({"gpu": 1, "tpu": 1})
    stock.wait("first", frozenset({"tpu"}))
    assert stock.strain(ONE, "second") == 1.0


def test_those_who_wait_are_told() -> None:
    told: list[str] = []
    stock = Stock({"gpu": 1}, lambda: told.append("again"))
    assert stock.is_shared
    stock.count(ONE, 1)
    stock.count(ONE, -1)
    assert told == [], "nobody waits"
    stock.count(ONE, 1)
    stock.wait("a", frozenset({"gpu"}))
    stock.wait("b", frozenset({"gpu"}))
    stock.wait("c", frozenset())
    assert told == []
    stock.count(ONE, -1)
    assert told == ["again"]
    stock.count((), -1)
    assert told == ["again"]
    stock.wait("a", frozenset())
    assert told == ["again"] * 2
    stock.wait("b", frozenset())
    assert told == ["again"] * 2, "nobody is left"


def test_who_waits_for_less_than_before_lets_the_others_know() -> None:
    told: list[str] = []
    stock = Stock({"gpu": 1, "tpu": 1}, lambda: told.append("again"))
    stock.wait("a", frozenset({"gpu", "tpu"}))
    stock.wait("b", frozenset({"tpu"}))
    stock.wait("a", frozenset({"gpu", "tpu"}))
    assert told == []
    stock.wait("a", frozenset({"gpu"}))
    assert told == ["again"]
    assert stock.strain((("tpu", 1),), "b") == 1.0
