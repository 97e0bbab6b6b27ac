"""The pool of worker processes, with real workers and an owner that takes notes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from itertools import count

import psutil
import pytest

from ppnext.nodes.local import WorkerPool
from ppnext.runtime.loop import Turn
from ppnext.runtime.processes import WorkerProcess, start_worker, worker_environment
from ppnext.runtime.sharing import Sharing
from ppnext.sched.model import JobId, JobState, NodeId
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper
from ppnext.shipping.outcomes import decode_result
from ppnext.wire.frames import encode_header
from ppnext.wire.messages import KINDS, Hello, encode_control

PATIENCE = 20.0


class Owner:
    """Notes what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.links: list[object] = []
        self.wanted: list[int] = []
        self.decided: dict[object, list[int]] = {}
        self._news = asyncio.Event()

    def __getattr__(self, name):
        def note(link, *rest):
            if name == "on_joined":
                self.links.append(link)
            self.told.append((name, link, *rest))
            self._news.set()

        return note

    def held_by(self, link):
        return self.decided.get(link, ())

    def on_here(self, slots=None):
        self.wanted.append(slots)

    async def wait_for(self, name, number=1):
        """Return all events of this name, as soon as there are so many."""
        while len(found := [event for event in self.told if event[0] == name]) < number:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), PATIENCE)
        return found


def on_stage(test, restart=False, environment=None, turn=Turn, started=()):
    """Run a test with a pool, and close the pool."""

    async def run():
        numbers = count(1)
        owner = Owner()
        pool = WorkerPool(
            turn(asyncio.get_running_loop()),
            owner,
            lambda: NodeId(next(numbers)),
            "here",
            list(sys.path),
            5,
            worker_environment(os.environ) if environment is None else environment,
            Sharing(),
            restart,
            started,
        )
        try:
            await test(pool, owner)
        finally:
            pool.close()
            assert pool.processes == []

    asyncio.run(run())


class Call:
    """What a job is about."""

    uses, limits = (), None

    def __init__(self, definition, arguments) -> None:
        self.definition, self.arguments = definition, arguments


def send(link, number, function, *args, times=1):
    """Have a worker run a function."""
    definition = FunctionShipper().ship(function)
    jobs = []
    for place in range(times):
        call = Call(definition, joined(encode_call(args, {}, 5)))
        jobs.append(JobState(JobId(number + place), call))
        jobs[-1].attempt = 1
    link.run(jobs)


def test_workers_start_together_and_join():
    async def test(pool, owner):
        pool.resize(2)
        assert len(pool.processes) == pool.wanted == 2
        await owner.wait_for("on_joined", 2)
        assert [link.name for link in owner.links] == ["here", "here"]
        assert {link.hello.pid for link in owner.links} == set(pool.processes)

    on_stage(test)


def test_a_worker_that_dies_is_replaced_and_its_end_is_told():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        pid = pool.processes[0]
        os.kill(pid, signal.SIGKILL)
        [(_, link, cause, running, _)] = await owner.wait_for("on_lost")
        assert link is owner.links[0] and running is None
        assert cause == f"worker process {pid} was killed by SIGKILL"
        await owner.wait_for("on_joined", 2)
        assert pool.processes != [pid]

    on_stage(test)


class Unwatched(WorkerProcess):
    """As where the system does not tell of the end of a process."""

    def pidfd(self):
        return None


@pytest.mark.skipif(sys.platform != "linux", reason="a child that is only forked")
def test_the_end_of_a_worker_is_seen_although_a_child_of_its_job_has_its_sockets():
    def fork():
        import time

        if not os.fork():
            time.sleep(100)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        send(owner.links[0], 1, fork)
        [(*_, cause, running, _)] = await owner.wait_for("on_lost")
        assert cause.endswith("was killed by SIGKILL") and running == 1

    process = start_worker(worker_environment(os.environ))
    process.__class__ = Unwatched
    on_stage(test, started=[process])


def test_what_a_worker_said_before_it_died_is_heard_first():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        send(owner.links[0], 1, abs, -1)
        send(owner.links[0], 2, os._exit, 5)
        [(*_, cause, running, _)] = await owner.wait_for("on_lost")
        assert [event[0] for event in owner.told][:3] == ["on_joined", "on_results", "on_lost"]
        assert cause.endswith("exited with status 5") and running == 2


def test_the_job_that_was_started_last_is_told_although_results_are_lost():
    def end_after(path, number):
        with open(path, "ab") as counted:
            counted.write(b".")
        if os.stat(path).st_size == number:
            os._exit(5)

    async def test(pool, owner, path=None):
        pool.resize(1)
        await owner.wait_for("on_joined")
        with tempfile.NamedTemporaryFile() as counted:
            send(owner.links[0], 1, end_after, counted.name, 30, times=50)
            [(*_, running, _)] = await owner.wait_for("on_lost")
        assert running == 30
        results = [event for event in owner.told if event[0] == "on_results"]
        assert sum(len(outcomes) for _, _, outcomes, _ in results) < 30

    on_stage(test)


def test_a_smaller_pool_asks_for_its_workers_back_and_then_lets_them_go():
    async def test(pool, owner):
        pool.resize(2)
        await owner.wait_for("on_joined", 2)
        pool.resize(1)
        [(_, link)] = await owner.wait_for("on_draining")
        assert len(pool.processes) == 2
        leaving = psutil.Process(link.hello.pid)
        link.close("not needed any more")
        assert len(pool.processes) == 1 and not leaving.is_running()

    on_stage(test)


def test_a_pool_may_keep_an_idle_worker_that_gets_no_jobs():
    async def test(pool, owner):
        pool.resize(2)
        await owner.wait_for("on_joined", 2)
        before = set(pool.processes)
        pool.resize(0, spare=1)
        (parked,) = [link for name, link, *_ in owner.told if name == "on_resized"]
        (leaving,) = [link for name, link, *_ in owner.told if name == "on_draining"]
        leaving.close("not needed")  # as an engine does
        assert (pool.active, len(pool.processes)) == (0, 1)
        pool.resize(1, spare=1)
        assert (pool.active, parked.slots) == (1, 1)
        assert set(pool.processes) < before
        pool.resize(0, spare=1)
        pool.resize(0)
        assert owner.told[-1] == ("on_draining", parked)

    on_stage(test)


def test_a_worker_that_is_about_to_be_sent_a_job_is_not_parked():
    async def test(pool, owner):
        pool.resize(1, spare=1)
        await owner.wait_for("on_joined")
        [link] = owner.links
        owner.decided[link] = [7]
        pool.resize(0, spare=1)
        assert pool.active == 1 and link.slots == 1
        owner.decided.clear()
        pool.resize(0, spare=1)
        assert pool.active == 0 and link.slots == 0

    on_stage(test)


def test_a_worker_is_parked_before_its_result_can_bring_it_another_job():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        send(owner.links[0], 1, abs, -1)
        pool.resize(0, spare=1)
        assert pool.active == 1  # it has a job
        await owner.wait_for("on_results")
        names = [name for name, *_ in owner.told]
        assert names.index("on_resized") < names.index("on_results")
        assert (pool.active, len(pool.processes)) == (0, 1)

    on_stage(test)


def test_a_parked_worker_that_dies_is_not_replaced():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        pool.resize(0, spare=1)
        os.kill(pool.processes[0], signal.SIGKILL)
        await owner.wait_for("on_lost")
        assert (pool.active, pool.processes) == (0, [])

    on_stage(test)


def test_a_suspended_worker_goes_on_and_runs_no_job_after_the_present_one():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        (worker,) = pool.workers
        send(worker.link, 1, abs, -1)
        pool.suspend(worker, 0.0)
        assert not worker.is_running
        worker.proceed()
        await owner.wait_for("on_results")
        assert [name for name, *_ in owner.told][-2:] == ["on_draining", "on_results"]

    on_stage(test)


def test_a_worker_that_goes_on_has_its_slot_again_and_the_one_in_its_place_goes():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        send(owner.links[0], 1, time.sleep, 0.01)
        (worker,) = pool.workers
        pool.suspend(worker, 0.0)
        pool.resize(1)
        assert len(pool.processes) == 2  # another may have jobs meanwhile
        pool.proceed(worker)
        assert pool.processes == [worker.process.pid]
        pool.resize(1)
        assert pool.processes == [worker.process.pid]
        worker.link.close("its job has ended")  # as the owner does
        assert len(pool.processes) == 1 and pool.workers != [worker]

    on_stage(test)


def test_a_worker_that_is_suspended_again_is_replaced_once():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        send(owner.links[0], 1, time.sleep, 0.01)
        (worker,) = pool.workers
        for _ in range(3):
            pool.suspend(worker, 0.0)
            pool.resize(1)
            assert len(pool.processes) == 2
            pool.proceed(worker)
            pool.resize(1)
            assert len(pool.processes) == 1
        assert [event[0] for event in owner.told].count("on_draining") == 1

    on_stage(test)


def test_workers_that_have_not_joined_go_first():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        first = pool.processes[0]
        pool.resize(3)
        pool.resize(1)
        assert pool.processes == [first]
        assert [event[0] for event in owner.told] == ["on_joined"]

    on_stage(test)


def test_with_restart_a_worker_leaves_before_its_result_can_bring_it_another_job():
    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        send(owner.links[0], 1, abs, -1)
        await owner.wait_for("on_results")
        assert [event[0] for event in owner.told] == ["on_joined", "on_draining", "on_results"]
        owner.links[0].close("not needed any more")
        await owner.wait_for("on_joined", 2)

    on_stage(test, restart=True)


class Logged(logging.Handler):
    """Keeps what is logged, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.put_nowait(record.getMessage())


@pytest.fixture
def logged():
    """What the pool logs, which is all that it tells of workers that do not start."""
    handler = Logged()
    logging.getLogger("ppnext.workers").addHandler(handler)
    yield handler
    logging.getLogger("ppnext.workers").removeHandler(handler)


def test_a_worker_that_cannot_start_is_explained_and_tried_again_ever_later(logged):
    messages = []

    async def test(pool, owner):
        pool.resize(1)
        for _ in range(2):
            messages.append(await asyncio.wait_for(logged.messages.get(), PATIENCE))
        assert owner.told == []

    on_stage(test, environment={"PYTHONHOME": "/nowhere"})
    message = messages[0]
    assert messages[1].endswith("trying again in 0.4 s")
    assert message.startswith("a worker could not be started: worker process ")
    assert "exited with status 1; its last words: " in message
    assert "trying again in 0.2 s" in message


class Hasty(Turn):
    """The turn of a loop for which no time is long."""

    def later(self, seconds, call):
        return super().later(0, call)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is another")
def test_workers_that_never_start_are_tried_again_for_ever(logged):
    """As on a machine whose disk is full for days."""

    async def test(pool, owner):
        pool.resize(1)
        for _ in range(1100):
            message = await asyncio.wait_for(logged.messages.get(), PATIENCE)
        assert message.endswith("trying again in 30.0 s")

    on_stage(test, environment={"TOO_LONG": "x" * (1 << 18)}, turn=Hasty)


def test_a_worker_that_is_refused_is_tried_again_ever_later(logged, tmp_path):
    """It did say something: that it is of another ppnext."""
    hello = encode_control(Hello(0, "0.0", "3.0.0", "here", 1, 1))
    said = encode_header(KINDS[Hello], 0, len(hello), 0, 0) + hello
    package = tmp_path / "ppnext" / "worker"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "main.py").write_text(
        f"import os, socket\ndef main(jobs, *rest):\n    os.write(jobs, {said!r})\n"
        "    socket.socket(fileno=jobs).recv(1 << 16, socket.MSG_WAITALL)\n"
    )
    messages = []

    async def test(pool, owner):
        pool.resize(1)
        for _ in range(2):
            messages.append(await asyncio.wait_for(logged.messages.get(), PATIENCE))
        assert owner.told == []

    on_stage(test, environment=worker_environment({**os.environ, "PYTHONPATH": str(tmp_path)}))
    assert [message[-20:] for message in messages] == [
        "trying again in 0.2 s"[-20:],
        "trying again in 0.4 s"[-20:],
    ]


def test_closing_ends_what_jobs_have_started():
    def start():
        import subprocess

        return subprocess.Popen(["sleep", "100"]).pid

    async def test(pool, owner):
        pool.resize(1)
        await owner.wait_for("on_joined")
        send(owner.links[0], 1, start)
        [(_, _, _, [payload])] = await owner.wait_for("on_results")
        child = psutil.Process(decode_result(payload))
        pool.close()
        psutil.wait_procs([child], timeout=5)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

    on_stage(test)


@pytest.mark.parametrize("wanted", [0, 1])
def test_closing_a_pool_that_has_just_started(wanted):
    async def test(pool, owner):
        pool.resize(wanted)

    on_stage(test)


def test_a_pool_that_is_held_back_keeps_the_workers_that_run_jobs_and_has_others_later():
    async def test(pool, owner):
        pool.resize(3)
        await owner.wait_for("on_joined", 3)
        assert pool.running() == []
        busy = owner.links[1]
        owner.attempt_at = lambda link, job: 1 if (link, job) == (busy, 7) else None
        send(busy, 7, time.sleep, PATIENCE)
        while not pool.running():
            await asyncio.sleep(0.01)  # the job is not told of when it begins
        [running] = pool.running()
        assert running.job == (7, 1) and running.guard is busy.guard and running.footprint() > 0
        pool.hold_back(1)
        assert {link for _, link in await owner.wait_for("on_draining", 2)} == {
            owner.links[0],
            owner.links[2],
        }
        for link in (owner.links[0], owner.links[2]):
            link.close("not needed any more")
        assert pool.is_held_back and pool.processes == [busy.hello.pid]
        pool.give_back()
        assert pool.is_held_back and len(pool.processes) == 2
        pool.give_back()
        pool.give_back()
        assert not pool.is_held_back and len(pool.processes) == 3

    on_stage(test)
