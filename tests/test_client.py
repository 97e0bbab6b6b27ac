"""The client: between users' threads and the engine; nodes are played by the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from ppnext.client import Client
from ppnext.errors import DestroyedServerError, NodeLost, PoisonedJob, WorkerDied
from ppnext.job import Job
from ppnext.nodes.link import Call
from ppnext.runtime.loop import LoopThread
from ppnext.sched.model import NodeKind
from ppnext.sched.policy import Policy
from ppnext.shipping.functions import Definition
from ppnext.shipping.outcomes import encode_exception, encode_result
from ppnext.wire.messages import Died, Result

PATIENCE = 20.0
F = b"f" * 32


class Node:
    """A node that runs what it is sent when the test says so; its methods run on the loop."""

    def __init__(self, client, name="node1", slots=1, kind=NodeKind.DAEMON) -> None:
        self.engine = client.engine
        self.node = client.engine.new_node()
        self.name, self.kind, self.slots, self.latency = name, kind, slots, 0.001
        self.sent: list[tuple[int, int]] = []
        client.thread.ask(lambda: self.engine.on_joined(self))
        self._ask = client.thread.ask

    def knows(self, digest):
        return True

    def run(self, job, attempt, call):
        self.sent.append((job, attempt))

    def retract(self, jobs):
        """It keeps what it has."""

    def close(self, reason):
        """It is let go."""

    def answer(self, value=None, error=None):
        """End the job that was sent first."""
        job, attempt = self._ask(lambda: self.sent.pop(0))
        payload = encode_result(value, 5) if error is None else encode_exception(error, "here", 5)
        result = Result(job, attempt, error is not None, 0.5)
        self._ask(lambda: self.engine.on_result(self, result, payload))

    def let_die(self):
        """The worker of the job that was sent first dies."""
        job, attempt = self._ask(lambda: self.sent.pop(0))
        self._ask(lambda: self.engine.on_died(self, Died(job, attempt, "killed")))

    def lose(self, cause="cut off"):
        """The node is lost."""
        self._ask(lambda: self.engine.on_lost(self, cause))


@pytest.fixture
def client() -> Iterator[Client]:
    """A client without nodes."""
    thread = LoopThread("test-client")
    client = Client(thread, Policy())
    client.thread = thread
    yield client
    client.destroy()
    thread.stop()
    client.callbacks.stop()


@pytest.fixture
def submit(client):
    """Submits jobs to the client."""
    tids = count()

    def submit(group="default", callback=None, callbackargs=(), once=False) -> Job:
        job = Job(client, next(tids), group, None)
        call, definition = Call(F, b"arguments", once), Definition(F, b"code")
        client.submit(job, call, definition, callback, callbackargs)
        return job

    return submit


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


def test_statistics(client, submit):
    node = Node(client, slots=2)
    jobs = [submit() for _ in range(3)]
    node.let_die()
    for _ in jobs:
        node.answer()
    assert client.wait(None, PATIENCE)
    stats = client.stats()["node1"]
    assert (stats.ncpus, stats.njobs, stats.time, stats.attempts, stats.lost) == (2, 3, 1.5, 4, 1)
    node.lose()
    assert client.stats()["node1"].ncpus == 0 and client.active_nodes() == {}


def test_nodes_of_one_name_are_one_node(client):
    for _ in range(3):
        Node(client, "local", kind=NodeKind.WORKER)
    Node(client, "node1", slots=4)
    assert client.active_nodes() == {"local": 3, "node1": 4}
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
    client.troubles = {"node2:60000": "refused", "node3:60000": "no such host"}
    assert client.describe(second) == (
        "waiting: no node is connected; node2:60000: refused; node3:60000: no such host"
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
