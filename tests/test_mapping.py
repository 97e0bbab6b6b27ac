"""A map over jobs that a test ends when and as it likes."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from ppnext.chunking import ChunkPolicy
from ppnext.errors import (
    DestroyedServerError,
    JobCancelled,
    NotShippable,
    PoisonedJob,
    ResultNotShippable,
)
from ppnext.mapping import MapRun
from ppnext.shipping.outcomes import encode_exception


class FakeJob:
    """The job of a chunk, which ends when ``end`` is called."""

    def __init__(
        self,
        tid: int,
        calls: list[Any],
        patience: float,
        ended: Callable[[object], object],
        cluster: Cluster,
    ) -> None:
        self.tid = tid
        self.node = "fake"
        self.attempts = 1
        self.seconds: float | None = None
        self.calls = calls
        self.was_cancelled = False
        self.is_over = False
        self._patience = patience
        self._ended = ended
        self._cluster = cluster
        self._failure: BaseException | None = None
        self._value: object = None

    def end(self) -> None:
        """Make the calls."""
        if self.is_over:
            return
        results: list[Any] = []
        self._value = results
        self.seconds = 0.0
        try:
            for call in self.calls:
                self._cluster.made.append(call)
                results.append(self._cluster.function(call))
                self.seconds += self._cluster.cost(call)
                if self.seconds > self._patience:
                    break
        except PoisonedJob as error:
            self.fail(error)
            return
        except ResultNotShippable as error:
            self._failure = error
        except Exception as error:  # what a call raises is its outcome
            self._value = results, encode_exception(error, "process 1", 5)
        self._over()

    def fail(self, error: BaseException) -> None:
        """End without a result."""
        self._failure, self.seconds = error, None
        self._over()

    def _over(self) -> None:
        self.is_over = True
        self._ended(self)

    def exception(self) -> BaseException | None:
        assert self.is_over
        if self.was_cancelled:
            raise JobCancelled("cancelled")
        return self._failure

    def result(self) -> object:
        assert self.is_over
        assert self._failure is None
        return self._value

    def drop(self) -> bool:
        if not self.is_over:
            self.was_cancelled = True
            self._over()
        return self.was_cancelled


class Cluster:
    """Where chunks are submitted.

    Attributes:
        at_once: whether jobs end as soon as they are submitted.
        held: the number of a job that does not.
        jobs: all jobs.
        made: the calls that were made.
    """

    def __init__(
        self, function: Callable[[Any], Any] = lambda x: x * 10, cost: float = 1e-6
    ) -> None:
        self.function = function
        self.cost: Callable[[Any], float] = lambda call: cost
        self.at_once = True
        self.held: int | None = None
        self.slots = 2
        self.jobs: list[FakeJob] = []
        self.made: list[Any] = []
        self.refused: list[Any] = []
        self.destroyed = False

    def submit(
        self, calls: list[Any], patience: float, ended: Callable[[object], object]
    ) -> tuple[FakeJob, int]:
        if self.destroyed:
            raise DestroyedServerError("destroyed")
        for call in calls:
            if call in self.refused:
                raise NotShippable(f"argument 1: {call}")
        job = FakeJob(len(self.jobs), calls, patience, ended, self)
        self.jobs.append(job)
        if self.at_once and job.tid != self.held:
            job.end()
        return job, 5 * len(calls)

    def run(self, inputs: Iterable[Any], chunksize: int | None = None, **options: Any) -> MapRun:
        policy = ChunkPolicy(chunksize)
        return MapRun(self.submit, lambda: self.slots, iter(inputs), policy, **options)

    def map(self, inputs: Iterable[Any], chunksize: int | None = None, **options: Any) -> Any:
        return self.run(inputs, chunksize, **options).results()

    @property
    def sizes(self) -> list[int]:
        return [len(job.calls) for job in self.jobs]


def raising(values: Iterable[Any], error: BaseException) -> Iterator[Any]:
    yield from values
    raise error


# Results.


@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
@pytest.mark.parametrize("ordered", [True, False])
def test_every_call_has_its_result(chunksize: int | None, ordered: bool) -> None:
    results = Cluster().map(range(100), chunksize, ordered=ordered)
    assert sorted(results) == [x * 10 for x in range(100)]


def test_no_calls_no_results() -> None:
    cluster = Cluster()
    assert list(cluster.map([])) == []
    assert cluster.jobs == []


def test_results_are_in_the_order_of_the_calls() -> None:
    cluster = Cluster()
    cluster.at_once = False
    cluster.slots = 10

    def inputs() -> Iterator[int]:
        yield from range(6)
        for job in reversed(cluster.jobs):
            job.end()

    assert list(cluster.map(inputs(), 1)) == [0, 10, 20, 30, 40, 50]


def test_results_as_they_are_there() -> None:
    cluster = Cluster()
    cluster.at_once = False
    cluster.slots = 10

    def inputs() -> Iterator[int]:
        yield from range(6)
        for job in reversed(cluster.jobs):
            job.end()

    assert list(cluster.map(inputs(), 1, ordered=False)) == [50, 40, 30, 20, 10, 0]


def test_a_fixed_chunksize_is_kept_to() -> None:
    cluster = Cluster()
    assert len(list(cluster.map(range(25), 10))) == 25
    assert cluster.sizes == [10, 10, 5]


def test_short_calls_go_in_large_chunks() -> None:
    cluster = Cluster(cost=1e-7)
    assert list(cluster.map(range(50_000))) == [x * 10 for x in range(50_000)]
    assert max(cluster.sizes) > 4000


def test_results_are_used_as_those_of_a_generator() -> None:
    results = Cluster().map(range(5), 2)
    assert next(results) == 0
    assert next(iter(results)) == 10
    assert [next(results) for _ in range(2)] == [20, 30]
    assert list(results) == [40]
    assert list(results) == []
    with pytest.raises(StopIteration):
        next(results)


def test_a_result_is_not_kept() -> None:
    class Big:
        pass

    cluster = Cluster(lambda x: Big())
    results = cluster.map(range(10), 1)
    first = weakref.ref(next(results))
    next(results)
    cluster.jobs.clear()
    assert first() is None


# Lazy in, lazy out.


def test_work_starts_at_the_call() -> None:
    cluster = Cluster()
    results = cluster.map(itertools.count())
    assert cluster.jobs
    results.close()


def test_endless_inputs() -> None:
    results = Cluster().map(itertools.count())
    assert list(itertools.islice(results, 10_000)) == [x * 10 for x in range(10_000)]
    results.close()


def test_inputs_are_pulled_only_a_little_ahead() -> None:
    cluster = Cluster(cost=1.0)
    pulled: list[int] = []

    def inputs() -> Iterator[int]:
        for number in itertools.count():
            pulled.append(number)
            yield number

    results = cluster.map(inputs())
    assert len(pulled) <= 7
    for _ in range(20):
        next(results)
    assert len(pulled) <= 30
    results.close()


def test_inputs_are_pulled_in_the_consumers_thread() -> None:
    threads = set()

    def inputs() -> Iterator[int]:
        for number in range(100):
            threads.add(threading.get_ident())
            yield number

    assert len(list(Cluster().map(inputs()))) == 100
    assert threads == {threading.get_ident()}


def test_slow_inputs_go_one_by_one_and_results_do_not_wait_for_them() -> None:
    now = 0.0
    cluster = Cluster(cost=1e-6)
    pulled = 0

    def inputs() -> Iterator[int]:
        nonlocal now, pulled
        for number in range(50):
            now += 1.0
            pulled += 1
            yield number

    results = cluster.map(inputs(), clock=lambda: now)
    assert pulled == 1
    for number in range(50):
        assert next(results) == number * 10
        assert pulled <= number + 2
    assert set(cluster.sizes) == {1}


def test_inputs_that_become_slow_cut_a_chunk_short() -> None:
    now = 0.0
    cluster = Cluster(cost=1e-7)

    def inputs() -> Iterator[int]:
        nonlocal now
        for number in range(20_000):
            now += 1.0 if number >= 10_000 else 0.0
            yield number

    results = cluster.map(inputs(), clock=lambda: now)
    assert list(results) == [x * 10 for x in range(20_000)]
    assert max(cluster.sizes) > 1000
    slow = [len(job.calls) for job in cluster.jobs if job.calls[0] >= 10_000]
    assert set(slow) == {1}


def test_a_slow_call_does_not_keep_others_from_being_made() -> None:
    cluster = Cluster(cost=0.001)
    cluster.held = 0

    def inputs() -> Iterator[int]:
        yield from range(300)
        assert len(cluster.made) > 290
        cluster.jobs[0].end()

    assert len(list(cluster.map(inputs()))) == 300


def test_the_last_chunks_are_smaller_where_the_number_is_known() -> None:
    known, unknown = Cluster(cost=1e-5), Cluster(cost=1e-5)
    assert len(list(known.map(range(5000), expected=5000))) == 5000
    assert len(list(unknown.map(range(5000)))) == 5000
    assert known.sizes[-2] < unknown.sizes[-2]


@pytest.mark.parametrize("expected", [0, 3, 10**9])
def test_a_wrong_number_does_no_harm(expected: int) -> None:
    assert len(list(Cluster().map(range(1000), expected=expected))) == 1000


def test_nodes_that_join_get_work() -> None:
    cluster = Cluster(cost=1.0)
    cluster.slots = 1
    results = cluster.map(itertools.count())
    before = len(cluster.jobs)
    cluster.slots = 10
    next(results)
    next(results)
    assert len(cluster.jobs) > before
    results.close()


# What raises.


def test_a_call_that_raises() -> None:
    cluster = Cluster(lambda x: 10 // (x - 5))
    results = cluster.map(range(100), 3)
    assert [next(results) for _ in range(5)] == [-2, -3, -4, -5, -10]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "job 1, attempt 1, on fake, process 1\n" in str(caught.value.__cause__)
    with pytest.raises(StopIteration):
        next(results)


def test_after_an_error_what_has_not_been_started_is_cancelled() -> None:
    cluster = Cluster(lambda x: 1 // x)
    cluster.at_once = False
    cluster.slots = 1
    results = cluster.map(itertools.count(), 1)
    cluster.jobs[0].end()
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert [job.was_cancelled for job in cluster.jobs] == [False] + [True] * (len(cluster.jobs) - 1)


def test_a_call_that_raises_stop_iteration_does_not_end_the_results_quietly() -> None:
    def function(x: int) -> int:
        if x == 2:
            raise StopIteration
        return x

    results = Cluster(function).map(range(5), 1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(results)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [None, 1, 4, 100])
def test_inputs_that_raise_half_way(chunksize: int | None, ordered: bool) -> None:
    cluster = Cluster()
    results = cluster.map(raising(range(10), KeyError("inputs")), chunksize, ordered=ordered)
    got = [next(results) for _ in range(10)]
    assert sorted(got) == [x * 10 for x in range(10)]
    with pytest.raises(KeyError, match="inputs"):
        next(results)
    assert list(results) == []


def test_inputs_that_raise_at_once() -> None:
    results = Cluster().map(raising([], KeyError("inputs")))
    with pytest.raises(KeyError, match="inputs"):
        next(results)


def test_inputs_that_are_interrupted_cancel_everything() -> None:
    cluster = Cluster()
    cluster.at_once = False
    with pytest.raises(KeyboardInterrupt):
        cluster.map(raising([1, 2, 3], KeyboardInterrupt()), 1)
    assert [job.was_cancelled for job in cluster.jobs] == [True] * 3


@pytest.mark.parametrize("chunksize", [1, 2, 7, 100])
def test_an_argument_that_cannot_be_shipped_is_an_error_at_its_place(chunksize: int) -> None:
    cluster = Cluster()
    cluster.refused = [5, 8]
    results = cluster.map(range(20), chunksize)
    assert [next(results) for _ in range(5)] == [0, 10, 20, 30, 40]
    with pytest.raises(NotShippable, match="argument 1: 5"):
        next(results)
    assert list(results) == []
    assert not {5, 8} & set(cluster.made)


def test_an_argument_that_cannot_be_shipped_unordered() -> None:
    cluster = Cluster()
    cluster.refused = [0]
    with pytest.raises(NotShippable):
        list(cluster.map(range(3), 3, ordered=False))


# Chunks that fail as a whole.


def poison(x: int) -> int:
    if x == 5:
        raise PoisonedJob("it dies")
    return x


@pytest.mark.parametrize("chunksize", [1, 4, 10, 100])
def test_only_the_guilty_call_is_poisoned(chunksize: int) -> None:
    cluster = Cluster(poison)
    results = cluster.map(range(20), chunksize)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(PoisonedJob):
        next(results)
    guilty = next(job for job in cluster.jobs if job.calls[0] == 5 and len(job.calls) == 1)
    assert guilty.is_over


def test_the_innocent_get_their_results() -> None:
    died: list[int] = []

    def function(x: int) -> int:
        if x == 5 and not died:  # the chunk is given up, the call on its own is not
            died.append(x)
            raise PoisonedJob("it dies")
        return x

    for ordered in (True, False):
        died.clear()
        got = list(Cluster(function).map(range(20), 10, ordered=ordered))
        assert sorted(got) == list(range(20))
        assert not ordered or got == sorted(got)


def test_a_result_that_cannot_be_shipped_is_an_error_at_its_place() -> None:
    def function(x: int) -> int:
        if x == 5:
            raise ResultNotShippable("no")
        return x

    results = Cluster(function).map(range(20), 10)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ResultNotShippable):
        next(results)


def test_a_very_large_chunk_is_divided_into_a_bounded_number_of_parts() -> None:
    cluster = Cluster(poison)
    results = cluster.map(range(10_000), 10_000)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(PoisonedJob):
        next(results)
    assert len(cluster.jobs) <= 1 + 1000 + 10


@pytest.mark.parametrize("error", [DestroyedServerError("gone"), JobCancelled("gone")])
def test_what_is_nobodys_fault_is_not_tried_again(error: Exception) -> None:
    cluster = Cluster()
    cluster.at_once = False
    results = cluster.map(range(10), 5)
    cluster.jobs[0].end()
    cluster.jobs[1].fail(error)
    assert [next(results) for _ in range(5)] == [0, 10, 20, 30, 40]
    with pytest.raises(type(error), match="gone"):
        next(results)
    assert len(cluster.jobs) == 2


def test_a_server_that_is_destroyed_meanwhile() -> None:
    cluster = Cluster(cost=1.0)
    results = cluster.map(itertools.count())
    cluster.destroyed = True
    sent = len(cluster.jobs)
    assert [next(results) for _ in range(sent)] == [x * 10 for x in range(sent)]
    with pytest.raises(DestroyedServerError):
        next(results)


# Chunks that are broken off.


@pytest.mark.parametrize("ordered", [True, False])
def test_the_rest_of_a_chunk_that_takes_long_is_submitted_again(ordered: bool) -> None:
    cluster = Cluster()
    cluster.cost = lambda call: 1.0 if 5000 <= call < 5010 else 1e-6
    got = list(cluster.map(range(10_000), ordered=ordered))
    assert sorted(got) == [x * 10 for x in range(10_000)]
    assert not ordered or got == sorted(got)
    assert sorted(cluster.made) == list(range(10_000))  # no call was made twice


def test_a_fixed_chunk_is_not_broken_off() -> None:
    cluster = Cluster(cost=10.0)
    assert len(list(cluster.map(range(20), 10))) == 20
    assert cluster.sizes == [10, 10]


# The end.


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_cancels_what_has_not_been_started(taken: int) -> None:
    cluster = Cluster()
    cluster.at_once = False
    results = cluster.map(itertools.count(), 1)
    for job in cluster.jobs[:taken]:
        job.end()
    for _ in range(taken):
        next(results)
    results.close()
    assert all(job.was_cancelled for job in cluster.jobs[taken:])
    assert list(results) == []
    results.close()


@pytest.mark.parametrize("taken", [0, 1])
def test_dropping_is_closing(taken: int) -> None:
    cluster = Cluster()
    cluster.at_once = False
    results = cluster.map(itertools.count(), 1)
    cluster.jobs[0].end()
    for _ in range(taken):
        next(results)
    del results
    assert all(job.was_cancelled for job in cluster.jobs[1:])


def test_nothing_is_kept_of_what_has_ended() -> None:
    cluster = Cluster()
    results = cluster.map(range(100))
    assert len(list(results)) == 100
    kept = [weakref.ref(job) for job in cluster.jobs]
    cluster.jobs.clear()
    assert [ref() for ref in kept] == [None] * len(kept)  # without the garbage collector


def test_stopping_from_another_thread_wakes_who_waits() -> None:
    cluster = Cluster()
    cluster.at_once = False
    run = cluster.run(itertools.count(), 1)
    run.start()
    stopper = threading.Thread(target=run.stop)
    stopper.start()
    assert run.next_chunk() is None
    stopper.join()
    assert all(job.was_cancelled for job in cluster.jobs)


# To the end in spite of errors.


def outcomes(run: MapRun) -> tuple[list[object], list[BaseException]]:
    run.start()
    results: list[object] = []
    errors = []
    while (chunk := run.next_chunk()) is not None:
        results += chunk.take_results()
        if chunk.error is not None:
            errors.append(chunk.error)
    return results, errors


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
def test_calls_behind_an_error_are_made_if_that_is_asked_for(chunksize: int | None) -> None:
    cluster = Cluster(lambda x: 100 // (x % 10))
    cluster.refused = [11, 22]
    results, errors = outcomes(cluster.run(range(100), chunksize, keep_going=True))
    assert results == [100 // (x % 10) for x in range(100) if x % 10 and x not in (11, 22)]
    assert sum(isinstance(error, ZeroDivisionError) for error in errors) == 10
    assert sum(isinstance(error, NotShippable) for error in errors) == 2
    assert sorted(cluster.made) == [x for x in range(100) if x not in (11, 22)]


def test_errors_of_all_calls_cost_no_more_than_a_few_jobs_each() -> None:
    cluster = Cluster(lambda x: 1 // 0)
    results, errors = outcomes(cluster.run(range(5000), 5000, keep_going=True))
    assert results == []
    assert len(errors) == 5000
    assert len(cluster.jobs) <= 10_000
