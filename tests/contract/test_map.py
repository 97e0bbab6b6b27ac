"""``map``: every call once, in order, whatever happens to the workers."""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
import time
from contextlib import closing

import pytest

from ppnext.errors import (
    DestroyedServerError,
    JobExited,
    NotShippable,
    PoisonedJob,
    RemoteError,
    ResultNotShippable,
)


def square(x):
    return x * x


def exit_on_five(x):
    if x == 5:
        os._exit(7)
    return x


class Adder:
    def __init__(self, number):
        self.number = number

    def add(self, x):
        return self.number + x


# Results.


@pytest.mark.parametrize("chunksize", ["auto", 1, 7, 10_000])
@pytest.mark.parametrize("ordered", [True, False])
def test_each_call_has_its_result(server, chunksize, ordered):
    results = list(server.map(square, range(300), chunksize=chunksize, ordered=ordered))
    assert sorted(results) == [x * x for x in range(300)]
    assert not ordered or results == sorted(results)


def test_fifty_thousand_calls(server):
    for _ in range(2):  # the second time with what the first has learnt
        assert list(server.map(square, range(50_000))) == [x * x for x in range(50_000)]


def test_several_iterables_of_different_length(server):
    assert list(server.map(pow, range(20), itertools.count(), [7] * 30)) == [
        pow(x, x, 7) for x in range(20)
    ]
    assert list(server.map(pow, [], [1])) == []


def test_functions_of_all_kinds(server):
    seven = 7
    assert list(server.map(lambda x: x + seven, range(5))) == [7, 8, 9, 10, 11]
    assert list(server.map(functools.partial(pow, 2), range(5))) == [1, 2, 4, 8, 16]
    assert list(server.map(Adder(3).add, range(5))) == [3, 4, 5, 6, 7]
    assert list(server.map(str.upper, "abc")) == ["A", "B", "C"]


def test_endless_iterables(server):
    with closing(server.map(square, itertools.count())) as results:
        assert list(itertools.islice(results, 3000)) == [x * x for x in range(3000)]
    assert server.wait(timeout=20)


def test_two_maps_at_a_time(server):
    both = zip(server.map(square, range(500)), server.map(abs, range(500)), strict=True)
    assert list(both) == [(x * x, x) for x in range(500)]


def test_a_map_that_is_fed_by_another(server):
    assert list(server.map(abs, server.map(square, range(500)))) == [x * x for x in range(500)]


def test_results_as_they_are_there(server, gate):
    way = gate.way

    def call(x):
        return way(x) if x == 0 else x

    results = server.map(call, range(5), chunksize=1, ordered=False)
    assert sorted(next(results) for _ in range(4)) == [1, 2, 3, 4]
    gate.release(1)
    assert list(results) == [0]


def test_calls_that_become_long(server):
    def call(x):
        time.sleep(0.05 if x >= 2000 else 0)  # a call that is long, and one that is not
        return x

    assert list(server.map(call, range(2020))) == list(range(2020))


def test_large_arguments_and_results(server):
    blocks = [bytes([x]) * 300_000 for x in range(20)]
    assert list(server.map(bytes.swapcase, blocks)) == [it.swapcase() for it in blocks]


# Errors.


@pytest.mark.parametrize("chunksize", ["auto", 1, 5, 100])
def test_what_a_call_raises_is_raised_at_its_place(server, chunksize):
    results = server.map(lambda x: 10 // (x - 5), range(100), chunksize=chunksize)
    assert [next(results) for _ in range(5)] == [-2, -3, -4, -5, -10]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "<lambda>" in str(caught.value.__cause__)
    assert re.search(r"job \d+, attempt \d+, on ", str(caught.value.__cause__))
    assert list(results) == []


def test_exit_is_an_error_of_that_call(server):
    results = server.map(lambda x: sys.exit(3) if x == 2 else x, range(5), chunksize=5)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(JobExited, match="SystemExit: 3"):
        next(results)


def test_iterables_that_raise_half_way(server):
    def numbers():
        yield from range(50)
        raise LookupError("no more")

    results = server.map(square, numbers())
    assert [next(results) for _ in range(50)] == [x * x for x in range(50)]
    with pytest.raises(LookupError, match="no more"):
        next(results)


@pytest.mark.parametrize("chunksize", ["auto", 10])
def test_an_argument_that_cannot_be_shipped(server, chunksize):
    arguments = [*range(5), (x for x in ()), *range(100)]
    results = server.map(str, arguments, chunksize=chunksize)
    assert [next(results) for _ in range(5)] == ["0", "1", "2", "3", "4"]
    with pytest.raises(NotShippable, match="it is a generator"):
        next(results)
    assert list(results) == []


def test_a_function_that_cannot_be_shipped(server):
    rows = (x for x in ())
    with pytest.raises(NotShippable, match="'rows' is a generator"):
        server.map(lambda x: rows, [1])


@pytest.mark.parametrize("chunksize", [1, 10])
def test_a_result_that_cannot_be_shipped(server, chunksize):
    results = server.map(lambda x: (y for y in ()) if x == 5 else x, range(20), chunksize=chunksize)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ResultNotShippable, match="generator"):
        next(results)


def fail_to_load(*args):
    raise LookupError("it does not load")


class NoArrival:
    def __reduce__(self):
        return fail_to_load, ()


@pytest.mark.parametrize("chunksize", [1, 10])
def test_an_argument_that_cannot_be_rebuilt_there(server, chunksize):
    arguments = [*range(5), NoArrival(), *range(10)]
    results = server.map(str, arguments, chunksize=chunksize)
    assert [next(results) for _ in range(5)] == ["0", "1", "2", "3", "4"]
    with pytest.raises(LookupError, match="it does not load"):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 10])
def test_a_result_that_cannot_be_rebuilt_here(server, chunksize):
    home = os.getpid()

    class OnlyThere:
        def __setstate__(self, state):
            if os.getpid() == home:
                raise LookupError("not here")

        def __getstate__(self):
            return {"a": 1}

    results = server.map(lambda x: OnlyThere() if x == 5 else x, range(20), chunksize=chunksize)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(RemoteError, match="not here"):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 10])
def test_only_the_guilty_call_is_poisoned(server, chunksize):
    results = server.map(exit_on_five, range(20), chunksize=chunksize)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(PoisonedJob, match="exited with status 7"):
        next(results)
    assert list(server.map(square, range(5))) == [0, 1, 4, 9, 16]


def test_the_innocent_in_a_poisoned_chunk_have_results(server, tmp_path):
    path = str(tmp_path / "deaths")

    def die_thrice(x):
        if x == 5:
            with open(path, "ab", buffering=0) as file:
                file.write(b".")
            if os.stat(path).st_size <= 3:
                os._exit(7)
        return x

    assert list(server.map(die_thrice, range(20), chunksize=10)) == list(range(20))
    assert os.stat(path).st_size == 4


# Output.


def test_what_calls_print_is_shown_once_in_their_order(server, capsys):
    def talk(x):
        print("call", x)
        return x

    assert list(server.map(talk, range(30), chunksize=4)) == list(range(30))
    assert capsys.readouterr().out == "".join(f"call {x}\n" for x in range(30))


# The end.


def test_closing_leaves_nothing_behind(server, gate):
    results = server.map(gate.way, itertools.count(), chunksize=1)
    gate.wait_for(1)
    results.close()
    assert list(results) == []
    gate.release(1000)
    assert server.wait(timeout=20)
    assert list(server.map(square, range(3))) == [0, 1, 4]


def test_destroying_the_server_ends_the_results(server, gate):
    results = server.map(gate.way, itertools.count(), chunksize=1)
    gate.wait_for(1)
    server.destroy()
    with pytest.raises(DestroyedServerError):
        list(results)
    with pytest.raises(DestroyedServerError):
        server.map(square, [1])


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((square,), {}, TypeError),
        ((None, [1]), {}, TypeError),
        ((square, 1), {}, TypeError),
        ((square, [1]), {"chunksize": 0}, ValueError),
        ((square, [1]), {"chunksize": -3}, ValueError),
        ((square, [1]), {"chunksize": "foo"}, ValueError),
        ((square, [1]), {"chunksize": True}, TypeError),
        ((square, [1]), {"chunksize": 2.0}, TypeError),
        ((square, [1]), {"ordered": 1}, TypeError),
    ],
)
def test_wrong_arguments_are_told_at_the_call(server, arguments, options, error):
    with pytest.raises(error):
        server.map(*arguments, **options)
