"""Loads: who takes the next job, how many at once, and who has jobs to spare."""

from __future__ import annotations

import pytest

from ppnext.sched.loads import Loads
from ppnext.sched.model import JobId, JobState, NodeId, NodeKind, NodeState


class Nodes:
    """Nodes by load; each is told of at once."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, NodeState] = {}
        self.loads = Loads(self.nodes)

    def put(
        self,
        number: int,
        held: int,
        slots: int = 1,
        credit: int = 9,
        kind: NodeKind = NodeKind.DAEMON,
        mean: float | None = None,
    ) -> NodeState:
        node = self.nodes.get(NodeId(number))
        if node is None:
            node = NodeState(NodeId(number), f"n{number}", kind, slots, 0.0)
            self.nodes[node.id] = node
        node.slots, node.credit, node.mean_seconds = slots, credit, mean
        node.held = {JobId(job): JobState(JobId(job), None) for job in range(held)}
        self.loads.update(node)
        return node

    def least(self) -> int | None:
        node = self.loads.least()
        return None if node is None else node.id

    def longest(self) -> int | None:
        node = self.loads.longest()
        return None if node is None else node.id


def test_without_nodes_there_is_none() -> None:
    nodes = Nodes()
    assert (nodes.least(), nodes.longest(), nodes.loads.open_slots) == (None, None, 0)


def test_load_is_counted_for_each_slot() -> None:
    nodes = Nodes()
    nodes.put(1, held=2, slots=2)
    nodes.put(2, held=3, slots=4)
    assert nodes.least() == 2
    assert nodes.loads.open_slots == 6


def test_of_equals_a_worker_comes_first() -> None:
    nodes = Nodes()
    nodes.put(1, held=0)
    nodes.put(2, held=0, kind=NodeKind.WORKER)
    assert nodes.least() == 2


def test_a_node_that_holds_its_credit_is_not_open_until_it_holds_less() -> None:
    nodes = Nodes()
    nodes.put(1, held=2, credit=2)
    assert (nodes.least(), nodes.loads.open_slots) == (None, 0)
    nodes.put(1, held=1, slots=3, credit=2)
    assert (nodes.least(), nodes.loads.open_slots) == (1, 3)
    nodes.put(1, held=1, slots=2, credit=1)
    assert (nodes.least(), nodes.loads.open_slots) == (None, 0)


@pytest.mark.parametrize(
    ("waiting", "part"),
    [
        pytest.param(1, 1, id="one at least"),
        pytest.param(7, 1, id="not yet two"),
        pytest.param(8, 2, id="a quarter"),
        pytest.param(15, 3, id="rounded down"),
        pytest.param(1000, 5, id="as many as its credit leaves"),
    ],
)
def test_a_node_is_given_its_part(waiting: int, part: int) -> None:
    nodes = Nodes()
    node = nodes.put(1, held=2, slots=2, credit=7)
    nodes.put(2, held=0, slots=6, credit=6)
    nodes.put(3, held=9, slots=9, credit=9)
    assert nodes.loads.part(node, waiting) == part


def test_the_longest_queue_is_the_one_that_takes_longest() -> None:
    nodes = Nodes()
    nodes.put(1, held=9, slots=2, mean=1.0)
    nodes.put(2, held=5, slots=1, mean=1.0)
    assert nodes.longest() == 2
    nodes.put(1, held=9, slots=2, mean=2.0)
    assert nodes.longest() == 1


def test_of_an_unknown_node_a_job_is_thought_to_take_a_second() -> None:
    nodes = Nodes()
    nodes.put(1, held=2)
    nodes.put(2, held=2, mean=0.9)
    assert nodes.longest() == 1
    nodes.put(2, held=2, mean=1.1)
    assert nodes.longest() == 2


def test_a_node_that_can_run_all_it_holds_has_nothing_to_spare() -> None:
    nodes = Nodes()
    nodes.put(1, held=3)
    assert nodes.longest() == 1
    nodes.put(1, held=1)
    assert nodes.longest() is None


def test_laden_for_a_need_is_who_holds_jobs_with_it() -> None:
    nodes = Nodes()
    other = Loads(nodes.nodes, "a")
    for number, of_need in ((1, 0), (2, 1), (3, 2)):
        node = nodes.put(number, held=4 - number)
        if of_need:
            node.count("a", of_need)
        nodes.loads.update(node)
        other.update(node)
    assert nodes.longest() == 1
    first = other.longest()
    assert first is not None
    assert first.id == 2


def test_a_node_that_was_asked_comes_back_when_it_owes_nothing_and_has_changed() -> None:
    nodes = Nodes()
    node = nodes.put(1, held=3)
    node.asked.add(JobId(2))
    nodes.loads.asked(node)
    assert nodes.longest() is None
    nodes.loads.update(node)
    assert nodes.longest() is None
    node.asked.clear()
    nodes.loads.update(node)
    assert nodes.longest() == 1


def test_a_node_that_is_gone_leaves_nothing_behind() -> None:
    nodes = Nodes()
    node = nodes.put(1, held=3, slots=2)
    del nodes.nodes[NodeId(1)]
    nodes.loads.forget(node)
    assert (nodes.least(), nodes.longest(), nodes.loads.open_slots) == (None, None, 0)
