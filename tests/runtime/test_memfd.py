"""Memfds: writing, checking what was received, mapping."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ppnext.errors import ProtocolError
from ppnext.runtime.memfd import Buffer, Memfd, has_memfds, write_all

if sys.platform == "linux":
    import fcntl

pytestmark = pytest.mark.skipif(not has_memfds(), reason="this platform has no memfds")


@pytest.fixture
def memfd() -> Iterator[Memfd]:
    it = Memfd.make(8192)
    yield it
    it.close()


def contents(memfd: Memfd, size: int) -> bytes:
    return os.pread(memfd.fileno(), size, 0)


def test_the_parts_lie_one_after_the_other(memfd: Memfd) -> None:
    memfd.write([b"ab", bytearray(b"cd"), b"", memoryview(b"xefx")[1:3]])
    assert contents(memfd, 7) == b"abcdef\0"


def test_it_is_written_again_through_a_mapping(memfd: Memfd) -> None:
    memfd.write([b"x" * 8192])
    memfd.write([b"ab", memoryview(b"cd")])
    memfd.write([b"AB"])
    assert contents(memfd, 5) == b"ABcdx"


def test_large_parts_are_copied_in_steps() -> None:
    size = (5 << 20) + 12345
    first, again = os.urandom(size), os.urandom(size)
    memfd = Memfd.make(size + 3)
    try:
        memfd.write([b"abc", first])
        memfd.write([b"def", again])
        with memfd.map(size + 3) as mapping:
            assert mapping[:] == b"def" + again
    finally:
        memfd.close()


def test_what_the_system_takes_in_part_is_continued(tmp_path: Path) -> None:
    calls = []

    def stingy(descriptor: int, buffers: Sequence[Buffer], offset: int) -> int:
        calls.append(len(buffers))
        return os.pwrite(descriptor, b"".join(buffers)[:3], offset)

    with open(tmp_path / "file", "w+b") as file:
        write_all(file.fileno(), [b"a", b"bcdefgh", b"", b"ij", b"k"], stingy)
        assert file.read() == b"abcdefghijk"
    assert calls == [4, 3, 3, 2]


def test_more_parts_than_one_call_takes(memfd: Memfd) -> None:
    parts = [bytes([number % 251]) for number in range(5000)]
    memfd.write(parts)
    assert contents(memfd, 5000) == b"".join(parts)


def test_a_system_that_takes_nothing_is_an_error(memfd: Memfd) -> None:
    with pytest.raises(OSError) as caught:
        write_all(memfd.fileno(), [b"a"], lambda *_: 0)
    assert caught.value.errno == errno.EIO


def test_it_cannot_be_written_past_its_end(memfd: Memfd) -> None:
    with pytest.raises(OSError):
        memfd.write([bytes(8193)])


def test_its_size_is_fixed(memfd: Memfd) -> None:
    for size in (0, 8191, 8193):
        with pytest.raises(PermissionError):
            os.ftruncate(memfd.fileno(), size)


def test_a_mapping_is_private(memfd: Memfd) -> None:
    memfd.write([b"abc" + bytes(8189)])
    with memfd.map(3) as one, memfd.map(3) as other:
        one[0:1] = b"X"
        assert (one[:], other[:], contents(memfd, 3)) == (b"Xbc", b"abc", b"abc")


def test_a_copy_is_private(memfd: Memfd) -> None:
    memfd.write([b"abc" + bytes(8189)])
    copy = memfd.read(4)
    copy[0:1] = b"X"
    assert contents(memfd, 3) == b"abc"
    assert copy == b"Xbc\0"


def test_a_copy_of_more_than_there_is(memfd: Memfd) -> None:
    with pytest.raises(OSError, match="ended too early"):
        memfd.read(8193)


def test_closing_twice_is_nothing() -> None:
    memfd = Memfd.make(10)
    memfd.write([bytes(10)])
    memfd.write([bytes(10)])  # makes the mapping
    descriptor = memfd.fileno()
    memfd.close()
    memfd.close()
    assert memfd.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_it_closes_with_its_last_reference() -> None:
    memfd = Memfd.make(10)
    descriptor = memfd.fileno()
    del memfd
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_it_does_not_pass_to_other_programs(memfd: Memfd) -> None:
    assert not os.get_inheritable(memfd.fileno())


def test_a_received_one_is_as_it_was_made(memfd: Memfd) -> None:
    memfd.write([b"abc" + bytes(8189)])
    received = Memfd.receive(os.dup(memfd.fileno()), 100)
    assert received.capacity == 8192
    assert received.read(3) == b"abc"
    received.close()


# Descriptors that are none of ours: each is refused, and closed.


def unsealed(size: int, seals: int) -> int:
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def ordinary_file() -> int:
    return os.open(__file__, os.O_RDONLY)


def pipe_end() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def socket_end() -> int:
    with socket.socket() as it:
        return it.detach()


def sealed(size: int) -> int:
    memfd = Memfd.make(size)
    try:
        return os.dup(memfd.fileno())
    finally:
        memfd.close()


@pytest.mark.parametrize(
    ("make", "size", "message"),
    [
        pytest.param(ordinary_file, 10, "is none", id="an ordinary file"),
        pytest.param(lambda: os.open("/dev/null", os.O_RDWR), 10, "is none", id="a device"),
        pytest.param(pipe_end, 10, "is none", id="a pipe"),
        pytest.param(socket_end, 10, "is none", id="a socket"),
        pytest.param(lambda: unsealed(10, 0), 10, "without the seals", id="no seals"),
        pytest.param(
            lambda: unsealed(10, fcntl.F_SEAL_GROW), 10, "without the seals", id="may shrink"
        ),
        pytest.param(
            lambda: unsealed(10, fcntl.F_SEAL_SHRINK), 10, "without the seals", id="may grow"
        ),
        pytest.param(lambda: sealed(10), 11, "of 10 bytes is to hold 11", id="too small"),
        pytest.param(lambda: sealed(10), 0, "is to hold 0", id="nothing announced"),
        pytest.param(lambda: sealed(10), -1, "is to hold -1", id="less than nothing"),
        pytest.param(lambda: sealed(0), 1, "of 0 bytes", id="empty"),
        pytest.param(lambda: sealed(10), 1 << 70, "is to hold", id="astronomic"),
    ],
)
def test_what_is_no_memfd_of_ours_is_refused(
    make: Callable[[], int], size: int, message: str
) -> None:
    descriptor = make()
    with pytest.raises(ProtocolError, match=message):
        Memfd.receive(descriptor, size)
    with pytest.raises(OSError):
        os.fstat(descriptor)
