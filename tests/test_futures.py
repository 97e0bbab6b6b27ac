"""The interface of ``concurrent.futures``, with workers of this machine."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

import ppnext
from ppnext import Executor, Job, Server
from ppnext.errors import DestroyedServerError, NotShippable

PATIENCE = 20.0


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(2) as server:
        yield server


@pytest.fixture
def executor(server: Server) -> Iterator[Executor]:
    with Executor(server=server) as executor:
        yield executor


def inverse(x: float) -> float:
    return 1 / x


# submit.


def test_it_is_an_executor(executor: Executor) -> None:
    assert isinstance(executor, futures.Executor)


def test_submit_returns_a_job_with_the_result(executor: Executor) -> None:
    job = executor.submit(pow, 2, 5)
    assert isinstance(job, Job)
    assert isinstance(job, futures.Future)
    assert job.result() == 32
    assert job.exception() is None


def test_keyword_arguments_of_any_name(executor: Executor) -> None:
    def call(*args: object, **kwargs: object) -> object:
        return args, kwargs

    names = {"self": 1, "fn": 2, "func": 3, "args": 4, "kwargs": 5, "group": 6, "callback": 7}
    assert executor.submit(call, 1, **names).result() == ((1,), names)
    assert executor.submit(sorted, [1, 2], reverse=True).result() == [2, 1]


def test_the_function_goes_by_position_only(executor: Executor) -> None:
    with pytest.raises(TypeError):
        executor.submit()  # type: ignore[call-arg]  # a wrong call is tried
    with pytest.raises(TypeError):
        executor.submit(fn=abs)  # type: ignore[call-arg]  # a wrong call is tried
    with pytest.raises(TypeError):
        executor.submit(3)  # type: ignore[arg-type]  # a wrong call is tried


def test_what_a_call_raises(executor: Executor) -> None:
    job = executor.submit(inverse, 0)
    with pytest.raises(ZeroDivisionError):
        job.result()
    assert isinstance(job.exception(), ZeroDivisionError)
    assert "in inverse" in str(job.exception().__cause__)  # type: ignore[union-attr]  # it raised


def test_wait_and_as_completed(executor: Executor) -> None:
    jobs = {executor.submit(pow, 2, x): 2**x for x in range(10)}
    assert {job: job.result() for job in futures.as_completed(jobs, timeout=PATIENCE)} == jobs
    done, not_done = futures.wait(jobs, timeout=PATIENCE)
    assert done == set(jobs)
    assert not not_done
    bad = executor.submit(inverse, 0)
    assert futures.wait([bad], PATIENCE, futures.FIRST_EXCEPTION).done == {bad}


def test_wait_for_the_first(executor: Executor, gate: Any) -> None:
    held, free = executor.submit(gate.way), executor.submit(abs, -1)
    done, not_done = futures.wait([held, free], PATIENCE, futures.FIRST_COMPLETED)
    assert (done, not_done) == ({free}, {held})
    with pytest.raises(futures.TimeoutError):
        held.result(timeout=0)
    gate.release(1)
    assert held.result(PATIENCE) is None


def test_done_callbacks(executor: Executor) -> None:
    called: list[object] = []
    over = threading.Event()
    job = executor.submit(abs, -1)
    job.add_done_callback(called.append)
    job.add_done_callback(lambda _: over.set())
    assert over.wait(PATIENCE)
    assert called == [job]


def test_asyncio_can_wait_for_it(executor: Executor) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*[loop.run_in_executor(executor, abs, -x) for x in range(10)])

    assert asyncio.run(main()) == list(range(10))


# map.


@pytest.mark.parametrize("chunksize", ["auto", 1, 3, 100])
def test_map(executor: Executor, chunksize: Any) -> None:
    assert list(executor.map(pow, range(10), range(10), chunksize=chunksize)) == [
        x**x for x in range(10)
    ]
    assert list(executor.map(abs, [], chunksize=chunksize)) == []
    assert list(executor.map(pow, [], [1], chunksize=chunksize)) == []


def test_map_ends_with_the_shortest(executor: Executor) -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 2

    assert list(executor.map(pow, endless(), [1, 2, 3])) == [2, 4, 8]


def test_map_raises_at_the_place(executor: Executor) -> None:
    results = executor.map(inverse, [1, 2, 0, 4], chunksize=2)
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_map_takes_all_arguments_at_once(executor: Executor) -> None:
    numbers = iter(range(1000))
    results = executor.map(abs, numbers)
    assert list(numbers) == []
    assert list(results) == list(range(1000))


def test_arguments_that_raise_are_an_error_of_the_call(executor: Executor) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("numbers")

    with pytest.raises(LookupError, match="numbers"):
        executor.map(abs, numbers())


def test_an_argument_that_cannot_be_shipped_leaves_the_others(executor: Executor) -> None:
    results = executor.map(str, [1, (x for x in ()), 3])
    assert next(results) == "1"
    with pytest.raises(NotShippable, match="argument 1: it is a generator"):
        next(results)


def test_map_makes_all_calls_though_nobody_asks(executor: Executor, counter: Any) -> None:
    add = counter.add

    def call(x: int) -> int:
        add()
        return 1 // x

    executor.map(call, [1, 0, 1, 0, *[1] * 100])
    executor.shutdown()
    assert counter.value == 104


def test_map_results_outlive_the_executor() -> None:
    with Executor(1) as executor:
        results = executor.map(abs, range(1000))
    assert list(results) == list(range(1000))


def test_timeouts_are_counted_from_the_call(executor: Executor, gate: Any) -> None:
    way = gate.way
    results = executor.map(lambda x: way(x) if x else x, [0, 1], timeout=1.0, chunksize=1)
    assert next(results) == 0
    with pytest.raises(futures.TimeoutError):
        next(results)
    gate.release(10)
    assert list(executor.map(abs, [1, 2], timeout=PATIENCE)) == [1, 2]
    assert list(executor.map(abs, [1, 2], timeout=math.inf)) == [1, 2]


def test_results_that_are_there_know_no_timeout(executor: Executor) -> None:
    results = executor.map(abs, [1, 2], timeout=0, chunksize=1)
    executor.shutdown()  # after that they are there
    assert list(results) == [1, 2]


def test_closing_map_results_cancels_the_rest(executor: Executor, gate: Any) -> None:
    way = gate.way
    results = executor.map(lambda x: way(x) if x else x, range(100_000), chunksize=1)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]  # as a generator has it
    gate.release(10_000)
    executor.shutdown()
    assert list(results) == []


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((abs,), {}, TypeError),
        ((3, [1]), {}, TypeError),
        ((abs, 1), {}, TypeError),
        ((abs, [1]), {"chunksize": 0}, ValueError),
        ((abs, [1]), {"chunksize": -1}, ValueError),
        ((abs, [1]), {"chunksize": 1.0}, TypeError),
        ((abs, [1]), {"timeout": "soon"}, TypeError),
    ],
)
def test_wrong_arguments_for_map(
    executor: Executor, arguments: Any, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        executor.map(*arguments, **options)


# shutdown.


def test_after_shutdown_nothing_is_taken(executor: Executor, server: Server) -> None:
    job = executor.submit(abs, -1)
    executor.shutdown()
    assert job.done()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(abs, 1)
    with pytest.raises(RuntimeError, match="shut down"):
        executor.map(abs, [1])
    executor.shutdown()
    assert repr(executor) == "<ppnext.Executor: shut down>"
    assert server.submit(abs, (-1,))() == 1  # it was given, and stays


def test_its_own_server_ends_with_it() -> None:
    executor = Executor(1)
    assert repr(executor) == "<ppnext.Executor: <ppnext.Server: 1 local workers>>"
    job = executor.submit(abs, -1)
    executor.shutdown()
    assert job.result() == 1
    with pytest.raises(DestroyedServerError):
        job.server.submit(abs, (1,))  # type: ignore[attr-defined]  # a Server, typed as object


def test_leaving_the_block_waits(gate: Any) -> None:
    with Executor(1) as executor:
        job = executor.submit(gate.way, 5)
        gate.release(1)
    assert job.done()
    assert job.result() == 5


def test_shutdown_need_not_wait(gate: Any) -> None:
    executor = Executor(1)
    jobs = [executor.submit(gate.way, x) for x in range(3)]
    executor.shutdown(wait=False)
    assert not any(job.done() for job in jobs)
    gate.release(3)
    assert [job.result(PATIENCE) for job in jobs] == [0, 1, 2]
    executor.shutdown()
    with pytest.raises(DestroyedServerError):
        jobs[0].server.submit(abs, (1,))  # type: ignore[attr-defined]  # a Server, typed as object


def test_cancel_futures(gate: Any) -> None:
    with Executor(1) as executor:
        first = executor.submit(gate.way, 1)
        gate.wait_for(1)
        others = [executor.submit(gate.way, x) for x in range(2000)]
        results = executor.map(gate.way, range(10_000), chunksize=1)
        executor.shutdown(wait=False, cancel_futures=True)
        assert not first.done()
        assert others[-1].cancelled()
        gate.release(10_000)
        executor.shutdown()
    assert first.result() == 1
    assert all(job.done() for job in others)
    with pytest.raises(futures.CancelledError):
        list(results)


def test_two_executors_on_one_server_do_not_wait_for_each_other(server: Server, gate: Any) -> None:
    with Executor(server=server) as slow:
        job = slow.submit(gate.way)
        with Executor(server=server) as quick:
            assert quick.submit(abs, -1).result(PATIENCE) == 1
        assert not job.done()
        gate.release(1)


def test_a_server_that_is_destroyed_takes_no_jobs(gate: Any) -> None:
    server = Server(1)
    with Executor(server=server) as executor:
        results = executor.map(gate.way, range(10), chunksize=1)
        server.destroy()
        with pytest.raises(RuntimeError):
            executor.submit(abs, 1)
        with pytest.raises(RuntimeError):
            executor.map(abs, [1])
    with pytest.raises(DestroyedServerError):
        list(results)


def test_many_threads_may_use_it(executor: Executor) -> None:
    with futures.ThreadPoolExecutor(8) as threads:
        sums = threads.map(lambda n: sum(executor.map(abs, range(n))), range(100, 108))
        jobs = list(threads.map(lambda n: executor.submit(abs, -n), range(100)))
    assert list(sums) == [sum(range(n)) for n in range(100, 108)]
    assert [job.result() for job in jobs] == list(range(100))


def test_a_dropped_executor_is_collected(server: Server) -> None:
    executor = Executor(server=server)
    assert list(executor.map(abs, range(10))) == list(range(10))
    for thread in threading.enumerate():
        if thread.name == "ppnext-map":
            thread.join(PATIENCE)
    gone = weakref.ref(executor)
    del executor
    gc.collect()
    assert gone() is None


def run_script(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(ppnext.__file__))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_program_ends_after_its_jobs() -> None:
    out = run_script("""
        import ppnext, time
        def call(x):
            time.sleep(0.2)  # so that it is still running when the script ends
            return x
        executor = ppnext.Executor(1)
        executor.submit(call, 1).add_done_callback(lambda job: print(job.result()))
        executor.map(call, [1, 2])
        executor.shutdown(wait=False)
        print("end of the script")
    """)
    assert out == "end of the script\n1\n"


# What it is made with.


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((0,), {}, ValueError),
        ((-1,), {}, ValueError),
        (("many",), {}, TypeError),
        ((1.0,), {}, TypeError),
        ((1,), {"ncpus": 2}, TypeError),
        ((), {"server": "localhost"}, TypeError),
        ((), {"no_such_option": 1}, TypeError),
    ],
)
def test_wrong_settings(arguments: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Executor(*arguments, **options)


def test_a_server_that_is_given_has_its_settings(server: Server) -> None:
    for use in (lambda: Executor(2, server=server), lambda: Executor(server=server, proto=4)):
        with pytest.raises(TypeError, match="already"):
            use()
    with pytest.raises(TypeError, match="only terms are left, not 'timout'"):
        Executor(server=server, timout=1)


def test_settings_go_to_the_server() -> None:
    with Executor(3) as executor:
        assert executor.submit(abs, -1).server.get_ncpus() == 3  # type: ignore[attr-defined]  # a Server, typed as object
    with Executor(1, restart=True) as executor:
        assert len({executor.submit(os.getpid).result() for _ in range(3)}) == 3


def test_all_processors_by_default() -> None:
    with Executor() as executor, Server() as server:
        assert executor.submit(abs, -1).server.get_ncpus() == server.get_ncpus()  # type: ignore[attr-defined]  # a Server, typed as object


def test_too_few_workers_are_refused_by_the_name_that_was_used() -> None:
    with pytest.raises(ValueError, match="max_workers must be more than 0, not -1"):
        ppnext.Executor(-1)
