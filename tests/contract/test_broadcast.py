"""Objects that many jobs use: sent to a node once, mapped from one memory, dropped when unused."""

from __future__ import annotations

import functools
import gc
import os
import pickle
import signal
import socket
import threading
from time import monotonic

import pytest

from ppnext import Server
from ppnext.errors import DestroyedServerError, NotShippable, WorkerDied

PATIENCE = 60.0
MIB = 1 << 20


def content(seed=0, size=3 * MIB):
    return bytes([seed]) * (size // 2) + bytes(size - size // 2)


def objects_here():
    """In a job: the names of the objects that its worker holds."""
    from ppnext.shipping import broadcasts

    return list(broadcasts._source.__self__._library._objects)


def held_somewhere(server, cluster):
    """How many objects some workers hold."""
    jobs = [server.submit(objects_here) for _ in range(4 * cluster.slots)]
    return max(len(job.result(PATIENCE)) for job in jobs)


def becomes_true(question):
    """Ask until it is so; what a node drops, it drops when it hears of it."""
    until = monotonic() + PATIENCE
    while not (so := question()) and monotonic() < until:
        gc.collect()
    return so


def closing_over(it):
    """A function whose closure holds something."""
    return lambda: it[0]


class Loaded:
    """Notes when it is loaded."""

    def __init__(self, add, value):
        self.add, self.value = add, value

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.add()


# Where a handle may stand.


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_a_job_gets_the_object_itself(server, size):
    obj = [content(size=size), {"a": 1}]
    handle = server.broadcast(obj)
    assert server.submit(lambda it: it, (handle,)).result(PATIENCE) == obj
    assert server.submit(lambda *, it: it, kwargs={"it": handle}).result(PATIENCE) == obj
    assert server.submit(lambda it: it["x"][0], ({"x": [handle]},)).result(PATIENCE) == obj
    assert server.submit(len, (handle,)).result(PATIENCE) == 2
    assert handle.size >= size and str(handle.size) in repr(handle)


def test_in_a_closure_a_default_and_a_partial(server):
    handle = server.broadcast(content())

    def by_default(it=handle):
        return it

    jobs = [
        server.submit(lambda: handle),
        server.submit(by_default),
        server.submit(functools.partial(lambda one, it: it, 1, it=handle)),
    ]
    assert all(job.result(PATIENCE) == content() for job in jobs)


def test_in_the_globals_of_a_function_by_value(server):
    space = {"__name__": "__main__", "handle": server.broadcast(content(1))}
    exec("def use(): return handle[0], len(handle)", space)
    assert server.submit(space["use"]).result(PATIENCE) == (1, 3 * MIB)
    space["handle"] = server.broadcast(content(2))
    assert server.submit(space["use"]).result(PATIENCE) == (2, 3 * MIB)


def test_several_and_one_inside_another(server):
    inner = server.broadcast(content(1))
    other = server.broadcast(content(2))
    outer = server.broadcast({"inner": inner, "own": content(3)})
    del inner
    gc.collect()

    def use(outer, other, again):
        return outer["inner"][0], outer["own"][0], other[0], other is again

    jobs = [server.submit(use, (outer, other, other)) for _ in range(10)]
    assert all(job.result(PATIENCE) == (1, 3, 2, True) for job in jobs)


def test_in_a_map(server):
    handle = server.broadcast(list(range(1000)))
    assert list(server.map(lambda n: handle[n], range(1000))) == list(range(1000))
    with_it = functools.partial(lambda table, n: table[n], handle)
    assert list(server.map(with_it, range(100), chunksize=7)) == list(range(100))
    assert list(server.map(lambda pair: pair[0][pair[1]], [(handle, n) for n in range(50)])) == (
        list(range(50))
    )


def test_what_is_changed_after_broadcast_is_not_seen(server):
    obj = bytearray(content(1))
    handle = server.broadcast(obj)
    obj[0] = 9
    assert server.submit(lambda it: it[0], (handle,)).result(PATIENCE) == 1


@pytest.mark.parametrize("size", [100, 50_000, MIB, 8 * MIB])
def test_arrays_cannot_be_written_to(server, size):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    sent = np.arange(size // 8)

    def use(it):
        return it.flags.writeable, it.sum()

    handle = server.broadcast({"array": sent})
    jobs = [server.submit(lambda it: use(it["array"]), (handle,)) for _ in range(8)]
    assert all(job.result(PATIENCE) == (False, sent.sum()) for job in jobs)


# Once.


def test_it_is_loaded_once_in_each_worker(server, cluster, counter):
    handle = server.broadcast(Loaded(counter.add, content()))
    jobs = [server.submit(lambda it: it.value[0], (handle,)) for _ in range(50)]
    assert [job.result(PATIENCE) for job in jobs] == [0] * 50
    assert 1 <= counter.value <= cluster.slots


def test_all_workers_of_a_node_map_the_same_memory(server, cluster, gate):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    handle = server.broadcast(np.arange(MIB))
    way = gate.way

    def use(it):
        way()
        place = it.__array_interface__["data"][0]
        with open("/proc/self/maps") as maps:
            for line in maps:
                first, last = (int(number, 16) for number in line.split()[0].split("-"))
                if first <= place < last:
                    return line.split()[4]

    jobs = [server.submit(use, (handle,)) for _ in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    gate.release(cluster.slots)
    memories = {(job.node, job.result(PATIENCE)) for job in jobs}
    assert len(memories) == cluster.nodes
    assert all(memory not in ("0", None) for _, memory in memories)


class Relay:
    """Stands between a client and a ppserver, and counts what the client sends."""

    def __init__(self, address):
        host, port = address.split(":")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent = 0
        self._target = host, int(port)
        self._sockets = [self._listening]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            there = socket.create_connection(self._target)
            self._sockets += [here, there]
            threading.Thread(target=self._copy, args=(here, there, True), daemon=True).start()
            threading.Thread(target=self._copy, args=(there, here, False), daemon=True).start()

    def _copy(self, source, target, counts):
        try:
            while data := source.recv(1 << 16):
                self.sent += len(data) if counts else 0
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        for it in self._sockets:
            it.close()


@pytest.mark.cluster
def test_it_is_sent_to_a_node_once(shared_ppservers):
    relay = Relay(shared_ppservers.addresses[0])
    try:
        with Server(0, (relay.address,), key_file=shared_ppservers.key_file) as server:
            assert server.wait_for_nodes(1, 20)
            handle, again = (server.broadcast(content(5, 8 * MIB)) for _ in range(2))
            before = relay.sent
            for it in (handle, again):
                jobs = [server.submit(lambda it: it[0], (it,)) for _ in range(20)]
                assert [job.result(PATIENCE) for job in jobs] == [5] * 20
            assert 8 * MIB < relay.sent - before < 9 * MIB
    finally:
        relay.close()


@pytest.mark.parametrize("size", [10, 3 * MIB, 6 * MIB])
def test_equal_objects_are_one_and_others_are_not(server, size):
    first, again = (server.broadcast(content(1, size)) for _ in range(2))
    changed = bytearray(content(1, size))
    changed[size // 2 + 1] = 7
    other = server.broadcast(bytes(changed))

    def use(first, again, other):
        return first is again, other[len(other) // 2 + 1], first == other

    assert server.submit(use, (first, again, other)).result(PATIENCE) == (True, 7, False)


# Dropped.


@pytest.mark.parametrize("where", ["argument", "closure"])
def test_it_is_dropped_with_its_handle(server, cluster, where):
    handle = server.broadcast(content())
    function = (lambda it: it[0]) if where == "argument" else closing_over(handle)
    args = (handle,) if where == "argument" else ()
    jobs = [server.submit(function, args) for _ in range(4 * cluster.slots)]
    assert [job.result(PATIENCE) for job in jobs] == [0] * len(jobs)
    assert held_somewhere(server, cluster) == 1
    del handle, args, function
    assert becomes_true(lambda: held_somewhere(server, cluster) == 0)


@pytest.mark.parametrize("where", ["argument", "closure"])
def test_its_memory_is_given_back_with_its_handle(server, cluster, gate, where):
    """Also where a function that was loaded for jobs refers to the object."""
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    handle = server.broadcast(np.ones(MIB))
    way = gate.way

    def mapped():
        with open("/proc/self/maps") as maps:
            return sum("memfd:ppnext" in line for line in maps)

    def by_argument(it):
        way()
        return it.sum() and mapped()

    def closing(it):
        return lambda: by_argument(it)

    call = (by_argument, (handle,)) if where == "argument" else (closing(handle),)
    jobs = [server.submit(*call) for _ in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    gate.release(cluster.slots)
    assert [job.result(PATIENCE) for job in jobs] == [1] * cluster.slots
    del handle, call

    def all_given_back():
        jobs = [server.submit(mapped) for _ in range(4 * cluster.slots)]
        return sum(job.result(PATIENCE) for job in jobs) == 0

    assert becomes_true(all_given_back)


def test_it_is_there_as_long_as_a_job_is_to_use_it(server, cluster, gate):
    held = [server.submit(gate.way) for _ in range(cluster.slots)]
    gate.wait_for(cluster.slots)
    handle = server.broadcast(content(4))
    jobs = [server.submit(lambda it: it[0], (handle,)) for _ in range(20)]
    jobs += [server.submit(closing_over(handle)) for _ in range(5)]
    del handle
    gc.collect()
    gate.release(cluster.slots)
    assert [job.result(PATIENCE) for job in jobs] == [4] * 25
    assert all(job.result(PATIENCE) is None for job in held)


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_the_same_comes_and_goes(server, size):
    """It is dropped and sent again at the same time; nobody waits for it for ever."""
    for turn in range(40):
        handle = server.broadcast(content(7, size))
        jobs = [server.submit(lambda it: it[0], (handle,)) for _ in range(turn % 4)]
        jobs.append(server.submit(closing_over(handle)))
        del handle
        assert [job.result(PATIENCE) for job in jobs] == [7] * len(jobs)
        del jobs


def test_a_function_that_is_known_gets_an_object_that_comes_again(server, cluster):
    """The function is on the nodes already, and the object is not any more."""
    space = {"__name__": "__main__", "handle": server.broadcast(content(1, 1000))}
    exec("def use(): return handle[0]", space)
    for _ in range(3):
        jobs = [server.submit(space["use"]) for _ in range(4 * cluster.slots)]
        assert [job.result(PATIENCE) for job in jobs] == [1] * len(jobs)
        del space["handle"], jobs
        assert becomes_true(lambda: held_somewhere(server, cluster) == 0)
        space["handle"] = server.broadcast(content(1, 1000))


def test_a_thousand_small_ones_leave_nothing(server, cluster):
    jobs = []
    for number in range(1000):
        jobs.append(server.submit(lambda it: it[0], (server.broadcast([number]),)))
    assert [job.result(PATIENCE) for job in jobs] == list(range(1000))
    assert becomes_true(lambda: held_somewhere(server, cluster) == 0)
    unused = [server.broadcast([number]) for number in range(1000)]
    del unused
    assert held_somewhere(server, cluster) == 0


# Mishaps.


def test_a_new_worker_gets_it_as_well(server, cluster):
    handle = server.broadcast(content(3))
    for _ in range(2):
        jobs = [server.submit(lambda it: (it[0], os.getpid()), (handle,)) for _ in range(20)]
        assert {job.result(PATIENCE)[0] for job in jobs} == {3}
        for pid in {job()[1] for job in jobs}:
            os.kill(pid, signal.SIGKILL)
    assert server.submit(lambda it: it[0], (handle,)).result(PATIENCE) == 3


def test_a_job_that_kills_its_worker_and_uses_it_again(server, tmp_path):
    path, handle = str(tmp_path / "tried"), server.broadcast(content(3))

    def use(it):
        if not os.path.exists(path):
            open(path, "x").close()
            os._exit(1)
        return it[0]

    assert server.submit(use, (handle,)).result(PATIENCE) == 3
    with pytest.raises(WorkerDied):
        server.submit(lambda it: os._exit(1), (handle,), retry=False).result(PATIENCE)


@pytest.mark.cluster
def test_another_node_gets_it_when_one_is_lost(ppserver):
    daemons = [ppserver.start() for _ in range(2)]
    addresses = tuple(daemon.address for daemon in daemons)
    with Server(0, addresses, key_file=ppserver.key_file) as server:
        assert server.wait_for_nodes(2, 20)
        handle = server.broadcast(content(3))
        job = server.submit(lambda it: it[0], (handle,))
        assert job.result(PATIENCE) == 3
        next(it for it in daemons if it.address == job.node).kill()
        jobs = [server.submit(lambda it: it[0], (handle,)) for _ in range(10)]
        assert [job.result(PATIENCE) for job in jobs] == [3] * 10


def test_an_object_that_cannot_be_loaded_fails_its_jobs_and_no_others(server):
    def fail():
        raise ValueError("not here")

    class Broken:
        def __reduce__(self):
            return fail, ()

    handle = server.broadcast([Broken(), content()])
    jobs = [server.submit(len, (handle,)) for _ in range(6)]
    for job in jobs:
        with pytest.raises(ValueError, match="not here"):
            job.result(PATIENCE)
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


# Wrong use.


def test_what_cannot_be_pickled_is_refused(server):
    with pytest.raises(NotShippable, match="lock"):
        server.broadcast({"a": [threading.Lock()]})
    handle = server.broadcast([1])
    assert server.submit(len, (handle,)).result(PATIENCE) == 1


def test_what_is_too_large_is_refused(server):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    with pytest.raises(NotShippable, match="at most"):
        server.broadcast(np.zeros((1 << 30) + 1, np.uint8))


def test_a_handle_is_good_for_its_own_server_only(server):
    with Server(0) as other:
        handle, own = other.broadcast([1]), server.broadcast([1])
        for use in (
            lambda: server.submit(len, (handle,)),
            lambda: server.submit(lambda: handle),
            lambda: list(server.map(len, [handle])),
            lambda: list(server.map(lambda n: handle, [1])),
            lambda: server.broadcast([handle]),
        ):
            with pytest.raises(NotShippable, match="another server"):
                use()
            assert server.submit(len, (own,)).result(PATIENCE) == 1
    assert server.submit(len, (own,)).result(PATIENCE) == 1


def test_a_handle_is_nothing_outside_of_jobs(server):
    pickled = pickle.dumps(server.broadcast([1]))
    with pytest.raises(LookupError, match="only there for jobs"):
        pickle.loads(pickled)


def test_after_the_end(server):
    handle = server.broadcast([1])
    server.destroy()
    with pytest.raises(DestroyedServerError):
        server.broadcast([1])
    with pytest.raises(DestroyedServerError):
        server.submit(len, (handle,))
    del handle
    gc.collect()
