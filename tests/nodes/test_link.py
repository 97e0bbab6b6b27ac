"""A link: what a node says becomes the owner's events; what the owner asks becomes messages."""

from __future__ import annotations

import pytest

from ppnext.errors import ProtocolError
from ppnext.nodes.link import Call, Link
from ppnext.sched.model import NodeId, NodeKind
from ppnext.wire.connection import Received
from ppnext.wire.messages import (
    Define,
    Died,
    Hello,
    Need,
    Offer,
    Result,
    Retract,
    Returned,
    Run,
    Setup,
)

HELLO = Hello(1, "0", "3.12.0", "node1", 77, 2)
DIGEST = b"d" * 32


class Wire:
    """Stands for a stream."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.closed = ""

    def send(self, message, payload=b""):
        self.sent.append((message, payload))

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
        self.link.on_message(Received(message, payload))


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
        (Result(1, 2, False, 0.5, 2), b"okpickle", ("on_result", Result(1, 2, False, 0.5, 2))),
        (Need(DIGEST), b"", ("on_need", DIGEST)),
        (Returned([(1, 1)], [(2, 1)]), b"", ("on_returned", Returned([(1, 1)], [(2, 1)]))),
        (Died(1, 1, "killed"), b"", ("on_died", Died(1, 1, "killed"))),
        (Offer(5), b"", ("on_resized",)),
    ],
)
def test_what_a_node_says_is_told(joined, message, payload, told):
    joined.hear(message, payload)
    assert joined.owner.told == [(*told, payload) if told[0] == "on_result" else told]


def test_an_offer_changes_the_slots(joined):
    joined.hear(Offer(5))
    assert joined.link.slots == 5


@pytest.mark.parametrize(
    "message", [HELLO, Run(1, 1, DIGEST), Define(DIGEST), Retract([(1, 1)]), Setup("n", [], 5)]
)
def test_what_a_node_may_not_say_breaks_the_protocol(joined, message):
    with pytest.raises(ProtocolError, match="node1 said"):
        joined.hear(message)
    assert joined.owner.told == []


def test_nothing_is_said_before_hello(stage):
    with pytest.raises(ProtocolError, match="said Offer before Hello"):
        stage.hear(Offer(1))


def test_a_node_of_another_protocol_is_refused_and_both_versions_are_named(stage):
    with pytest.raises(ProtocolError, match=r"node1 \(ppnext 9\.9\) speaks version 2 .* version 1"):
        stage.hear(Hello(2, "9.9", "3.12.0", "node1", 77, 2))
    assert stage.owner.told == []


def test_a_result_is_at_least_as_long_as_its_output(joined):
    with pytest.raises(ProtocolError, match="shorter than its output"):
        joined.hear(Result(1, 1, False, 0.1, 10), b"short")


def test_functions_are_known_once_they_were_sent(joined):
    assert not joined.link.knows(DIGEST)
    joined.link.define(DIGEST, b"function")
    assert joined.link.knows(DIGEST)
    joined.link.run(1, 2, Call(DIGEST, b"arguments", True))
    assert joined.jobs.sent == [
        (Define(DIGEST), b"function"),
        (Run(1, 2, DIGEST, True), b"arguments"),
    ]


def test_what_cannot_wait_goes_by_the_other_stream(joined):
    joined.link.retract([(1, 1)])
    assert joined.control.sent == [(Retract([(1, 1)]), b"")]
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
    joined.link.lose("cut off")
    joined.link.lose("again")
    joined.link.close("again")
    assert joined.jobs.closed == joined.control.closed == "cut"
    assert joined.owner.told == [("on_lost", "cut off")]
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
