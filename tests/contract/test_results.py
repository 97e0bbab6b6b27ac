"""Every job ends exactly once, with what its function returned."""

from __future__ import annotations

import concurrent.futures
import hashlib
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from random import Random

import pytest

from ppnext import Server, Template


def square(x):
    return x * x


def test_each_job_runs_once_and_returns_its_own_result(server, counter):
    def run(x):
        counter_add()
        return x * x

    counter_add = counter.add
    jobs = [server.submit(run, (x,)) for x in range(60)]
    assert [job() for job in jobs] == [x * x for x in range(60)]
    assert counter.value == 60


def test_results_do_not_wait_for_a_long_job_behind_them(server, cluster, gate):
    quick = [server.submit(square, (x,)) for x in range(30)]
    long = [server.submit(gate.way, (x,)) for x in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    assert [job.result(20) for job in quick] == [x * x for x in range(30)]
    behind = [server.submit(square, (x,)) for x in range(30)]
    assert not any(job.done() for job in long + behind)
    gate.release(cluster.slots)
    assert [job.result(20) for job in behind] == [x * x for x in range(30)]
    assert [job.result(20) for job in long] == list(range(cluster.slots))


def test_a_job_whose_function_has_to_be_fetched_does_not_hold_up_results(server):
    jobs = []
    for number in range(20):
        # A function of its own for each, so that none is where it is run.
        jobs.append(server.submit(eval(f"lambda x: x + {number}"), (1,)))
        jobs.append(server.submit(square, (number,)))
    assert [job.result(20) for job in jobs[::2]] == list(range(1, 21))
    assert [job.result(20) for job in jobs[1::2]] == [x * x for x in range(20)]


def test_jobs_of_many_sizes_among_each_other(server):
    sizes = [0, 1, 1000, 100_000, 262_144, 262_145, 2_000_000, 5] * 5
    jobs = [server.submit(bytes.upper, (b"a" * size,)) for size in sizes]
    assert [job.result(60) for job in jobs] == [b"A" * size for size in sizes]


def test_many_threads_submit_and_wait(server):
    def work(who):
        jobs = [server.submit(square, (x,)) for x in range(who, who + 100)]
        each = [server.submit(square, (x,)).result(60) for x in range(20)]
        assert each == [x * x for x in range(20)]
        return [job.result(60) for job in reversed(jobs)]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for who, values in enumerate(pool.map(work, range(6))):
            assert values == [x * x for x in reversed(range(who, who + 100))]


def test_asking_again_gives_the_same_object(server):
    job = server.submit(list, ((1, 2),))
    assert job() is job() is job.result()
    assert job.finished and job.done() and job.exception() is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, (2, {3, 4}), {"b": [None, [[]]]}], "c": {(1, 2): frozenset({5})}},
        [Decimal("1.50"), Fraction(1, 3), PurePosixPath("a/b"), 10**100, float("inf"), "é\0"],
    ],
    ids=["none", "nested containers", "types of the standard library"],
)
def test_values_come_back_as_they_went(server, value):
    assert server.submit(lambda it: it, (value,))() == value


def test_two_thousand_tiny_jobs(server):
    jobs = [server.submit(abs, (-x,)) for x in range(2000)]
    assert [job() for job in jobs] == list(range(2000))
    assert server.wait(timeout=0)


def test_many_threads_may_submit_at_the_same_time(server):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        sums = threads.map(lambda start: sum(server.map(abs, range(start, start + 50))), range(8))
    assert list(sums) == [sum(range(start, start + 50)) for start in range(8)]


def test_five_megabytes_each_way(server):
    data = Random(1).randbytes(5_000_000)
    digest, back = server.submit(lambda it: (hashlib.sha256(it).digest(), it[::-1]), (data,))()
    assert digest == hashlib.sha256(data).digest()
    assert back == data[::-1]


def test_keyword_arguments(server):
    def call(a, b=2, *more, c=3, **rest):
        return a, b, more, c, rest

    assert server.submit(call, (1,), kwargs={"c": 5, "d": 6})() == (1, 2, (), 5, {"d": 6})
    assert server.submit(call, kwargs={"a": 0})() == (0, 2, (), 3, {})


def test_map_keeps_the_order(server):
    assert list(server.map(pow, range(20), [2] * 30)) == [x**2 for x in range(20)]


def test_map_raises_at_the_place_of_the_job_that_raised(server):
    results = server.map(lambda x: 1 // x, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_wait_of_concurrent_futures_takes_jobs(server):
    jobs = {server.submit(square, (x,)) for x in range(10)}
    done, left = concurrent.futures.wait(jobs, timeout=20)
    assert (done, left) == (jobs, set())


def test_as_completed_of_concurrent_futures_takes_jobs(server, gate):
    late = server.submit(gate.way, (1,))
    gate.wait_for(1)
    early = server.submit(square, (2,))
    order = concurrent.futures.as_completed([late, early], timeout=20)
    assert next(order) is early
    gate.release(1)
    assert next(order) is late


def test_wait_for_one_group_does_not_wait_for_another(server, gate):
    held = server.submit(gate.way, ("held",), group="slow")
    quick = [server.submit(square, (x,), group="quick") for x in range(5)]
    assert server.wait("quick", timeout=20)
    assert all(job.finished for job in quick) and not held.finished
    gate.wait_for(1)
    assert not server.wait("slow", timeout=0.01)
    assert not server.wait(timeout=0)
    gate.release(1)
    assert server.wait(timeout=20)
    assert held.finished and held.group == "slow"


def test_wait_for_a_group_that_has_no_jobs_returns_at_once(server):
    assert server.wait("nobody")


def test_a_timeout_leaves_the_job_alone(server, gate):
    job = server.submit(gate.way, ("kept",))
    with pytest.raises(concurrent.futures.TimeoutError):
        job.result(timeout=0.01)
    assert job.wait(0.01) is False
    gate.release(1)
    assert job.wait() is True
    assert job() == "kept"


def test_jobs_are_counted_from_zero(server):
    assert [server.submit(square, (1,)).tid for _ in range(3)] == [0, 1, 2]


def test_a_template_remembers_everything_but_the_arguments(server):
    got = []
    template = Template(server, root, (halve,), ("math",), got.append, (), "templates")
    jobs = [template.submit(x) for x in (8, 18)]
    assert server.wait("templates", 20)
    assert [job() for job in jobs] == [2.0, 3.0] == sorted(got)


def halve(x):
    return x / 2


def root(x):
    return math.sqrt(halve(x))


def test_raw_result_is_one_pickle_of_result_and_output(server):
    import pickle

    raw = server.submit(lambda: print("said") or 5)(raw_result=True)
    assert pickle.loads(raw) == (5, "said\n")


def test_statistics_count_each_job_once(server: Server, capsys):
    jobs = [server.submit(square, (x,)) for x in range(12)]
    assert [job() for job in jobs]
    stats = server.get_stats()
    assert sum(node.njobs for node in stats.values()) == 12
    assert {job.node for job in jobs} <= set(stats)
    server.print_stats()
    printed = capsys.readouterr().out
    assert printed.startswith("Job execution statistics:\n job count | % of all jobs |")
    assert "0 active tasks" in printed


def test_the_slots_of_all_nodes_are_used_at_the_same_time(server, cluster, gate):
    jobs = [server.submit(gate.way, (x,)) for x in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    assert {job.node for job in jobs} == set(server.get_active_nodes()) - (
        set() if cluster.ncpus else {"local"}
    )
    gate.release(cluster.slots)
    assert [job() for job in jobs] == list(range(cluster.slots))
