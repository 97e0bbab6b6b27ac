"""How good decisions are, in virtual time: the same on every machine, so it can be asserted."""

from __future__ import annotations

import pytest

from benchmarks.scheduling import Cluster, efficiency, makespan, mixed


@pytest.mark.parametrize("seed", range(3))
def test_uneven_jobs_of_a_millisecond_keep_two_workers_busy(seed: int) -> None:
    assert efficiency(0.001, 1.5, 2_000, seed=seed) > 0.98


@pytest.mark.parametrize("duration", [5e-6, 1e-4, 1e-3, 1e-2])
def test_workers_are_busy_though_the_client_looks_only_now_and_then(duration: float) -> None:
    jobs = round(min(1 / duration, 50_000))
    assert efficiency(duration, 0.0, jobs, turn=0.005) > 0.9


def test_uneven_jobs_keep_them_busy_though_the_client_looks_only_now_and_then() -> None:
    assert efficiency(0.001, 1.5, 2_000, turn=0.005) > 0.93


def test_long_jobs_behind_many_tiny_ones_are_shared() -> None:
    cluster = Cluster([5e-6] * 2_000 + [0.1] * 64, latency=0.0002)
    for node in range(8):
        cluster.join(node)
    assert cluster.run() < 0.1 * 64 / 8 * 1.2


def test_uneven_nodes_that_come_and_go_are_used_to_the_end() -> None:
    figures = makespan(seed=1, jobs=50_000)
    assert 1.0 <= figures["ratio"] < 1.05
    assert makespan(seed=1, jobs=50_000) == figures


@pytest.mark.parametrize("old", [10, 34, 50, 80])
@pytest.mark.parametrize("seed", range(2))
def test_jobs_with_and_without_needs_share_nodes_of_two_kinds(seed: int, old: int) -> None:
    assert 1.0 <= mixed(seed, jobs=30_000, old=old) < 1.06


def test_short_jobs_with_needs_are_shared_among_those_that_fit() -> None:
    needs = ["old", None, "new", None] * 2_500
    cluster = Cluster([0.0005] * 10_000, latency=0.0002, turn=0.005, needs=needs)
    for node in range(8):
        cluster.join(node, facts="old" if node < 3 else "new")
    assert cluster.run() < 0.0005 * 10_000 / 8 * 1.1
