"""Nothing is left: of jobs, of arrays, of broadcasts, of workers that died, and of the client.

Descriptors, segments of shared memory and resident memory are counted before and after.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic

import psutil
import pytest

from ppnext import Server
from ppnext.errors import JobError

np = pytest.importorskip("numpy", reason="numpy is not installed")

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")

PATIENCE = 60.0
MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]


def family(*roots):
    """These processes and all below them."""
    found = []
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    return found


def links(process):
    """What the descriptors of a process are."""
    folder = f"/proc/{process.pid}/fd"
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"{folder}/{name}"))
    return found


def segments(*roots):
    """The segments that these processes hold or map: size in bytes by number."""
    found = {}
    for process in family(*roots):
        with contextlib.suppress(OSError, psutil.Error):
            for name in os.listdir(f"/proc/{process.pid}/fd"):
                path = f"/proc/{process.pid}/fd/{name}"
                with contextlib.suppress(OSError):
                    if "memfd:ppnext" in os.readlink(path):
                        found[os.stat(path).st_ino] = os.stat(path).st_size
            with open(f"/proc/{process.pid}/maps") as maps:
                for line in maps:
                    if "memfd:ppnext" in line:
                        place, *_, number, _ = line.split(maxsplit=5)
                        first, last = (int(it, 16) for it in place.split("-"))
                        found.setdefault(int(number), last - first)
    return found


def holders(*roots):
    """Which of these processes hold or map segments: what they are, and the segments."""
    found = {}
    for process in family(*roots):
        with contextlib.suppress(OSError, psutil.Error):
            if own := segments(process.pid):
                found[process.pid] = (" ".join(process.cmdline())[-200:], own)
    return found


def resident(*roots):
    """Resident memory of these processes together, in bytes; shared pages count each time."""
    total = 0
    for process in family(*roots):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def becomes_true(question, patience=PATIENCE):
    """Ask until it is so: the system takes its time."""
    until = monotonic() + patience
    while not (so := question()) and monotonic() < until:
        gc.collect()
        threading.Event().wait(0.05)
    return so


def use(it, how):
    if how == "die":
        os._exit(1)
    if how == "fail":
        raise ValueError(it)
    if how == "talk":
        print("x" * 100_000)
    it = it.copy() if how == "copy" else it
    return it if how != "sum" else it.sum()


def mixture(server, number):
    """Run jobs of all kinds."""
    hows = ["give", "copy", "sum", "fail", "talk", "sum"]
    jobs = []
    for n in range(number):
        array = np.full(MIB // 4 + n * 100, n, np.int64)
        how = "die" if n % 50 == 49 else hows[n % len(hows)]
        given = server.broadcast(array) if n % 3 == 0 else array
        jobs.append(server.submit(use, (given, how), retry=how != "die"))
        if n % 10 == 9:
            jobs[-1].cancel()
            for job in jobs:
                with contextlib.suppress(ValueError, JobError):
                    job.result(PATIENCE)
            jobs.clear()
    assert server.wait(timeout=PATIENCE)


def pause(shared, own, seconds):
    threading.Event().wait(seconds)
    return shared[0] + own


def settled(server):
    """Have the client and the workers do what they still have to."""
    for _ in range(20):
        server.submit(abs, (-1,)).result(PATIENCE)
    gc.collect()


def count(server, roots):
    settled(server)
    here = len(links(psutil.Process()))
    most = max((len(links(it)) for it in family(*roots)[1:]), default=0)
    return here, most


def no_more_than(server, roots, here, there):
    """Whether the client, and each other process, has at most so many descriptors."""
    counted = count(server, roots)
    return counted[0] <= here and counted[1] <= there


@pytest.mark.cluster
def test_clients_that_had_turns_leave_nothing_on_the_daemon(ppserver):
    daemon = ppserver.start("-w", "1")

    def serve(seconds):
        with Server(0, (daemon.address,), key_file=ppserver.key_file) as server:
            array = server.broadcast(np.ones(1 << 20))
            jobs = [server.submit(pause, (array, np.ones(1 << 19), seconds)) for _ in range(2)]
            assert all(job.result(PATIENCE) is not None for job in jobs)

    with ThreadPoolExecutor(3) as clients:
        for done in [clients.submit(serve, seconds) for seconds in (0.9, 0.5, 0.1)]:
            done.result()
    assert becomes_true(lambda: not segments(daemon.pid)), holders(daemon.pid)


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["local", "remote"])
def test_three_hundred_jobs_leave_nothing(kind, ppserver):
    daemons = [ppserver.start()] if kind == "remote" else []
    roots = [os.getpid(), *(daemon.pid for daemon in daemons)]
    addresses = tuple(daemon.address for daemon in daemons)
    ncpus = 0 if daemons else 2
    with Server(2) as server:  # what a thread has waited with is closed with the thread
        server.submit(abs, (-1,)).result(PATIENCE)
    before_server = len(links(psutil.Process()))
    with Server(ncpus, addresses, key_file=ppserver.key_file) as server:
        assert server.wait_for_nodes(1, 20)
        mixture(server, 100)
        here, there = count(server, roots)
        memory = resident(*roots)
        mixture(server, 300)
        # Each process keeps some to write to again.
        assert sum(segments(*roots).values()) < len(family(*roots)) * 300 * MIB
        # Idle memory is given back after a while, and mappings with it.
        assert becomes_true(lambda: not segments(*roots)), holders(*roots)
        assert becomes_true(partial(no_more_than, server, roots, here, there))
        assert resident(*roots) < memory + 64 * MIB
    del server
    assert becomes_true(lambda: len(links(psutil.Process())) <= before_server, 10)
    for daemon in daemons:
        assert becomes_true(lambda d=daemon: len(family(d.pid)) == 1, 10)
        assert not segments(daemon.pid)


def test_after_destroy_nothing_is_left():
    server = Server(2)
    server.submit(abs, (-1,)).result(PATIENCE)
    server.destroy()
    before = len(links(psutil.Process()))
    threads = threading.active_count()
    for turn in range(5):
        server = Server(2)
        kept = [server.submit(use, (np.ones(MIB), "give")) for _ in range(6)]
        handle = server.broadcast(np.ones(MIB))
        if turn % 2:
            assert kept[-1].result(PATIENCE).sum() == MIB
        server.destroy()
        del server, kept, handle
        gc.collect()
        assert becomes_true(lambda: not segments(os.getpid()), 10), holders(os.getpid())
        assert becomes_true(lambda: len(links(psutil.Process())) <= before, 10)
        assert becomes_true(lambda: threading.active_count() <= threads, 10)


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_result_that_is_kept_does_not_keep_its_server(kind, ppserver):
    addresses = (ppserver.start().address,) if kind == "remote" else ()
    with Server(0 if addresses else 2, addresses, key_file=ppserver.key_file) as server:
        result = server.submit(use, (np.ones(MIB), "copy")).result(PATIENCE)
    gone = weakref.ref(server)
    del server
    assert becomes_true(lambda: gone() is None, 10)
    assert (result == 1).all()


def test_results_outlive_the_server():
    with Server(2) as server:
        job = server.submit(use, (np.arange(MIB), "give"))
        assert server.wait(timeout=PATIENCE)
        other = server.submit(use, (np.arange(MIB), "give")).result(PATIENCE)
    del server
    gc.collect()
    assert (job() == other).all() and (other == np.arange(MIB)).all()


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_client_that_is_killed_leaves_nothing(kind, ppserver):
    daemon = ppserver.start() if kind == "remote" else None
    source = """
        import json, signal, sys
        import numpy as np
        from ppnext import Server
        ncpus, addresses, key_file = json.loads(sys.argv[1])
        server = Server(ncpus, addresses, key_file=key_file)
        handle = server.broadcast(np.ones(1 << 21))
        jobs = [server.submit(lambda a, b: a[::1], (np.ones(1 << 20), handle)) for _ in range(20)]
        kept = [job.result(60) for job in jobs[:10]]
        stuck = [server.submit(lambda it: signal.pause(), (np.ones(1 << 20),)) for _ in range(10)]
        while not stuck[0].running():
            server.submit(abs, (-1,)).wait(0.05)
        print("ready", flush=True)
        signal.pause()
    """
    given = json.dumps(
        [0 if daemon else 2, [daemon.address] if daemon else [], str(ppserver.key_file)]
    )
    client = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), given],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert client.stdout is not None and client.stdout.readline() == "ready\n"
        root = daemon.pid if daemon else client.pid
        workers = [it for it in family(root) if it.pid != root]
        numbers = segments(root, client.pid)
        assert len(workers) == 2 and numbers
        client.send_signal(signal.SIGKILL)
        client.wait(20)
        _, alive = psutil.wait_procs(workers, timeout=20)
        alive = [it for it in alive if it.is_running() and it.status() != psutil.STATUS_ZOMBIE]
        assert not alive
        everybody = [it.pid for it in psutil.process_iter() if it.pid != root or daemon]
        assert becomes_true(lambda: not numbers.keys() & segments(*everybody).keys(), 10)
    finally:
        client.kill()
        client.communicate(timeout=20)


# Without shared memory everything goes as it did.


def test_where_there_is_no_shared_memory_everything_is_sent():
    source = """
        import resource, sys
        import numpy as np
        from ppnext import Server
        # Inherited by workers; the output of jobs is a file that stays below.
        limit = 1 << 20
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        from ppnext.runtime.sharing import Sharing
        assert Sharing().share([bytes(limit + 1)]) is None
        with Server(2) as server:
            for size in (1000, 1 << 17, 1 << 20, 5 << 20):
                sent = np.arange(size // 8)
                jobs = [server.submit(lambda it: it * 2, (sent,)) for _ in range(6)]
                assert all((job.result(60) == sent * 2).all() for job in jobs)
                assert jobs[0].result().flags.writeable
                handle = server.broadcast(sent)
                jobs = [server.submit(lambda it: (it.sum(), it.flags.writeable), (handle,))
                        for _ in range(6)]
                assert all(job.result(60) == (sent.sum(), False) for job in jobs)
            job = server.submit(lambda it: print("said") or it, (sent,))
            assert (job.result(60) == sent).all() and job.output == "said\\n"
        print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "said\nfine\n"), done.stderr


def test_more_than_may_be_shared_is_sent():
    """An array of which no segment may be made, beside others of which one may."""
    with Server(2) as server:
        server._parts.pool.sharing._most_bytes = 8 * MIB
        server._parts.client.sharing._most_bytes = 8 * MIB
        arrays = [
            np.full(size, size % 251, np.uint8) for size in (MIB, 6 * MIB, 9 * MIB, 30 * MIB)
        ] * 3
        jobs = [server.submit(use, (it, "give")) for it in arrays]
        for it, job in zip(arrays, jobs, strict=True):
            assert (job.result(PATIENCE) == it).all()
        assert sum(segments(os.getpid()).values()) >= 0


def test_where_descriptors_are_scarce_everything_goes_on():
    source = """
        import os, resource
        import numpy as np
        from ppnext import Server
        with Server(2) as server:
            sent = np.arange(1 << 18)
            server.submit(lambda it: it, (sent,)).result(60)
            here = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (here + 6, here + 6))
            kept = []
            for turn in range(40):
                job = server.submit(lambda it: it + 1, (sent,))
                kept.append(job.result(60))
                assert (kept[-1] == sent + 1).all()
            assert all((it == sent + 1).all() for it in kept)
        print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
