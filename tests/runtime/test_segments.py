"""Segments: bounds, sharing, use after use, and that nothing is left of them."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppnext.errors import ProtocolError
from ppnext.runtime.memfd import has_memfds
from ppnext.runtime.segments import SMALLEST, Holdings, Segment, Segments
from tests.descriptors import open_descriptors

KIB, MIB = 1 << 10, 1 << 20
NOTHING = Holdings(0, 0, 0, 0)
ROOT = Path(__file__).resolve().parents[2]

needs_memfds = pytest.mark.skipif(not has_memfds(), reason="this platform has no memfds")


@pytest.fixture
def make() -> Iterator[Callable[..., Segments]]:
    made: list[Segments] = []

    def segments(most_bytes: int = MIB, smallest: int = 1, **bounds: float) -> Segments:
        made.append(Segments(most_bytes, smallest=smallest, **bounds))  # type: ignore[arg-type]  # bounds by name
        return made[-1]

    yield segments
    for it in made:
        it.close()


def written(segments: Segments, *parts: bytes) -> Segment:
    segment = segments.write(parts)
    assert segment is not None
    return segment


def passed(segment: Segment, receiver: Segments) -> Segment:
    """The same memory as another process would have it."""
    return receiver.receive(os.dup(segment.fileno()), segment.size)


# Without memfds, and below what pays.


def test_small_payloads_get_no_segment() -> None:
    segments = Segments(1 << 30)
    assert segments.write([]) is None
    assert segments.write([b""]) is None
    assert segments.write([bytes(SMALLEST - 2), b"a"]) is None
    assert segments.holdings() == NOTHING


def test_a_platform_without_memfds() -> None:
    source = """
        import os
        if hasattr(os, "memfd_create"):
            del os.memfd_create
        from ppnext.runtime.segments import Segments
        print(Segments(1 << 30).write([bytes(1 << 21)]))
    """
    assert run(source) == "None\n"


# Writing and reading.


@needs_memfds
def test_what_was_written_is_what_is_mapped(make: Callable[..., Segments]) -> None:
    with written(make(), b"ab", b"", b"cdef") as segment:
        with passed(segment, make()) as received:
            assert received.size == segment.size == 6
            assert bytes(received.map()) == b"abcdef"


@needs_memfds
def test_the_receivers_changes_are_its_own(make: Callable[..., Segments]) -> None:
    sender, receiver = make(), make()
    with written(sender, bytes(100 * KIB)) as segment:
        with passed(segment, receiver) as one, passed(segment, receiver) as other:
            mine, theirs = one.map(), other.map()
            mine[5:8] = b"abc"
            assert theirs[5:8] == bytes(3)
        assert segment.map()[5:8] == bytes(3)


@needs_memfds
def test_a_mapping_outlives_the_segment_and_its_owner(make: Callable[..., Segments]) -> None:
    segments = make()
    segment = written(segments, b"content")
    memory = segment.map()
    segment.close()
    segments.close()
    del segment, segments
    assert bytes(memory) == b"content"


@needs_memfds
def test_through_a_socket_to_another_process(make: Callable[..., Segments]) -> None:
    source = """
        import socket, sys
        from ppnext.runtime.segments import Segments
        channel = socket.socket(fileno=int(sys.argv[1]))
        data, descriptors, _, _ = socket.recv_fds(channel, 100, 1)
        with Segments(0).receive(descriptors[0], int(data)) as segment:
            memory = segment.map()
        memory[0:1] = b"X"
        print(bytes(memory[:5]).decode(), len(memory))
    """
    here, there = socket.socketpair()
    with here, there, written(make(), b"abcde", bytes(100 * KIB)) as segment:
        socket.send_fds(here, [str(segment.size).encode()], [segment.fileno()])
        output = run(source, str(there.fileno()), pass_fds=[there.fileno()])
        assert output == f"Xbcde {100 * KIB + 5}\n"
        assert bytes(segment.map()[:5]) == b"abcde"


@needs_memfds
def test_use_after_close(make: Callable[..., Segments]) -> None:
    segments = make()
    closed = written(segments, b"a")
    closed.close()
    closed.close()
    recycled = written(segments, b"a")
    segments.recycle(recycled, 0.0)
    recycled.close()
    for segment in (closed, recycled):
        for use in (segment.fileno, segment.map, lambda it=segment: segments.recycle(it, 0.0)):
            with pytest.raises(ValueError, match="the segment is closed"):
                use()
    assert segments.holdings() == Holdings(1, 1, 1, 0)


@needs_memfds
def test_what_was_received_is_checked_and_closed(make: Callable[..., Segments]) -> None:
    before = open_descriptors()
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(ProtocolError):
        make().receive(reading, 10)
    with written(make(), b"abc") as segment:
        with pytest.raises(ProtocolError, match="of 3 bytes is to hold 4"):
            make().receive(os.dup(segment.fileno()), 4)
    assert open_descriptors() == before


# Bounds.


@needs_memfds
def test_bytes_are_bounded(make: Callable[..., Segments]) -> None:
    segments = make(100)
    first = written(segments, bytes(60))
    assert segments.write([bytes(41)]) is None
    second = written(segments, bytes(40))
    assert segments.holdings() == Holdings(2, 100, 0, 0)
    first.close()
    with written(segments, bytes(60)):
        second.close()
    assert segments.holdings() == NOTHING
    assert segments.write([bytes(101)]) is None


@needs_memfds
def test_the_number_is_bounded(make: Callable[..., Segments]) -> None:
    segments = make(most=2)
    first, second = written(segments, b"a"), written(segments, b"b")
    assert segments.write([b"c"]) is None
    first.close()
    written(segments, b"c").close()
    second.close()


@needs_memfds
def test_a_segment_that_is_forgotten_is_closed(make: Callable[..., Segments]) -> None:
    segments = make()
    before = open_descriptors()
    segment = written(segments, bytes(10))
    received = passed(segment, segments)
    del segment, received
    assert segments.holdings() == NOTHING
    assert open_descriptors() == before


@needs_memfds
def test_mappings_are_bounded(make: Callable[..., Segments]) -> None:
    segments = make(most_mappings=2)
    dead: list[bool] = []
    with written(segments, b"abc") as segment:
        memory = [segment.map(), segment.map()]
        assert dead == []
        copy = segment.map(dead.append)
        assert dead == [True], "a copy needs the segment no longer"
        copy[0:1] = b"X"
        assert [bytes(it) for it in [*memory, copy]] == [b"abc", b"abc", b"Xbc"]
        assert segments.holdings().mappings == 2
        del memory[0]
        memory.append(segment.map(dead.append))
        assert dead == [True]
        assert segments.holdings().mappings == 2
    del memory
    assert dead == [True, True]
    assert segments.holdings() == NOTHING


@needs_memfds
def test_when_no_descriptor_is_left() -> None:
    source = """
        import os, resource
        from ppnext.runtime.segments import Segments
        segments = Segments(1 << 30)
        segment = segments.write([b"abc", bytes(1 << 20)])
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        print(segments.write([bytes(1 << 20)]))
        print(bytes(segment.map()[:3]))
        os.close(taken.pop())
        other = segments.write([bytes(1 << 20)])
        print(other is not None, segments.holdings())
    """
    assert run(source).splitlines() == [
        "None",
        "b'abc'",
        f"True {Holdings(2, 2 * MIB + 3, 0, 0)}",
    ]


@needs_memfds
def test_when_the_system_refuses_the_size() -> None:
    source = """
        import resource
        from ppnext.runtime.segments import Segments
        segments = Segments(1 << 30)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 21, 1 << 21))
        print(segments.write([bytes(3 << 20)]), segments.holdings())
        print(segments.write([bytes(1 << 20)]) is not None)
    """
    assert run(source).splitlines() == [f"None {NOTHING}", "True"]


@needs_memfds
def test_when_no_address_space_is_left_for_a_mapping() -> None:
    source = """
        import resource
        from ppnext.runtime.segments import Segments
        segments = Segments(1 << 40)
        segment = segments.write([bytes(1 << 20)] * 64)
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20),) * 2)
        try:
            segment.map()
        except MemoryError:
            print("no memory", segments.holdings().mappings)
        segments.recycle(segment, 0.0)
        print(segments.write([bytes(1 << 20)] * 64), segments.holdings())
    """
    assert run(source).splitlines() == ["no memory 0", f"None {NOTHING}"]


# Written again.


@needs_memfds
def test_recycled_memory_is_written_again(make: Callable[..., Segments]) -> None:
    segments = make()
    first = written(segments, b"x" * 100)
    inode = os.fstat(first.fileno()).st_ino
    segments.recycle(first, 0.0)
    assert segments.holdings() == Holdings(1, 100, 100, 0)
    for content in (b"a" * 100, b"b" * 60, b"c" * 100):
        again = written(segments, content)
        assert os.fstat(again.fileno()).st_ino == inode
        with passed(again, make()) as received:
            assert received.size == len(content)
            assert bytes(received.map()) == content
        segments.recycle(again, 0.0)
    assert segments.holdings() == Holdings(1, 100, 100, 0)


@needs_memfds
def test_the_smallest_that_fits_is_taken(make: Callable[..., Segments]) -> None:
    segments = make()
    size_of = {}
    for segment in [written(segments, bytes(size)) for size in (100, 300, 200)]:
        size_of[os.fstat(segment.fileno()).st_ino] = segment.size
        segments.recycle(segment, 0.0)
    # 24 would fill less than a quarter of any: it gets a new one.
    taken = [written(segments, bytes(size)) for size in (150, 150, 24, 25)]
    assert [size_of.get(os.fstat(it.fileno()).st_ino) for it in taken] == [200, 300, None, 100]


@needs_memfds
def test_what_was_received_can_be_written_again(make: Callable[..., Segments]) -> None:
    sender, receiver = make(), make()
    segment = written(sender, b"abc")
    received = passed(segment, receiver)
    segment.close()
    memory = received.map()
    with pytest.raises(ValueError, match="still mapped"):
        receiver.recycle(received, 0.0)
    assert bytes(memory) == b"abc"
    del memory
    assert receiver.holdings() == NOTHING
    receiver.recycle(received, 0.0)
    assert receiver.holdings() == Holdings(1, 3, 3, 0)
    with written(receiver, b"de") as again:
        assert bytes(again.map()) == b"de"
    assert receiver.holdings() == sender.holdings() == NOTHING


@needs_memfds
def test_what_waits_is_bounded(make: Callable[..., Segments]) -> None:
    segments = make(most_idle=100)
    several = [written(segments, bytes(size)) for size in (40, 50, 60, 101)]
    for segment in several:
        segments.recycle(segment, 0.0)
    # 40 and 50 wait; 60 takes the place of both, for 50 and 60 are too much; 101 is alone too much.
    assert segments.holdings().idle <= 100
    assert segments.holdings().bytes == segments.holdings().idle


@needs_memfds
def test_what_waits_makes_room(make: Callable[..., Segments]) -> None:
    segments = make(100, most=2)
    segments.recycle(written(segments, bytes(60)), 0.0)
    with written(segments, bytes(90)):
        assert segments.holdings() == Holdings(1, 90, 0, 0)
    several = [written(segments, b"a"), written(segments, b"b")]
    segments.recycle(several[0], 0.0)
    with written(segments, bytes(10)):
        assert segments.holdings() == Holdings(2, 11, 0, 0)
    several[1].close()


@needs_memfds
def test_what_waits_too_long_is_given_back(make: Callable[..., Segments]) -> None:
    segments = make(patience=10.0)
    before = open_descriptors()
    assert segments.trim(0.0) is None
    first, second = written(segments, bytes(10)), written(segments, bytes(20))
    segments.recycle(first, 100.0)
    segments.recycle(second, 105.0)
    assert segments.trim(109.0) == 110.0
    assert segments.holdings() == Holdings(2, 30, 30, 0)
    assert segments.trim(110.0) == 115.0
    assert segments.holdings() == Holdings(1, 20, 20, 0)
    assert segments.trim(115.0) is None
    assert segments.holdings() == NOTHING
    assert open_descriptors() == before


@needs_memfds
def test_after_its_end(make: Callable[..., Segments]) -> None:
    segments = make()
    before = open_descriptors()
    waiting, used = written(segments, bytes(10)), written(segments, bytes(20))
    segments.recycle(waiting, 0.0)
    segments.close()
    assert segments.write([bytes(10)]) is None
    assert segments.holdings() == Holdings(1, 20, 0, 0)
    segments.recycle(used, 0.0)
    assert segments.holdings() == NOTHING
    assert open_descriptors() == before


# When a mapping is dead.


@needs_memfds
def test_a_mapping_lives_as_long_as_anything_uses_it(make: Callable[..., Segments]) -> None:
    segments = make()
    dead: list[bool] = []
    with written(segments, b"abcdef") as segment:
        memory = segment.map(dead.append)
        part = memory[2:4]
        del memory
        assert segment.is_mapped
        assert dead == []
        del part
        assert not segment.is_mapped
        assert dead == [True]


@needs_memfds
def test_a_mapping_in_a_cycle_dies_with_it(make: Callable[..., Segments]) -> None:
    dead: list[bool] = []
    with written(make(), b"abcdef") as segment:
        cycle: list[object] = [segment.map(dead.append)]
        cycle.append(cycle)
        del cycle
        gc.collect()
        assert dead == [True]


@needs_memfds
def test_an_array_keeps_it(make: Callable[..., Segments]) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    dead: list[bool] = []
    with written(make(), bytes(80)) as segment:
        array = numpy.frombuffer(segment.map(dead.append)[8:], dtype=numpy.int64)
        view = array[::2][1:]
        del array
        assert dead == []
        view += 1
        assert view.sum() == 4
        del view
        assert dead == [True]


@needs_memfds
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_was_forked_is_not_written_again(make: Callable[..., Segments]) -> None:
    sender, receiver = make(), make()
    dead: list[bool] = []
    segment = written(sender, b"abc")
    received = passed(segment, receiver)
    memory = received.map(dead.append)
    child = os.fork()
    if not child:
        # It must not say that its parent's mapping is dead, nor write to its parent's segments.
        del memory
        os._exit(0 if dead == [] and sender.write([b"x"]) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    del memory
    assert dead == [False]
    receiver.recycle(received, 0.0)
    assert receiver.holdings() == NOTHING
    # What is mapped after the fork is nobody else's.
    later = segment.map(dead.append)
    del later
    assert dead == [False, True]
    sender.recycle(segment, 0.0)
    assert sender.holdings() == Holdings(1, 3, 3, 0)


@needs_memfds
def test_many_threads(make: Callable[..., Segments]) -> None:
    segments = make(100 * KIB, most_idle=20 * KIB, most_mappings=3)
    errors: list[object] = []

    def use(number: int) -> None:
        for turn in range(200):
            content = bytes([number]) * (KIB * (1 + (number + turn) % 7))
            segment = segments.write([content[:100], content[100:]])
            if segment is None:
                errors.append("no segment")
                return
            memory = segment.map()
            if bytes(memory) != content:
                errors.append("wrong content")
            del memory
            if turn % 3:
                segments.recycle(segment, float(turn))
            else:
                segment.close()
            segments.trim(float(turn))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    segments.close()
    assert segments.holdings() == NOTHING


# What is left.


@needs_memfds
def test_nothing_is_left_of_many(make: Callable[..., Segments]) -> None:
    segments = make(64 * MIB)
    before = open_descriptors()
    for turn in range(50):
        segment = written(segments, bytes(MIB))
        with passed(segment, segments) as received:
            memory = received.map()
            memory[:3] = b"abc"
            del memory
        if turn % 2:
            segments.recycle(segment, 0.0)
        else:
            segment.close()
    segments.close()
    assert segments.holdings() == NOTHING
    assert open_descriptors() == before


def shared_memory() -> int:
    """All shared memory of this machine, in bytes."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["Shmem"].split()[0]) * KIB


@needs_memfds
def test_nothing_is_left_when_their_holder_is_killed() -> None:
    # Other programs use shared memory too, so it has to be a lot.
    size = 256 * MIB
    source = f"""
        from ppnext.runtime.segments import Segments
        segments = Segments(1 << 40)
        used = [segments.write([bytes({size // 8})]) for _ in range(8)]
        segments.recycle(used.pop(), 0.0)
        memory = [segment.map() for segment in used]
        print("ready", flush=True)
        input()
    """
    before = shared_memory()
    process = start(source)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        held = shared_memory()
        assert held - before > size // 2
    finally:
        process.kill()
        process.communicate()
    assert held - shared_memory() > size // 2


# Other processes.


def start(source: str, *arguments: str, pass_fds: list[int] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds or [],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run(source: str, *arguments: str, pass_fds: list[int] | None = None) -> str:
    process = start(source, *arguments, pass_fds=pass_fds)
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return output
