"""Many calls as one job: what comes back, in every case."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.errors import JobExited, NotShippable, RemoteError
from ppnext.shipping import chunks
from ppnext.shipping.calls import encode_call
from ppnext.shipping.chunks import Chunked, decode_chunk
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper
from ppnext.shipping.loading import load_definition

PROTOCOL = 5

Script = Callable[[str], SimpleNamespace]


class Clock:
    """Stands for ``perf_counter``: goes on by what the calls say they take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now

    def spend(self, seconds: float) -> float:
        self.now += seconds
        return seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(chunks, "perf_counter", clock)
    return clock


def chunked(func: Callable[..., object], star: bool = False) -> Chunked:
    return Chunked(func, star, PROTOCOL)


def inverse(x: float) -> float:
    return 1 / x


# What comes back.


def test_results_are_a_flat_list() -> None:
    assert chunked(abs)([-1, 2, -3]) == [1, 2, 3]
    assert chunked(pow, star=True)([(2, 3), (3, 2), (2, 4, 5)]) == [8, 9, 1]
    assert chunked(abs)([]) == []


def test_a_single_iterables_tuples_are_arguments_as_they_are() -> None:
    assert chunked(sum)([(1, 2), (3,)]) == [3, 3]


def test_what_a_call_raises_comes_with_the_results_before_it() -> None:
    results, error = decode_chunk(chunked(inverse)([1, 2, 0, 4]), "job 7, attempt 1, on atlas")
    assert results == [1.0, 0.5]
    assert isinstance(error, ZeroDivisionError)
    text = str(error.__cause__)
    assert text.strip().startswith(f"job 7, attempt 1, on atlas, process {os.getpid()}\n")
    assert "in inverse" in text
    assert "shipping/chunks.py" not in text.replace(__file__, "")


def test_calls_behind_one_that_raises_are_not_made() -> None:
    made: list[int] = []

    def call(x: int) -> None:
        made.append(x)
        if x == 2:
            raise ValueError

    chunked(call)([1, 2, 3])
    assert made == [1, 2]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (StopIteration("done"), StopIteration),
        (SystemExit(3), JobExited),
        (KeyboardInterrupt(), JobExited),
        (GeneratorExit(), JobExited),
    ],
)
def test_what_else_a_call_may_raise(raised: BaseException, expected: type[BaseException]) -> None:
    def call(x: int) -> int:
        if x:
            raise raised
        return x

    for make, calls in ((chunked(call), [0, 0, 1, 0]), (chunked(call, True), [(0,), (0,), (1,)])):
        results, error = decode_chunk(make(calls), "here")
        assert results == [0, 0]
        assert type(error) is expected


def test_a_call_that_goes_alone_raises_as_any_job_does() -> None:
    def call(x: int) -> None:
        raise KeyError(x)

    with pytest.raises(KeyError):
        chunked(call)([1])


def test_an_exception_that_cannot_be_rebuilt() -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("odd")

    def call(x: int) -> None:
        raise Odd(1, 2)

    results, error = decode_chunk(chunked(call)([1, 1]), "here")
    assert results == []
    assert type(error) is RemoteError
    assert str(error).endswith("Odd: odd")


def test_arguments_that_do_not_fit_are_that_calls_error() -> None:
    results, error = decode_chunk(chunked(pow, star=True)([(2, 2), (2,)]), "here")
    assert results == [4]
    assert isinstance(error, TypeError)


# Patience.


def test_a_chunk_that_takes_long_gives_its_rest_back(clock: Clock) -> None:
    assert chunked(clock.spend)([0.1] * 10, 0.35) == [0.1] * 4
    assert chunked(clock.spend, True)([(0.1,)] * 10, 0.35) == [0.1] * 4


def test_one_call_is_made_however_long_it_takes(clock: Clock) -> None:
    assert chunked(clock.spend)([9.0, 9.0], 0.02) == [9.0]
    assert chunked(clock.spend)([9.0], 0.02) == [9.0]


def test_without_a_limit_all_calls_are_made(clock: Clock) -> None:
    assert chunked(clock.spend)([100.0] * 50) == [100.0] * 50


def test_the_clock_is_looked_at_after_each_long_call_and_few_short_ones(clock: Clock) -> None:
    chunked(clock.spend)([0.001] * 100, 60)
    assert clock.looks == 101
    clock.looks = 0
    chunked(clock.spend)([1e-8] * 6400, 60)
    assert 100 <= clock.looks < 120


def test_calls_that_become_long_are_noticed(clock: Clock) -> None:
    calls = [1e-7] * 1000 + [1.0] * 1000
    done = len(chunked(clock.spend)(calls, 0.02))
    assert 1000 < done <= 1064


# Children.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_comes_back_makes_no_calls() -> None:
    source = """
        import os
        from ppnext.shipping.chunks import Chunked

        def call(x):
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            return os.getpid()

        parent = os.getpid()
        results = Chunked(call, False, 5)([1, 2, 3, 4, 5])
        if os.getpid() == parent:
            print(len(results), set(results) == {parent}, flush=True)
        else:
            print("child", len(results), flush=True)
        os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "5 True"
    assert sorted(lines[:-1]) == [f"child {n}" for n in range(1, 6)]


def test_arguments_are_not_kept() -> None:
    calls: list[object] = [1]
    chunked(abs)(calls)
    assert chunks._running is not calls


# As a definition.


def test_a_function_of_the_script_is_shipped_once(far: Any, script: Script) -> None:
    it = script("LIMIT = 3\ndef helper(x): return x * LIMIT\ndef f(x): return helper(x)")
    definition = far.shipper.ship_chunked(it.f, False)
    assert far.shipper.ship_chunked(it.f, False) is definition
    assert far.shipper.ship_chunked(it.f, True).digest != definition.digest
    assert far.shipper.ship(it.f).digest != definition.digest
    it.f.__globals__["LIMIT"] = 4
    assert far.shipper.ship_chunked(it.f, False).digest != definition.digest
    payload = joined(encode_call(([1, 2], 60.0), {}, PROTOCOL))
    assert far.run_payloads(definition.payload, payload) == [3, 6]


def test_definitions_have_the_hash_of_what_is_in_them() -> None:
    again = FunctionShipper(PROTOCOL), FunctionShipper(PROTOCOL)
    assert len({it.ship_chunked(pow, True).digest for it in again}) == 1


class Adder:
    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, x: int, y: int = 0) -> int:
        return self.number + x + y

    def __call__(self, x: int) -> int:
        return self.number + x


@pytest.mark.parametrize(
    ("func", "calls", "star", "expected"),
    [
        (functools.partial(pow, 2), [1, 2, 3], False, [2, 4, 8]),
        (functools.partial(int, base=2), ["10", "11"], False, [2, 3]),
        (functools.partial(functools.partial(pow, 2), 3), [5, 7], False, [3, 1]),
        (Adder(5).add, [1, 2], False, [6, 7]),
        (Adder(5).add, [(1, 2), (3,)], True, [8, 8]),
        (functools.partial(Adder(5).add, 1), [1, 2], False, [7, 8]),
        (Adder(5), [1, 2], False, [6, 7]),
        ([3, 1, 3].count, [3, 1], False, [2, 1]),
    ],
)
def test_what_a_function_is_bound_to_goes_with_it(
    func: Callable[..., object], calls: list[object], star: bool, expected: list[object]
) -> None:
    loaded = load_definition(FunctionShipper(PROTOCOL).ship_chunked(func, star).payload)
    assert loaded(calls) == expected
    assert loaded(calls, 60.0) == expected


def test_what_a_function_is_bound_to_may_change_from_map_to_map() -> None:
    shipper, adder = FunctionShipper(PROTOCOL), Adder(1)
    first = shipper.ship_chunked(adder.add, False)
    adder.number = 2
    second = shipper.ship_chunked(adder.add, False)
    assert [load_definition(it.payload)([1]) for it in (first, second)] == [[2], [3]]


def test_what_a_function_is_bound_to_is_loaded_once() -> None:
    class Counting:
        def __init__(self) -> None:
            self.calls = 0

        def next(self, _: int) -> int:
            self.calls += 1
            return self.calls

    loaded = load_definition(FunctionShipper(PROTOCOL).ship_chunked(Counting().next, False).payload)
    assert loaded([0, 0]) == [1, 2]
    assert loaded([0]) == [3]


def test_a_large_buffer_that_a_function_is_bound_to() -> None:
    data = bytearray(300_000)
    definition = FunctionShipper(PROTOCOL).ship_chunked(functools.partial(max, data), False)
    assert load_definition(definition.payload)([b"\1"]) == [b"\1"]


def test_what_cannot_be_bound_is_an_error_of_the_first_call() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (inverse, (0,))

    definition = FunctionShipper(PROTOCOL).ship_chunked(functools.partial(max, Trap()), False)
    results, error = decode_chunk(load_definition(definition.payload)([1, 2]), "here")
    assert results == []
    assert isinstance(error, ZeroDivisionError)


def test_what_cannot_be_shipped_is_named(script: Script) -> None:
    it = script("rows = (x for x in ())\ndef f(x): return rows")
    shipper = FunctionShipper(PROTOCOL)
    with pytest.raises(NotShippable, match="the function f cannot be shipped: the global 'rows'"):
        shipper.ship_chunked(it.f, False)
    with pytest.raises(NotShippable, match="argument 1: it is a generator"):
        shipper.ship_chunked(functools.partial(max, (x for x in ())), False)


def test_a_chunked_function_is_pickled_by_reference_to_its_class() -> None:
    pickled = pickle.dumps(chunked(abs))
    assert b"ppnext.shipping.chunks" in pickled
    assert pickle.loads(pickled)([-1]) == [1]


def test_a_chunk_in_another_process(far: Any, script: Script) -> None:
    it = script("class Own(Exception): pass\ndef f(x):\n    if x > 2: raise Own(x)\n    return x")
    definition = far.shipper.ship_chunked(it.f, False)
    payload = joined(encode_call(([1, 2, 3, 4], 60.0), {}, PROTOCOL))
    results, error = decode_chunk(far.run_payloads(definition.payload, payload), "here")
    assert results == [1, 2]
    assert type(error) is it.Own
    assert error.args == (3,)
