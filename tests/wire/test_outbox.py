"""Outbox: which message goes next, in which pieces, and what waits for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.wire.frames import CHUNK, CHUNK_LIMIT, HEADER, PASSED, Frame, FrameDecoder
from ppnext.wire.messages import (
    KINDS,
    Bye,
    Define,
    Message,
    Offer,
    Outcome,
    Ping,
    Result,
    Retract,
    Run,
    Start,
    decode_control,
)
from ppnext.wire.outbox import IN_ORDER, WITH_PAYLOAD, Outbox
from ppnext.wire.payloads import Block, Payload

DIGEST = bytes(range(32))
BIG = 3 * CHUNK_LIMIT + 7


class Shared(Block):
    """Stands for memory that another process can map, unless it has no descriptor (any more)."""

    def __init__(self, size: int, number: int | None = 5) -> None:
        super().__init__(size)
        self.number = number

    def descriptor(self) -> int | None:
        return self.number


def outbox(in_order: bool = False, passing: bool = False) -> Outbox:
    return Outbox(in_order, passing)


def run(job: int = 1) -> Run:
    return Run(DIGEST, [Start(job, 1, 0)])


def result(*jobs: int) -> Result:
    return Result([Outcome(job, 1, 0, False, 0.5) for job in jobs])


def take(box: Outbox, budget: int = CHUNK_LIMIT) -> list[Frame]:
    """One write, as frames."""
    return FrameDecoder().feed(b"".join(box.take(budget).buffers))


def said(frames: list[Frame]) -> list[Message]:
    return [decode_control(it.kind, it.control) for it in frames if it.kind != CHUNK]


def everything(box: Outbox, budget: int = CHUNK_LIMIT) -> list[Frame]:
    frames: list[Frame] = []
    while not box.is_empty:
        frames += take(box, budget)
    return frames


def test_an_empty_outbox_gives_nothing() -> None:
    box = outbox()
    assert box.is_empty
    assert box.take(CHUNK_LIMIT).buffers == []


def test_payloads_travel_with_messages_that_keep_their_order() -> None:
    assert set(WITH_PAYLOAD) < set(IN_ORDER) <= set(KINDS)


# Small messages.


def test_control_messages_go_first_and_the_others_keep_their_order() -> None:
    box = outbox()
    sent = [Define(DIGEST), run(1), Offer(1), result(2), Ping(1), run(3), Retract([(1, 1)])]
    for message in sent:
        box.put(message, ())
    urgent = [Offer(1), Ping(1)]
    assert said(take(box)) == urgent + [message for message in sent if message not in urgent]
    assert box.is_empty


def test_messages_that_are_queued_together_leave_together() -> None:
    box = outbox()
    for job in range(100):
        box.put(run(job), (b"arguments",))
    assert said(take(box)) == [run(job) for job in range(100)]


def test_what_a_batch_carries_stands_behind_it_in_order() -> None:
    box = outbox()
    box.put(result(1, 2, 3), (b"one", b"", b"three"))
    [frame] = take(box)
    assert (frame.payload, frame.size) == (b"onethree", 8)


def test_several_payloads_may_fill_a_chunk_and_no_more() -> None:
    box = outbox()
    half = bytes(CHUNK_LIMIT // 2)
    box.put(result(1, 2), (half, half))
    [frame] = take(box)
    assert len(frame.payload) == CHUNK_LIMIT
    with pytest.raises(ValueError, match="unpack"):
        box.put(result(1, 2), (half, half + b"x"))


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60), st.integers(1, 5000))
def test_the_budget_is_passed_by_one_message_at_most(sizes: list[int], budget: int) -> None:
    box = outbox()
    for job, size in enumerate(sizes):
        box.put(run(job), (bytes(size),))
    jobs: list[Message] = []
    while not box.is_empty:
        buffers = box.take(budget).buffers
        assert sum(map(len, buffers[:-1])) < budget
        jobs += said(FrameDecoder().feed(b"".join(buffers)))
    assert jobs == [run(job) for job in range(len(sizes))]


def test_many_control_messages_are_bounded_too() -> None:
    box = outbox()
    for token in range(1000):
        box.put(Ping(token), ())
    box.put(run(), ())
    first = b"".join(box.take(100).buffers)
    assert 100 <= len(first) < 150
    assert said(everything(box))[-1] == run()


# Large payloads.


def test_a_large_payload_goes_in_chunks_and_is_not_copied() -> None:
    payload = bytes(range(256)) * 1024 * 3 + b"end"
    box = outbox()
    box.put(run(), (payload,))
    pieces = []
    while not box.is_empty:
        for buffer in box.take(CHUNK_LIMIT).buffers:
            if isinstance(buffer, memoryview):
                assert buffer.obj is payload
                pieces.append(bytes(buffer))
    assert b"".join(pieces) == payload
    assert max(map(len, pieces)) <= CHUNK_LIMIT


@pytest.mark.parametrize("size", [0, 1, CHUNK_LIMIT])
def test_a_block_that_fits_into_a_frame_goes_in_one(size: int) -> None:
    box = outbox()
    box.put(run(), (Block(size),))
    [frame] = take(box, 2 * CHUNK_LIMIT)
    assert (frame.flags, frame.payload) == (0, bytes(size))
    assert box.is_empty


def test_large_payloads_take_turns() -> None:
    box = outbox()
    for job in (1, 2, 3):
        box.put(run(job), (bytes(BIG),))
    streams = [frame.stream for frame in everything(box) if frame.kind == CHUNK]
    assert streams[:6] == [1, 2, 3, 1, 2, 3]
    assert set(streams) == {1, 2, 3}


def test_a_short_one_among_long_ones_is_through_first() -> None:
    box = outbox()
    box.put(run(1), (bytes(20 * CHUNK_LIMIT),))
    box.put(run(2), (bytes(CHUNK_LIMIT + 1),))
    streams = [frame.stream for frame in everything(box) if frame.kind == CHUNK]
    assert max(place for place, stream in enumerate(streams) if stream == 2) < 5


def test_small_messages_pass_a_large_payload() -> None:
    box = outbox()
    box.put(run(1), (bytes(BIG),))
    take(box)
    box.put(run(2), (b"small",))
    box.put(Ping(1), ())
    assert said(take(box)) == [Ping(1), run(2)]
    assert not box.is_empty


@given(st.integers(1000, CHUNK_LIMIT), st.integers(1000, CHUNK_LIMIT))
def test_a_flood_of_small_messages_leaves_room_for_a_chunk(budget: int, size: int) -> None:
    """Every write moves the large payload on, however much is queued before it."""
    box = outbox()
    box.put(run(0), (bytes(BIG),))
    take(box, budget)
    for job in range(1, 20):
        box.put(run(job), (bytes(size),))
        chunks = [frame for frame in take(box, budget + size + 100) if frame.kind == CHUNK]
        assert len(chunks) == 1 or box.is_empty


def test_nothing_is_queued_behind_more_than_a_chunk() -> None:
    box = outbox()
    box.put(run(1), (bytes(50 * CHUNK_LIMIT),))
    while not box.is_empty:
        assert sum(map(len, box.take(CHUNK_LIMIT).buffers)) <= CHUNK_LIMIT + 2 * HEADER.size + 100


def test_streams_are_numbered_and_the_numbers_start_again() -> None:
    box = outbox()
    box._next_stream = 0xFFFFFFFF
    for job in (1, 2):
        box.put(run(job), (bytes(BIG),))
    assert [it.stream for it in everything(box) if it.kind != CHUNK] == [0xFFFFFFFF, 1]


# In order.


def test_in_order_nothing_but_control_messages_passes_a_large_payload() -> None:
    box = outbox(in_order=True)
    box.put(Define(DIGEST), (bytes(BIG),))
    box.put(run(1), (bytes(BIG),))
    box.put(run(2), (b"small",))
    take(box)
    box.put(Ping(1), ())
    frames = everything(box)
    assert said(frames) == [Ping(1), run(1), run(2)]
    streams = [frame.stream for frame in frames if frame.kind == CHUNK]
    assert streams == sorted(streams)
    last_chunk = max(place for place, frame in enumerate(frames) if frame.kind == CHUNK)
    assert said(frames[last_chunk:]) == [run(2)]


@given(st.lists(st.sampled_from([0, 10, CHUNK_LIMIT, BIG]), max_size=8), st.integers(1, BIG))
def test_in_order_is_the_order_of_sending(sizes: list[int], budget: int) -> None:
    box = outbox(in_order=True)
    for job, size in enumerate(sizes):
        box.put(run(job), (bytes(size),) if size else ())
    frames = everything(box, budget)
    assert said(frames) == [run(job) for job in range(len(sizes))]
    open_stream, missing = 0, 0
    for frame in frames:
        if frame.kind == CHUNK:
            assert frame.stream == open_stream
            missing -= frame.size
        else:
            assert not missing, "it passed a large payload"
            open_stream, missing = frame.stream, frame.size if frame.flags else 0


# The last word.


@pytest.mark.parametrize("in_order", [False, True])
def test_the_last_word_goes_when_all_else_has_gone(in_order: bool) -> None:
    box = outbox(in_order)
    box.put(run(1), (bytes(BIG),))
    box.put(Bye("done"), ())
    box.put(run(2), (bytes(BIG),))
    box.put(run(3), ())
    box.put(Ping(1), ())
    frames = everything(box)
    assert said(frames[-1:]) == [Bye("done")]
    assert len(said(frames)) == 5


def test_the_last_word_alone() -> None:
    box = outbox()
    box.put(Bye("done"), ())
    assert not box.is_empty
    assert said(take(box, 1)) == [Bye("done")]
    assert box.is_empty


# Passed along.


def test_a_descriptor_goes_with_the_first_byte_of_a_write() -> None:
    box = outbox(passing=True)
    memory = Shared(BIG)
    box.put(Ping(1), ())
    box.put(run(1), (b"small",))
    box.put(run(2), (memory,))
    box.put(run(3), (b"small",))
    first = box.take(CHUNK_LIMIT)
    assert first.passed is None
    assert said(FrameDecoder().feed(b"".join(first.buffers))) == [Ping(1), run(1)]
    second = box.take(CHUNK_LIMIT)
    assert second.passed is memory
    [frame] = FrameDecoder().feed(b"".join(second.buffers))
    assert (frame.flags, frame.size, frame.payload) == (PASSED, BIG, b"")
    assert said(take(box)) == [run(3)]


def test_each_descriptor_has_a_write_of_its_own() -> None:
    box = outbox(passing=True)
    memories = [Shared(10), Shared(BIG)]
    for job, memory in enumerate(memories):
        box.put(run(job), (memory,))
    assert [box.take(CHUNK_LIMIT).passed for _ in memories] == memories
    assert box.is_empty


@pytest.mark.parametrize(
    ("passing", "memory"),
    [(False, Shared(BIG)), (True, Shared(BIG, None)), (True, Block(BIG)), (True, Shared(0))],
    ids=["not to this end", "not mappable", "a block", "nothing"],
)
def test_what_cannot_be_passed_is_sent(passing: bool, memory: Payload) -> None:
    box = outbox(passing=passing)
    box.put(run(), (memory,))
    sent = 0
    while not box.is_empty:
        outgoing = box.take(CHUNK_LIMIT)
        assert outgoing.passed is None
        sent += sum(map(len, outgoing.buffers))
    assert sent >= len(memory)


def test_a_passed_payload_waits_for_a_large_one_if_order_is_kept() -> None:
    box = outbox(in_order=True, passing=True)
    box.put(run(1), (bytes(BIG),))
    box.put(run(2), (Shared(BIG),))
    passed = []
    while not box.is_empty:
        passed.append(box.take(CHUNK_LIMIT).passed is not None)
    assert passed == sorted(passed)
    assert passed.count(True) == 1


# What cannot be.


def test_a_payload_where_none_belongs_is_not_sent() -> None:
    with pytest.raises(AssertionError, match="a Retract has no payload"):
        outbox().put(Retract([(1, 1)]), (b"x",))
