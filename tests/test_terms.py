"""Terms: what is said replaces what was there, and mistakes are named."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest

from ppnext.terms import DEFAULT, Terms, agree, parse_bytes
from ppnext.wire.messages import Limits

INFINITE = math.inf


def agreed(terms: Terms = DEFAULT, **given: Any) -> Terms:
    """Return terms as a user asks for them; mistakes are the user's too."""
    return agree(terms, given)  # type: ignore[arg-type]  # whether it fits is what is asked


# What is said, and what is not.


def test_who_says_nothing_has_the_same_object() -> None:
    terms = Terms(priority=3)
    assert agreed(terms) is terms
    assert agreed(terms, timeout=None, retry=None, node=None) is terms


def test_what_is_said_replaces_one_and_leaves_the_others() -> None:
    terms = Terms(retries=2, priority=3, node="ws1")
    assert agreed(terms, priority=5) == Terms(retries=2, priority=5, node="ws1")
    assert terms.priority == 3


@pytest.mark.parametrize(
    ("given", "terms"),
    [
        ({"retry": True}, Terms(retries=None)),
        ({"retry": False}, Terms(retries=0)),
        ({"retry": 0}, Terms(retries=0)),
        ({"retry": 7}, Terms(retries=7)),
        ({"retry_on": OSError}, Terms(retry_on=(OSError,))),
        ({"retry_on": (OSError, KeyboardInterrupt)}, Terms(retry_on=(OSError, KeyboardInterrupt))),
        ({"retry_on": ()}, Terms()),
        ({"backoff": 0}, Terms()),
        ({"backoff": 2}, Terms(backoff=2.0)),
        ({"deadline": 1.5}, Terms(deadline=1.5)),
        ({"deadline": INFINITE}, Terms()),
        ({"priority": -(10**6)}, Terms(priority=-(10**6))),
        ({"priority": 10**6}, Terms(priority=10**6)),
        ({"node": "ws1*"}, Terms(node="ws1*")),
        (
            {"requires": ["python>=3.11", "numpy >= 2"]},
            Terms(requires=("numpy>=2", "python>=3.11")),
        ),
        ({"timeout": 3}, Terms(limits=Limits(timeout=3.0))),
        ({"max_memory": 1000}, Terms(limits=Limits(memory=1000))),
        ({"max_memory": "2KiB"}, Terms(limits=Limits(memory=2048))),
        ({"nice": 19}, Terms(limits=Limits(nice=19))),
        ({"threads": 4}, Terms(limits=Limits(threads=4))),
        ({"threads": 1}, DEFAULT),
        ({"resources": {"b": 2, "a": 1}}, Terms(limits=Limits(resources=(("a", 1), ("b", 2))))),
        ({"resources": {}}, DEFAULT),
    ],
)
def test_each_is_kept_in_one_form(given: dict[str, object], terms: Terms) -> None:
    assert agreed(**given) == terms


@pytest.mark.parametrize(
    ("given", "says"),
    [({"retry": True}, {"retries": 5}), ({"deadline": 4e9}, {"deadline": 2.0})],
)
def test_a_call_can_take_back_what_its_server_says(
    given: dict[str, object], says: dict[str, Any]
) -> None:
    assert agreed(Terms(**says), **given) == DEFAULT


# Limits.


class _Float(float):
    """As numpy has one."""


class _Whole(int):
    """As an enum is one."""


def test_what_is_sent_is_of_plain_types() -> None:
    memory = _Whole(1 << 30)
    limits = agreed(
        timeout=_Float(2.5), nice=_Whole(2), max_memory=memory, threads=_Whole(3)
    ).limits
    assert limits is not None and limits == Limits(timeout=2.5, nice=2, memory=1 << 30, threads=3)
    assert {type(limits.timeout), type(limits.nice)} == {float, int}
    assert {type(limits.memory), type(limits.threads)} == {int}


def test_limits_are_replaced_one_by_one() -> None:
    terms = agreed(timeout=5, nice=3)
    assert agreed(terms, nice=1, max_memory=10).limits == Limits(5.0, 10, 1)
    assert agreed(terms, priority=1).limits is terms.limits


@pytest.mark.parametrize(
    "given",
    [{"timeout": INFINITE}, {"timeout": 1e10}, {"max_memory": INFINITE}, {"nice": 0}],
)
def test_what_is_not_limited_has_no_limits(given: dict[str, object]) -> None:
    limited = {"timeout": 5, "max_memory": 10, "nice": 3}
    one = agreed(**{name: limited[name] for name in given})
    assert one.limits is not None
    assert agreed(one, **given).limits is None
    assert agreed(**given).limits is None


@pytest.mark.parametrize("size", [1 << 63, 10**30, "99999999999 TiB"])
def test_more_memory_than_any_machine_has_is_no_limit(size: int | str) -> None:
    assert agreed(max_memory=size).limits is None


# Sizes.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17 B", 17),
        ("1.5KB", 1500),
        ("500 MB", 500 * 10**6),
        ("3gb", 3 * 10**9),
        ("1TB", 10**12),
        ("  2KiB ", 2048),
        ("1 MiB", 1 << 20),
        ("2GiB", 2 << 30),
        ("0.5tib", 1 << 39),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "2 GiX", "-1", "1e9", "1.", ".5", "1 2", "２GB", "nan"]
)
def test_what_says_no_size_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="such as '2GiB' or '500MB'"):
        parse_bytes(text)


def test_a_number_that_no_float_holds_is_read_or_a_mistake() -> None:
    text = 400 * "9"
    with suppress(ValueError):  # that is a fair answer too
        assert parse_bytes(text) == int(text)


def test_large_sizes_are_exact_where_they_are_whole() -> None:
    assert parse_bytes("8388608TiB") == 1 << 63


# Mistakes.


@pytest.mark.parametrize("name", ["timeout", "deadline", "backoff"])
@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (-1, ValueError, "more than 0 seconds, not -1"),
        (-INFINITE, ValueError, "more than 0 seconds, not -inf"),
        (math.nan, ValueError, "more than 0 seconds, not nan"),
        ("1", TypeError, "a number of seconds, not '1'"),
        (True, TypeError, "a number of seconds, not True"),
        (False, TypeError, "a number of seconds, not False"),
    ],
)
def test_seconds_are_more_than_none(
    name: str, value: object, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=f"{name} must be {said}"):
        agreed(**{name: value})


@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_seconds_that_no_float_holds_are_for_ever(name: str) -> None:
    assert agreed(**{name: 10**400}) == DEFAULT


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds, not 0"),
        ({"deadline": 0}, ValueError, "deadline must be more than 0 seconds, not 0"),
        ({"backoff": INFINITE}, ValueError, "backoff must be a number of seconds, not inf"),
        ({"max_memory": 0}, ValueError, "max_memory must be more than 0 bytes, not 0"),
        ({"max_memory": "0.1 B"}, ValueError, "max_memory must be more than 0 bytes, not 0"),
        ({"max_memory": -1}, ValueError, "max_memory must be more than 0 bytes, not -1"),
        ({"max_memory": 1.5}, TypeError, "max_memory must be a number of bytes, or such as '2GiB'"),
        ({"max_memory": -INFINITE}, TypeError, "max_memory must be a number of bytes"),
        ({"max_memory": True}, TypeError, "max_memory must be a number of bytes"),
        ({"max_memory": "much"}, ValueError, "sizes are written such as"),
        ({"nice": 20}, ValueError, "nice must be from 0 to 19, not 20"),
        ({"nice": -1}, ValueError, "a job cannot take precedence"),
        ({"threads": 0}, ValueError, "threads must be 1 or more, not 0"),
        ({"threads": -2}, ValueError, "threads must be 1 or more, not -2"),
        ({"threads": 4097}, ValueError, "threads=4097 is more than the 4096 that a machine can"),
        ({"threads": 2.0}, TypeError, "threads must be a whole number of threads, not 2.0"),
        ({"threads": True}, TypeError, "threads must be a whole number of threads, not True"),
        ({"resources": {"gpu": 0}}, ValueError, "resources: gpu must be 1 or more, not 0"),
        ({"resources": ["gpu"]}, TypeError, "resources must be such as {'gpu': 1}"),
        ({"nice": True}, TypeError, "nice must be a whole number from 0 to 19, not True"),
        ({"retry": -1}, ValueError, "retry must be 0 or more, not -1"),
        ({"retry": 1.0}, TypeError, "retry must be True, False or how often"),
        ({"retry_on": OSError()}, TypeError, "retry_on must be a tuple of exception classes"),
        ({"retry_on": (OSError, int)}, TypeError, "retry_on must be a tuple of exception classes"),
        ({"retry_on": [OSError]}, TypeError, "retry_on must be a tuple of exception classes"),
        ({"priority": 10**6 + 1}, ValueError, "priority must be from -1000000 to 1000000"),
        ({"priority": "1"}, TypeError, "priority must be a whole number, not '1'"),
        ({"node": b"ws1"}, TypeError, "node must be the name of a node or a pattern"),
        ({"node": ""}, ValueError, "node must be such as 'ws1\\*', not empty"),
        ({"requires": "numpy"}, TypeError, "numpy"),
        ({"requires": ["numpy>>2"]}, ValueError, "numpy>>2"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        agreed(**given)


def test_a_long_value_is_not_repeated_in_full() -> None:
    with pytest.raises(TypeError) as caught:
        agreed(timeout="x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "meant"),
    [("timout", "timeout"), ("memory", "max_memory"), ("retries", "retry"), ("nodes", "node")],
)
def test_a_name_that_is_wrong_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"no argument '{name}'; did you mean '{meant}'"):
        agreed(**{name: 1})


def test_any_name_has_a_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean"):
        agreed(**{"ß": None})


def test_resources_of_a_call_take_the_place_of_all_of_the_server() -> None:
    terms = agreed(resources={"gpu": 1}, threads=2)
    assert agreed(terms, resources={"disk": 1}).limits == Limits(
        threads=2, resources=(("disk", 1),)
    )
    assert agreed(terms, resources={}, threads=1) == DEFAULT


def test_a_mistake_changes_nothing() -> None:
    terms = Terms(priority=1)
    with pytest.raises(ValueError):
        agreed(terms, priority=2, nice=99)
    assert terms == Terms(priority=1)
