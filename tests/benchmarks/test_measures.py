"""What is measured is checked as well: a system that answers wrongly is not timed but refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks.measures import DEFAULT, QUICK, Sizes
from benchmarks.measures.calls import percentiles, throughput
from benchmarks.measures.control import control
from benchmarks.measures.maps import durations, map_small, map_uneven
from benchmarks.peers.parallel import Ppnext
from benchmarks.peers.running import Running, Unavailable

SIZES = Sizes(jobs=5, single=10, calls=300, uneven=5, stops=1)
ORDERS = {"workers": 1}


class Here(Running):
    """A system that runs everything at once, in this process."""

    chunks = (1, 2)
    uneven = (1,)

    def __init__(self) -> None:
        pass

    def submit(self, func: Callable[..., Any], *args: Any) -> Any:
        return func(*args)

    def collect(self, handle: Any) -> Any:
        return handle


class Wrong(Here):
    """A system that loses results, but not while it warms up."""

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return list(handles)[:-1]


def test_results_are_checked() -> None:
    assert throughput(Here(), 5).keys() == {"throughput", "client"}
    assert map_small(Here(), SIZES, ORDERS).values.keys() == {"map@1", "map@2", "map"}
    with pytest.raises(ValueError, match="wrong"):
        throughput(Wrong(), 5)
    with pytest.raises(ValueError, match="wrong"):
        map_small(Wrong(), SIZES, ORDERS)


def test_stopped_jobs_are_timed() -> None:
    peer = Ppnext(1, {})
    try:
        found = control(peer, SIZES, ORDERS).values
    finally:
        peer.close()
    # On a busy machine a job may begin later than it has said that it does.
    assert found.keys() == {"stop_reuse", "timeout_late"} and found["stop_reuse"] > 0


def test_one_worker_that_does_nothing_else_is_busy() -> None:
    found = map_uneven(Here(), SIZES, ORDERS).values
    assert 0 < found["uneven"] <= 1


def test_durations_are_the_same_each_time_and_far_apart() -> None:
    assert durations(2_000) == durations(2_000)
    assert sorted(durations(2_000))[1_000] == pytest.approx(0.001, rel=0.1)
    assert max(durations(2_000)) > 50 * min(durations(2_000))


def test_percentiles_go_from_the_least_to_the_most() -> None:
    found = percentiles([float(value) for value in range(1_000)])
    assert len(found) == 101
    assert (found[0], found[50], found[100]) == (0.0, 500.0, 999.0)
    assert percentiles([7.0]) == [7.0] * 101


def test_slow_peers_get_fewer_jobs_but_some() -> None:
    small = DEFAULT.scaled(0.002, 0.03, 0.0001)
    assert (small.jobs, small.single, small.calls) == (40, 15, 1_000)
    assert QUICK.scaled(0.0001, 0.0001, 1.0).jobs == 15


def test_what_a_system_lacks_is_said() -> None:
    with pytest.raises(Unavailable, match="shares no values"):
        Here().share(b"")
    with pytest.raises(Unavailable, match="queue"):
        Here().unstarted()
