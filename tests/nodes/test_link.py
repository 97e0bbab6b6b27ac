"""A link: what a node says becomes the owner's events; what the owner asks becomes messages."""

from __future__ import annotations

import pytest

from ppnext.errors import ProtocolError
from ppnext.nodes.link import Link
from ppnext.runtime.memfd import has_memfds
from ppnext.runtime.sharing import WORTH_SHARING, Shared, Sharing
from ppnext.sched.model import JobId, JobState, NodeId, NodeKind
from ppnext.wire.connection import Received
from ppnext.wire.frames import CHUNK_LIMIT
from ppnext.wire.messages import (
    BATCH_LIMIT,
    OLDEST,
    PROTOCOL,
    Define,
    Died,
    Facts,
    Hello,
    Need,
    Offer,
    Outcome,
    Result,
    Retract,
    Returned,
    Run,
    Seek,
    Setup,
    Start,
    Stop,
    Unfit,
)
from ppnext.wire.payloads import Block, Payload
from tests.descriptors import open_descriptors

HELLO = Hello(PROTOCOL, "0", "3.12.0", "node1", 77, 2)
DIGEST = b"d" * 32


class Definition:
    """A function, whose payload may not be here."""

    is_held, uses = False, ()

    def __init__(self, digest: bytes = DIGEST, payload: Payload | None = b"function") -> None:
        self.digest, self.payload = digest, payload


class Call:
    """What a job is about."""

    uses, limits = (), None

    def __init__(self, definition: Definition, arguments: Payload = b"") -> None:
        self.definition, self.arguments = definition, arguments


def job(number, call, attempt=1, once=False) -> JobState:
    """A job that has just been given to the node."""
    state = JobState(JobId(number), call, once)
    state.attempt = attempt
    return state


def result(*jobs, size=0, output=0) -> Result:
    """These jobs have ended."""
    return Result([Outcome(number, 1, size, False, 0.5, output) for number in jobs])


class Wire:
    """Stands for a stream."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.closed = ""

    def send(self, message, payloads=()):
        self.sent.append((message, *payloads))

    def say_bye(self, reason):
        self.closed = reason

    def close(self):
        self.closed = "cut"


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def __getattr__(self, name):
        return lambda link, *rest: self.told.append((name, *rest))


class Stage:
    """A link with its surroundings."""

    def __init__(self, one_stream=False) -> None:
        self.owner, self.jobs = Owner(), Wire()
        self.control = self.jobs if one_stream else Wire()
        self.closed: list[Link] = []
        self.link = Link(NodeId(3), "node1", NodeKind.DAEMON, self.owner, 0.001, self.closed.append)
        self.link.attach(self.jobs, self.control)

    def hear(self, message, payload=b""):
        self.link.on_messages([Received(message, payload)])


@pytest.fixture
def stage() -> Stage:
    """A link that has not heard anything."""
    return Stage()


@pytest.fixture
def joined(stage) -> Stage:
    """A link whose node has said Hello."""
    stage.hear(HELLO)
    stage.owner.told.clear()
    return stage


def test_hello_makes_it_a_node(stage):
    stage.hear(HELLO)
    assert stage.owner.told == [("on_joined",)]
    assert stage.link.hello == HELLO and stage.link.slots == 2


@pytest.mark.parametrize(
    ("message", "payload", "told"),
    [
        (
            result(1, size=8, output=2),
            b"pickleok",
            ("on_results", result(1, size=8, output=2).outcomes, [b"pickleok"]),
        ),
        (Need(DIGEST), b"", ("on_need", DIGEST)),
        (Returned([(1, 1)], [(2, 1)]), b"", ("on_returned", Returned([(1, 1)], [(2, 1)]))),
        (Died(1, 1, "killed"), b"", ("on_died", Died(1, 1, "killed"))),
        (Offer(5), b"", ("on_resized",)),
        (Unfit(1, 1, "too new"), b"", ("on_unfit", Unfit(1, 1, "too new"))),
        (Facts({"numpy": "2.0"}), b"", ("on_facts", {"numpy": "2.0"})),
        (Seek("helpers"), b"", ("on_seek", "helpers")),
    ],
)
def test_what_a_node_says_is_told(joined, message, payload, told):
    joined.hear(message, payload)
    assert joined.owner.told == [told]


def test_results_that_stand_together_are_told_together(joined):
    joined.link.held = 5
    joined.link.on_messages(
        [
            Received(result(1, 2, size=1), b"ab"),
            Received(result(3, size=3), b"cde"),
            Received(Need(DIGEST), b""),
            Received(result(4), b""),
        ]
    )
    assert joined.owner.told == [
        ("on_results", [*result(1, 2, size=1).outcomes, *result(3, size=3).outcomes],
         [b"a", b"b", b"cde"]),
        ("on_need", DIGEST),
        ("on_results", result(4).outcomes, [b""]),
    ]  # fmt: skip
    assert joined.link.held == 1


def test_a_large_result_is_told_as_it_came(joined):
    block = Block(CHUNK_LIMIT + 1)
    joined.hear(result(1, size=CHUNK_LIMIT + 1), block)
    assert joined.owner.told[0][2] == [block]


def test_what_the_node_holds_is_counted(joined):
    call = Call(Definition())
    joined.link.run([job(number, call) for number in range(4)])
    assert joined.link.held == 4
    joined.hear(result(0))
    joined.hear(Returned([(1, 1)], [(2, 1)]))
    joined.hear(Died(2, 1, "killed"))
    assert joined.link.held == 1


def test_an_owner_that_closes_the_link_hears_no_more_of_it(stage):
    def close(link, *rest):
        stage.owner.told.append(("on_results",))
        link.close("enough")

    stage.owner.on_results = close
    stage.link.on_messages(
        [
            Received(HELLO, b""),
            Received(result(1), b""),
            Received(Offer(1), b""),
            Received(result(2), b""),
        ]
    )
    assert stage.owner.told == [("on_joined",), ("on_results",)]


def test_an_offer_changes_the_slots(joined):
    joined.hear(Offer(5))
    assert joined.link.slots == 5


@pytest.mark.parametrize(
    "message",
    [HELLO, Run(DIGEST, [Start(1, 1, 0)]), Define(DIGEST), Retract([(1, 1)]), Setup("n", [], 5)],
)
def test_what_a_node_may_not_say_breaks_the_protocol(joined, message):
    with pytest.raises(ProtocolError, match="node1 said"):
        joined.hear(message)
    assert joined.owner.told == []


def test_nothing_is_said_before_hello(stage):
    with pytest.raises(ProtocolError, match="said Offer before Hello"):
        stage.hear(Offer(1))
    with pytest.raises(ProtocolError, match="said Result before Hello"):
        stage.hear(result(1))


def test_a_node_that_is_too_old_is_refused_and_the_versions_are_named(stage):
    with pytest.raises(ProtocolError, match=r"node1 \(ppnext 0\.0\) speaks version 1 .* 2 to 3"):
        stage.hear(Hello(OLDEST - 1, "0.0", "3.12.0", "node1", 77, 2))
    assert stage.owner.told == []


@pytest.mark.parametrize("protocol", [OLDEST, PROTOCOL, PROTOCOL + 1])
def test_a_node_one_release_older_or_newer_is_told_what_it_knows(stage, protocol):
    stage.hear(Hello(protocol, "9.9", "3.12.0", "node1", 77, 2))
    assert stage.owner.told == [("on_joined",)]
    stage.link.ask(["numpy"])
    stage.link.run([job(1, Call(Definition()))])
    stage.link.stop((1, 1), 0.5)
    assert len(stage.jobs.sent) == 3  # and the function and the job, in any case
    assert stage.control.sent == ([(Stop(1, 1, 0.5),)] if protocol >= 3 else [])


def test_a_result_is_at_least_as_long_as_its_output(joined):
    with pytest.raises(ProtocolError, match="shorter than its output"):
        joined.hear(result(1, size=5, output=10), b"short")
    assert joined.owner.told == []


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        (result(1, size=4), b"short"),
        (result(1, size=6), b"short"),
        (result(1, 2, size=2), b"short"),
        (result(1, 2, size=2**62), b"short"),
        (result(1), b"short"),
        (result(1, size=1), b""),
        (result(1, 2, size=CHUNK_LIMIT), Block(2 * CHUNK_LIMIT)),
    ],
)
def test_sizes_that_do_not_add_up_break_the_protocol(joined, message, payload):
    with pytest.raises(ProtocolError):
        joined.hear(message, payload)
    assert joined.owner.told == []


# What is sent.


def test_a_function_is_sent_once_before_the_first_job_that_calls_it(joined):
    call = Call(Definition(), b"arguments")
    joined.link.run([job(1, call, attempt=2, once=True)])
    joined.link.run([job(2, call)])
    assert joined.jobs.sent == [
        (Define(DIGEST), b"function"),
        (Run(DIGEST, [Start(1, 2, 9, True)]), b"arguments"),
        (Run(DIGEST, [Start(2, 1, 9)]), b"arguments"),
    ]


def test_a_function_that_was_sent_for_another_reason_is_not_sent_again(joined):
    joined.link.define(Definition())
    joined.link.run([job(1, Call(Definition()))])
    assert [it[0] for it in joined.jobs.sent] == [Define(DIGEST), Run(DIGEST, [Start(1, 1, 0)])]


def test_a_function_that_is_not_here_is_for_the_node_to_ask_for(joined):
    joined.link.run([job(1, Call(Definition(payload=None)))])
    assert [it[0] for it in joined.jobs.sent] == [Run(DIGEST, [Start(1, 1, 0)])]


def test_jobs_that_call_one_function_share_a_message(joined):
    first, second = Definition(), Definition(b"e" * 32, b"other")
    calls = [Call(first, b"a"), Call(first, b"bc"), Call(second), Call(first, b"d")]
    joined.link.run([job(number, call) for number, call in enumerate(calls)])
    assert joined.jobs.sent == [
        (Define(DIGEST), b"function"),
        (Run(DIGEST, [Start(0, 1, 1), Start(1, 1, 2)]), b"a", b"bc"),
        (Define(b"e" * 32), b"other"),
        (Run(b"e" * 32, [Start(2, 1, 0)]), b""),
        (Run(DIGEST, [Start(3, 1, 1)]), b"d"),
    ]


@pytest.mark.parametrize(
    ("sizes", "messages"),
    [
        ([CHUNK_LIMIT // 2] * 4, [2, 2]),
        ([CHUNK_LIMIT, 0, 0, 1], [3, 1]),
        ([1, CHUNK_LIMIT, 1], [1, 1, 1]),
        ([CHUNK_LIMIT + 1, 1], [1, 1]),
        ([0] * (BATCH_LIMIT + 1), [BATCH_LIMIT, 1]),
    ],
)
def test_jobs_share_a_message_as_far_as_they_fit(joined, sizes, messages):
    definition = Definition()
    jobs = [job(number, Call(definition, bytes(size))) for number, size in enumerate(sizes)]
    joined.link.run(jobs)
    runs = joined.jobs.sent[1:]
    assert [len(run.jobs) for run, *_ in runs] == messages
    assert [[start.size for start in run.jobs] for run, *_ in runs] == [
        [len(payload) for payload in payloads] for _, *payloads in runs
    ]
    assert [start.job for run, *_ in runs for start in run.jobs] == list(range(len(sizes)))


def test_large_arguments_share_a_message_with_nobody(joined):
    definition, block = Definition(), Block(10)
    calls = [Call(definition, payload) for payload in (b"a", block, b"b", b"c")]
    joined.link.run([job(number, call) for number, call in enumerate(calls)])
    assert [list(payloads) for _, *payloads in joined.jobs.sent[1:]] == [
        [b"a"],
        [block],
        [b"b", b"c"],
    ]


def test_what_cannot_wait_goes_by_the_other_stream(joined):
    joined.link.retract([(1, 1)])
    assert joined.control.sent == [(Retract([(1, 1)]),)]
    assert joined.jobs.sent == []


@pytest.mark.parametrize("one_stream", [True, False])
def test_closing_says_bye_once_and_does_not_tell_the_owner(one_stream):
    stage = Stage(one_stream)
    stage.hear(HELLO)
    stage.link.close("enough")
    stage.link.close("again")
    stage.link.lose("again")
    assert stage.jobs.closed == stage.control.closed == "enough"
    assert stage.owner.told == [("on_joined",)]
    assert stage.closed == [stage.link]


def test_losing_tells_the_owner_once(joined):
    joined.link.lose("cut off", 5)
    joined.link.lose("again")
    joined.link.close("again")
    assert joined.jobs.closed == joined.control.closed == "cut"
    assert joined.owner.told == [("on_lost", "cut off", 5, None)]
    assert joined.closed == [joined.link]


def test_a_node_that_never_joined_is_not_lost(stage):
    stage.link.lose("cut off")
    assert stage.owner.told == []
    assert stage.closed == [stage.link]


def test_a_closed_link_has_nothing_more_to_say(joined):
    # Closing flushes, and flushing may find that there is still something to read.
    joined.link.close("enough")
    joined.hear(Returned([], [(1, 1)]))
    joined.hear(HELLO)
    assert joined.owner.told == []


# Large arguments that a daemon has from its client and shares with its worker.


@pytest.mark.skipif(not has_memfds(), reason="this platform has no memfds")
@pytest.mark.parametrize("end", ["result", "returned"])
def test_arguments_that_were_shared_are_taken_back(end):
    sharing, wire = Sharing(), Wire()
    link = Link(NodeId(3), "n", NodeKind.WORKER, Owner(), 0.001, lambda link: None, sharing)
    link.attach(wire, wire)
    link.on_messages([Received(HELLO, b"")])
    before = open_descriptors()
    arguments = Block(WORTH_SHARING)
    link.run([job(5, Call(Definition(), arguments))])
    assert isinstance(wire.sent.pop()[1], Shared)
    assert open_descriptors() == before + 1
    if end == "result":
        link.on_messages([Received(Result([Outcome(5, 1, 0, False, 0.5)]), b"")])
    else:
        link.on_messages([Received(Returned([(5, 1)], []), b"")])
    assert open_descriptors() == before
