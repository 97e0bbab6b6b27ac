"""The dispatcher: which node takes which jobs, gives some back, and goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.sched.actions import End, Release, Retract
from ppnext.sched.model import JobId, NodeId
from tests.sched.bench import Bench, Sent, assigned, hoarder, retract

# Placing.


def test_without_a_node_jobs_wait() -> None:
    bench = Bench()
    assert bench.submit(1, 2) == []
    assert bench.scheduler.waiting == 2


def test_a_job_goes_to_a_free_slot_at_once() -> None:
    bench = Bench()
    bench.worker(1)
    assert bench.submit(7) == assigned(1, 7)
    assert bench.scheduler.waiting == 0


def test_a_node_that_joins_takes_the_oldest_jobs() -> None:
    bench = Bench()
    bench.submit(1, 2, 3)
    assert bench.daemon(1, slots=2) == assigned(1, 1, 2)
    assert bench.scheduler.waiting == 1


def test_the_next_job_is_sent_when_one_has_finished() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1, 2)
    assert bench.finish(1, 1) == (True, assigned(1, 2))


def test_the_least_loaded_node_takes_the_next_job() -> None:
    bench = Bench()
    bench.daemon(1, slots=2)
    bench.daemon(2, slots=4)
    nodes = [sent.node for job in range(6) for sent in bench.submit(job)]
    assert nodes == [1, 2, 2, 1, 2, 2]


def test_many_jobs_are_divided_by_slots_and_each_node_is_told_once() -> None:
    bench = Bench()
    bench.daemon(1, slots=2)
    bench.daemon(2, slots=4)
    assert bench.submit(*range(6)) == [*assigned(1, 0, 1), *assigned(2, 2, 3, 4, 5)]


def test_few_jobs_go_one_by_one_to_whoever_has_least() -> None:
    bench = Bench()
    bench.daemon(1, slots=8)
    bench.daemon(2, slots=8)
    assert bench.submit(*range(3)) == [*assigned(1, 0, 2), *assigned(2, 1)]


def test_what_waited_is_divided_among_open_nodes_up_to_their_credit() -> None:
    bench = Bench(prefetch_limit=4)
    for node in (1, 2):
        bench.worker(node, latency=1.0)
    bench.submit(100, 101)
    bench.finish(1, 100, seconds=0.0)
    bench.finish(2, 101, seconds=0.0)
    sent = bench.submit(*range(12))
    assert [(part.node, len(part.jobs)) for part in sent] == [(1, 5), (2, 5)]
    assert bench.scheduler.waiting == 2


def test_a_long_assignment_is_cut_so_that_each_message_fits_into_a_frame() -> None:
    bench = Bench()
    bench.submit(*range(2500))
    sent = bench.daemon(1, slots=2500)
    assert [len(part.jobs) for part in sent] == [1024, 1024, 452]
    assert [job for part in sent for job, _ in part.jobs] == list(range(2500))


@st.composite
def clusters(draw: st.DrawFn) -> Bench:
    """Idle nodes of different size, some of which are sent jobs ahead."""
    bench = Bench(prefetch_limit=8)
    numbers = range(1, draw(st.integers(1, 6)) + 1)
    for node in numbers:
        bench.daemon(node, slots=draw(st.integers(0, 5)), latency=draw(st.floats(0, 0.01)))
        bench.scheduler.nodes[NodeId(node)].mean_seconds = draw(st.none() | st.floats(0, 0.01))
        bench.resize(node, bench.scheduler.nodes[NodeId(node)].slots)
    return bench


@given(clusters(), st.lists(st.integers(0, 80), max_size=4))
def test_no_slot_stays_free_while_another_node_is_sent_jobs_for_later(
    bench: Bench, batches: list[int]
) -> None:
    number = 0
    nodes = list(bench.scheduler.nodes.values())
    for batch in batches:
        before = [len(node.held) for node in nodes]
        bench.submit(*range(number, number + batch))
        number += batch
        ahead = [
            len(node.held) > max(node.slots, was) for node, was in zip(nodes, before, strict=True)
        ]
        idle = [len(node.held) < min(node.slots, node.credit) for node in nodes]
        assert not (any(ahead) and any(idle))


@given(clusters(), st.integers(0, 80))
def test_what_is_divided_at_once_leaves_nodes_as_level_as_one_by_one(
    bench: Bench, jobs: int
) -> None:
    bench.submit(*range(jobs))
    nodes = [node for node in bench.scheduler.nodes.values() if node.slots]
    for high in nodes:
        for low in nodes:
            if len(low.held) < low.credit:
                assert (len(high.held) - 1) / high.slots <= len(low.held) / low.slots


def test_of_equals_a_worker_here_comes_before_a_daemon() -> None:
    bench = Bench()
    bench.daemon(1, slots=1)
    bench.worker(2)
    assert bench.submit(1) == assigned(2, 1)
    assert bench.submit(2) == assigned(1, 2)


def test_free_slots_come_before_prefetching() -> None:
    bench = hoarder(1)
    bench.daemon(2, slots=1)
    assert bench.submit(2) == assigned(2, 2)


def test_jobs_are_sent_ahead_when_the_way_takes_longer_than_the_job() -> None:
    bench = Bench(horizon=0.002)
    bench.worker(1, latency=0.018)
    bench.submit(*range(9))
    assert bench.finish(1, 0, seconds=0.01) == (True, assigned(1, 1, 2, 3))


def test_a_new_measurement_of_the_way_changes_what_is_sent_ahead() -> None:
    bench = Bench(horizon=0.002)
    bench.worker(1, latency=0.00001)
    bench.submit(*range(9))
    bench.finish(1, 0, seconds=0.01)
    assert bench.held(1) == [1]
    bench.scheduler.on_latency(NodeId(1), 0.018)
    assert bench.done() == assigned(1, 2, 3)


def test_a_node_without_slots_gets_nothing() -> None:
    bench = Bench()
    assert bench.daemon(1, slots=0) == []
    assert bench.submit(1) == []


def test_a_node_that_grows_takes_more() -> None:
    bench = Bench()
    bench.daemon(1, slots=1)
    bench.submit(1, 2, 3)
    assert bench.resize(1, 3) == assigned(1, 2, 3)


def test_a_node_that_shrinks_takes_no_more_and_keeps_what_it_has() -> None:
    bench = Bench()
    bench.daemon(1, slots=3)
    bench.submit(1, 2, 3, 4)
    assert bench.resize(1, 0) == []
    assert bench.finish(1, 1) == (True, [])
    assert bench.held(1) == [2, 3]


# Giving back.


def test_an_idle_node_gets_half_of_what_the_longest_queue_has_not_started() -> None:
    bench = hoarder(*range(7))
    assert bench.daemon(2, slots=2) == [retract(1, 6, 5, 4)]
    assert bench.returned(1, (4, 1), (5, 1), (6, 1)) == [
        Sent(2, [(4, 2), (5, 2)]),
        Sent(1, [(6, 2)]),
    ]


def test_jobs_given_back_unasked_are_placed_again() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1, 2)
    bench.worker(2)
    assert bench.returned(1, (2, 1)) == assigned(2, 2, attempt=2)


def test_jobs_given_back_come_before_those_that_wait() -> None:
    bench = Bench()
    bench.daemon(1, slots=2)
    bench.submit(1, 2, 3)
    assert bench.returned(1, (1, 1), (2, 1)) == assigned(1, 1, 2, attempt=2)


def test_while_a_node_has_not_answered_it_is_not_asked_again() -> None:
    bench = hoarder(*range(5))
    assert bench.worker(2) == [retract(1, 4, 3)]
    assert bench.worker(3) == []
    assert bench.finish(1, 0) == (True, [])
    assert bench.returned(1, (4, 1), kept=((3, 1),))[-1] == retract(1, 2)


def test_not_even_if_it_shrinks() -> None:
    bench = Bench()
    bench.daemon(1, slots=4, latency=1.0)
    bench.submit(100)
    bench.finish(1, 100, seconds=0.01)
    bench.submit(1, 2, 3, 4, 5, 6)
    assert bench.worker(2) == [retract(1, 6)]
    assert bench.resize(1, 0) == []


def test_what_a_node_kept_is_not_asked_for_again() -> None:
    bench = hoarder(1, 2, 3)
    assert bench.worker(2) == [retract(1, 3)]
    assert bench.returned(1, kept=((3, 1),)) == [retract(1, 2)]
    assert bench.returned(1, kept=((2, 1),)) == [retract(1, 1)]
    assert bench.returned(1, kept=((1, 1),)) == []


def test_the_longest_queue_is_asked_first() -> None:
    bench = hoarder(1, 2)
    bench.worker(2, latency=1.0)
    bench.returned(1, (2, 1))
    bench.finish(2, 2, attempt=2, seconds=0.02)
    bench.submit(3, 4, 5, 6, 7)
    assert (bench.held(1), bench.held(2)) == ([1, 5, 6], [3, 4, 7])
    assert bench.worker(3) == [retract(2, 7), retract(1, 6)]


def test_a_job_that_is_no_longer_wanted_there_is_not_asked_for_its_sake() -> None:
    bench = hoarder(1, 2)
    assert bench.cancel(2) == [retract(1, 2)]
    bench.returned(1, kept=((2, 1),))
    assert bench.worker(2) == [retract(1, 1)]


def test_nobody_is_asked_while_jobs_wait() -> None:
    bench = Bench()
    bench.daemon(1, slots=3)
    bench.submit(1, 2, 3, 4)
    assert bench.resize(1, 1) == []
    assert bench.daemon(2, slots=1) == assigned(2, 4)
    assert bench.finish(2, 4) == (True, [retract(1, 3)])


def test_nobody_is_asked_for_a_node_that_would_only_prefetch() -> None:
    bench = hoarder(1, 2, 3, 4)
    assert bench.daemon(2, slots=1) == [retract(1, 4, 3)]
    bench.returned(1, (4, 1), kept=((3, 1),))
    assert bench.finish(2, 4, attempt=2, seconds=0.0001) == (True, [retract(1, 2)])
    assert bench.returned(1, (2, 1)) == assigned(2, 2, attempt=2)
    assert bench.held(1) == [1, 3]


@pytest.mark.parametrize(
    "back",
    [
        pytest.param([(1, 7)], id="another attempt"),
        pytest.param([(9, 1)], id="a job it does not hold"),
    ],
)
def test_what_is_given_back_too_late_changes_nothing(back: list[tuple[int, int]]) -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    assert bench.returned(1, *back, kept=tuple(back)) == []
    assert bench.held(1) == [1]


def test_what_is_given_back_twice_counts_once() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1)
    assert bench.returned(1, (1, 1), (1, 1)) == assigned(1, 1, attempt=2)


def test_what_is_kept_and_given_back_in_one_is_given_back() -> None:
    bench = hoarder(1, 2, 3)
    bench.worker(2)
    assert bench.returned(1, (3, 1), kept=((3, 1),)) == assigned(2, 3, attempt=2)


def test_what_is_kept_unasked_changes_nothing() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    assert bench.returned(1, kept=((1, 1),)) == []
    assert bench.scheduler.jobs[JobId(1)].kept is False


def test_a_job_that_was_kept_elsewhere_may_be_asked_for_at_its_next_node() -> None:
    bench = hoarder(1, 2, 3)
    bench.worker(2)
    bench.returned(1, kept=((3, 1),))
    bench.lost(1)
    assert bench.scheduler.jobs[JobId(3)].kept is False
    bench.daemon(3, slots=9)
    assert bench.withdraw(3) == [retract(3, 3, attempt=2)]


def test_a_long_list_is_cut_so_that_each_message_fits_into_a_frame() -> None:
    bench = Bench()
    bench.daemon(1, slots=2500)
    bench.submit(*range(2500))
    sizes = [len(action.jobs) for action in bench.drain(1) if isinstance(action, Retract)]
    assert sizes == [1024, 1024, 452]


def test_what_is_asked_back_one_by_one_is_asked_in_one_message() -> None:
    bench = Bench()
    bench.daemon(1, slots=3)
    bench.submit(1, 2, 3)
    for job in (1, 2):
        bench.scheduler.on_withdraw(JobId(job))
    bench.scheduler.on_cancel(JobId(3))
    assert bench.done() == [retract(1, 1, 2, 3)]


def test_a_result_that_crosses_the_question_is_taken() -> None:
    bench = hoarder(1, 2, 3)
    bench.worker(2)
    wanted, _ = bench.finish(1, 3)
    assert wanted is True
    bench.returned(1, kept=((3, 1),))
    assert JobId(3) not in bench.scheduler.jobs


def test_a_worker_that_dies_before_it_answers_gives_everything_back() -> None:
    bench = hoarder(1, 2, 3)
    bench.worker(2)
    assert bench.lost(1) == assigned(2, 1, attempt=2)
    assert [state.deaths for state in bench.scheduler.jobs.values()] == [1, 0, 0]


# Draining.


def test_a_draining_node_takes_nothing_and_is_asked_for_all() -> None:
    bench = Bench()
    bench.daemon(1, slots=2)
    bench.submit(1, 2, 3)
    assert bench.drain(1) == [retract(1, 1, 2)]
    assert bench.returned(1, (2, 1), kept=((1, 1),)) == []
    assert bench.finish(1, 1) == (True, [Release(NodeId(1))])
    assert bench.scheduler.waiting == 2
    assert bench.scheduler.nodes == {}


def test_a_draining_idle_node_is_released_at_once() -> None:
    bench = Bench()
    bench.worker(1)
    assert bench.drain(1) == [Release(NodeId(1))]
    assert bench.submit(1) == []


def test_what_a_draining_node_gives_back_goes_to_the_others() -> None:
    bench = Bench()
    bench.worker(1)
    bench.submit(1)
    bench.drain(1)
    bench.worker(2)
    assert bench.returned(1, (1, 1)) == [Release(NodeId(1)), *assigned(2, 1, attempt=2)]


def test_a_draining_node_that_is_lost_is_not_released_as_well() -> None:
    bench = Bench()
    bench.daemon(1)
    bench.submit(1)
    bench.drain(1)
    assert bench.lost(1) == []


def test_a_draining_node_is_released_when_its_last_job_was_given_up() -> None:
    bench = Bench(poison_limit=1)
    bench.daemon(1)
    bench.submit(1)
    bench.drain(1)
    assert [type(action) for action in bench.died(1, 1)] == [End, Release]
