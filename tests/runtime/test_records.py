"""Records: what a socket with the manners of TLS takes and gives."""

from __future__ import annotations

import ssl

import pytest

from ppnext.runtime.records import joined, read_records, send_records


class Records:
    """A socket that gives and takes one record at a time, as often as there is room for one."""

    def __init__(
        self, data: bytes = b"", room: int = 0, end: type[Exception] | None = None
    ) -> None:
        self.data = data
        self.room = room
        self.end = end
        self.sent = b""

    def recv_into(self, view: memoryview) -> int:
        piece, self.data = self.data[:4][: len(view)], self.data[len(self.data[:4][: len(view)]) :]
        if not piece and self.end is not None:
            raise self.end
        view[: len(piece)] = piece
        return len(piece)

    def send(self, data: bytes | memoryview) -> int:
        if not self.room:
            raise self.end or AssertionError("asked once too often")
        self.room -= 1
        self.sent += bytes(data[:4])
        return len(data[:4])


def test_all_records_that_have_come_are_read_at_once() -> None:
    sock, room = Records(b"0123456789", end=ssl.SSLWantReadError), bytearray(16)
    assert read_records(sock, memoryview(room)) == 10  # type: ignore[arg-type]  # a fake socket
    assert room[:10] == b"0123456789"


def test_no_more_is_read_than_there_is_room_for() -> None:
    sock, room = Records(b"0123456789"), bytearray(6)
    assert read_records(sock, memoryview(room)) == 6  # type: ignore[arg-type]  # a fake socket
    assert (bytes(room), sock.data) == (b"012345", b"6789")


def test_the_end_is_told_when_all_before_it_has_been_read() -> None:
    sock, room = Records(b"01234"), bytearray(16)
    assert read_records(sock, memoryview(room)) == 5  # type: ignore[arg-type]  # a fake socket
    assert read_records(sock, memoryview(room)) == 0  # type: ignore[arg-type]  # a fake socket


@pytest.mark.parametrize("buffer", [b"0123456789", memoryview(b"0123456789")])
def test_a_buffer_is_sent_record_by_record(buffer: bytes | memoryview) -> None:
    sock = Records(room=3)
    assert send_records(sock, buffer) == 10  # type: ignore[arg-type]  # a fake socket
    assert sock.sent == b"0123456789"


@pytest.mark.parametrize("wish", [ssl.SSLWantWriteError, ssl.SSLWantReadError])
def test_what_is_not_taken_is_told(wish: type[Exception]) -> None:
    sock = Records(room=2, end=wish)
    assert send_records(sock, b"0123456789") == 8  # type: ignore[arg-type]  # a fake socket
    with pytest.raises(wish):
        send_records(sock, b"89")  # type: ignore[arg-type]  # a fake socket


@pytest.mark.parametrize("failure", [ConnectionResetError, ssl.SSLError])
def test_a_failure_between_records_is_raised(failure: type[Exception]) -> None:
    with pytest.raises(failure):
        send_records(Records(room=2, end=failure), b"0123456789")  # type: ignore[arg-type]  # a fake socket
    sock = Records(b"0123", end=failure)
    with pytest.raises(failure):
        read_records(sock, memoryview(bytearray(9)))  # type: ignore[arg-type]  # a fake socket


def test_small_buffers_share_a_record_and_large_ones_are_not_copied() -> None:
    large = memoryview(bytes(1 << 15))
    assert joined([b"a", b"b", large, b"c"]) == [b"ab", large, b"c"]
    assert joined([b"a", b"b", large])[1] is large
    cases: list[list[bytes | memoryview]] = [[large, b"a"], [b"a", large], [b"a"], []]
    for same in cases:
        assert joined(same) is same
