"""The client: between users' threads and the engine; nodes are played by the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from ppnext.client import Client
from ppnext.errors import DestroyedServerError, NodeLost, PoisonedJob, WorkerDied
from ppnext.job import Job
from ppnext.runtime.loop import LoopThread
from ppnext.runtime.sharing import Sharing
from ppnext.sched.model import NodeKind
from ppnext.sched.policy import Policy
from ppnext.shipping.envelope import joined
from ppnext.shipping.outcomes import encode_exception, encode_result
from ppnext.shipping.outfit import Outfitter
from ppnext.terms import Terms
from ppnext.wire.messages import Died, Outcome

PATIENCE = 20.0


class Definition:
    """The function of all jobs."""

    digest, payload, uses = b"f" * 32, b"code", ()
    python, without, reasons = None, frozenset(), ()
    parts, home = (), None


class Node:
    """A node that runs what it is sent when the test says so; its methods run on the loop."""

    def __init__(self, client, name="node1", slots=1, kind=NodeKind.DAEMON) -> None:
        self.engine = client.engine
        self.node = client.engine.new_node()
        self.name, self.kind, self.slots, self.latency = name, kind, slots, 0.001
        self.sent: list[tuple[int, int]] = []
        client.thread.ask(lambda: self.engine.on_joined(self))
        self._ask = client.thread.ask

    jobs, hello, guard = None, None, None

    def run(self, jobs):
        self.sent += [(job.id, job.attempt) for job in jobs]

    def retract(self, jobs):
        """It keeps what it has."""

    def close(self, reason):
        """It is let go."""

    def answer(self, value=None, error=None):
        """End the job that was sent first."""
        job, attempt = self._ask(lambda: self.sent.pop(0))
        if error is None:
            payload = joined(encode_result(value, 5))
        else:
            payload = encode_exception(error, "here", 5)
        outcome = Outcome(job, attempt, len(payload), error is not None, 0.5)
        self._ask(lambda: self.engine.on_results(self, [outcome], [payload]))

    def let_die(self):
        """The worker of the job that was sent first dies."""
        job, attempt = self._ask(lambda: self.sent.pop(0))
        self._ask(lambda: self.engine.on_died(self, Died(job, attempt, "killed")))

    def lose(self, cause="cut off"):
        """The node is lost."""
        self._ask(lambda: self.engine.on_lost(self, cause, None))


@pytest.fixture
def make() -> Iterator[Callable[..., Client]]:
    """Make clients; they are destroyed after the test."""
    clients = []

    def make(backlog=None):
        thread = LoopThread("test-client")
        clients.append(Client(thread, Policy(), Outfitter(()), Sharing(), backlog))
        clients[-1].thread = thread
        return clients[-1]

    yield make
    for client in clients:
        client.destroy()
        client.thread.stop()
        client.callbacks.stop()


@pytest.fixture
def client(make) -> Client:
    """A client without nodes."""
    return make()


def submitter(client):
    """Return a function that submits jobs to the client."""
    tids = count()

    def submit(group="default", callback=None, callbackargs=(), once=False, **terms) -> Job:
        called = None if callback is None else (callback, callbackargs)
        job = Job(
            client,
            next(tids),
            group,
            None,
            Definition,
            b"arguments",
            called,
            (),
            Terms(0 if once else None, **terms),
        )
        client.submit(job)
        return job

    return submit


@pytest.fixture
def submit(client):
    """Submits jobs to the client."""
    return submitter(client)


def test_a_job_ends_with_its_result(client, submit):
    node = Node(client)
    job = submit()
    node.answer(5)
    assert job() == 5 and job.node == "node1" and job.attempts == 1
    assert client.wait(None, PATIENCE) and client.unfinished == 0


def test_a_job_ends_with_what_it_raised(client, submit):
    node, called = Node(client), []
    job = submit(callback=called.append)
    node.answer(error=ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        job()
    assert client.wait(None, PATIENCE) and called == []


@pytest.mark.parametrize(
    ("happenings", "once", "error", "message"),
    [
        (["let_die"] * 3, False, PoisonedJob, "died under it too often"),
        (["let_die"], True, WorkerDied, "may not be run again"),
        (["lose"], True, NodeLost, r"attempt 1 on node1: cut off"),
        (["lose"] * 10, False, NodeLost, "nodes were lost too often"),
    ],
)
def test_a_job_that_is_given_up_says_why(client, submit, happenings, once, error, message):
    job = submit(once=once)
    node = None
    for happening in happenings:
        if node is None or happening == "lose":
            node = Node(client)
        getattr(node, happening)()
    with pytest.raises(error, match=message) as caught:
        job()
    assert str(caught.value).startswith("job 0 was given up: ")
    assert client.wait(None, PATIENCE)


def test_a_job_with_a_twin_is_run_again_with_its_arguments(client, submit):
    slow, quick = Node(client, "slow"), Node(client, "quick")
    job = submit(retry_on=(OSError,))
    state = client.thread.ask(lambda: client.engine.state_of(job.tid))  # it has been sent then
    first, twin = (slow, quick) if slow.sent else (quick, slow)
    client.thread.ask(lambda: client.twins.start([state], [first.name]))
    assert twin.sent
    again = threading.Event()
    client.watchers.append(again.set)
    first.answer(error=OSError("try again"))
    assert again.wait(PATIENCE) and first.sent
    assert job.arguments == b"arguments"
    first.answer("done")
    assert job.result(PATIENCE) == "done"


def test_statistics(client, submit):
    node = Node(client, slots=2)
    jobs = [submit() for _ in range(3)]
    node.let_die()
    for _ in jobs:
        node.answer()
    assert client.wait(None, PATIENCE)
    stats = client.roster.stats()["node1"]
    assert (stats.ncpus, stats.njobs, stats.time, stats.attempts, stats.lost) == (2, 3, 1.5, 4, 1)
    node.lose()
    assert client.roster.stats()["node1"].ncpus == 0 and client.roster.active() == {}


def test_nodes_of_one_name_are_one_node(client):
    for _ in range(3):
        Node(client, "local", kind=NodeKind.WORKER)
    Node(client, "node1", slots=4)
    assert client.roster.active() == {"local": 3, "node1": 4}
    assert client.wait_for_nodes(2, 0)
    assert not client.wait_for_nodes(3, 0)


def test_waiting_for_nodes_ends_when_they_come(client):
    waiting = threading.Thread(target=client.wait_for_nodes, args=(1, PATIENCE))
    waiting.start()
    Node(client)
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


def test_groups_are_waited_for_until_their_callbacks_have_returned(client, submit):
    go_on, node = threading.Event(), Node(client, slots=2)
    submit("a", callback=lambda result: go_on.wait(PATIENCE))
    submit("b")
    node.answer()
    assert not client.wait("a", 0.01) and not client.wait("b", 0)
    node.answer()
    assert client.wait("b", PATIENCE)
    go_on.set()
    assert client.wait("a", PATIENCE) and client.wait(None, 0)


def test_a_cancelled_job_is_not_waited_for(client, submit):
    job = submit()
    assert job.cancel()
    assert client.wait(None, PATIENCE)
    node = Node(client)
    assert client.thread.ask(lambda: node.sent) == []
    assert client.describe(job) == "cancelled"


def test_where_a_job_is(client, submit):
    first, second = submit(), submit()
    client.troubles = {
        "node2:60000": "node2:60000: refused",
        "node3:60000": "node3:60000 is not used: no such host",
    }
    assert client.describe(second) == (
        "waiting: no node is connected; node2:60000: refused; node3:60000 is not used: no such host"
    )
    node = Node(client)
    assert client.describe(first) == "on node1, attempt 1"
    assert client.describe(second) == "waiting: 0 jobs before it, all 1 slots are taken"
    node.let_die()
    assert client.describe(first).startswith("on node1, attempt 2; 1 attempts were lost")
    node.answer()
    assert first() is None
    assert client.describe(first) == "finished on node1, attempt 2"


def test_destroying_ends_every_job_and_wakes_everybody(client, submit):
    Node(client)
    jobs = [submit(group) for group in "aabb"]
    ends = []
    threads = [
        threading.Thread(target=lambda job=job: ends.append(type(job.exception(PATIENCE))))
        for job in jobs
    ]
    threads.append(threading.Thread(target=lambda: ends.append(client.wait(None, PATIENCE))))
    for thread in threads:
        thread.start()
    client.destroy()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(map(str, ends)) == sorted(map(str, [DestroyedServerError] * 4 + [True]))
    with pytest.raises(DestroyedServerError, match="takes no jobs"):
        submit()


def test_a_result_after_the_end_is_dropped(client, submit):
    node = Node(client)
    job = submit()
    assert client.describe(job) == "on node1, attempt 1"
    client.destroy()
    assert isinstance(job.exception(PATIENCE), DestroyedServerError)
    node.answer(5)
    assert isinstance(job.exception(), DestroyedServerError)


# The inbox.


@pytest.fixture
def held(client):
    """Holds the loop, so that what is submitted stays in the inbox; a call lets it go on."""
    entered, go_on = threading.Event(), threading.Event()

    def hold():
        entered.set()
        assert go_on.wait(PATIENCE)

    client.thread.post(hold)
    assert entered.wait(PATIENCE)
    yield go_on.set
    go_on.set()


def test_jobs_are_taken_together_in_the_order_of_submission(client, submit, held):
    jobs = [submit() for _ in range(100)]
    assert client.unfinished == 100
    held()
    node = Node(client, slots=100)
    assert [job for job, _ in client.thread.ask(lambda: node.sent)] == list(range(100))
    assert client.unfinished == 100 and jobs[99].node == "node1"


def test_a_free_node_gets_a_job_at_once(client, submit):
    node = Node(client)
    while True:
        # The loop may be just about to fall asleep.
        job = submit()
        assert client.thread.ask(lambda: node.sent)
        node.answer()
        if job.attempts:
            break
    assert job() is None


def test_a_job_that_is_cancelled_in_the_inbox_is_never_sent(client, submit, held):
    jobs = [submit() for _ in range(4)]
    assert jobs[1].cancel() and jobs[3].cancel()
    held()
    node = Node(client, slots=4)
    assert [job for job, _ in client.thread.ask(lambda: node.sent)] == [0, 2]
    for _ in range(2):
        node.answer()
    assert client.wait(None, PATIENCE) and client.unfinished == 0


def test_a_wait_counts_what_is_in_the_inbox(client, submit, held):
    submit("a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, "a", PATIENCE)
        held()
        node = Node(client)
        assert not waiting.done()
        node.answer()
        assert waiting.result(PATIENCE) is True


def test_destroying_ends_what_is_in_the_inbox(client, submit, held):
    jobs = [submit() for _ in range(3)]
    client.destroy()
    held()
    for job in jobs:
        assert isinstance(job.exception(PATIENCE), DestroyedServerError)
    assert client.wait(None, PATIENCE) and client.unfinished == 0


def test_each_job_ends_exactly_once_however_late_it_is_submitted(make):
    """Threads submit until the client refuses; what it has not refused must end."""
    for round_ in range(20):
        client = make()
        node = Node(client, slots=4) if round_ % 2 else None
        ends: list[int] = []
        jobs: list[Job] = []
        tids = count()
        begun = threading.Barrier(4)

        def work(client=client, ends=ends, jobs=jobs, tids=tids, begun=begun) -> None:
            begun.wait(PATIENCE)
            while True:
                job = Job(client, next(tids), "default", None, Definition, b"")
                job.add_done_callback(lambda done, ends=ends: ends.append(done.tid))
                try:
                    client.submit(job)
                except DestroyedServerError:
                    return
                jobs.append(job)

        with ThreadPoolExecutor(3) as pool:
            working = [pool.submit(work) for _ in range(3)]
            begun.wait(PATIENCE)
            if node is not None:
                while not client.thread.ask(lambda node=node: node.sent):
                    continue
                node.answer()
            client.destroy()
            for it in working:
                it.result(PATIENCE)
        errors = [job.exception(PATIENCE) for job in jobs]
        assert all(error is None or isinstance(error, DestroyedServerError) for error in errors)
        client.thread.stop()
        called = threading.Event()
        client.callbacks.post(called.set)
        assert called.wait(PATIENCE)
        assert sorted(ends) == sorted(job.tid for job in jobs)


# A bounded backlog.


class Submitter:
    """A thread that submits one job, and may have to wait for room."""

    def __init__(self, submit) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._submitting = self._pool.submit(submit)
        self._pool.shutdown(wait=False)

    def is_blocked(self):
        try:
            self._submitting.exception(0.05)
        except TimeoutError:
            return True
        return False

    def job(self):
        return self._submitting.result(PATIENCE)


def end_with_a_result(client, job):
    Node(client).answer()


def end_with_an_error(client, job):
    Node(client).answer(error=ValueError("wrong"))


def be_cancelled(client, job):
    assert job.cancel()


def be_given_up(client, job):
    node = Node(client)
    for _ in range(3):
        node.let_die()


@pytest.mark.parametrize("end", [end_with_a_result, end_with_an_error, be_cancelled, be_given_up])
def test_each_end_of_a_job_makes_room_for_one(make, end):
    client = make(backlog=2)
    submit = submitter(client)
    first, _ = submit(), submit()
    submitters = [Submitter(submit), Submitter(submit)]
    assert all(it.is_blocked() for it in submitters)
    end(client, first)
    assert first.wait(PATIENCE)
    while sum(it.is_blocked() for it in submitters) > 1:
        continue
    assert sorted(it.is_blocked() for it in submitters) == [False, True]
    client.destroy()
    for it in submitters:
        try:
            assert it.job().wait(PATIENCE)
        except DestroyedServerError:
            continue


def test_a_job_that_is_cancelled_in_the_inbox_makes_room(make):
    client = make(backlog=1)
    submit = submitter(client)
    entered, go_on = threading.Event(), threading.Event()

    def hold():
        entered.set()
        assert go_on.wait(PATIENCE)

    client.thread.post(hold)
    assert entered.wait(PATIENCE)
    assert submit().cancel()
    go_on.set()
    assert Submitter(submit).job() is not None


def test_destroying_wakes_everybody_who_waits_for_room(make):
    client = make(backlog=1)
    submit = submitter(client)
    first = submit()
    blocked = [Submitter(submit) for _ in range(3)]
    assert all(it.is_blocked() for it in blocked)
    client.destroy()
    assert isinstance(first.exception(PATIENCE), DestroyedServerError)
    for it in blocked:
        with pytest.raises(DestroyedServerError):
            it.job().result(PATIENCE)
    with pytest.raises(DestroyedServerError):
        submit()


def test_a_backlog_takes_as_many_as_it_says_for_ever(make):
    client = make(backlog=3)
    submit = submitter(client)
    node = Node(client)
    for _ in range(50):
        jobs = [submit() for _ in range(3)]
        for _ in jobs:
            node.answer()
        assert all(job.wait(PATIENCE) for job in jobs)
