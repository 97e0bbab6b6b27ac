"""Large arguments and results: exact, everybody's own, and never changed by what comes later.

Above a size they are not sent but lie in memory that processes share, and that is written again
when nobody uses it. None of that may ever be seen.
"""

from __future__ import annotations

import array
import gc
import os
import sys
import threading

import pytest

from ppnext.errors import PoisonedJob, ResultNotShippable, WorkerDied

np = pytest.importorskip("numpy", reason="numpy is not installed")

PATIENCE = 60.0
KIB, MIB = 1 << 10, 1 << 20


def numbers(size, seed=0):
    """An array of ``size`` bytes that is like no other."""
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def same(one, other):
    """Whether two arrays differ in nothing."""
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and one.flags.writeable == other.flags.writeable
        and one.flags.f_contiguous == other.flags.f_contiguous
        and one.flags.c_contiguous == other.flags.c_contiguous
        and one.flags.aligned
        and one.tobytes() == other.tobytes()
    )


def give_back(it):
    return it


def made_bytes(size):
    return bytes(memoryview(np.arange(size // 8 + 1)).cast("B")[:size])


# Values.


@pytest.mark.parametrize(
    "size",
    [64 * KIB, 128 * KIB - 1, 128 * KIB, MIB - 1, MIB, MIB + 1, 5 * MIB + 3, 64 * MIB],
)
def test_arrays_of_all_sizes_there_and_back(server, size):
    sent = numbers(size)
    assert same(server.submit(give_back, (sent,)).result(PATIENCE), sent)


def kinds():
    base = np.random.default_rng(1).random((400, 500))
    frozen = base.copy()
    frozen.flags.writeable = False
    structured = np.zeros(60_000, [("a", "<i4"), ("b", ">f8"), ("c", "S12")])
    structured["a"] = np.arange(60_000)
    structured["c"] = b"text"
    swapped = np.arange(300_000, dtype=">i4")
    return {
        "Fortran": np.asfortranarray(base),
        "read-only": frozen,
        "structured": structured,
        "other byte order": swapped,
        "complex, of three dimensions": base.reshape(40, 50, 100) * 1j,
        "times": np.arange(200_000).astype("M8[s]"),
        "texts": np.array(["é" * 30] * 20_000),
        "no elements": np.zeros((0, 7)),
        "no dimensions": np.array(5.0),
    }


@pytest.mark.parametrize("kind", kinds())
def test_arrays_of_all_kinds_there_and_back(server, kind):
    sent = kinds()[kind]
    assert same(server.submit(give_back, (sent,)).result(PATIENCE), sent)


def test_arrays_with_gaps_and_of_objects(server):
    base = np.arange(2_000_000.0).reshape(1000, 2000)
    got = server.submit(give_back, ((base[::2, ::-3], np.array([base, None, "x"], object)),))()
    assert (got[0] == base[::2, ::-3]).all() and got[0].flags.writeable
    assert (got[1][0] == base).all() and list(got[1][1:]) == [None, "x"]


def test_several_at_once_and_nested(server):
    one, two, three = numbers(2 * MIB, 1), numbers(300 * KIB, 2), numbers(10, 3)

    def look(first, nested, *, key):
        return {"first": first, "all": [nested["a"][0], key, (nested["b"],)], "again": first}

    call = server.submit(look, (one, {"a": [two], "b": one}), kwargs={"key": three})
    got = call.result(PATIENCE)
    assert same(got["first"], one) and got["again"] is got["first"] is got["all"][2][0]
    assert same(got["all"][0], two) and same(got["all"][1], three)


def test_other_large_things(server):
    text = "é\U0001f600x" * 700_000
    things = [
        made_bytes(3 * MIB),
        bytearray(made_bytes(3 * MIB)),
        array.array("d", range(400_000)),
        text,
        [text, bytearray(200 * KIB)],
    ]
    jobs = [server.submit(give_back, (it,)) for it in things]
    for job, thing in zip(jobs, things, strict=True):
        got = job.result(PATIENCE)
        assert type(got) is type(thing) and got == thing
    jobs[1]()[:3] = b"abc"


def test_one_array_in_many_jobs_at_a_time(server):
    sent = numbers(4 * MIB)
    total = int(sent.sum())
    jobs = [server.submit(lambda it, n: int(it.sum()) + n, (sent, n)) for n in range(40)]
    assert [job.result(PATIENCE) for job in jobs] == [total + n for n in range(40)]


def test_many_threads_with_arrays_of_their_own(server):
    wrong = []

    def work(seed):
        for turn in range(6):
            sent = numbers(MIB + 1000 * seed + turn, seed * 100 + turn)
            if not same(server.submit(give_back, (sent,)).result(PATIENCE), sent):
                wrong.append((seed, turn))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_arrays_in_a_map(server):
    arrays = [numbers(2 * MIB, seed) for seed in range(12)]
    for got, sent in zip(server.map(lambda it: it[::-1].copy(), arrays), arrays, strict=True):
        assert (got[::-1] == sent).all()


# Everybody's own.


@pytest.mark.parametrize("size", [200 * KIB, 3 * MIB])
def test_what_is_changed_after_submit_is_not_seen_by_the_job(server, cluster, gate, size):
    held = [server.submit(gate.way) for _ in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    sent = numbers(size)
    before = sent.copy()
    jobs = [server.submit(give_back, (sent,)) for _ in range(3)]
    sent[:] = 7
    gate.release(cluster.slots)
    assert all(same(job.result(PATIENCE), before) for job in jobs)
    assert all(job.result(PATIENCE) is None for job in held)


@pytest.mark.parametrize("size", [200 * KIB, 3 * MIB])
def test_a_result_is_its_receivers_own(server, size):
    sent = numbers(size)
    first = server.submit(give_back, (sent,)).result(PATIENCE)
    first[:] = 1
    second = server.submit(give_back, (sent,)).result(PATIENCE)
    assert same(second, sent)
    second[5:] = 2
    assert (first == 1).all()


@pytest.mark.parametrize("size", [200 * KIB, 3 * MIB])
def test_an_argument_is_the_jobs_own(server, size):
    sent = numbers(size)
    before = sent.copy()

    def spoil(it):
        it += 1
        return it

    jobs = [server.submit(spoil, (sent,)) for _ in range(8)]
    for job in jobs:
        assert same(job.result(PATIENCE), before + 1)
    assert same(sent, before)


def test_a_second_attempt_sees_what_was_sent(server, tmp_path):
    path, sent = str(tmp_path / "tried"), numbers(3 * MIB)
    total = int(sent.sum())

    def spoil(it):
        total = int(it.sum())
        it[:] = 0
        if not os.path.exists(path):
            open(path, "x").close()
            os._exit(1)
        return total, it

    job = server.submit(spoil, (sent,))
    got, spoilt = job.result(PATIENCE)
    assert got == total and not spoilt.any()
    assert job.attempts == 2


# What is kept stays as it is.


def keep(it, how):
    """Keep the first argument that this worker gets for ever; return whether it is as it was."""
    kept = getattr(sys, "kept_by_a_test", None)
    if kept is None:
        views = {"array": it, "slice": it[1000:2000], "memory": memoryview(it)[7:]}
        cycle = [views[how]]
        cycle.append(cycle)
        sys.kept_by_a_test = cycle, bytes(memoryview(views[how]))
        return None
    return bytes(memoryview(kept[0][0])) == kept[1]


@pytest.mark.parametrize("how", ["array", "slice", "memory"])
def test_what_jobs_keep_is_never_written_again(server, cluster, how):
    results = []
    for seed in range(cluster.slots + 20):
        results.append(server.submit(keep, (numbers(2 * MIB, seed), how)).result(PATIENCE))
    jobs = [server.submit(keep, (numbers(2 * MIB, seed), how)) for seed in range(20)]
    results += [job.result(PATIENCE) for job in jobs]
    assert results.count(False) == 0
    assert results.count(None) <= cluster.slots


def test_what_a_forked_child_of_a_job_looks_at_is_never_written_again(server, gate, tmp_path):
    path, way = str(tmp_path / "seen"), gate.way

    def fork(it):
        if os.fork():
            return None
        way()
        with open(path + "-", "w") as file:
            file.write(str(int(it.sum())))
        os.rename(path + "-", path)
        way()
        os._exit(0)

    sent = numbers(2 * MIB)
    assert server.submit(fork, (sent,)).result(PATIENCE) is None
    gate.wait_for(1)
    jobs = [server.submit(give_back, (numbers(2 * MIB, seed),)) for seed in range(1, 21)]
    assert all(len(job.result(PATIENCE)) == 2 * MIB for job in jobs)
    gate.release(1)
    gate.wait_for(1)
    with open(path) as file:
        assert int(file.read()) == int(sent.sum())
    gate.release(1)


@pytest.mark.parametrize("how", ["array", "slice", "job"])
def test_results_that_are_kept_are_never_written_again(server, how):
    kept = []
    for seed in range(50):
        sent = numbers(MIB + 10_000, seed)
        job = server.submit(give_back, (sent,))
        got = job.result(PATIENCE)
        kept.append((sent, {"array": got, "slice": got[5:9], "job": job}[how]))
        del got, job
        if seed % 7 == 0:
            gc.collect()
    for sent, it in kept:
        if how == "slice":
            assert (it == sent[5:9]).all()
        else:
            assert same(it if how == "array" else it(), sent)


def test_results_that_nobody_has_looked_at_wait(server):
    jobs = [server.submit(give_back, (numbers(2 * MIB, seed),)) for seed in range(40)]
    assert server.wait(timeout=PATIENCE)
    for seed, job in enumerate(jobs):
        assert same(job(), numbers(2 * MIB, seed))


# With output, and with errors.


@pytest.mark.parametrize("size", [200 * KIB, 3 * MIB])
def test_output_and_a_large_result(server, size, capsys):
    sent = numbers(size)

    def talk(it):
        print("before")
        sys.stderr.write("é" * 10_000 + "\n")
        return it

    job = server.submit(talk, (sent,))
    assert same(job.result(PATIENCE), sent)
    assert job.output == "before\n" + "é" * 10_000 + "\n"
    assert capsys.readouterr().out == job.output
    assert same(server.submit(give_back, (sent,)).result(PATIENCE), sent)


def test_more_output_than_is_kept_and_a_large_result(server, capsys):
    def talk(it):
        print("a" * 3 * MIB)
        return it

    job = server.submit(talk, (numbers(3 * MIB),))
    assert same(job.result(PATIENCE), numbers(3 * MIB))
    assert job.output.endswith("bytes of output were left out]\n")


def test_an_error_after_a_large_argument(server):
    def fail(it):
        raise ValueError(f"of {len(it)}")

    for _ in range(3):
        with pytest.raises(ValueError, match="of 3145728"):
            server.submit(fail, (numbers(3 * MIB),)).result(PATIENCE)
    assert same(server.submit(give_back, (numbers(3 * MIB),)).result(PATIENCE), numbers(3 * MIB))


def test_an_error_that_carries_a_large_array(server):
    def fail(it):
        raise ValueError("so much", it)

    with pytest.raises(ValueError) as caught:
        server.submit(fail, (numbers(3 * MIB),)).result(PATIENCE)
    assert (caught.value.args[1] == numbers(3 * MIB)).all()


def test_a_result_that_is_too_large(server):
    def too_much():
        import numpy

        return numpy.zeros(1 << 30, numpy.uint8)

    with pytest.raises(ResultNotShippable, match=r"at most \d+ can be sent"):
        server.submit(too_much).result(PATIENCE)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


def test_a_result_that_cannot_be_pickled_beside_a_large_array(server):
    with pytest.raises(ResultNotShippable, match="cannot be pickled"):
        server.submit(lambda it: (it, threading.Lock()), (numbers(3 * MIB),)).result(PATIENCE)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


# Ends.


def test_a_job_that_is_started_once_gets_its_array(server):
    sent = numbers(3 * MIB)
    job = server.submit(give_back, (sent,), retry=False)
    assert same(job.result(PATIENCE), sent)
    with pytest.raises(WorkerDied):
        server.submit(lambda it: os._exit(1), (sent,), retry=False).result(PATIENCE)
    assert same(server.submit(give_back, (sent,), retry=False).result(PATIENCE), sent)


def test_workers_that_die_with_large_arguments(server):
    sent = numbers(3 * MIB)
    deadly = server.submit(lambda it: os._exit(int(it[0]) % 2 + 1), (sent,))
    others = [server.submit(give_back, (numbers(3 * MIB, n),)) for n in range(10)]
    with pytest.raises(PoisonedJob):
        deadly.result(PATIENCE)
    for n, job in enumerate(others):
        assert same(job.result(PATIENCE), numbers(3 * MIB, n))


def test_a_cancelled_job_takes_its_array_with_it(server, cluster, gate):
    held = [server.submit(gate.way) for _ in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    jobs = [server.submit(give_back, (numbers(2 * MIB, n),)) for n in range(20)]
    cancelled = [job for job in jobs if job.cancel()]
    gate.release(cluster.slots)
    assert [job.result(PATIENCE) for job in held] == [None] * cluster.slots
    for n, job in enumerate(jobs):
        if job in cancelled:
            assert job.cancelled()
        else:
            assert same(job.result(PATIENCE), numbers(2 * MIB, n))
