"""How large chunks become and how many are out, for calls that take this long or that."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import pytest

from ppnext.chunking import TARGET, ChunkPolicy, check_chunksize


def run(policy: ChunkPolicy, seconds: Iterable[float], slots: int = 2, size: int = 5) -> list[int]:
    """Make calls that take so long, chunks ending in the order they went; return their sizes."""
    calls = deque(seconds)
    out: deque[tuple[int, float]] = deque()
    sizes = []
    while calls or out:
        while calls and (wanted := policy.next_size(slots)):
            took = [calls.popleft() for _ in range(min(wanted, len(calls)))]
            policy.sent(len(took), len(took) * size)
            out.append((len(took), sum(took) + 1e-5))
            sizes.append(len(took))
        number, took_all = out.popleft()
        policy.finished(number, took_all, number * size)
        policy.delivered(number, took_all)
    return sizes


def fill(policy: ChunkPolicy, slots: int, size: int = 5) -> list[int]:
    """Send for as long as the policy wants; return the sizes."""
    sizes = []
    while wanted := policy.next_size(slots):
        policy.sent(wanted, wanted * size)
        sizes.append(wanted)
    return sizes


def back(policy: ChunkPolicy, calls: int, seconds: float | None) -> None:
    policy.finished(calls, seconds, calls * 5)
    policy.delivered(calls, seconds)


# What the user says.


@pytest.mark.parametrize(("given", "fixed"), [("auto", None), (1, 1), (10**9, 10**9)])
def test_chunksizes(given: object, fixed: int | None) -> None:
    assert check_chunksize(given) == fixed


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        ("foo", ValueError),
        ("", ValueError),
        ("8", ValueError),
        (True, TypeError),
        (1.0, TypeError),
        (None, TypeError),
        ([1], TypeError),
    ],
)
def test_chunksizes_that_are_wrong(given: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="chunksize"):
        check_chunksize(given)


# Sizes.


def test_short_calls_go_in_ever_larger_chunks() -> None:
    sizes = run(ChunkPolicy(), [1e-7] * 200_000)
    assert sizes[0] == 1
    assert max(sizes) > 4000
    assert len(sizes) < 100


def test_long_calls_go_one_by_one() -> None:
    assert set(run(ChunkPolicy(), [0.01] * 100)) == {1}


def test_a_chunk_is_not_much_larger_than_what_has_been_timed() -> None:
    policy = ChunkPolicy()
    assert set(fill(policy, 1)) == {1}
    back(policy, 1, 1e-5)
    assert policy.next_size(1) <= 8


def test_chunks_come_to_about_the_work_they_aim_at() -> None:
    last = run(ChunkPolicy(), [1e-4] * 5000)[-20:-1]
    assert all(TARGET / 2 <= size * 1e-4 <= TARGET for size in last)


def test_chunks_shrink_at_once_when_calls_take_longer() -> None:
    policy = ChunkPolicy()
    run(policy, [1e-6] * 50_000)
    assert policy.size > 1000
    policy.sent(1000, 5000)
    back(policy, 1000, 10.0)
    assert policy.size == 1


def test_one_slow_call_is_soon_forgotten() -> None:
    policy = ChunkPolicy()
    run(policy, [1e-6] * 50_000 + [0.1] + [1e-6] * 100_000)
    assert policy.size > 1000


def test_a_small_chunk_that_cost_most_as_a_job_says_nothing() -> None:
    policy = ChunkPolicy()
    run(policy, [1e-7] * 100_000)
    before = policy.size
    policy.sent(1, 5)
    back(policy, 1, 1e-4)
    assert policy.size == before


def test_large_arguments_make_small_chunks() -> None:
    small = run(ChunkPolicy(), [1e-6] * 10_000, size=100)
    large = run(ChunkPolicy(), [1e-6] * 10_000, size=100_000)
    assert max(small) > 1000
    assert max(large) == 10
    assert set(run(ChunkPolicy(), [1e-6] * 20, size=1 << 30)) == {1}


def test_a_fixed_size_is_kept() -> None:
    assert set(run(ChunkPolicy(7), [1e-7] * 700 + [1.0] * 70)) == {7}


def test_what_another_run_has_learnt_is_begun_with() -> None:
    policy = ChunkPolicy(each=4e-6)
    policy.sent(policy.next_size(2), 5)
    assert policy.next_size(2) == pytest.approx(4000, abs=1)
    slow = ChunkPolicy(each=1.0)
    assert set(fill(slow, 2)) == {1}


def test_the_last_chunks_are_smaller() -> None:
    policy = ChunkPolicy(each=1e-6)
    policy.sent(1, 5)
    sizes = [policy.next_size(2, left) for left in (10**6, 8000, 4000, 100, 1, 0)]
    assert sizes[0] == 8192
    assert sizes[1:3] == [2000, 1000]
    assert sizes[3] == sizes[4] == sizes[5] >= 400  # less work than a job costs is not worth it
    assert ChunkPolicy(7).next_size(2, 3) == 7
    medium = ChunkPolicy(each=0.001)
    medium.sent(1, 5)
    assert [medium.next_size(8, left) for left in (1000, 100, 20, 8)] == [16, 6, 1, 1]


# How many.


def test_few_chunks_are_out_while_nothing_is_known() -> None:
    assert fill(ChunkPolicy(), 2) == [1] * 6
    assert fill(ChunkPolicy(), 0) == [1] * 3  # nodes may still come
    assert fill(ChunkPolicy(100), 2) == [100] * 6


@pytest.mark.parametrize(("seconds", "chunks"), [(60.0, 3), (0.05, 5), (0.01, 25)])
def test_as_many_are_out_as_make_a_fraction_of_a_second(seconds: float, chunks: int) -> None:
    policy = ChunkPolicy()
    policy.sent(1, 5)
    back(policy, 1, seconds)
    assert len(fill(policy, 4)) == pytest.approx(4 * chunks, abs=1)


def test_more_slots_more_chunks() -> None:
    policy = ChunkPolicy()
    assert len(fill(policy, 1)) == 3
    assert len(fill(policy, 10)) == 27
    assert fill(policy, 1) == []


def test_results_that_wait_behind_a_slow_call_are_bounded_in_seconds() -> None:
    policy = ChunkPolicy()
    head, held = fill(policy, 2), 0.0
    for _ in range(10_000):
        policy.finished(1, 0.01, 5)  # never the head, so nothing is delivered
        held += 0.01
        if not fill(policy, 2):
            break
    assert head
    assert 1.9 < held < 2.2
    policy.delivered(1, 5.0)
    assert fill(policy, 2)


def test_results_that_wait_behind_a_slow_call_are_bounded_in_number() -> None:
    policy = ChunkPolicy(each=1e-7)
    sent = 0
    for _ in range(1000):
        sizes = fill(policy, 2)
        sent += sum(sizes)
        if not sizes:
            break
        for size in sizes[1:]:
            policy.finished(size, size * 1e-7, size)
    assert 50_000 < sent < 200_000


def test_arguments_on_their_way_are_bounded_in_bytes() -> None:
    policy = ChunkPolicy(each=1e-6)
    assert len(fill(policy, 2, size=1 << 30)) == 6
    assert len(fill(ChunkPolicy(each=1e-6), 2, size=1 << 24)) == 8


def test_large_fixed_chunks_keep_all_slots_busy() -> None:
    assert len(fill(ChunkPolicy(10**6), 8)) == 24


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_a_chunk_of_which_nothing_is_known(seconds: float | None) -> None:
    policy = ChunkPolicy()
    for _ in range(100):
        assert policy.next_size(1) >= 1
        policy.sent(1, 5)
        back(policy, 1, seconds)


def test_a_chunk_without_a_call_that_was_made() -> None:
    policy = ChunkPolicy()
    policy.sent(3, 5)
    policy.finished(0, 0.1, 5)
    policy.delivered(3, 0.1)
    assert policy.size == 1
    assert len(fill(policy, 1)) == 3


@pytest.mark.parametrize("make", [lambda: ChunkPolicy(), lambda: ChunkPolicy(3)])
def test_a_run_without_end_forgets_nothing_and_keeps_nothing(
    make: Callable[[], ChunkPolicy],
) -> None:
    policy = make()
    run(policy, [0.0123] * 3000)
    assert fill(policy, 1)
    assert policy._seconds_behind == pytest.approx(0.0, abs=1e-6)
