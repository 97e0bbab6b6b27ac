"""Claims: jobs that take several slots, and countable things of their machine.

The need of a job here is what it takes.
"""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from ppnext.sched.actions import Assign, Retract
from ppnext.sched.claim import Claim, claimed
from ppnext.sched.host import Host
from ppnext.sched.invariants import check
from ppnext.sched.model import JobId, JobState, Need, NodeId, NodeKind
from ppnext.sched.policy import Policy
from ppnext.sched.scheduler import Scheduler
from ppnext.sched.stock import Stock

GPU = Claim(1, (("gpu", 1),))
GPUS = Claim(1, (("gpu", 2),))


def heavy(slots: int) -> Claim:
    return Claim(slots)


class Place:
    """A scheduler on a machine with so many workers, whose nodes are 1, 2, 3 ..."""

    def __init__(self, workers: int = 0, stock: Stock | None = None, **numbers: float) -> None:
        self.here = Host(workers, stock)
        self.policy = Policy(**numbers)  # type: ignore[arg-type]  # numbers by name
        self.scheduler = Scheduler(
            self.policy, None, lambda need: -1 if need == "low" else 0, claim_of, self.here
        )
        for node in range(1, workers + 1):
            self.worker(node)

    def worker(self, node: int) -> None:
        self.scheduler.on_node_joined(NodeId(node), "local", NodeKind.WORKER, 1, 0.0001)
        self.look()

    def daemon(self, node: int, slots: int, **has: int) -> None:
        machine = Host(slots, Stock(has))
        kind = NodeKind.DAEMON
        self.scheduler.on_node_joined(NodeId(node), f"d{node}", kind, slots, 0.001, None, machine)
        self.look()

    def submit(self, need: Need, *jobs: int) -> None:
        self.scheduler.on_submit([JobState(JobId(job), job, need=need) for job in jobs])
        self.look()

    def finish(self, *jobs: int, seconds: float = 1.0) -> None:
        for job in jobs:
            state = self.scheduler.jobs[JobId(job)]
            assert state.node is not None, f"job {job} is on no node"
            self.scheduler.on_finished(state.node, [(state.id, state.attempt, seconds)])
            self.look()

    def look(self) -> None:
        check(self.scheduler, self.policy)
        self.actions = self.scheduler.take_actions()

    def held(self) -> dict[int, list[int]]:
        """Which jobs each node has, if it has any."""
        nodes = self.scheduler.nodes.values()
        return {node.id: list(node.held) for node in nodes if node.held}

    def running(self) -> list[int]:
        """Which jobs are on nodes."""
        return sorted(job for jobs in self.held().values() for job in jobs)

    def why(self, job: int) -> list[tuple[str, str]]:
        return self.scheduler.why_not(JobId(job))


def claim_of(need: Need) -> Claim | None:
    return need if isinstance(need, Claim) else None


def test_what_takes_one_slot_claims_nothing() -> None:
    assert claimed(1, ()) is None
    assert claimed(2, ()) == Claim(2)
    assert claimed(1, (("gpu", 1),)) == GPU


# Several slots.


def test_a_job_takes_several_slots_of_a_machine() -> None:
    place = Place(4)
    place.submit(heavy(3), 1)
    place.submit(None, 2, 3, 4)
    assert place.running() == [1, 2]
    place.finish(2)
    assert place.running() == [1, 3]
    place.finish(1)
    assert place.running() == [3, 4]
    place.submit(None, 5, 6, 7)
    assert place.running() == [3, 4, 5, 6], "all workers are open again"


def test_a_machine_is_cleared_for_the_job_that_is_next() -> None:
    place = Place(3)
    place.submit(None, 1, 2, 3)
    place.submit(heavy(2), 4)
    place.submit(None, 5, 6)
    place.finish(1)
    assert place.running() == [2, 3], "one slot is not enough, and is kept free"
    place.finish(3)
    assert place.running() == [2, 4]
    place.finish(2)
    assert place.running() == [4, 5]


def test_what_was_submitted_before_goes_before() -> None:
    place = Place(2)
    place.submit(None, 1, 2, 3, 4)
    place.submit(heavy(2), 5)
    place.finish(1)
    place.finish(2)
    assert place.running() == [3, 4]
    place.finish(3)
    assert place.running() == [4]
    place.finish(4)
    assert place.running() == [5]


def test_jobs_of_a_lower_priority_go_behind() -> None:
    place = Place(2)
    place.submit("low", 1, 2, 3)
    place.submit(heavy(2), 4)
    place.finish(1)
    assert place.running() == [2]
    place.finish(2)
    assert place.running() == [4]


def test_light_jobs_go_on_elsewhere() -> None:
    place = Place()
    place.daemon(1, 2)
    place.daemon(2, 4)
    place.submit(None, *range(1, 7))
    assert sorted(map(len, place.held().values())) == [2, 4]
    place.submit(heavy(4), 10)
    place.submit(None, *range(20, 30))
    for _ in range(3):
        on_small, on_large = place.held()[1], place.held()[2]
        place.finish(on_small[0])
        place.finish(on_large[0])
        assert len(place.held()[1]) == 2, "it is not held up"
    place.finish(place.held()[2][0])
    assert place.held()[2] == [10]


def test_a_daemon_that_offers_less_just_now_gets_the_job_when_it_has_nothing_else() -> None:
    place = Place()
    place.daemon(1, 4)
    place.scheduler.on_node_resized(NodeId(1), 1)
    place.submit(None, 1)
    place.submit(heavy(4), 2)
    place.submit(heavy(4), 3)
    place.finish(1)
    assert place.running() == [2]
    place.scheduler.on_node_resized(NodeId(1), 0)
    place.look()
    place.finish(2)
    assert place.running() == []
    place.scheduler.on_node_resized(NodeId(1), 2)
    place.look()
    assert place.running() == [3]


def test_what_no_machine_has_holds_up_nobody_and_is_told() -> None:
    place = Place(2, Stock({"gpu": 1}))
    place.daemon(9, 1, scratch=5)
    place.submit(heavy(3), 1)
    place.submit(GPUS, 2)
    place.submit(None, 3, 4, 5)
    place.submit("low", 6)
    assert place.running() == [3, 4, 5]
    assert place.why(1) == [
        ("local", "has 2 slots, not 3"),
        ("local", "has 2 slots, not 3"),
        ("d9", "has 1 slots, not 3"),
    ]
    assert place.why(2)[1:] == [
        ("local", "has 1 gpu, not 2"),
        ("d9", "offers no gpu (it offers: scratch=5)"),
    ]


def test_when_a_machine_grows_it_can_run_what_it_could_not() -> None:
    place = Place(2)
    place.submit(heavy(3), 1)
    place.submit(GPU, 2)
    place.scheduler.on_here(3)
    place.worker(3)
    assert place.running() == [1]
    place.submit("low", 3)
    place.scheduler.on_here(2)
    place.look()
    assert place.running() == [1], "what runs stays"
    assert isinstance(place.actions[0], Retract), "it was asked for"


def test_a_job_that_is_cancelled_clears_nothing_any_more() -> None:
    place = Place(2)
    place.submit(None, 1)
    place.submit(heavy(2), 2)
    place.submit(None, 3)
    assert place.running() == [1]
    place.scheduler.on_cancel(JobId(2))
    place.look()
    assert place.running() == [1, 3]


def test_a_job_that_is_withdrawn_clears_nothing_any_more() -> None:
    place = Place(2)
    place.submit(None, 1)
    place.submit(heavy(2), 2)
    place.submit(None, 3)
    place.scheduler.on_withdraw(JobId(2))
    place.look()
    assert place.running() == [1, 3]


def test_nothing_is_sent_ahead_to_a_worker_that_runs_a_large_job() -> None:
    place = Place(2)
    place.submit(None, 1, 2)
    place.finish(1, 2, seconds=0.000001)
    place.submit(heavy(2), 3)
    place.submit(None, *range(10, 20))
    assert place.running() == [3]
    place.finish(3, seconds=0.000001)
    assert place.running() == list(range(10, 20))


def test_a_daemon_is_sent_light_jobs_beside_a_large_one() -> None:
    place = Place()
    place.daemon(1, 4)
    place.submit(heavy(3), 1)
    place.submit(None, 2, 3)
    assert place.running() == [1, 2]


def test_what_was_sent_ahead_is_run_before_a_large_job() -> None:
    place = Place(2)
    place.submit(None, 1, 2)
    place.finish(1, 2, seconds=0.001)
    place.submit(None, *range(10, 20))
    place.submit(heavy(2), 30)
    place.submit(None, *range(40, 50))
    for job in range(10, 20):
        assert 30 not in place.running()
        place.finish(job, seconds=0.001)
    assert place.running() == [30]


def test_a_worker_that_dies_gives_its_slots_back() -> None:
    place = Place(3, poison_limit=9)
    place.submit(heavy(3), 1)
    place.submit(None, 2)
    place.scheduler.on_node_lost(NodeId(1), "killed")
    place.look()
    assert place.held() == {2: [1]}, "the third slot is that of the worker to come"
    place.scheduler.on_node_lost(NodeId(2), "killed")
    place.scheduler.on_node_lost(NodeId(3), "killed")
    place.look()
    assert place.held() == {} and place.here.extra == 0
    place.worker(4)
    assert place.held() == {4: [1]}


def test_a_machine_that_is_lost_while_it_is_cleared() -> None:
    place = Place()
    place.daemon(1, 2)
    place.submit(None, 1)
    place.submit(heavy(2), 2)
    place.submit(None, 3)
    place.scheduler.on_node_lost(NodeId(1), "gone")
    place.look()
    place.daemon(2, 2)
    assert place.running() == [1]
    place.finish(1)
    assert place.running() == [2]


def test_a_worker_that_is_to_go_is_cleared_and_another_takes_the_job() -> None:
    place = Place(2)
    place.submit(None, 1, 2)
    place.submit(heavy(2), 3)
    for node in (1, 2):
        place.scheduler.on_node_draining(NodeId(node))
        place.look()
    place.finish(1, 2)
    assert place.held() == {}
    place.worker(3)
    assert place.running() == [3], "it has the slots of one that is still to come"


def test_a_job_that_turns_out_to_need_something_keeps_its_claim() -> None:
    place = Place(2)
    place.submit(None, 1)
    place.scheduler.on_need([JobId(1)], heavy(2))
    place.look()
    assert place.here.extra == 1
    place.submit(None, 2)
    assert place.running() == [1]
    place.scheduler.on_need([JobId(1)], None)
    place.look()
    assert place.running() == [1, 2]


def test_two_large_jobs_of_different_size_take_turns_by_number() -> None:
    place = Place(4)
    place.submit(None, 1, 2, 3, 4)
    place.submit(heavy(3), 5)
    place.submit(heavy(2), 6)
    place.submit(None, 7)
    place.finish(1)
    place.finish(2)
    assert place.running() == [3, 4], "two slots would do for the younger one"
    place.finish(3)
    assert place.running() == [4, 5]
    place.finish(4)
    assert place.running() == [5], "the younger one is next, and has the machine cleared"
    place.finish(5)
    assert place.running() == [6, 7]


# Countable things.


def test_no_more_than_there_are_at_a_time() -> None:
    place = Place(4, Stock({"gpu": 2}))
    place.submit(GPU, 1, 2, 3)
    assert place.running() == [1, 2]
    place.finish(1)
    assert place.running() == [2, 3]
    place.finish(2, 3)
    assert place.here.stock.used == {"gpu": 0}


def test_who_waits_for_a_thing_holds_up_nobody_else() -> None:
    place = Place(3, Stock({"gpu": 1}))
    place.submit(GPU, 1, 2)
    place.submit(None, 3, 4, 5)
    assert place.running() == [1, 3, 4]
    place.finish(3)
    assert place.running() == [1, 4, 5]
    place.finish(1)
    assert place.running() == [2, 4, 5]


def test_who_wants_two_is_not_overtaken_by_who_wants_one() -> None:
    place = Place(4, Stock({"gpu": 2}))
    place.submit(GPU, 1, 2)
    place.submit(GPUS, 3)
    place.submit(GPU, 4)
    place.finish(1)
    assert place.running() == [2], "the free one is held"
    place.finish(2)
    assert place.running() == [3]
    place.finish(3)
    assert place.running() == [4]


def test_what_is_held_on_one_machine_is_free_on_another() -> None:
    place = Place(4, Stock({"gpu": 2}))
    place.submit(GPU, 1, 2)
    place.daemon(9, 2, gpu=1)
    place.submit(GPUS, 3)
    place.submit(GPU, 4, 5)
    assert place.held()[9] == [4]
    place.finish(1)
    assert place.running() == [2, 4]
    place.finish(4)
    assert place.held()[9] == [5]


def test_a_thing_that_is_free_is_taken_as_soon_as_a_worker_is() -> None:
    place = Place(1, Stock({"gpu": 1}))
    place.submit(None, 1)
    place.submit(GPU, 2)
    place.submit(None, 3)
    place.finish(1)
    assert place.running() == [2]


def test_jobs_with_claims_go_where_least_is_in_use() -> None:
    place = Place()
    place.daemon(1, 4, gpu=4)
    place.daemon(2, 4, gpu=2)
    place.submit(GPU, 1, 2, 3)
    assert {node: len(jobs) for node, jobs in place.held().items()} == {1: 2, 2: 1}


def test_a_job_that_waits_at_a_daemon_goes_where_there_is_room() -> None:
    place = Place()
    place.daemon(1, 4, gpu=2)
    place.daemon(2, 4, gpu=2)
    place.submit(GPUS, 1, 2)
    assert place.held() == {1: [1], 2: [2]}
    place.finish(1)
    assert place.actions == [Retract(NodeId(2), [(JobId(2), 1)])]
    place.scheduler.on_returned(NodeId(2), [(JobId(2), 1)])
    place.look()
    assert place.held() == {1: [2]}, "it is tried elsewhere, though there is as much room here"


def test_a_job_that_waits_at_a_daemon_does_not_go_back_to_it() -> None:
    place = Place()
    place.daemon(1, 4, gpu=2)
    place.daemon(2, 4, gpu=2)
    place.submit(GPUS, 1, 2)
    assert place.held() == {1: [1], 2: [2]}
    place.finish(2)
    assert place.actions == [Retract(NodeId(1), [(JobId(1), 1)])]
    place.scheduler.on_returned(NodeId(1), [(JobId(1), 1)])
    place.look()
    assert place.held() == {2: [1]}, "where it was others have what it needs"


def test_a_job_that_waits_at_a_large_daemon_goes_to_a_small_one_that_has_room() -> None:
    place = Place()
    place.daemon(1, 8, gpu=4)
    place.daemon(2, 4, gpu=1)
    place.submit(GPU, 1, 2, 3)
    assert place.held() == {1: [1, 2, 3]}, "what others have there is not known here"
    place.scheduler.on_here()
    place.look()
    assert place.actions == [Retract(NodeId(1), [(JobId(3), 1)])]
    place.scheduler.on_returned(NodeId(1), [(JobId(3), 1)])
    place.look()
    assert place.held() == {1: [1, 2], 2: [3]}


def test_a_job_goes_back_to_where_it_waited_if_there_is_no_room_elsewhere_any_more() -> None:
    place = Place()
    place.daemon(1, 4, gpu=2)
    place.daemon(2, 4, gpu=2)
    place.submit(GPUS, 1, 2)
    place.finish(2)
    place.scheduler.on_node_lost(NodeId(2), "gone")
    place.scheduler.on_returned(NodeId(1), [(JobId(1), 1)])
    place.look()
    assert place.held() == {1: [1]}
    assert not place.scheduler.pools.special[GPUS].left


def test_where_jobs_were_is_not_remembered_for_ever() -> None:
    place = Place()
    place.daemon(1, 4, gpu=4)
    place.daemon(2, 4, gpu=1)
    for job in range(100):
        place.submit(GPU, job)
        place.scheduler.on_here()
        place.look()
        place.finish(job)
    place.submit(GPU, 100)
    assert len(place.scheduler.pools.special[GPU].left) <= 2


def test_a_job_that_waits_everywhere_is_not_moved_for_ever() -> None:
    place = Place()
    for node in (1, 2):
        place.daemon(node, 4, gpu=1)
    place.submit(GPU, 1)
    place.scheduler.on_here()
    place.look()
    for attempt in (1, 2):
        [ask] = place.actions[-1:]
        assert isinstance(ask, Retract) and ask.jobs == [(1, attempt)]
        place.scheduler.on_returned(ask.node, ask.jobs)
        place.look()
    assert [type(it) for it in place.actions] == [Assign]


def test_jobs_that_have_ended_are_not_asked_for_nor_remembered() -> None:
    place = Place()
    place.daemon(1, 4, gpu=4)
    for job in range(100):
        place.submit(GPU, job)
        place.finish(job)
    place.submit(GPU, 100, 101, 102, 103)
    assert len(place.scheduler.pools.special[GPU].sent) < 100
    place.daemon(2, 1, gpu=1)
    assert place.actions == [Retract(NodeId(1), [(JobId(103), 1)])]
    place.finish(102, 103)
    place.scheduler.on_node_lost(NodeId(1), "gone")
    place.look()
    assert sorted(place.held()) == [2]
    place.finish(*place.held()[2])
    assert all(isinstance(it, Assign) for it in place.actions)
    place.scheduler.on_node_draining(NodeId(2))
    place.look()
    assert place.running() and place.scheduler.pools.special[GPU].sent


def test_a_job_that_runs_at_a_daemon_is_asked_for_once() -> None:
    place = Place(1, Stock({"gpu": 1}))
    place.daemon(2, 1, gpu=1)
    place.daemon(3, 1)
    place.submit(GPU, 1, 2)
    place.finish(1)
    assert place.actions == [Retract(NodeId(2), [(JobId(2), 1)])]
    place.scheduler.on_returned(NodeId(2), [], [(JobId(2), 1)])
    place.look()
    assert place.actions == []
    place.submit(None, 3)
    place.finish(3)
    assert place.actions == [], "it has said that it runs"


def test_unfit_jobs_give_back_what_they_had() -> None:
    place = Place()
    place.daemon(1, 2, gpu=1)
    place.submit(GPU, 1)
    place.scheduler.on_unfit(NodeId(1), JobId(1), 1, GPU)
    place.look()
    assert place.held() == {} and place.why(1) == [("d1", "has refused such a job")]
    place.daemon(2, 2, gpu=1)
    assert place.held() == {2: [1]}


def test_several_places_share_one_stock_in_the_order_in_which_they_came() -> None:
    told: list[None] = []
    stock = Stock({"gpu": 1}, lambda: told.append(None))
    one, two = Place(2, stock), Place(2, stock)
    one.submit(GPU, 1, 2, 3)
    two.submit(GPU, 1)
    assert (one.running(), two.running()) == ([1], [])
    assert stock.is_waiting(one.here) and stock.is_waiting(two.here)
    one.finish(1)
    assert told and one.running() == [2], "it was there first"
    assert stock.is_waiting(one.here), "it wants more, and is behind the other now"
    one.finish(2)
    assert one.running() == []
    two.scheduler.on_here()
    two.look()
    assert two.running() == [1]
    two.here.close()
    one.scheduler.on_here()
    one.look()
    assert one.running() == [3]


def test_a_place_that_ends_gives_back_what_its_jobs_had() -> None:
    stock = Stock({"gpu": 2})
    place = Place(2, stock)
    place.submit(GPU, 1)
    place.submit(GPUS, 2)
    place.here.close()
    assert stock.used == {"gpu": 0}


def test_a_place_without_a_number_has_what_its_nodes_have() -> None:
    scheduler = Scheduler(claim_of=claim_of)
    for node in (1, 2):
        scheduler.on_node_joined(NodeId(node), "local", NodeKind.WORKER, 1, 0.001)
    scheduler.on_submit([JobState(JobId(1), 1, need=heavy(2))])
    [action] = scheduler.take_actions()
    assert isinstance(action, Assign)


def test_an_offer_is_told() -> None:
    host = Host(1)
    host.offer({"gpu": 1})
    assert host.lacks(GPU) is None


def test_what_is_claimed_is_counted_by_claim() -> None:
    place = Place(1)
    place.submit(heavy(2), 1, 2)
    place.submit(None, 3)
    place.submit("low", 4)
    assert place.scheduler.pools.claims() == {Claim(2): 2}


needs = st.sampled_from([None, "low", heavy(2), heavy(3), GPU, GPUS, Claim(2, (("gpu", 1),))])


@given(
    st.lists(needs, min_size=1, max_size=30),
    st.lists(st.integers(0, 5), max_size=40),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_everything_that_fits_is_run_and_never_too_much_at_a_time(
    wanted: list[Need], order: list[int], workers: int, gpus: int
) -> None:
    place = Place(workers, Stock({"gpu": gpus}))
    place.daemon(9, 3, gpu=1)
    for job, need in enumerate(wanted):
        place.submit(need, job)
    for pick in [*order, *[0] * len(wanted)]:
        running = place.running()
        if running:
            place.finish(running[pick % len(running)])
        claims = [cast(Need, state.need) for state in place.scheduler.jobs.values() if state.node]
        assert len(claims) <= workers + 3
        assert place.here.busy() <= workers
    left = place.scheduler.jobs.values()
    assert all(len(place.why(job.id)) == workers + 1 for job in left), "what is left fits nowhere"
