"""Rescue: which jobs get twins, and when; in virtual time, with nodes that the test plays."""

from __future__ import annotations

import pytest

from ppnext.needs import Need
from ppnext.sched.model import NodeKind
from tests.rescue_lab import Lab, function


@pytest.fixture
def lab() -> Lab:
    return Lab()


# Silent nodes.


def test_jobs_of_a_node_that_does_not_answer_are_run_on_one_that_is_idle(lab: Lab) -> None:
    hangs = lab.node("hangs", 2)
    [lab.submit() for _ in range(2)]
    well = lab.node("well", 2)
    lab.clock.pass_time(60.0)
    assert not well.sent  # it answered whenever it was asked
    assert hangs.jobs is not None
    hangs.jobs.is_well = False
    lab.clock.pass_time(1.0)
    assert not well.sent
    lab.clock.pass_time(3.5)
    assert well.numbers == [-1, -2]
    well.answers(0, 1)
    assert lab.ended == [(0, "done on well"), (1, "done on well")]


def test_a_node_is_asked_once_for_each_sign_of_life(lab: Lab) -> None:
    hangs = lab.node("hangs")
    lab.submit()
    lab.node("well", 2)
    assert hangs.jobs is not None
    hangs.jobs.is_well = False
    lab.clock.pass_time(20.0)
    assert hangs.jobs.probes == 1
    hangs.jobs.hear()
    lab.clock.pass_time(2.0)
    assert hangs.jobs.probes == 2


def test_nobody_is_asked_while_nobody_is_idle(lab: Lab) -> None:
    hangs = lab.node("hangs")
    lab.submit()
    assert hangs.jobs is not None
    hangs.jobs.is_well = False
    lab.clock.pass_time(20.0)
    assert hangs.jobs.probes == 0


def test_what_a_silent_node_holds_and_has_not_begun_is_helped_as_well(lab: Lab) -> None:
    hangs = lab.node("hangs")
    for _ in range(6):  # they are so short that some are sent ahead
        lab.submit()
    hangs.answers(seconds=0.0001)
    assert len(hangs.sent) == 5
    well = lab.node("well", 8)
    hangs.jobs.is_well = False  # type: ignore[union-attr]  # a daemon's
    lab.clock.pass_time(5.0)
    assert len(well.sent) == 5


def test_twins_go_to_no_other_silent_node(lab: Lab) -> None:
    for name in ("one", "other"):
        node = lab.node(name, 2)
        node.jobs.is_well = False  # type: ignore[union-attr]  # a daemon's
    lab.submit()
    lab.clock.pass_time(10.0)
    assert lab.engine.unfinished == 1
    well = lab.node("well")
    lab.clock.pass_time(1.0)
    assert well.numbers == [-1]


def test_a_job_that_fits_no_idle_node_is_let_alone(lab: Lab) -> None:
    hangs = lab.node("hangs")
    lab.submit(need=Need(node="hangs"))
    lab.node("well")
    hangs.jobs.is_well = False  # type: ignore[union-attr]  # a daemon's
    lab.clock.pass_time(20.0)
    assert lab.engine.unfinished == 1


# Slow jobs.


def learn(lab: Lab, seconds: float, name: str = "f") -> None:
    """Let a call of a function take so long, on a node that goes again."""
    teacher = lab.node("teacher")
    lab.submit(function(name), Need(node="teacher"))
    lab.clock.pass_time(max(seconds, 0.6))
    teacher.answers(seconds=seconds)
    lab.clock.pass_time(0.6)
    teacher.is_lost()
    lab.ended.clear()


def test_a_job_that_takes_clearly_longer_than_others_have_is_run_on_an_idle_node(lab: Lab) -> None:
    learn(lab, 3.0)
    slow = lab.node("slow")
    lab.submit()
    quick = lab.node("quick", 5)
    lab.clock.pass_time(7.0)
    assert not quick.sent
    lab.clock.pass_time(1.1)
    assert (slow.numbers, quick.numbers) == ([1], [-1])
    lab.clock.pass_time(100.0)
    assert quick.numbers == [-1]


def test_nothing_is_known_of_another_function(lab: Lab) -> None:
    learn(lab, 3.0)
    lab.node("slow")
    lab.submit(function("g"))
    quick = lab.node("quick")
    lab.clock.pass_time(100.0)
    assert not quick.sent


def test_those_that_have_run_longest_come_first(lab: Lab) -> None:
    learn(lab, 1.0)
    lab.node("slow", 2)
    lab.submit()
    lab.clock.pass_time(1.0)
    lab.submit()
    lab.clock.pass_time(10.0)
    quick = lab.node("quick")
    lab.clock.pass_time(1.0)
    assert quick.numbers == [-1]
    quick.answers()
    assert lab.ended == [(1, "done on quick")]
    lab.clock.pass_time(1.0)
    assert quick.numbers == [-2]


def test_on_one_machine_there_is_nobody_to_help(lab: Lab) -> None:
    learn(lab, 1.0)
    for _ in range(2):
        lab.node("local", 1, NodeKind.WORKER)
    lab.submit()
    lab.clock.pass_time(100.0)
    assert lab.engine.unfinished == 1


def test_a_worker_here_helps_a_machine_elsewhere(lab: Lab) -> None:
    learn(lab, 1.0)
    lab.node("slow")
    lab.submit()
    worker = lab.node("local", 1, NodeKind.WORKER)
    lab.clock.pass_time(4.0)
    assert worker.numbers == [-1]


def test_twins_give_way_to_jobs_that_come(lab: Lab) -> None:
    learn(lab, 1.0)
    slow = lab.node("slow")
    lab.submit()
    quick = lab.node("quick")
    lab.clock.pass_time(4.0)
    assert quick.numbers == [-1]
    lab.submit(), lab.submit()
    lab.clock.pass_time(0.6)
    assert quick.stopped and not slow.stopped and len(lab.twins) == 0
    assert lab.engine.unfinished == 4  # it is being stopped
    quick.answers(seconds=10.0)
    assert quick.numbers == [2] and lab.ended == []


def test_twins_of_jobs_on_a_silent_node_do_not_give_way(lab: Lab) -> None:
    hangs = lab.node("hangs")
    lab.submit()
    well = lab.node("well")
    hangs.jobs.is_well = False  # type: ignore[union-attr]  # a daemon's
    lab.clock.pass_time(5.0)
    assert well.numbers == [-1]
    lab.submit()
    lab.clock.pass_time(30.0)
    assert not well.stopped and len(lab.twins) == 1
    well.answers()
    assert lab.ended == [(0, "done on well")]


# When it looks.


def test_it_looks_while_there_are_jobs(lab: Lab) -> None:
    node = lab.node("one")
    assert lab.clock.is_idle
    lab.submit()
    lab.clock.pass_time(3.0)
    assert not lab.clock.is_idle
    node.answers()
    lab.clock.pass_time(1.0)
    assert lab.clock.is_idle
    lab.submit()
    assert not lab.clock.is_idle


def test_a_node_that_takes_no_more_jobs_runs_all_it_holds(lab: Lab) -> None:
    learn(lab, 1.0)
    leaves = lab.node("leaves", 2)
    [lab.submit() for _ in range(2)]
    leaves.slots = 0
    lab.engine.on_resized(leaves)  # type: ignore[arg-type]  # as much of a link as is asked
    quick = lab.node("quick", 2)
    lab.clock.pass_time(5.0)
    assert quick.numbers == [-1, -2]
