"""Passing: descriptors go along with bytes, and none is ever lost or left open."""

from __future__ import annotations

import fcntl
import os
import socket
from array import array
from collections.abc import Iterator

import pytest

from ppnext.runtime.passing import receive, send_passing
from tests.descriptors import open_descriptors

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "CMSG_SPACE"), reason="this system passes no descriptors"
)

Pair = tuple[socket.socket, socket.socket]


class Passed:
    """A payload that has a descriptor."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __len__(self) -> int:
        return 7

    def view(self) -> memoryview:
        return memoryview(bytearray(7))

    def descriptor(self) -> int | None:
        return self._descriptor


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        yield here, there


@pytest.fixture
def content(tmp_path) -> Iterator[int]:
    """The descriptor of a file that can be told from others."""
    (tmp_path / "file").write_bytes(b"content")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def close_all(descriptors: object) -> None:
    for descriptor in descriptors:  # type: ignore[attr-defined]  # an object that was typed as such
        os.close(descriptor)


def test_bytes_alone(pair: Pair) -> None:
    pair[0].sendall(b"hello")
    data, descriptors = receive(pair[1], 100)
    assert (data, list(descriptors)) == (b"hello", [])


def test_a_descriptor_goes_along_and_stays_with_its_sender(pair: Pair, content: int) -> None:
    assert send_passing(pair[0], [b"he", b"", memoryview(b"llo")], Passed(content)) == 5
    data, descriptors = receive(pair[1], 100)
    assert data == b"hello" and len(descriptors) == 1
    try:
        assert descriptors[0] != content
        assert os.pread(descriptors[0], 100, 0) == os.pread(content, 100, 0) == b"content"
    finally:
        close_all(descriptors)


def test_what_has_arrived_is_not_inherited(pair: Pair, content: int) -> None:
    send_passing(pair[0], [b"x"], Passed(content))
    _, descriptors = receive(pair[1], 100)
    try:
        assert fcntl.fcntl(descriptors[0], fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    finally:
        close_all(descriptors)


def test_it_comes_with_the_first_byte_and_only_once(pair: Pair, content: int) -> None:
    pair[0].sendall(b"before")
    send_passing(pair[0], [b"with"], Passed(content))
    pair[0].sendall(b"after")
    got = b""
    passed = []
    while len(got) < 15:
        data, descriptors = receive(pair[1], 3)
        passed += [(len(got), it) for it in descriptors]
        got += data
    close_all(it for _, it in passed)
    assert got == b"beforewithafter"
    assert [place for place, _ in passed] == [6]


def test_several_arrive_in_their_order(pair: Pair, tmp_path) -> None:
    for number in range(20):
        path = tmp_path / str(number)
        path.write_text(str(number))
        with path.open("rb") as file:
            send_passing(pair[0], [b"x"], Passed(file.fileno()))
    seen = []
    for _ in range(20):
        _, descriptors = receive(pair[1], 1)
        seen += [os.pread(it, 10, 0) for it in descriptors]
        close_all(descriptors)
    assert seen == [b"%d" % number for number in range(20)]


def test_of_more_than_are_taken_at_a_time_none_is_left_open(pair: Pair, content: int) -> None:
    before = open_descriptors()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [content] * 200))
    pair[0].sendmsg([b"x"], [rights])
    data, descriptors = receive(pair[1], 100)
    assert data == b"x"
    assert open_descriptors() == before + len(descriptors) < before + 200
    close_all(descriptors)


def test_nothing_has_arrived(pair: Pair) -> None:
    with pytest.raises(BlockingIOError):
        receive(pair[1], 100)
    pair[1].setblocking(True)
    with pytest.raises(BlockingIOError):
        receive(pair[1], 100, socket.MSG_DONTWAIT)


def test_the_end(pair: Pair) -> None:
    pair[0].close()
    assert receive(pair[1], 100)[0] == b""


def test_whoever_is_gone_is_passed_nothing(pair: Pair, content: int) -> None:
    pair[1].close()
    with pytest.raises(ConnectionError):
        send_passing(pair[0], [b"x"], Passed(content))


def test_a_socket_that_passes_none_is_read_all_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as here:
            there, _ = listening.accept()
            with there:
                here.sendall(b"hello")
                data, descriptors = receive(there, 100)
    assert (data, list(descriptors)) == (b"hello", [])
