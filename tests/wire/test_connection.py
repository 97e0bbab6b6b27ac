"""Connection: two pure ends joined in memory, and one end alone against whatever comes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from weakref import ReferenceType, ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.errors import ProtocolError
from ppnext.wire.connection import PAYLOAD_LIMIT, Connection, Heartbeat, Received
from ppnext.wire.frames import (
    CHUNK,
    CHUNK_LIMIT,
    HEADER,
    OPENS,
    PASSED,
    FrameDecoder,
    encode_header,
)
from ppnext.wire.messages import (
    KINDS,
    Bye,
    Define,
    Died,
    Hello,
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
    Setup,
    Start,
    encode_control,
)
from ppnext.wire.outbox import IN_ORDER
from ppnext.wire.payloads import Block, Large, Payload, view_of

DIGEST = bytes(range(32))
BIG = 2 * CHUNK_LIMIT + 5


def run(job: int = 1) -> Run:
    return Run(DIGEST, [Start(job, 1, 0)])


def result(job: int = 1) -> Result:
    return Result([Outcome(job, 1, 0, False, 0.5)])


class Shared(Block):
    """Stands for memory that another process can map."""

    def __init__(self, content: int | bytearray, number: int) -> None:
        super().__init__(content)
        self.number = number

    def descriptor(self) -> int:
        return self.number


def send(end: Connection, message: Message, payload: Payload = b"") -> None:
    end.send(message, (payload,) if len(payload) else ())


def bytes_of(end: Connection, now: float = 0.0) -> bytes:
    """Everything that an end has to send."""
    sent = b""
    while end.wants_to_send:
        sent += b"".join(end.data_to_send(now).buffers)
    return sent


def stream_of(*messages: tuple[Message, Payload], in_order: bool = False) -> bytes:
    end = Connection(0.0, in_order=in_order)
    for message, payload in messages:
        send(end, message, payload)
    return bytes_of(end)


def plain(received: list[Received]) -> list[Received]:
    """With payloads that can be compared."""
    return [Received(message, bytes(view_of(payload))) for message, payload in received]


def frame(message: Message, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    control = encode_control(message)
    kind = KINDS[type(message)]
    return encode_header(kind, flags, len(control), stream, len(payload)) + control + payload


def opening(stream: int = 1, size: int = BIG, message: Message | None = None) -> bytes:
    message = message or run()
    control = encode_control(message)
    return encode_header(KINDS[type(message)], OPENS, len(control), stream, size) + control


def chunk(size: int, stream: int = 1) -> bytes:
    return encode_header(CHUNK, 0, 0, stream, size) + bytes(size)


def receive(data: bytes, **options: int) -> list[Received]:
    return plain(Connection(0.0, **options).receive_data(data, 0.0))


plain_messages = st.sampled_from(
    [
        Hello(1, "1.0", "3.12.1", "n", 1, 4),
        Setup("n", ["/a"], 5),
        Need(DIGEST),
        Retract([(1, 1)]),
        Died(1, 1, "gone"),
        Returned([(1, 1)], [(2, 1)]),
        Offer(3),
    ]
)
payloads = st.binary(max_size=40) | st.sampled_from([bytes(CHUNK_LIMIT), b"x" * BIG])
sent_messages = st.one_of(
    st.tuples(plain_messages, st.just(b"")),
    st.tuples(st.builds(run, st.integers(1, 9)), payloads),
    st.tuples(st.builds(result, st.integers(1, 9)), payloads),
    st.tuples(st.just(Define(DIGEST)), payloads),
)


# There and back.


@given(st.lists(sent_messages, max_size=6), st.integers(1, 2 * CHUNK_LIMIT), st.booleans())
def test_what_is_sent_arrives(
    messages: list[tuple[Message, bytes]], budget: int, in_order: bool
) -> None:
    here, there = Connection(0.0, in_order=in_order), Connection(0.0)
    for message, payload in messages:
        send(here, message, payload)
    arrived = []
    while here.wants_to_send:
        for buffer in here.data_to_send(0.0, budget).buffers:
            arrived += plain(there.receive_data(bytes(buffer), 0.0))
    sent = [Received(*item) for item in messages]
    urgent = [it for it in sent if not isinstance(it.message, IN_ORDER)]
    ordered = [it for it in sent if isinstance(it.message, IN_ORDER)]
    assert arrived[: len(urgent)] == urgent
    if in_order:
        assert arrived == urgent + ordered
        return
    # Large payloads take turns, and small messages pass them, but not each other.
    assert sorted(map(repr, arrived)) == sorted(map(repr, sent))
    small = [it for it in ordered if len(it.payload) <= CHUNK_LIMIT]
    assert [it for it in arrived[len(urgent) :] if len(it.payload) <= CHUNK_LIMIT] == small


@given(
    st.lists(sent_messages, max_size=4), st.lists(st.integers(0, 10**6), max_size=6), st.booleans()
)
def test_any_cutting_of_the_stream_gives_the_same_messages(
    messages: list[tuple[Message, bytes]], places: list[int], in_order: bool
) -> None:
    data = stream_of(*messages, in_order=in_order)
    edges = sorted(place % (len(data) + 1) for place in places)
    end = Connection(0.0)
    arrived = [
        received
        for start, stop in zip([0, *edges], [*edges, None], strict=True)
        for received in end.receive_data(data[start:stop], 0.0)
    ]
    assert plain(arrived) == receive(data)
    assert len(arrived) == len(messages)


@given(
    st.lists(sent_messages, max_size=4),
    st.lists(st.tuples(st.integers(1, CHUNK_LIMIT), st.integers(0, CHUNK_LIMIT)), max_size=12),
)
def test_what_is_read_to_its_place_gives_the_same_messages(
    messages: list[tuple[Message, bytes]], steps: list[tuple[int, int]]
) -> None:
    data = stream_of(*messages)
    end = Connection(0.0)
    arrived: list[Received] = []
    at = 0
    for fed, wanted in [*steps, (len(data), 0)]:
        arrived += end.receive_data(data[at : at + fed], 0.0)
        at = min(at + fed, len(data))
        room = end.room()
        while room is not None and wanted and at < len(data):
            count = min(wanted, len(room), len(data) - at)
            room[:count] = data[at : at + count]
            arrived += end.filled(count, 0.0)
            at += count
            wanted -= count
            room = end.room()
    assert plain(arrived) == receive(data)
    assert end.room() is None


def test_there_is_room_only_while_a_chunk_is_incomplete() -> None:
    end = Connection(0.0)
    assert end.room() is None
    end.receive_data(opening(size=BIG), 0.0)
    assert end.room() is None  # what comes next is a header
    end.receive_data(chunk(CHUNK_LIMIT)[: HEADER.size + 3], 0.0)
    room = end.room()
    assert room is not None
    assert len(room) == CHUNK_LIMIT - 3
    assert end.filled(CHUNK_LIMIT - 3, 0.0) == []
    assert end.room() is None
    assert end.receive_eof() is False
    end.receive_data(chunk(CHUNK_LIMIT) + chunk(5)[:-1], 0.0)
    assert len(end.room() or b"") == 1
    [received] = end.filled(1, 7.0)
    assert received.message == run()
    assert len(received.payload) == BIG
    assert end.silent_for(7.0) == 0.0


def test_a_message_that_is_announced_is_arriving_until_it_is_there() -> None:
    end = Connection(0.0)
    assert not end.is_arriving(Define(DIGEST))
    end.receive_data(opening(size=BIG, message=Define(DIGEST)), 0.0)
    assert end.is_arriving(Define(DIGEST))
    assert not end.is_arriving(Define(bytes(32)))
    end.receive_data(chunk(CHUNK_LIMIT) * 2 + chunk(5), 0.0)
    assert not end.is_arriving(Define(DIGEST))


def test_room_for_a_large_payload_is_made_by_whoever_will_use_it() -> None:
    made: list[Block] = []

    def allocate(size: int) -> Block:
        made.append(Block(size))
        return made[-1]

    end = Connection(0.0, allocate=allocate)
    data = stream_of((run(1), b"small"), (run(2), b"x" * BIG))
    small, large = end.receive_data(data, 0.0)
    assert small.payload == b"small"
    assert [large.payload] == made
    assert bytes(view_of(large.payload)) == b"x" * BIG


# Passed along.


def adopting(descriptors: list[int]) -> Connection:
    """An end that takes descriptors, and notes which."""

    def adopt(descriptor: int, size: int) -> Large:
        descriptors.append(descriptor)
        return Shared(size, descriptor)

    return Connection(0.0, adopt=adopt)


def test_memory_that_the_other_end_can_map_is_passed_along() -> None:
    here, adopted = adopting([]), []
    there = adopting(adopted)
    for job in (1, 2):
        here.send(run(job), (Shared(100 * job, 40 + job),))
    arrived = []
    while here.wants_to_send:
        buffers, passed = here.data_to_send(0.0)
        descriptors = [] if passed is None else [passed.descriptor() or 0]
        arrived += there.receive_data(b"".join(buffers), 0.0, descriptors)
    assert adopted == [41, 42]
    assert [(it.message, len(it.payload)) for it in arrived] == [(run(1), 100), (run(2), 200)]
    assert there.take_descriptors() == []


def test_memory_that_cannot_be_passed_is_sent() -> None:
    for end in (Connection(0.0), adopting([])):
        payload = Block(bytearray(b"x" * BIG))
        end.send(run(), (payload if end._adopt else Shared(bytearray(b"x" * BIG), 4),))
        assert end.data_to_send(0.0).passed is None
    end = Connection(0.0)
    end.send(run(), (Shared(bytearray(b"x" * BIG), 4),))
    assert receive(bytes_of(end)) == [Received(run(), b"x" * BIG)]


def passed(size: int = 5, message: Message | None = None) -> bytes:
    message = message or run()
    control = encode_control(message)
    return encode_header(KINDS[type(message)], PASSED, len(control), 0, size) + control


def test_descriptors_may_arrive_before_the_frame_is_whole() -> None:
    adopted: list[int] = []
    end = adopting(adopted)
    data = passed(5) + passed(6, result(2))
    assert end.receive_data(data[:1], 0.0, [7]) == []
    [first] = end.receive_data(data[1:-1], 0.0, [8])
    [second] = end.receive_data(data[-1:], 0.0)
    assert (first.message, len(first.payload), adopted) == (run(), 5, [7, 8])
    assert (second.message, len(second.payload)) == (result(2), 6)


def test_a_descriptor_that_was_not_passed_breaks_the_protocol() -> None:
    end = adopting([])
    with pytest.raises(ProtocolError, match="said|announced"):
        end.receive_data(passed() * 2, 0.0, [7])


def test_whoever_takes_no_descriptors_refuses_what_is_passed() -> None:
    end = Connection(0.0)
    with pytest.raises(ProtocolError, match="announced as passed along"):
        end.receive_data(passed(), 0.0, [7])
    assert end.take_descriptors() == [7]


def test_descriptors_that_nobody_adopts_are_given_up_once() -> None:
    end = adopting([])
    end.receive_data(passed(), 0.0, [7, 8, 9])
    assert end.take_descriptors() == [8, 9]
    assert end.take_descriptors() == []


def test_descriptors_that_no_message_speaks_of_do_not_pile_up() -> None:
    end = adopting([])
    end.receive_data(b"", 0.0, range(64))
    with pytest.raises(ProtocolError, match="no message speaks of"):
        end.receive_data(b"", 0.0, [64])
    assert end.take_descriptors() == list(range(65))


def test_a_closed_end_holds_no_payload_any_more() -> None:
    class Watched(Block):
        """A payload whose end can be seen."""

    coming: list[ReferenceType[Watched]] = []

    def allocate(size: int) -> Watched:
        memory = Watched(size)
        coming.append(ref(memory))
        return memory

    here, there = Connection(0.0), Connection(0.0, allocate=allocate)
    leaving = Watched(bytearray(BIG))
    going = ref(leaving)
    here.send(run(), (leaving,))
    del leaving
    there.receive_data(b"".join(here.data_to_send(0.0).buffers), 0.0)
    assert there.is_arriving(run()) and here.wants_to_send
    here.forget()
    there.forget()
    assert going() is None and coming[0]() is None
    assert not there.is_arriving(run()) and not here.wants_to_send


def test_what_adopt_refuses_is_the_other_ends_fault() -> None:
    def refuse(descriptor: int, size: int) -> Large:
        raise ProtocolError(f"descriptor {descriptor} is not what it should be")

    with pytest.raises(ProtocolError, match="descriptor 7"):
        Connection(0.0, adopt=refuse).receive_data(passed(), 0.0, [7])


def test_what_has_no_payload_cannot_have_one_passed() -> None:
    end = adopting([])
    with pytest.raises(ProtocolError, match="no payload"):
        end.receive_data(passed(message=Offer(1)), 0.0, [7])
    assert end.take_descriptors() == [7]


def test_byte_at_a_time_gives_the_same_messages() -> None:
    data = stream_of((run(1), b"payload"), (Offer(2), b""), (result(2), b"x" * 200), (run(3), b""))
    end = Connection(0.0)
    arrived = [r for byte in data for r in end.receive_data(bytes([byte]), 0.0)]
    assert plain(arrived) == receive(data)


@pytest.mark.parametrize("size", [0, 1, CHUNK_LIMIT, CHUNK_LIMIT + 1, 2 * CHUNK_LIMIT, BIG])
@pytest.mark.parametrize("kind", [bytes, lambda payload: Block(bytearray(payload))])
def test_payloads_of_every_size_and_type(size: int, kind: Callable[[bytes], Payload]) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    end = Connection(0.0)
    end.send(run(), (kind(payload),))
    assert receive(bytes_of(end)) == [Received(run(), payload)]


def test_a_payload_is_not_copied_before_it_is_sent() -> None:
    payload = bytes(16 * CHUNK_LIMIT)
    end = Connection(0.0)
    tracemalloc.start()
    try:
        end.send(run(), (payload,))
        while end.wants_to_send:
            end.data_to_send(0.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < CHUNK_LIMIT


def test_streams_are_numbered_and_the_numbers_start_again() -> None:
    end = Connection(0.0)
    end._outbox._next_stream = 0xFFFFFFFF
    numbers = []
    for job in range(3):
        end.send(run(job), (bytes(BIG),))
    for piece in FrameDecoder().feed(bytes_of(end)):
        if piece.flags:
            numbers.append(piece.stream)
    assert numbers == [0xFFFFFFFF, 1, 2]


def test_a_payload_where_none_belongs_is_not_sent() -> None:
    with pytest.raises(AssertionError, match="no payload"):
        Connection(0.0).send(Retract([(1, 1)]), (b"x",))


# Order and budget.


def test_control_messages_overtake_and_the_others_keep_their_order() -> None:
    end = Connection(0.0)
    sent = [Define(DIGEST), run(1), Offer(1), result(2), run(3), Retract([(1, 1)])]
    for message in sent:
        end.send(message)
    arrived = [received.message for received in receive(bytes_of(end))]
    assert arrived == [Offer(1), Define(DIGEST), run(1), result(2), run(3), Retract([(1, 1)])]


def test_a_heartbeat_waits_for_one_chunk_at_most() -> None:
    here, there = Connection(0.0, Heartbeat()), Connection(0.0)
    here.send(run(), (b"x" * (20 * CHUNK_LIMIT),))
    arrived, answered = [], 0
    for beat in range(1, 22):
        here.probe(float(beat))
        sent = b"".join(here.data_to_send(float(beat)).buffers)
        assert sent.startswith(frame(Ping(beat)))
        assert len(sent) <= CHUNK_LIMIT + 200
        arrived += there.receive_data(sent, float(beat))
        here.receive_data(bytes_of(there), float(beat))
        answered += here.round_trip == 0.0
    assert answered == 21
    assert [len(received.payload) for received in arrived] == [20 * CHUNK_LIMIT]


def test_small_jobs_pass_between_the_chunks_of_another_stream() -> None:
    data = opening(size=BIG) + chunk(CHUNK_LIMIT) + frame(run(2), payload=b"small")
    data += chunk(CHUNK_LIMIT) + frame(Offer(2)) + chunk(5)
    assert [received.message for received in receive(data)] == [run(2), Offer(2), run()]


def test_streams_may_be_interleaved() -> None:
    data = opening(1) + opening(2, message=result(9)) + chunk(CHUNK_LIMIT, 1)
    data += chunk(CHUNK_LIMIT, 2) * 2 + chunk(5, 2) + chunk(CHUNK_LIMIT, 1) + chunk(5, 1)
    assert [received.message for received in receive(data)] == [result(9), run()]


@pytest.mark.parametrize("budget", [1, 100, CHUNK_LIMIT])
def test_the_budget_is_kept_but_for_the_last_buffer(budget: int) -> None:
    end = Connection(0.0)
    for job in range(50):
        end.send(Offer(job))
        send(end, run(job), bytes(job))
    while end.wants_to_send:
        buffers = end.data_to_send(0.0, budget).buffers
        assert buffers
        assert sum(map(len, buffers[:-2])) < budget
    assert end.data_to_send(0.0).buffers == []


# Malformed.


def test_cut_at_every_byte_of_an_exchange_only_a_whole_bye_is_an_end() -> None:
    """A connection that is cut is a loss, and nobody gets a short result."""
    parts = [(run(), b"arguments"), (result(), b"output and result"), (Bye("done"), b"")]
    data = stream_of(*parts)
    whole = [Received(message, payload) for message, payload in parts[:2]]
    for stop in range(len(data) + 1):
        end = Connection(0.0)
        arrived = end.receive_data(data[:stop], 0.0)
        assert end.receive_eof() is (stop == len(data))
        assert arrived == whole[: len(arrived)]


def test_cut_at_every_frame_of_a_large_result_nothing_of_it_is_given() -> None:
    data = stream_of((result(), b"x" * BIG), (Bye("done"), b""))
    bye = len(frame(Bye("done")))
    for stop in [0, 1, HEADER.size, CHUNK_LIMIT, BIG, len(data) - bye - 1]:
        end = Connection(0.0)
        assert end.receive_data(data[:stop], 0.0) == []
        assert end.receive_eof() is False
    end = Connection(0.0)
    assert end.farewell is None
    assert len(end.receive_data(data, 0.0)) == 1
    assert (end.bye, end.farewell) == (Bye("done"), "done")
    assert end.receive_eof() is True


def test_bytes_after_bye_are_no_proper_end() -> None:
    end = Connection(0.0)
    end.receive_data(frame(Bye("done")) + b"\x12", 0.0)
    assert end.receive_eof() is False


def test_a_stream_left_open_is_no_proper_end() -> None:
    end = Connection(0.0)
    end.receive_data(opening() + frame(Bye("done")), 0.0)
    assert end.receive_eof() is False


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(chunk(1), "stream 1, not open", id="chunk for a stream never opened"),
        pytest.param(
            opening() + chunk(CHUNK_LIMIT) * 2 + chunk(5) + chunk(1),
            "not open",
            id="chunk after the end of its stream",
        ),
        pytest.param(
            opening() + chunk(CHUNK_LIMIT) * 2 + chunk(6), "longer", id="one byte too long"
        ),
        pytest.param(opening() + opening(), "opened twice", id="stream opened twice"),
        pytest.param(opening(size=2**32), "was announced", id="4 GiB"),
        pytest.param(opening(size=2**64 - 1), "was announced", id="longest"),
        pytest.param(frame(Bye("b")) + frame(Offer(1)), "had said Bye", id="message after Bye"),
        pytest.param(frame(Bye("b")) * 2, "had said Bye", id="Bye twice"),
        pytest.param(
            opening(size=CHUNK_LIMIT + 1) + chunk(CHUNK_LIMIT) + frame(Bye("b")) + chunk(1),
            "had said Bye",
            id="message completed after Bye",
        ),
        pytest.param(encode_header(99, 0, 0, 0, 0), "unknown kind 99", id="unknown kind"),
        pytest.param(encode_header(18, 4, 0, 0, 0), "unknown flags", id="unknown flags"),
        pytest.param(encode_header(18, 0, 0, 0, 0), "malformed", id="no control part"),
        pytest.param(frame(Offer(1), payload=b"x"), "no payload", id="payload of an Offer"),
        pytest.param(frame(Ping(1), payload=b"x"), "no payload", id="payload of a Ping"),
        pytest.param(opening(message=Bye("b")), "no payload", id="payload of a Bye"),
    ],
)
def test_what_the_other_end_may_not_do(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        receive(data)


def test_a_stream_number_may_be_used_again_when_its_stream_has_ended() -> None:
    stream = opening() + chunk(CHUNK_LIMIT) * 2 + chunk(5)
    assert len(receive(stream * 3)) == 3


def test_the_limit_holds_for_all_open_streams_together() -> None:
    assert receive(opening(1) + opening(2), payload_limit=2 * BIG) == []
    with pytest.raises(ProtocolError, match=f"a payload of {BIG} bytes"):
        receive(opening(1) + opening(2), payload_limit=2 * BIG - 1)


def test_a_stream_that_has_ended_makes_room_under_the_limit() -> None:
    stream = opening() + chunk(CHUNK_LIMIT) * 2 + chunk(5)
    assert len(receive(stream * 2, payload_limit=BIG)) == 2


def test_the_limit_is_a_gibibyte_unless_told_otherwise() -> None:
    made: list[int] = []

    def allocate(size: int) -> Block:
        made.append(size)
        return Block(1)

    assert PAYLOAD_LIMIT == 2**30
    end = Connection(0.0, allocate=allocate)
    with pytest.raises(ProtocolError):
        end.receive_data(opening(size=PAYLOAD_LIMIT + 1), 0.0)
    assert made == []
    assert Connection(0.0, allocate=allocate).receive_data(opening(size=PAYLOAD_LIMIT), 0.0) == []
    assert made == [PAYLOAD_LIMIT]


def test_many_small_chunks_cost_no_more_than_their_payload() -> None:
    size = CHUNK_LIMIT + 2
    data = opening(size=size) + chunk(2) * 50_000
    end = Connection(0.0)
    tracemalloc.start()
    try:
        for start in range(0, len(data), 1000):
            end.receive_data(data[start : start + 1000], 0.0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The place for all of the payload, however little of it has arrived.
    assert kept < CHUNK_LIMIT + 10_000


fragments = st.one_of(
    st.binary(max_size=40),
    st.builds(frame, plain_messages),
    st.builds(frame, st.builds(run), payload=st.binary(max_size=9)),
    st.builds(opening, st.integers(0, 3), st.integers(0, 2 * CHUNK_LIMIT)),
    st.builds(chunk, st.integers(0, 300) | st.just(CHUNK_LIMIT), st.integers(0, 3)),
    st.sampled_from([frame(Ping(1)), frame(Pong(1)), frame(Bye("b"))]),
)


@given(st.lists(fragments, max_size=12), st.lists(st.integers(0, 10**6), max_size=6))
def test_any_bytes_give_messages_or_a_protocol_error(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(parts)
    edges = sorted(place % (len(data) + 1) for place in places)
    end = Connection(0.0, Heartbeat(), payload_limit=3 * CHUNK_LIMIT)
    try:
        for start, stop in zip([0, *edges], [*edges, None], strict=True):
            end.receive_data(data[start:stop], 0.0)
    except ProtocolError:
        return
    assert isinstance(end.receive_eof(), bool)
    assert end._assembling == sum(len(incoming.view) for incoming in end._streams.values())
    assert end._assembling <= 3 * CHUNK_LIMIT


# Heartbeats.


def test_without_a_heartbeat_nothing_is_ever_due() -> None:
    end = Connection(0.0)
    assert not end.has_heartbeat and Connection(0.0, Heartbeat()).has_heartbeat
    assert end.next_deadline() is None
    assert end.handle_timer(1e9) is True
    assert not end.wants_to_send


def test_an_idle_connection_is_probed_after_an_interval() -> None:
    end = Connection(100.0, Heartbeat(interval=5.0, dead=30.0))
    assert end.next_deadline() == 105.0
    assert end.handle_timer(104.9) is True
    assert not end.wants_to_send
    assert end.handle_timer(105.0) is True
    assert bytes_of(end, 105.0) == frame(Ping(1))
    assert end.next_deadline() == 110.0


def test_whoever_speaks_need_not_probe() -> None:
    end = Connection(0.0, Heartbeat(interval=5.0, dead=30.0))
    end.send(Offer(1))
    end.data_to_send(4.0)
    assert end.next_deadline() == 9.0
    assert end.data_to_send(8.0).buffers == []
    assert end.next_deadline() == 9.0


def test_a_silent_end_is_given_up() -> None:
    end = Connection(0.0, Heartbeat(interval=5.0, dead=30.0))
    end.receive_data(b"\x12", 2.0)
    for now in (7.0, 12.0, 17.0, 22.0, 27.0, 31.9):
        assert end.handle_timer(now) is True
        end.data_to_send(now)
    assert end.next_deadline() == 32.0
    assert end.silent_for(32.0) == 30.0
    assert end.handle_timer(32.0) is False


@given(st.floats(0, 1e7), st.floats(0.001, 100), st.floats(0.001, 100))
def test_what_was_due_is_done_when_it_was_due(now: float, interval: float, dead: float) -> None:
    """A timer that does nothing at its deadline would be called again at once, for ever."""
    end = Connection(now, Heartbeat(interval, dead))
    for _ in range(5):
        due = end.next_deadline()
        assert due is not None
        if not end.handle_timer(due):
            return
        assert end.wants_to_send
        end.data_to_send(due)
        assert end.next_deadline() > due


def test_a_probe_is_answered_and_measured() -> None:
    here, there = Connection(0.0, Heartbeat()), Connection(0.0)
    assert here.round_trip is None
    here.probe(1.0)
    assert there.receive_data(bytes_of(here, 1.0), 1.25) == []
    assert here.receive_data(bytes_of(there, 1.25), 1.5) == []
    assert here.round_trip == 0.5
    assert here.silent_for(2.5) == 1.0


def test_while_a_probe_is_out_the_next_does_not_shorten_it() -> None:
    here = Connection(0.0, Heartbeat())
    here.probe(1.0)
    here.probe(6.0)
    here.receive_data(frame(Pong(1)), 8.0)
    assert here.round_trip == 7.0
    here.receive_data(frame(Pong(2)), 9.0)
    assert here.round_trip == 7.0
    here.probe(10.0)
    here.receive_data(frame(Pong(3)), 10.5)
    assert here.round_trip == 0.5


@pytest.mark.parametrize("token", [0, 2, 2**63 - 1])
def test_an_answer_to_no_probe_measures_nothing(token: int) -> None:
    here = Connection(0.0, Heartbeat())
    here.receive_data(frame(Pong(token)), 1.0)
    here.probe(2.0)
    here.receive_data(frame(Pong(token)), 3.0)
    assert here.round_trip is None


def test_after_its_bye_an_end_neither_probes_nor_answers() -> None:
    """Either would be a message after Bye, which the other end refuses."""
    here, there = Connection(0.0, Heartbeat(5.0, 30.0)), Connection(0.0)
    here.send(Bye("done"))
    there.receive_data(bytes_of(here), 0.0)
    here.receive_data(frame(Ping(7)), 1.0)
    assert here.handle_timer(20.0) is True
    assert not here.wants_to_send
    assert here.next_deadline() == 31.0
    assert here.handle_timer(31.0) is False
    assert there.receive_data(bytes_of(here), 32.0) == []
    assert there.receive_eof() is True
