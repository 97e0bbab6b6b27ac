"""Frames: any cutting of the stream gives the same frames, and no header is believed unchecked."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.errors import ProtocolError
from ppnext.wire.frames import (
    CHUNK,
    CHUNK_LIMIT,
    CONTROL_LIMIT,
    HEADER,
    OPENS,
    PASSED,
    Frame,
    FrameDecoder,
    encode_header,
)

FULL_FRAME = HEADER.size + CONTROL_LIMIT + CHUNK_LIMIT


def message(kind: int = 18, control: bytes = b"c", payload: bytes = b"", stream: int = 0) -> bytes:
    return encode_header(kind, 0, len(control), stream, len(payload)) + control + payload


def opening(kind: int = 18, control: bytes = b"c", size: int = CHUNK_LIMIT + 1) -> bytes:
    return encode_header(kind, OPENS, len(control), 7, size) + control


def chunk(payload: bytes, stream: int = 7) -> bytes:
    return encode_header(CHUNK, 0, 0, stream, len(payload)) + payload


def passed(kind: int = 18, control: bytes = b"c", size: int = 5) -> bytes:
    return encode_header(kind, PASSED, len(control), 0, size) + control


def put_together(frames: list[Frame]) -> list[Frame]:
    """The frames with neighbouring pieces of one stream made one, for they may come in any cut."""
    whole: list[Frame] = []
    for frame in frames:
        last = whole[-1] if whole else None
        if last is not None and frame.kind == last.kind == CHUNK and frame.stream == last.stream:
            payload = last.payload + frame.payload
            whole[-1] = last._replace(payload=payload, size=len(payload))
        else:
            whole.append(frame)
    return whole


def frames_of(data: bytes) -> list[Frame]:
    return FrameDecoder().feed(data)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return ``data`` in pieces, cut at ``places`` (taken modulo its length)."""
    edges = sorted(place % (len(data) + 1) for place in places)
    return [data[start:stop] for start, stop in zip([0, *edges], [*edges, None], strict=True)]


kinds = st.integers(1, 255)
controls = st.binary(max_size=20)
streams = st.integers(0, 2**32 - 1)
valid_frames = st.one_of(
    st.builds(message, kinds, controls, st.binary(max_size=50), streams),
    st.builds(opening, kinds, controls, st.integers(CHUNK_LIMIT + 1, 2**64 - 1)),
    st.builds(chunk, st.binary(min_size=1, max_size=50), streams),
    st.builds(passed, kinds, controls, st.integers(1, 2**64 - 1)),
)


# What a frame is.


def test_a_header_has_sixteen_bytes_in_network_order() -> None:
    assert encode_header(18, OPENS, 2, 3, CHUNK_LIMIT + 4) == bytes.fromhex(
        "12 01 0002 00000003 0000000000040004"
    )


def test_a_frame_carries_control_and_payload() -> None:
    data = message(kind=20, control=b"control", payload=b"payload", stream=5)
    assert frames_of(data) == [Frame(20, 0, 5, 7, b"control", b"payload")]


def test_a_frame_may_carry_nothing() -> None:
    assert frames_of(message(control=b"")) == [Frame(18, 0, 0, 0, b"", b"")]


def test_an_opening_frame_carries_the_size_but_no_payload() -> None:
    size = 2**64 - 1
    after = message(control=b"next")
    assert frames_of(opening(size=size) + after) == [
        Frame(18, OPENS, 7, size, b"c", b""),
        Frame(18, 0, 0, 0, b"next", b""),
    ]


def test_the_largest_frame_is_taken() -> None:
    control, payload = bytes(CONTROL_LIMIT), bytes(CHUNK_LIMIT)
    [frame] = frames_of(message(control=control, payload=payload))
    assert (frame.control, frame.payload) == (control, payload)


def test_a_control_part_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="at most 65535"):
        encode_header(1, 0, CONTROL_LIMIT + 1, 0, 0)


# However the bytes arrive.


@given(st.lists(valid_frames, max_size=8), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_cutting_gives_the_same_frames(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(parts)
    decoder = FrameDecoder()
    pieces = [frame for piece in cut(data, places) for frame in decoder.feed(piece)]
    assert put_together(pieces) == put_together(frames_of(data))
    assert len(frames_of(data)) == len(parts)
    assert decoder.is_empty


@given(st.lists(valid_frames, max_size=4))
def test_byte_at_a_time_gives_the_same_frames(parts: list[bytes]) -> None:
    data = b"".join(parts)
    decoder = FrameDecoder()
    pieces = [frame for byte in data for frame in decoder.feed(bytes([byte]))]
    assert put_together(pieces) == put_together(frames_of(data))


@given(
    st.lists(valid_frames, max_size=8),
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), max_size=30),
)
def test_what_is_read_of_a_chunk_elsewhere_is_missing_here_and_nothing_else(
    parts: list[bytes], steps: list[tuple[int, int]]
) -> None:
    data = b"".join(parts)
    decoder = FrameDecoder()
    frames: list[Frame] = []
    at = 0
    for fed, wanted in [*steps, (len(data), 0)]:
        frames += decoder.feed(data[at : at + fed])
        at = min(at + fed, len(data))
        stream, missing = decoder.chunk
        elsewhere = min(wanted, missing, len(data) - at)
        if elsewhere:
            piece = data[at : at + elsewhere]
            frames.append(Frame(CHUNK, 0, stream, elsewhere, b"", piece))
            decoder.filled(elsewhere)
            at += elsewhere
    assert put_together(frames) == put_together(frames_of(data))
    assert decoder.is_empty


def test_a_chunk_is_given_as_it_arrives() -> None:
    data = chunk(b"abcdef") + message(control=b"next")
    decoder = FrameDecoder()
    assert decoder.feed(data[: HEADER.size]) == []
    assert decoder.chunk == (7, 6)
    assert not decoder.is_empty
    assert decoder.feed(b"ab") == [Frame(CHUNK, 0, 7, 2, b"", b"ab")]
    assert decoder.chunk == (7, 4)
    decoder.filled(3)
    assert decoder.chunk == (7, 1)
    assert decoder.feed(b"") == []
    assert decoder.feed(data[HEADER.size + 5 :]) == [
        Frame(CHUNK, 0, 7, 1, b"", b"f"),
        Frame(18, 0, 0, 0, b"next", b""),
    ]
    assert decoder.chunk[1] == 0
    assert decoder.is_empty


def test_a_frame_whose_payload_is_passed_along_carries_its_size_and_no_payload() -> None:
    after = message(control=b"next")
    assert frames_of(passed(size=2**40) + after) == [
        Frame(18, PASSED, 0, 2**40, b"c", b""),
        Frame(18, 0, 0, 0, b"next", b""),
    ]


def test_a_frame_is_given_with_its_last_byte_and_not_before() -> None:
    data = message(control=b"control", payload=b"payload")
    for end in range(len(data)):
        decoder = FrameDecoder()
        assert decoder.feed(data[:end]) == []
        assert decoder.is_empty is (end == 0)
        assert decoder.feed(data[end:]) == frames_of(data)
        assert decoder.is_empty


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_give_frames_or_a_protocol_error(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except ProtocolError:
        pass


# What is refused.


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param((18, 3, 0, 0, 2**20), "unknown flags 0x03", id="passed and opening"),
        pytest.param((18, 4, 0, 0, 0), "unknown flags 0x04", id="unknown flag"),
        pytest.param((18, PASSED, 0, 0, 0), "passed for no payload", id="nothing passed"),
        pytest.param((CHUNK, PASSED, 0, 7, 1), "nothing but payload", id="passed chunk"),
        pytest.param((18, 255, 0, 0, 0), "unknown flags 0xff", id="all flags"),
        pytest.param((CHUNK, OPENS, 0, 7, 2**20), "nothing but payload", id="opening chunk"),
        pytest.param((CHUNK, 0, 1, 7, 1), "nothing but payload", id="chunk with control part"),
        pytest.param((CHUNK, 0, 0, 7, 0), "carries payload", id="empty chunk"),
        pytest.param((CHUNK, 0, 0, 7, CHUNK_LIMIT + 1), "at most", id="long chunk"),
        pytest.param((18, 0, 0, 0, CHUNK_LIMIT + 1), "at most 262144", id="one byte too long"),
        pytest.param((18, 0, 0, 0, 2**32), "announces 4294967296", id="4 GiB"),
        pytest.param((18, 0, 0, 0, 2**64 - 1), "at most", id="longest"),
        pytest.param((18, OPENS, 0, 7, CHUNK_LIMIT), "fit into one frame", id="small stream"),
        pytest.param((18, OPENS, 0, 7, 0), "fit into one frame", id="empty stream"),
    ],
)
def test_a_bad_header_is_refused_at_its_last_byte(header: tuple[int, ...], reason: str) -> None:
    data = HEADER.pack(*header)
    decoder = FrameDecoder()
    assert decoder.feed(data[:-1]) == []
    with pytest.raises(ProtocolError, match=reason):
        decoder.feed(data[-1:])


@pytest.mark.parametrize("error", [-1, 1])
def test_a_length_that_is_wrong_by_one_never_goes_unnoticed_for_long(error: int) -> None:
    """The frame after it is read from the wrong place, where no header is."""
    wrong = encode_header(18, 0, 1, 0, 4 + error) + b"c" + b"\xff" * 4
    try:
        frames = frames_of(wrong + message() * 3)
    except ProtocolError:
        return
    assert len(frames) < 4


def test_an_unfinished_frame_costs_what_has_arrived_and_no_more() -> None:
    longest = encode_header(18, 0, CONTROL_LIMIT, 0, CHUNK_LIMIT) + bytes(1000)
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        decoder.feed(longest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


def test_the_decoder_never_keeps_more_than_a_frame() -> None:
    data = message(control=bytes(CONTROL_LIMIT), payload=bytes(CHUNK_LIMIT)) * 2
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        for start in range(0, len(data), 65536):
            decoder.feed(data[start : start + 65536])
        decoder.feed(data[: FULL_FRAME - 1])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * FULL_FRAME
