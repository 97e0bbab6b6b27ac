"""Needs: jobs go only where they can run, in their turn, and nobody is held up by the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ppnext.sched.actions import Assign, Retract, Withdrawn
from ppnext.sched.invariants import check
from ppnext.sched.model import JobId, JobState, Need, NodeId, NodeKind, Status
from ppnext.sched.policy import Policy
from ppnext.sched.pool import REFUSED
from ppnext.sched.scheduler import Scheduler
from tests.sched.letters import Bench, hoarder, letters, priority, told

# Placing.


def test_a_job_goes_to_a_node_that_fits_though_another_is_less_loaded() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.submit((1, None))
    bench.node(2, "b", slots=2)
    bench.submit((2, "a"), (3, "b"), (4, "b"))
    assert (bench.held(1), bench.held(2)) == ([1], [3, 4])


def test_a_job_that_no_node_fits_holds_up_nobody() -> None:
    bench = Bench()
    bench.node(1, "a")
    assert bench.submit((1, "z"), (2, "a"), (3, None)) == [("run", 1, [2])]
    assert bench.finish(1, 2) == [("run", 1, [3])]
    assert bench.finish(1, 3) == []
    assert (bench.scheduler.waiting, bench.scheduler.open_slots) == (1, 1)
    assert bench.node(2, "z") == [("run", 2, [1])]


def test_a_node_that_has_not_told_gets_jobs_that_need_nothing() -> None:
    bench = Bench()
    bench.node(1, None)
    assert bench.submit((1, "a"), (2, None)) == [("run", 1, [2])]
    bench.finish(1, 2)
    assert bench.facts(1, "a") == [("run", 1, [1])]


def test_of_all_queues_the_oldest_job_that_can_run_goes_first() -> None:
    bench = Bench()
    bench.submit((1, "b"), (2, "a"), (3, None), (4, "a"), (5, "b"), (6, None))
    assert bench.node(1, "a") == [("run", 1, [2])]
    order = []
    for job in (2, 3, 4):
        order += bench.finish(1, job)
    assert order == [("run", 1, [3]), ("run", 1, [4]), ("run", 1, [6])]


def test_a_node_with_many_slots_is_given_all_queues_in_one_message() -> None:
    bench = Bench()
    bench.submit(*((job, "ab"[job % 2]) for job in range(10)))
    assert bench.node(1, "ab", slots=8) == [("run", 1, list(range(8)))]


def test_open_nodes_are_given_jobs_of_all_queues_in_turn() -> None:
    bench = Bench()
    bench.node(1, "ab")
    bench.node(2, "b")
    bench.node(3, "a")
    bench.submit((1, "a"), (2, "b"), (3, None), (4, "a"))
    assert [bench.held(node) for node in (1, 2, 3)] == [[1], [2], [3]]


@pytest.mark.parametrize("needs", [1, 200])
def test_many_needs_are_served_in_turn_and_forgotten(needs: int) -> None:
    bench = Bench()
    scheduler = Scheduler(bench.policy, lambda need, facts: None)
    scheduler.on_submit([JobState(JobId(job), None, need=job % needs) for job in range(1000)])
    scheduler.on_node_joined(NodeId(1), "n", NodeKind.DAEMON, 1, 0.0001)
    assert len(scheduler.pools.special) == needs
    for job in range(1000):
        [assign] = scheduler.take_actions()
        assert told(assign) == ("run", 1, [job])
        scheduler.on_finished(NodeId(1), [(JobId(job), 1, 1.0)])
    check(scheduler, bench.policy)
    assert scheduler.pools.special == {}
    assert len(scheduler.pools._aside) <= 16


def test_without_a_rule_all_nodes_fit() -> None:
    scheduler = Scheduler()
    scheduler.on_node_joined(NodeId(1), "n", NodeKind.DAEMON, 1, 0.0001)
    scheduler.on_submit([JobState(JobId(1), None, need="a")])
    assert list(scheduler.nodes[NodeId(1)].held) == [1]


def test_nodes_are_judged_once_for_a_need_though_its_jobs_come_one_at_a_time() -> None:
    asked: list[Need] = []

    def fits(need: Need, facts: object) -> str | None:
        asked.append(need)
        return None

    scheduler = Scheduler(fits=fits)
    for node in range(100):
        scheduler.on_node_joined(NodeId(node), "n", NodeKind.DAEMON, 1, 0.0001)
    for job in range(50):
        scheduler.on_submit([JobState(JobId(job), None, need="a")])
        [assign] = scheduler.take_actions()
        assert isinstance(assign, Assign)
        scheduler.on_finished(assign.node, [(JobId(job), 1, 1.0)])
        check(scheduler)
    assert asked == ["a"] * 100


def test_how_many_go_before_counts_only_those_that_want_the_same_nodes() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.node(2, "b")
    jobs = [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, None), (6, "a"), (7, "b")]
    bench.submit(*jobs)
    before = {job: bench.scheduler.waiting_before(JobId(job)) for job in (3, 5, 6, 7)}
    assert before == {3: 0, 5: 2, 6: 2, 7: 2}
    assert bench.scheduler.waiting_before(JobId(1)) == 5


def test_why_not_names_the_nodes_that_do_not_fit() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.node(2, "b")
    bench.node(3, None)
    bench.submit((1, "b"), (2, "z"), (3, None))
    assert bench.scheduler.why_not(JobId(1)) == [("n1", "has no b"), ("n3", "has no b")]
    assert [name for name, _ in bench.scheduler.why_not(JobId(2))] == ["n1", "n2", "n3"]
    assert bench.scheduler.why_not(JobId(3)) == []
    assert bench.scheduler.why_not(JobId(99)) == []


# Rebalancing.


def test_an_idle_node_asks_only_for_jobs_that_it_can_run() -> None:
    bench = hoarder("ab", (1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a"), (6, "b"), (7, "a"))
    assert bench.node(2, "b") == [("ask", 1, [6, 4, 2])]
    assert bench.returned(1, 6, 4, 2)[0] == ("run", 2, [2])


def test_an_idle_node_that_can_run_nothing_asks_for_nothing() -> None:
    bench = hoarder("ab", (1, "a"), (2, "a"), (3, "a"))
    assert bench.node(2, "b") == []
    assert bench.finish(1, 1) == []


def test_an_idle_node_passes_over_a_longer_queue_that_is_of_no_use() -> None:
    bench = hoarder("a", (1, "a"), (2, "a"), (3, "a"), (4, "a"))
    bench.scheduler.on_node_joined(NodeId(2), "n2", NodeKind.DAEMON, 1, 1.0, "b")
    bench.done()
    bench.submit((50, "b"))
    bench.finish(2, 50, seconds=0.01)
    assert bench.submit((51, "b"), (52, "b")) == [("run", 2, [51, 52])]
    assert bench.node(3, "b") == [("ask", 2, [52])]


def test_running_jobs_are_not_asked_for_because_others_wait_behind_them() -> None:
    bench = hoarder("ab", (1, "b"), (2, "a"), (3, "a"))
    assert bench.node(2, "b") == []


def test_what_was_kept_is_not_asked_for_again() -> None:
    bench = hoarder("ab", (1, "a"), (2, "b"), (3, "a"))
    assert bench.node(2, "b") == [("ask", 1, [2])]
    assert bench.returned(1, kept=(2,)) == []


# Refusing.


def test_a_refused_job_goes_elsewhere_and_has_had_no_mishap() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.submit((1, None))
    assert bench.unfit(1, 1, "b") == []
    state = bench.scheduler.jobs[JobId(1)]
    assert (state.need, state.mishaps, state.status) == ("b", (), Status.WAITING)
    assert bench.scheduler.rescheduled == 0
    assert bench.node(2, "b") == [("run", 2, [1])]
    assert state.attempt == 2


def test_a_refused_job_does_not_come_back_though_the_node_says_that_it_fits() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.submit((1, "a"), (2, "a"))
    assert bench.unfit(1, 1, "a") == []
    assert bench.scheduler.why_not(JobId(2)) == [("n1", REFUSED)]
    assert bench.submit((3, None)) == [("run", 1, [3])]
    assert bench.facts(1, "aa") == []
    assert bench.finish(1, 3) == [("run", 1, [1])]


def test_others_with_that_need_are_asked_back_from_who_refused_one() -> None:
    bench = hoarder("a", (1, "a"), (2, "a"), (3, None))
    assert bench.unfit(1, 1, "a") == [("ask", 1, [2])]


def test_a_late_refusal_is_dropped() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.submit((1, None))
    assert bench.unfit(1, 1, "b", attempt=7) == []
    assert bench.unfit(1, 9, "b") == []
    assert bench.held(1) == [1]
    assert bench.scheduler.dropped == 2


def test_a_refused_job_that_may_run_once_is_placed_again() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.node(2, "b")
    bench.scheduler.on_submit([JobState(JobId(1), None, once=True)])
    bench.done()
    assert bench.unfit(1, 1, "b") == [("run", 2, [1])]


def test_a_refused_job_that_nobody_wants_any_more_ends() -> None:
    bench = Bench()
    bench.node(1, "a", slots=2)
    bench.submit((1, None), (2, None))
    bench.scheduler.on_cancel(JobId(1))
    bench.scheduler.on_withdraw(JobId(2))
    bench.done()
    state = bench.scheduler.jobs[JobId(2)]
    assert bench.unfit(1, 1, "b") == []
    bench.scheduler.on_unfit(NodeId(1), JobId(2), 1, "b")
    assert bench.scheduler.take_actions() == [Withdrawn(state)]
    assert bench.scheduler.jobs == {}


def test_a_job_is_refused_for_a_reason() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.submit((1, None))
    with pytest.raises(AssertionError, match="job 1 was refused"):
        bench.unfit(1, 1, None)


# Needs and facts that change.


def test_a_new_need_keeps_a_waiting_jobs_turn() -> None:
    bench = Bench()
    bench.submit((1, "a"), (2, None), (3, "b"), (4, "a"))
    assert bench.need("b", 2, 4, 9, 2) == []
    assert bench.node(1, "b", slots=9) == [("run", 1, [2, 3, 4])]


def test_a_new_need_asks_back_what_is_on_a_node_that_does_not_fit() -> None:
    bench = hoarder("a", (1, None), (2, None), (3, None))
    assert bench.need("b", 2, 3) == [("ask", 1, [2, 3])]
    assert bench.returned(1, 3, kept=(2,)) == []
    assert bench.held(1) == [1, 2]
    assert bench.node(2, "b") == [("run", 2, [3])]


def test_a_job_that_needs_nothing_any_more_goes_anywhere() -> None:
    bench = Bench()
    bench.node(1, "a")
    bench.submit((1, "z"), (2, "z"))
    assert bench.need(None, 1) == [("run", 1, [1])]
    assert bench.need(None, 1, 2) == []


def test_new_facts_ask_back_what_does_not_fit_any_more_and_bring_what_does() -> None:
    bench = hoarder("a", (1, "a"), (2, None), (3, "a"))
    bench.submit((4, "b"))
    assert bench.facts(1, "b") == [("ask", 1, [1, 3]), ("run", 1, [4])]
    assert bench.returned(1, 3, kept=(1,)) == []
    assert bench.held(1) == [1, 2, 4]
    assert bench.scheduler.waiting == 1


def test_a_lost_node_gives_jobs_back_to_their_queues() -> None:
    bench = hoarder("ab", (1, "a"), (2, "b"), (3, None))
    bench.scheduler.on_node_lost(NodeId(1), "gone")
    assert bench.done() == []
    assert bench.node(2, "b", slots=3) == [("run", 2, [2, 3])]
    assert bench.node(3, "a", slots=3) == [("run", 3, [1])]


def test_a_node_that_fits_and_drains_gets_nothing() -> None:
    bench = Bench()
    bench.node(1, "a", slots=2)
    bench.submit((1, "a"))
    bench.scheduler.on_node_draining(NodeId(1))
    assert bench.done() == [("ask", 1, [1])]
    assert bench.submit((2, "a")) == []


# Whatever happens.

needs = st.sampled_from([None, None, "a", "a2", "b", "b-1", "c"])
facts = st.sampled_from([None, "a", "b", "ab", "abc"])


class Life(RuleBasedStateMachine):
    """Events in any order; the invariants hold after each, and everything comes to an end."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = Policy()
        self.scheduler = Scheduler(self.policy, letters, priority)
        self.jobs = self.nodes = 0
        self.asked: list[Retract] = []

    def act(self) -> None:
        """Take note of what was asked; the answers come later."""
        for action in self.scheduler.take_actions():
            if isinstance(action, Retract):
                self.asked.append(action)
            elif isinstance(action, Assign):
                self.check_priority(action)

    def check_priority(self, action: Assign) -> None:
        """A node was given nothing while a job of a higher priority waits that it could run."""
        node = self.scheduler.nodes[action.node]
        lowest = min(self.scheduler.pools.of(job.need).priority for job in action.jobs)
        for turn, job, pool in self.scheduler.pools.ready():
            assert -turn <= lowest or pool.reason(node), f"job {job} was passed over"

    def pick_node(self, data: st.DataObject) -> NodeId:
        return data.draw(st.sampled_from(sorted(self.scheduler.nodes)))

    @rule(new=st.lists(needs, min_size=1, max_size=20))
    def submit(self, new: list[str | None]) -> None:
        first, self.jobs = self.jobs, self.jobs + len(new)
        numbered = enumerate(new, first)
        self.scheduler.on_submit([JobState(JobId(job), None, need=need) for job, need in numbered])

    @rule(facts=facts, slots=st.integers(1, 3), latency=st.sampled_from([0.0001, 1.0]))
    def join(self, facts: str | None, slots: int, latency: float) -> None:
        node, self.nodes = NodeId(self.nodes), self.nodes + 1
        self.scheduler.on_node_joined(node, f"n{node}", NodeKind.DAEMON, slots, latency, facts)

    @precondition(lambda self: self.scheduler.nodes)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        node = self.scheduler.nodes[self.pick_node(data)]
        count = data.draw(st.integers(0, len(node.held)))
        ended = [(job.id, job.attempt, 0.001) for job in list(node.held.values())[:count]]
        self.scheduler.on_finished(node.id, ended)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        action = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        split = data.draw(st.integers(0, len(action.jobs)))
        if action.node in self.scheduler.nodes:
            self.scheduler.on_returned(action.node, action.jobs[:split], action.jobs[split:])

    @precondition(lambda self: self.scheduler.nodes)
    @rule(data=st.data(), need=st.sampled_from(["a", "b", "c"]))
    def refuse(self, data: st.DataObject, need: str) -> None:
        node = self.scheduler.nodes[self.pick_node(data)]
        for job in list(node.held.values())[:1]:
            self.scheduler.on_unfit(node.id, job.id, job.attempt, need)
            assert job.node != node.id

    @precondition(lambda self: self.scheduler.nodes)
    @rule(data=st.data(), new=facts)
    def tell(self, data: st.DataObject, new: str | None) -> None:
        self.scheduler.on_facts(self.pick_node(data), new)

    @precondition(lambda self: self.scheduler.jobs)
    @rule(data=st.data(), need=needs)
    def rethink(self, data: st.DataObject, need: str | None) -> None:
        known = st.sampled_from(sorted(self.scheduler.jobs))
        self.scheduler.on_need(data.draw(st.lists(known, max_size=5)), need)

    @precondition(lambda self: self.scheduler.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.scheduler.on_cancel(data.draw(st.sampled_from(sorted(self.scheduler.jobs))))

    @precondition(lambda self: self.scheduler.nodes)
    @rule(data=st.data(), drain=st.booleans())
    def leave(self, data: st.DataObject, drain: bool) -> None:
        node = self.pick_node(data)
        if drain:
            self.scheduler.on_node_draining(node)
        else:
            self.scheduler.on_node_lost(node, "gone")

    @invariant()
    def holds(self) -> None:
        check(self.scheduler, self.policy)
        self.act()

    def teardown(self) -> None:
        """Nodes that give back all they are asked for are not asked for ever."""
        for _ in range(4 * self.jobs + 4):
            if not self.asked:
                break
            action = self.asked.pop(0)
            if action.node in self.scheduler.nodes:
                self.scheduler.on_returned(action.node, action.jobs)
            check(self.scheduler, self.policy)
            self.act()
        assert not self.asked, "jobs go back and forth without end"
        self.run_all()

    def run_all(self) -> None:
        """What can run ends; what is left waits for a node that is not there."""
        for _ in range(self.jobs + 1):
            for node in list(self.scheduler.nodes.values()):
                ended = [(job.id, job.attempt, 0.001) for job in node.held.values()]
                if node.id in self.scheduler.nodes:
                    self.scheduler.on_finished(node.id, ended)
                check(self.scheduler, self.policy)
        nodes = sum(not node.draining for node in self.scheduler.nodes.values())
        for job, state in self.scheduler.jobs.items():
            assert state.status is Status.WAITING
            assert len(self.scheduler.why_not(job)) >= nodes


TestLife = Life.TestCase


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=60), st.integers(1, 5))
def test_one_node_runs_what_it_fits_in_the_order_of_submission(
    wanted: list[str | None], slots: int
) -> None:
    bench = Bench()
    bench.submit(*enumerate(wanted))
    bench.node(1, "ab", slots=slots)
    ran: list[int] = []
    while held := bench.held(1):
        ran.append(held[0])
        bench.finish(1, held[0])
    assert ran == [job for job, need in enumerate(wanted) if need != "c"]
