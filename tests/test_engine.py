"""The engine: what nodes report goes to the scheduler, what it decides goes to nodes and audience.

Without processes and sockets: links and the audience take notes.
"""

from __future__ import annotations

import gc

import pytest

from ppnext.engine import Engine
from ppnext.sched.actions import Cause
from ppnext.sched.model import JobId, JobState, Limit, NodeKind, Verdict
from ppnext.sched.policy import Policy
from ppnext.wire.messages import Died, Outcome, Returned, Unfit

F = b"f" * 32
G = b"g" * 32


class Definition:
    """A function, whose payload may not be here."""

    is_held, uses = False, ()

    def __init__(self, digest, payload) -> None:
        self.digest, self.payload = digest, payload


class Call:
    """What a job is about."""

    uses, limits = (), None

    def __init__(self, definition, arguments) -> None:
        self.definition, self.arguments = definition, arguments


class FakeLink:
    """Notes what it is asked for."""

    guard = None

    hello = None

    def __init__(self, engine, slots=1, kind=NodeKind.WORKER, name="here", latency=0.001) -> None:
        self.node = engine.new_node()
        self.name, self.kind, self.slots, self.latency = name, kind, slots, latency
        self.asked: list[tuple[object, ...]] = []

    def drop(self, digest):
        self.asked.append(("drop", digest))

    def may_have(self, digest):
        return any(it[:2] == ("define", digest) for it in self.asked)

    def stop(self, job, grace):
        self.asked.append(("stop", job, grace))

    def define(self, definition):
        self.asked.append(("define", definition.digest, definition.payload))

    def run(self, jobs):
        for job in jobs:
            definition = job.call.definition
            known = any(it[:2] == ("define", definition.digest) for it in self.asked)
            if definition.payload is not None and not known:
                self.define(definition)
            self.asked.append(("run", job.id, job.attempt, job.call.arguments))

    def retract(self, jobs):
        self.asked.append(("retract", tuple(jobs)))

    def close(self, reason):
        self.asked.append(("close", reason))

    @property
    def runs(self):
        return [it[1] for it in self.asked if it[0] == "run"]


class Audience:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def __getattr__(self, name):
        return lambda *arguments: self.told.append((name, *arguments))

    def jobs_started(self, jobs, link):
        self.told += [("job_started", job.id, job.attempt, link) for job in jobs]

    def jobs_finished(self, jobs, link):
        self.told += [("job_finished", it.job.id, it.outcome, it.payload, link) for it in jobs]

    def job_ended(self, job, cause, mishaps):
        self.told.append(("job_ended", job.id, cause, mishaps))

    def of(self, name):
        return [it[1:] for it in self.told if it[0] == name]


@pytest.fixture
def audience() -> Audience:
    """Who is told."""
    return Audience()


@pytest.fixture
def engine(audience) -> Engine:
    """An engine without nodes."""
    return Engine(audience)


@pytest.fixture
def link(engine) -> FakeLink:
    """A worker that has joined."""
    link = FakeLink(engine)
    engine.on_joined(link)
    return link


FUNCTIONS = {digest: Definition(digest, b"code of " + digest[:1]) for digest in (F, G)}


def made(job, function, once=False) -> JobState:
    return JobState(JobId(job), Call(function, b"arguments %d" % job), once)


def submit(engine, job, digest=F, once=False):
    function = FUNCTIONS.get(digest) or Definition(digest, b"code of " + digest[:1])
    engine.submit([made(job, function, once)])


def submit_unknown(engine, job):
    """As a daemon does with a function that it has not been sent."""
    engine.submit([made(job, engine.definition(G))])


def result(job, attempt=1, raised=False, size=0):
    return Outcome(job, attempt, size, raised, 0.1)


def report(engine, link, outcome, payload=b""):
    engine.on_results(link, [outcome], [payload])


def test_follow_one_job(engine, audience, link):
    submit(engine, 1)
    assert link.asked == [("define", F, b"code of f"), ("run", 1, 1, b"arguments 1")]
    assert audience.of("job_started") == [(1, 1, link)]
    assert engine.state_of(1).attempt == 1 and engine.unfinished == 1
    report(engine, link, result(1), b"pickle")
    assert audience.of("job_finished") == [(1, result(1), b"pickle", link)]
    assert engine.state_of(1) is None and engine.unfinished == 0


def test_a_function_is_sent_once_to_each_node(engine, link):
    for job in (1, 2):
        submit(engine, job)
        report(engine, link, result(job))
    assert [it for it in link.asked if it[0] == "define"] == [("define", F, b"code of f")]
    other = FakeLink(engine)
    engine.on_joined(other)
    submit(engine, 3)
    assert ("define", F, b"code of f") in link.asked + other.asked


def test_jobs_wait_for_a_node(engine, audience):
    for job in range(3):
        submit(engine, job)
    assert (engine.waiting_before(99), engine.waiting_before(2)) == (3, 2)
    link = FakeLink(engine, slots=2)
    engine.on_joined(link)
    assert link.runs == [0, 1] and engine.waiting_before(99) == 1
    report(engine, link, result(1))
    assert 2 in link.runs


def test_a_node_that_has_forgotten_a_function_gets_it_again(engine, audience, link):
    submit(engine, 1)
    link.asked.clear()
    engine.on_need(link, F)
    assert link.asked == [("define", F, b"code of f")]
    assert audience.of("need") == []


def test_a_function_that_has_to_be_fetched_goes_to_all_who_wait(engine, audience):
    links = [FakeLink(engine) for _ in range(2)]
    for job, link in enumerate(links):
        engine.on_joined(link)
        submit_unknown(engine, job)
    for link in links:
        assert link.asked[-1][0] == "run"
        engine.on_need(link, G)
    assert audience.of("need")[0] == (G,)
    engine.provide(G, b"code")
    assert all(link.asked[-1] == ("define", G, b"code") for link in links)


def test_who_waits_for_what_nobody_has_is_told_once(engine, audience):
    links = [FakeLink(engine) for _ in range(3)]
    for job, link in enumerate(links):
        engine.on_joined(link)
        submit_unknown(engine, job)
    for link in links[:2]:
        engine.on_need(link, G)
    for _ in range(2):
        engine.drop(G)
    assert [link.asked.count(("drop", G)) for link in links] == [1, 1, 0]


def test_a_fetched_function_does_not_go_to_a_node_that_is_gone(engine, link):
    submit_unknown(engine, 1)
    engine.on_need(link, G)
    engine.on_lost(link, "killed", None)
    link.asked.clear()
    engine.provide(G, b"code")
    assert link.asked == []


def test_a_lost_worker_is_blamed_and_its_job_runs_again(engine, audience, link):
    submit(engine, 1)
    other = FakeLink(engine)
    engine.on_joined(other)
    engine.on_lost(link, "killed", None)
    assert audience.of("job_lost") == [(link,)]
    assert audience.of("node_gone") == [(link, "killed")]
    assert other.asked[-1] == ("run", 1, 2, b"arguments 1")
    assert engine.rescheduled == 1
    [mishap] = engine.state_of(1).mishaps
    assert (mishap.node, mishap.cause, mishap.blamed) == ("here", "killed", True)


def test_a_poisoned_job_ends_with_its_story(engine, audience):
    submit(engine, 1)
    for _ in range(3):
        link = FakeLink(engine)
        engine.on_joined(link)
        engine.on_lost(link, "killed", None)
    [(job, cause, mishaps)] = audience.of("job_ended")
    assert (job, cause, len(mishaps)) == (1, Cause.POISONED, 3)
    assert engine.state_of(1) is None


def test_a_job_that_may_run_only_once_ends_with_its_node(engine, audience):
    link = FakeLink(engine, kind=NodeKind.DAEMON)
    engine.on_joined(link)
    submit(engine, 1, once=True)
    engine.on_lost(link, "cut off", None)
    [(job, cause, _)] = audience.of("job_ended")
    assert (job, cause) == (1, Cause.NODE_LOST)


def test_a_death_behind_a_daemon_is_told_and_the_job_runs_again(engine, audience):
    link = FakeLink(engine, slots=2, kind=NodeKind.DAEMON)
    engine.on_joined(link)
    submit(engine, 1)
    engine.on_died(link, Died(1, 1, "killed"))
    assert audience.of("job_lost") == [(link,)]
    assert link.asked[-1] == ("run", 1, 2, b"arguments 1")


@pytest.mark.parametrize("late", [result(1, 1), result(1, 3), result(99)])
def test_results_of_other_attempts_are_dropped(engine, audience, link, late):
    submit(engine, 1)
    other = FakeLink(engine)
    engine.on_joined(other)
    engine.on_lost(link, "killed", None)
    report(engine, other, late, b"late")
    assert audience.of("job_finished") == []
    report(engine, other, result(1, 2), b"wanted")
    assert audience.of("job_finished") == [(1, result(1, 2), b"wanted", other)]


def test_a_result_that_comes_twice_counts_once(engine, audience, link):
    submit(engine, 1)
    for _ in range(2):
        report(engine, link, result(1))
    assert len(audience.of("job_finished")) == 1


def test_a_cancelled_job_that_waits_is_forgotten(engine, audience):
    submit(engine, 1)
    engine.cancel(1, 0.0)
    assert engine.unfinished == 0
    link = FakeLink(engine)
    engine.on_joined(link)
    assert link.runs == []


def test_nobody_hears_of_a_job_that_was_cancelled_while_it_ran(engine, audience, link):
    submit(engine, 1)
    engine.cancel(1, 0.0)
    assert ("retract", ((1, 1),)) in link.asked
    engine.on_returned(link, Returned([], [(1, 1)]))
    assert ("stop", (1, 1), 0.0) in link.asked
    report(engine, link, result(1))
    assert audience.of("job_finished") == [] and engine.unfinished == 0
    submit(engine, 2)
    assert link.runs == [1, 2]


def test_jobs_are_withdrawn_or_kept_and_each_is_answered(engine, audience, link):
    for job in (1, 2):
        submit(engine, job)
    engine.withdraw([1, 2, 99])
    engine.on_returned(link, Returned([], [(1, 1)]))
    assert sorted(audience.of("job_withdrawn")) == [(1, False), (2, True), (99, False)]
    assert engine.state_of(2) is None and engine.state_of(1) is not None


def test_a_job_that_runs_is_stopped_and_one_that_does_not_is_given_back(engine, audience, link):
    for job in (1, 2):
        submit(engine, job)
    engine.stop(1, 0.5)  # nobody has said that it runs
    assert ("stop", (1, 1), 0.5) not in link.asked and audience.of("job_withdrawn") == []
    engine.on_returned(link, Returned([], [(1, 1)]))
    engine.stop(1, 0.5)
    assert ("stop", (1, 1), 0.5) in link.asked
    engine.stop(2, 0.5)
    engine.stop(99, 0.5)
    assert audience.of("job_withdrawn") == [(1, False), (2, True)]


def test_a_job_of_which_it_was_not_known_that_it_runs_is_stopped_all_the_same(
    engine, audience, link
) -> None:
    """Whoever wants it stopped was told that it is kept before it had come."""
    submit(engine, 1)
    engine.stop(1, 2.5)
    engine.on_returned(link, Returned([], [(1, 1)]))
    assert link.asked[-1] == ("stop", (1, 1), 2.5)
    assert audience.of("job_withdrawn") == [(1, False)]
    report(engine, link, result(1))
    submit(engine, 2)
    engine.stop(2, 2.5)
    report(engine, link, result(2))  # before the answer: nothing is left to be stopped
    assert ("stop", (2, 1), 2.5) not in link.asked


class Guard:
    """What knows which job a worker has begun."""

    def begun(self, held, asked):
        return [job for job in asked if job[0] == next(iter(held), None)]


def test_a_worker_that_does_not_say_what_it_has_begun_is_not_waited_for(engine, audience, link):
    submit(engine, 1)
    engine.withdraw([1])
    engine.on_unanswered(link, [(1, 1)])  # a daemon that does not answer is gone soon
    assert audience.of("job_withdrawn") == []
    link.guard = Guard()
    engine.on_unanswered(link, [(1, 1)])
    assert audience.of("job_withdrawn") == [(1, False)]
    engine.stop(1, 2.5)
    assert link.asked[-1] == ("stop", (1, 1), 2.5)
    engine.on_returned(link, Returned([(1, 1)], []))  # it had not, in truth
    assert link.runs == [1, 1]
    engine.on_lost(link, "it is gone", None)
    engine.on_unanswered(link, [(1, 1)])  # too late


def test_a_job_that_has_been_asked_for_already_is_stopped_if_it_is_kept(engine, audience, link):
    submit(engine, 1)
    engine.withdraw([1])
    engine.stop(1, 2.5)
    assert audience.of("job_withdrawn") == []  # the answer to what was asked first is to come
    engine.on_returned(link, Returned([], [(1, 1)]))
    assert link.asked[-1] == ("stop", (1, 1), 2.5)
    assert audience.of("job_withdrawn") == [(1, False)]


def test_a_job_that_went_beyond_a_limit_ends_with_the_verdict(engine, audience, link):
    submit(engine, 1)
    engine.on_died(link, Died(1, 1, "too slow", "TIMEOUT", "  File", 7))
    [(job, cause, mishaps)] = audience.of("job_ended")
    assert (job, cause) == (1, Cause.LIMIT)
    assert mishaps[-1].verdict == Verdict(Limit.TIMEOUT, "too slow", "  File", 7)
    assert audience.of("job_lost") == []


def test_a_draining_node_is_let_go_when_it_is_empty(engine, audience, link):
    submit(engine, 1)
    engine.on_draining(link)
    assert engine.links
    submit(engine, 2)
    report(engine, link, result(1))
    assert link.asked[-1] == ("close", "not needed any more")
    assert audience.of("node_gone") == [(link, None)]
    assert engine.links == {} and link.runs == [1] and engine.waiting_before(99) == 1


def test_a_node_that_grows_gets_more_at_once(engine, audience):
    link = FakeLink(engine, slots=1, kind=NodeKind.DAEMON)
    engine.on_joined(link)
    for job in range(3):
        submit(engine, job)
    link.slots = 3
    engine.on_resized(link)
    assert link.runs == [0, 1, 2]
    assert audience.of("node_resized") == [(link,)]


def test_what_a_lost_node_still_reports_is_of_no_interest(engine, audience, link):
    engine.on_lost(link, "killed", None)
    audience.told.clear()
    engine.on_lost(link, "again", None)
    engine.on_resized(link)
    engine.on_draining(link)
    assert audience.told == []


def test_a_job_submitted_by_the_audience_while_it_is_told_is_run(audience):
    class Eager(Audience):
        def jobs_finished(self, jobs, link):
            for it in jobs:
                if it.job.id < 3:
                    submit(engine, it.job.id + 1)

    engine = Engine(Eager())
    link = FakeLink(engine)
    engine.on_joined(link)
    submit(engine, 1)
    for job in (1, 2, 3):
        report(engine, link, result(job))
    assert link.runs == [1, 2, 3] and engine.unfinished == 0


def test_functions_that_nobody_calls_are_kept_for_a_while_and_not_for_ever(audience):
    engine = Engine(audience, Policy())
    link = FakeLink(engine)
    engine.on_joined(link)
    digests = [number.to_bytes(32, "big") for number in range(400)]
    for job, digest in enumerate(digests):
        submit(engine, job, digest)
        report(engine, link, result(job))
    link.asked.clear()
    for digest in (digests[0], digests[-1]):
        engine.on_need(link, digest)
    assert [it[1] for it in link.asked] == [digests[-1]]
    assert audience.of("need") == [(digests[0],)]


def held(engine):
    """The functions that the engine holds, whoever else does."""
    gc.collect()
    return dict(engine._definitions._known)


def test_functions_that_no_job_calls_are_bounded_in_bytes(engine):
    for number in range(100):
        engine.provide(number.to_bytes(32, "big"), bytes(1 << 20))
    kept = held(engine)
    assert sum(len(it.payload) for it in kept.values()) <= 65 << 20
    assert (99).to_bytes(32, "big") in kept


def test_a_function_larger_than_all_that_is_kept_stays_until_the_next(engine):
    engine.provide(F, bytes(65 << 20))
    assert set(held(engine)) == {F}
    engine.provide(G, b"code")
    assert set(held(engine)) == {G}


def test_a_function_given_again_is_kept_once(engine):
    for _ in range(1000):
        engine.provide(F, bytes(1 << 20))
    assert len(engine._definitions._recent) == 1


def test_a_function_is_kept_while_a_job_calls_it(engine, link):
    submit_unknown(engine, 1)
    engine.provide(G, b"code")
    engine.clear()
    assert engine.definition(G).payload == b"code"
    report(engine, link, result(1))
    assert engine._definitions._newest is None or held(engine).keys() <= {G}


def test_of_equal_functions_any_that_has_its_payload_will_do(engine, link):
    # The same function shipped twice: the newer one is registered, the older one still in use.
    first, second = Definition(F, b"code"), Definition(F, None)
    engine.submit([made(1, first)])
    engine.submit([made(2, second)])
    link.asked.clear()
    engine.on_need(link, F)
    assert link.asked == [("define", F, b"code")]


def test_a_cleared_engine_holds_nothing(engine, link):
    submit_unknown(engine, 1)
    engine.on_need(link, G)
    engine.provide(F, b"code")
    engine.clear()
    report(engine, link, result(1))
    kept = engine._definitions
    assert not kept._recent and not engine._missing and not kept._recent_size
    assert F not in held(engine)


# Together.


def test_jobs_that_come_together_leave_together(audience):
    engine = Engine(audience)
    asked = []

    class Link(FakeLink):
        def run(self, jobs):
            asked.append([job.id for job in jobs])

    engine.on_joined(Link(engine, slots=4, kind=NodeKind.DAEMON))
    engine.submit([made(job, FUNCTIONS[F]) for job in range(4)])
    assert asked == [[0, 1, 2, 3]]
    assert [it[0] for it in audience.of("job_started")] == [0, 1, 2, 3]


def test_results_that_come_together_are_told_together_after_the_next_jobs_left(audience):
    engine = Engine(audience)
    link = FakeLink(engine, slots=2, kind=NodeKind.DAEMON)
    engine.on_joined(link)
    seen = []
    audience.jobs_finished = lambda jobs, link: seen.append(
        ([it.job.id for it in jobs], len(link.runs))
    )
    engine.submit([made(job, FUNCTIONS[F]) for job in range(40)])
    ran = len(link.runs)
    engine.on_results(link, [result(0), result(99), result(1)], [b"a", b"late", b"b"])
    assert seen == [([0, 1], len(link.runs))]
    assert len(link.runs) > ran


def test_none_of_the_results_is_wanted(engine, audience, link):
    engine.on_results(link, [result(7), result(8)], [b"", b""])
    assert audience.of("job_finished") == []


def test_the_job_that_was_started_last_is_blamed_and_no_other(engine, audience, link):
    for job in (1, 2):
        submit(engine, job, once=job == 2)
    assert link.runs == [1]
    other = FakeLink(engine)
    engine.on_joined(other)
    engine.on_lost(link, "killed", 1)
    [mishap] = engine.state_of(1).mishaps
    assert mishap.blamed
    assert engine.state_of(2).mishaps == ()


def test_a_node_that_is_lost_while_jobs_leave_for_it_gets_none(audience):
    engine = Engine(audience)

    class Fragile(FakeLink):
        def run(self, jobs):
            super().run(jobs)
            engine.on_lost(self, "cut off", None)

    for _ in range(2):
        engine.on_joined(Fragile(engine, kind=NodeKind.DAEMON))
    engine.submit([made(job, FUNCTIONS[F]) for job in range(4)])
    assert engine.links == {} and engine.unfinished == 4
    link = FakeLink(engine, slots=4, kind=NodeKind.DAEMON)
    engine.on_joined(link)
    assert sorted(link.runs) == [0, 1, 2, 3]


# Jobs that a node cannot run.


def test_a_job_that_a_node_cannot_run_goes_where_its_need_is_met(audience):
    engine = Engine(audience, None, lambda need, facts: None if need == facts else "is another")
    facts = iter(["old", "new"])
    audience.facts_of = lambda link: next(facts)
    audience.job_unfit = lambda job, link, unfit: "new"
    first = FakeLink(engine, kind=NodeKind.DAEMON)
    engine.on_joined(first)
    engine.submit([made(1, FUNCTIONS[F])])
    engine.on_unfit(first, Unfit(1, 1, "too new"))
    assert engine.why_not(1) == [(first.name, "is another")]
    second = FakeLink(engine, kind=NodeKind.DAEMON)
    engine.on_joined(second)
    assert second.runs == [1]


def test_who_takes_it_off_the_engine_is_the_only_one_who_is_told(audience):
    engine = Engine(audience)
    link = FakeLink(engine)
    engine.on_joined(link)
    engine.submit([made(1, FUNCTIONS[F])])
    engine.on_unfit(link, Unfit(1, 1, "too new"))
    assert engine.unfinished == 0
    assert [it[0].id for it in audience.of("job_unfit")] == [1]
    assert audience.of("job_finished") == audience.of("job_ended") == []


@pytest.mark.parametrize("unfit", [Unfit(1, 2, "late"), Unfit(9, 1, "unknown")])
def test_a_refusal_that_comes_too_late_changes_nothing(audience, unfit):
    engine = Engine(audience)
    link = FakeLink(engine)
    engine.on_joined(link)
    engine.submit([made(1, FUNCTIONS[F])])
    engine.on_unfit(link, unfit)
    assert engine.unfinished == 1 and audience.of("job_unfit") == []
