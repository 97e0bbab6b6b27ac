"""Messages: each goes there and back; whatever is not exactly a message is a ProtocolError."""

from __future__ import annotations

import math
import struct
import tracemalloc
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.errors import ProtocolError
from ppnext.wire.frames import CONTROL_LIMIT
from ppnext.wire.messages import (
    BATCH_LIMIT,
    KINDS,
    OLDEST,
    PROTOCOL,
    SINCE,
    Ask,
    Began,
    Bye,
    Define,
    Died,
    Drop,
    Facts,
    Found,
    Freed,
    Hello,
    Hold,
    Limits,
    Message,
    Need,
    Offer,
    Outcome,
    Ping,
    Pong,
    Result,
    Retract,
    Returned,
    Run,
    Seek,
    Setup,
    Start,
    Stop,
    Unfit,
    decode_control,
    encode_control,
)

DIGEST = bytes(range(32))
BIGGEST = 2**63 - 1

EXAMPLES: list[Message] = [
    Hello(1, "1.0", "3.11.7", "node-7", 4242, 16),
    Hello(3, "1.0", "3.11.7", "node-7", 4242, 16, (("gpu", 2), ("scratch", 2**53))),
    Ping(0),
    Pong(BIGGEST),
    Bye("the job server was destroyed"),
    Setup("node-7/3", ["/home/ann", ""], 5),
    Define(DIGEST),
    Need(DIGEST),
    Run(DIGEST, [Start(1, 2, 300, True), Start(BIGGEST, 1, 0)], Limits(0.5, 2**31, 19)),
    Run(DIGEST, [Start(1, 2, 300)], Limits(threads=2**20, resources=(("gpu", 1),))),
    Retract([(1, 2), (BIGGEST, BIGGEST)]),
    Result([Outcome(1, 2, 30, False, 0.25, 10, 20), Outcome(BIGGEST, 1, 0, True, 0.0)]),
    Died(1, 2, "killed by signal 9"),
    Died(1, 2, "it ran longer than its timeout of 1 s", "TIMEOUT", "  File", BIGGEST),
    Returned([(1, 2)], []),
    Offer(2**20),
    Freed(1, 2, True),
    Hold(DIGEST),
    Drop(DIGEST),
    Unfit(1, 2, "the function's syntax is newer than Python 3.10"),
    Ask(["numpy", "PyYAML"]),
    Facts({"numpy": "2.1.0", "PyYAML": ""}),
    Seek("helpers"),
    Found("helpers", DIGEST),
    Found("helpers", b"", "it has a C extension"),
    Stop(1, 2, 0.5),
    Began(1, 2, True),
]


def pack(*fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


def kind_of(message: Message) -> int:
    return KINDS[type(message)]


by_name = pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)


def test_every_message_has_an_example_and_a_number_of_its_own() -> None:
    assert {type(message) for message in EXAMPLES} == set(KINDS) == set(get_args(Message))
    assert len(set(KINDS.values())) == len(KINDS)
    assert all(0 < kind < 256 for kind in KINDS.values())


@by_name
def test_there_and_back(message: Message) -> None:
    assert decode_control(kind_of(message), encode_control(message)) == message


@by_name
def test_fields_that_a_newer_end_added_are_ignored(message: Message) -> None:
    fields = msgspec.structs.astuple(message)
    more = pack(*fields, "new", {"deep": [1, [2]]})
    assert decode_control(kind_of(message), more) == message


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Run(DIGEST, [Start(1, 2, 3, False)]), (DIGEST, [(1, 2, 3)])),
        (Result([Outcome(1, 2, 3, True, 0.5, 0, 0)]), ([(1, 2, 3, True, 0.5)],)),
        (Run(DIGEST, [Start(1, 2, 3)], Limits()), (DIGEST, [(1, 2, 3)], [])),
        (Run(DIGEST, [Start(1, 2, 3)], Limits(2.5)), (DIGEST, [(1, 2, 3)], [2.5])),
        (Died(1, 2, "gone", "", "", 0), (1, 2, "gone")),
        (Hello(2, "1", "3", "n", 1, 1, ()), (2, "1", "3", "n", 1, 1)),
        (Run(DIGEST, [Start(1, 2, 3)], Limits(2.5, 1, 2)), (DIGEST, [(1, 2, 3)], [2.5, 1, 2])),
    ],
)
def test_fields_that_an_older_end_does_not_know_have_defaults(
    message: Message, fields: tuple[object, ...]
) -> None:
    assert decode_control(kind_of(message), pack(*fields)) == message


def test_a_death_with_a_long_stack_fits_into_a_frame() -> None:
    # The longest stack that is ever passed on, in the characters that take most bytes.
    widest = "\N{MUSICAL SYMBOL G CLEF}"
    died = Died(BIGGEST, BIGGEST, widest * 1024, widest * 1024, widest * 12_000, BIGGEST)
    assert len(encode_control(died)) <= CONTROL_LIMIT


def test_a_full_batch_fits_into_a_frame() -> None:
    widest = "\N{MUSICAL SYMBOL G CLEF}"
    starts = [Start(BIGGEST, BIGGEST, BIGGEST, True)] * BATCH_LIMIT
    outcomes = [Outcome(BIGGEST, BIGGEST, BIGGEST, True, 1e12, BIGGEST, BIGGEST)] * BATCH_LIMIT
    limits = Limits(1e12, BIGGEST, 19, 2**20, ((widest * 64, 2**53),) * 64)
    for message in (Run(DIGEST, starts, limits), Result(outcomes)):
        control = encode_control(message)
        assert len(control) <= CONTROL_LIMIT
        assert decode_control(kind_of(message), control) == message


@by_name
def test_fields_that_a_newer_end_added_to_the_entries_of_a_batch_are_ignored(
    message: Message,
) -> None:
    if not isinstance(message, Run | Result):
        return
    fields = list(msgspec.structs.astuple(message))
    place = next(number for number, it in enumerate(fields) if isinstance(it, list))
    fields[place] = [(*msgspec.structs.astuple(entry), "new") for entry in fields[place]]
    assert decode_control(kind_of(message), pack(*fields)) == message


@pytest.mark.parametrize(
    "amounts",
    [
        pytest.param([["gpu", 0]], id="none of it"),
        pytest.param([["gpu", -1]], id="less than none"),
        pytest.param([["gpu", 0.5]], id="a part of one"),
        pytest.param([["gpu", True]], id="a truth value"),
        pytest.param([["gpu", 2**53 + 1]], id="more than can be counted"),
        pytest.param([["gpu"]], id="no number"),
        pytest.param([["gpu", 1, 1]], id="two numbers"),
        pytest.param([["", 1]], id="no name"),
        pytest.param([["x" * 65, 1]], id="a long name"),
        pytest.param([[f"n{number}", 1] for number in range(65)], id="too many"),
    ],
)
def test_what_are_no_amounts(amounts: list[list[object]]) -> None:
    with pytest.raises(ProtocolError):
        decode_control(KINDS[Run], pack(DIGEST, [(1, 2, 3)], [0.0, 0, 0, 1, amounts]))
    with pytest.raises(ProtocolError):
        decode_control(KINDS[Hello], pack(3, "1", "3", "n", 1, 1, amounts))


@pytest.mark.parametrize("threads", [0, -1, 2**20 + 1, 1.5, True])
def test_what_is_no_number_of_threads(threads: object) -> None:
    with pytest.raises(ProtocolError):
        decode_control(KINDS[Run], pack(DIGEST, [(1, 2, 3)], [0.0, 0, 0, threads]))


# Malformed.


@by_name
def test_cut_at_every_offset(message: Message) -> None:
    control = encode_control(message)
    for end in range(len(control)):
        with pytest.raises(ProtocolError):
            decode_control(kind_of(message), control[:end])


@by_name
def test_bytes_behind_the_message(message: Message) -> None:
    with pytest.raises(ProtocolError, match="trailing"):
        decode_control(kind_of(message), encode_control(message) + b"\x00")


@by_name
def test_a_missing_field(message: Message) -> None:
    with pytest.raises(ProtocolError):
        decode_control(kind_of(message), pack())


@by_name
def test_a_map_is_not_a_message(message: Message) -> None:
    control = msgspec.msgpack.encode(msgspec.structs.asdict(message))
    with pytest.raises(ProtocolError):
        decode_control(kind_of(message), control)


@by_name
@pytest.mark.parametrize(
    "wrong", [None, {"a": 1}, [[[1]]], -1, 2**64 - 1, math.nan], ids=lambda wrong: f"{wrong}"
)
def test_no_field_takes_a_wrong_type_or_value(message: Message, wrong: object) -> None:
    fields = list(msgspec.structs.astuple(message))
    for place in range(len(fields)):
        if wrong is None and isinstance(fields[place], Limits):
            continue  # nothing is limited
        with pytest.raises(ProtocolError):
            decode_control(kind_of(message), pack(*fields[:place], wrong, *fields[place + 1 :]))


@pytest.mark.parametrize("kind", sorted(set(range(256)) - set(KINDS.values())))
def test_an_unknown_kind(kind: int) -> None:
    with pytest.raises(ProtocolError, match=f"unknown kind {kind} "):
        decode_control(kind, pack(1))


@pytest.mark.parametrize(
    ("kind", "control"),
    [
        pytest.param(KINDS[Ping], b"\x91\xc3", id="a truth value is no number"),
        pytest.param(KINDS[Ping], b"\x91\xcb" + struct.pack(">d", 1.0), id="nor is a float"),
        pytest.param(KINDS[Ping], b"\x91\xa11", id="nor is a text"),
        pytest.param(KINDS[Ping], b"\x91\xcf" + b"\xff" * 8, id="64 bits"),
        pytest.param(KINDS[Ping], b"\x91\xd3" + b"\xff" * 8, id="negative"),
        pytest.param(KINDS[Need], pack(DIGEST[:-1]), id="short digest"),
        pytest.param(KINDS[Need], pack(DIGEST + b"x"), id="long digest"),
        pytest.param(KINDS[Need], pack("x" * 32), id="digest as text"),
        pytest.param(KINDS[Bye], pack("x" * 1025), id="long line"),
        pytest.param(KINDS[Bye], b"\x91\xa2\xff\xfe", id="not UTF-8"),
        pytest.param(KINDS[Bye], b"\x91\xa3\xed\xb0\x80", id="a lone surrogate"),
        pytest.param(KINDS[Bye], pack(b"bytes"), id="bytes for a line"),
        pytest.param(KINDS[Bye], b"\x91\xc7\x00\xff", id="extension type"),
        pytest.param(KINDS[Bye], b"\x91\xc1", id="code that is never used"),
        pytest.param(KINDS[Setup], pack("n", ["\x00", 1], 5), id="path of numbers"),
        pytest.param(KINDS[Setup], b"\x93\xa1n\x91\xa1\xff\x05", id="path not UTF-8"),
        pytest.param(KINDS[Offer], pack(2**20 + 1), id="too many slots"),
        pytest.param(KINDS[Retract], pack([(1, 2)] * 4097), id="too many jobs"),
        pytest.param(KINDS[Retract], pack([(1,)]), id="a job without an attempt"),
        pytest.param(KINDS[Retract], pack([(1, 2, 3)]), id="a job with too much"),
        pytest.param(KINDS[Run], pack(DIGEST, [(1, 2, 3, 1)]), id="a number is no truth value"),
        pytest.param(KINDS[Run], pack(DIGEST, []), id="no jobs"),
        pytest.param(KINDS[Run], pack(DIGEST, [(1, 2)]), id="a job without a size"),
        pytest.param(KINDS[Run], pack(DIGEST, [(1, 2, -3)]), id="less than no arguments"),
        pytest.param(KINDS[Run], pack(DIGEST, [(1, 1, 1)] * 1025), id="too many jobs in a batch"),
        *(
            pytest.param(KINDS[Run], pack(DIGEST, [(1, 2, 3)], limits), id=f"limits {limits}")
            for limits in (0, "", [-0.5], [math.inf], [math.nan], [1.0, -1], [1.0, 0.5], [0, 0, 20])
        ),
        pytest.param(KINDS[Died], pack(1, 2, "", "TIMEOUT", "x" * 16385), id="a long stack"),
        pytest.param(KINDS[Died], pack(1, 2, "", "TIMEOUT", "", -1), id="less than no memory"),
        pytest.param(KINDS[Stop], pack(1, 2), id="no grace"),
        pytest.param(KINDS[Stop], pack(1, 2, -1.0), id="a grace in the past"),
        pytest.param(KINDS[Stop], pack(1, 2, math.inf), id="a grace without end"),
        pytest.param(KINDS[Began], pack(1, 2, 1), id="loaded or called"),
        pytest.param(KINDS[Ask], pack([]), id="a question about nothing"),
        pytest.param(KINDS[Ask], pack(["n"] * 257), id="too many questions"),
        pytest.param(KINDS[Facts], pack({"n": 1}), id="a version that is a number"),
        pytest.param(KINDS[Found], pack("m", bytes(33)), id="a long digest of a module"),
        pytest.param(KINDS[Result], pack([]), id="no results"),
        pytest.param(KINDS[Result], pack([(1, 2, 3, True)]), id="a result without a duration"),
        pytest.param(KINDS[Result], pack([(1, 2, 3, True, math.nan)]), id="no duration"),
        pytest.param(KINDS[Result], pack([(1, 2, 3, True, math.inf)]), id="endless duration"),
        pytest.param(KINDS[Result], pack([(1, 2, 3, True, -0.5)]), id="negative duration"),
        pytest.param(KINDS[Result], pack([(1, 1, 1, True, 0.0)] * 1025), id="too many results"),
        pytest.param(KINDS[Ping], b"\x91" * CONTROL_LIMIT, id="depth bomb in a field"),
        pytest.param(KINDS[Ping], b"\x92\x01" + b"\x91" * 65000, id="depth bomb behind fields"),
        pytest.param(KINDS[Ping], b"\x92\x01" + b"\x81\x01" * 32000, id="depth bomb of maps"),
        pytest.param(KINDS[Ping], b"\x92\x01" + b"\xdd\xff\xff\xff\xff" * 9, id="width bomb"),
    ],
)
def test_malformed_control(kind: int, control: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_control(kind, control)


@pytest.mark.parametrize(
    ("kind", "control"),
    [
        (KINDS[Setup], b"\x93\xa1n\xdd\xff\xff\xff\xff"),
        (KINDS[Retract], b"\x91\xdd\x00\x00\x10\x00"),
        (KINDS[Need], b"\x91\xc6\xff\xff\xff\xff"),
        (KINDS[Run], b"\x92\xc4\x20" + DIGEST + b"\xdd\xff\xff\xff\xff"),
        (KINDS[Result], b"\x91\xdd\x00\x00\x04\x00"),
        (KINDS[Bye], b"\x91\xdb\xff\xff\xff\xff"),
        (KINDS[Returned], b"\xdd\xff\xff\xff\xff"),
    ],
)
def test_an_announced_length_is_not_memory(kind: int, control: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            decode_control(kind, control)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


msgpack_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(KINDS.values())), st.binary(max_size=80))
def test_any_bytes_give_a_message_or_a_protocol_error(kind: int, control: bytes) -> None:
    try:
        message = decode_control(kind, control)
    except ProtocolError:
        return
    assert kind_of(message) == kind


@given(st.sampled_from(sorted(KINDS.values())), st.lists(msgpack_values, max_size=7))
def test_any_values_give_a_message_or_a_protocol_error(kind: int, fields: list[object]) -> None:
    try:
        message = decode_control(kind, msgspec.msgpack.encode(fields))
    except ProtocolError:
        return
    assert decode_control(kind, encode_control(message)) == message


def test_versions_of_messages_are_versions_of_the_protocol() -> None:
    assert set(SINCE) < set(KINDS)
    assert all(OLDEST < since <= PROTOCOL for since in SINCE.values())
