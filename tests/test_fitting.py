"""Fitting: nodes are asked what they have, and jobs go where they fit.

The engine and the scheduler are real; links take notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

import pytest
from msgspec.structs import replace

from ppnext.engine import Engine
from ppnext.fitting import Fitting, claim_of, why_not
from ppnext.needs import Need
from ppnext.sched.model import JobId, JobState, NodeKind
from ppnext.terms import Terms
from ppnext.wire.messages import PROTOCOL, Hello, Limits, Unfit


class Definition:
    """A function."""

    is_held, uses, payload = False, (), b"code"
    python: str | None = None
    without: frozenset[str] = frozenset()

    def __init__(self, digest: bytes = b"f" * 32, python: str | None = None) -> None:
        self.digest, self.python = digest, python


class Job:
    """What a client's job is to the engine."""

    uses, arguments, limits = (), b"", None

    def __init__(self, tid: int, definition: Definition, requires: tuple[str, ...] = ()) -> None:
        self.tid, self.definition, self.terms = tid, definition, Terms(requires=requires)


def know(stage: Stage, requires: tuple[str, ...]) -> tuple[str, ...]:
    """Have the fitting know what this process has of what is required."""
    stage.fitting.know(requires)
    return requires


class Link:
    """A node that notes what it is asked and sent."""

    def __init__(self, stage: Stage, python: str, kind: NodeKind, protocol: int = PROTOCOL) -> None:
        self.node = stage.engine.new_node()
        self.kind, self.slots, self.latency, self.name = kind, 8, 0.001, f"node{self.node}"
        self.hello = Hello(protocol, "0", python, self.name, 1, 8)
        self.asked: list[list[str]] = []
        self.sent: list[int] = []

    def ask(self, distributions: Sequence[str]) -> None:
        self.asked.append(list(distributions))

    def run(self, jobs: Sequence[JobState]) -> None:
        self.sent += [job.id for job in jobs]

    def retract(self, jobs: Sequence[object]) -> None:
        """It has started them all."""

    def close(self, reason: str) -> None:
        """It is let go."""


class Stage:
    """An engine whose audience is a fitting, as a client is."""

    def __init__(self) -> None:
        self.engine = Engine(self, None, why_not, None, claim_of)  # type: ignore[arg-type]  # a fake audience
        self.fitting = Fitting(self.engine)
        self.fitting.has_network = True

    def __getattr__(self, name: str) -> Any:
        if name in ("jobs_started", "jobs_finished", "node_resized"):
            return lambda *rest: None
        raise AttributeError(name)

    def facts_of(self, link: Any) -> object:
        return self.fitting.facts_of(link)

    def node_joined(self, link: Any) -> None:
        self.fitting.joined(link)

    def told(self, link: Any, versions: dict[str, str]) -> None:
        self.fitting.told(link, versions)

    def job_unfit(self, job: JobState, link: Any, unfit: Unfit) -> object:
        return self.fitting.refused(job.call, link, unfit.arguments)  # type: ignore[arg-type]  # a fake

    def node_gone(self, link: Any, cause: str | None) -> None:
        self.fitting.gone(link)

    def join(
        self,
        python: str,
        kind: NodeKind = NodeKind.DAEMON,
        protocol: int = PROTOCOL,
        offers: tuple[tuple[str, int], ...] = (),
    ) -> Link:
        link = Link(self, python, kind, protocol)
        link.hello = replace(link.hello, offers=offers)
        self.engine.on_joined(link)  # type: ignore[arg-type]  # a fake
        return link

    def submit(self, *jobs: Job) -> None:
        need = self.fitting.need_of
        states = [JobState(JobId(it.tid), it, False, need(it)) for it in jobs]  # type: ignore[arg-type]  # fakes
        self.engine.submit(states)

    def tell(self, link: Link, **versions: str) -> None:
        self.engine.on_facts(link, versions)  # type: ignore[arg-type]  # a fake


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_job_without_needs_goes_anywhere_and_nobody_is_asked(stage: Stage) -> None:
    node = stage.join("3.12.1")
    stage.submit(Job(1, Definition()))
    assert node.sent == [1] and node.asked == []


def test_by_value_only_to_the_same_minor_version(stage: Stage) -> None:
    other, same = stage.join("3.12.1"), stage.join("3.11.9")
    stage.submit(Job(1, Definition(python="3.11")))
    assert (other.sent, same.sent) == ([], [1])


def test_without_ppservers_all_have_the_same_python(stage: Stage) -> None:
    job = Job(1, Definition(python="3.11"))
    assert stage.fitting.need_of(job) == Need("3.11")  # type: ignore[arg-type]  # a fake
    stage.fitting.has_network = False
    assert stage.fitting.need_of(job) is None  # type: ignore[arg-type]  # a fake


def test_nodes_are_asked_once_and_jobs_wait_for_the_answer(stage: Stage) -> None:
    node = stage.join("3.12.1")
    requires = know(stage, ("no-such-thing>=2", "python>=3.11"))
    stage.submit(Job(1, Definition(), requires), Job(2, Definition(), requires))
    assert node.asked == [["no-such-thing"]] and node.sent == []
    assert "has not said yet" in stage.engine.why_not(1)[0][1]
    stage.tell(node, **{"no-such-thing": "2.1"})
    assert sorted(node.sent) == [1, 2]
    late = stage.join("3.12.1")
    assert late.asked == [["no-such-thing"]]


def test_a_node_without_it_says_so_in_the_status(stage: Stage) -> None:
    node = stage.join("3.12.1")
    stage.submit(Job(1, Definition(), know(stage, ("no-such-thing",))))
    stage.tell(node, **{"no-such-thing": ""})
    assert stage.engine.why_not(1) == [(node.name, "has no no-such-thing")]


def test_an_older_node_gets_no_jobs_that_have_limits(stage: Stage) -> None:
    old = stage.join("3.12.1", protocol=2)
    job = Job(1, Definition())
    job.terms = Terms(limits=Limits(timeout=1.0))
    stage.submit(job)
    assert "older ppnext" in stage.engine.why_not(1)[0][1]
    new = stage.join("3.12.1")
    assert (old.sent, new.sent) == ([], [1])


def test_a_job_goes_where_there_is_what_it_claims(stage: Stage) -> None:
    old = stage.join("3.12.1", protocol=2)
    without, having = stage.join("3.12.1"), stage.join("3.12.1", offers=(("gpu", 1),))
    job = Job(1, Definition())
    job.terms = Terms(limits=Limits(threads=2, resources=(("gpu", 1),)))
    stage.submit(job)
    assert (old.sent, without.sent, having.sent) == ([], [], [1])
    assert dict(stage.engine.why_not(1)) == {
        old.name: "has an older ppnext, which does not know of threads and resources of jobs",
        without.name: "offers no gpu",
    }
    job = Job(2, Definition())
    job.terms = Terms(limits=Limits(threads=9))
    stage.submit(job)
    assert dict(stage.engine.why_not(2))[having.name] == "has 8 slots, not 9"


def test_a_job_goes_to_the_node_that_it_names(stage: Stage) -> None:
    first, second = stage.join("3.12.1"), stage.join("3.12.1")
    job = Job(1, Definition())
    job.terms = Terms(node=second.name)
    stage.submit(job)
    assert (first.sent, second.sent) == ([], [1])


def test_workers_of_this_machine_have_what_this_process_has(stage: Stage) -> None:
    worker = stage.join("3.11.1", NodeKind.WORKER)
    stage.submit(Job(1, Definition(), know(stage, ("msgspec",))))
    assert worker.sent == [1] and worker.asked == []
    stage.submit(Job(2, Definition(), know(stage, ("no-such-thing",))))
    assert stage.engine.why_not(2) == [(worker.name, "has no no-such-thing")]


def test_an_installed_function_is_the_same_everywhere(stage: Stage) -> None:
    here, module = metadata.version("msgspec"), "msgspec.json"
    stage.fitting.has_network = False
    assert stage.fitting.as_here((), module) == ()  # there are no others
    stage.fitting.has_network = True
    requires = stage.fitting.as_here((), module)
    assert requires == (f"msgspec==={here}",)
    assert stage.fitting.as_here(("msgspec>=0",), module) == ("msgspec>=0",)
    assert stage.fitting.as_here((), "no_such_module") == ()  # nobody has installed it
    worker = stage.join("3.11.1", NodeKind.WORKER)
    same, other = stage.join("3.11.1"), stage.join("3.11.1")
    stage.submit(*(Job(number, Definition(), requires) for number in range(40)))
    stage.tell(other, msgspec="0.0.1")
    stage.tell(same, msgspec=here)
    assert worker.sent and same.sent and not other.sent


def test_a_refused_function_is_not_tried_again_on_such_a_python(stage: Stage) -> None:
    old = stage.join("3.10.2")
    definition = Definition()
    stage.submit(*(Job(number, definition) for number in range(4)))
    stage.engine.on_unfit(old, Unfit(old.sent[0], 1, "too new"))  # type: ignore[arg-type]  # a fake
    assert definition.without == {"3.10"}
    assert "Python 3.10.2, which does not know" in stage.engine.why_not(old.sent[0])[0][1]
    new = stage.join("3.13.0")
    assert old.sent[0] in new.sent
    stage.submit(Job(9, definition))
    assert 9 in new.sent and 9 not in old.sent


def test_refused_arguments_are_the_matter_of_their_job_alone(stage: Stage) -> None:
    old = stage.join("3.10.2")
    definition = Definition()
    stage.submit(Job(1, definition))
    stage.engine.on_unfit(old, Unfit(1, 1, "too new", True))  # type: ignore[arg-type]  # a fake
    assert definition.without == frozenset()
    stage.submit(Job(2, definition))
    assert old.sent == [1, 2]
    new = stage.join("3.13.0")
    assert new.sent == [1]
