"""Sharing: payloads in segments, from their writing to the reuse of their memory."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import pytest

from ppnext.errors import ProtocolError
from ppnext.runtime.loop import LoopThread
from ppnext.runtime.memfd import has_memfds
from ppnext.runtime.passing import send_passing
from ppnext.runtime.sharing import WORTH_SHARING, Shared, Sharing
from ppnext.runtime.streams import Stream
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Offer, Outcome, Result
from tests.descriptors import open_descriptors

ROOT = Path(__file__).resolve().parents[2]
LARGE = 2 * WORTH_SHARING

needs_memfds = pytest.mark.skipif(not has_memfds(), reason="this platform has no memfds")


@pytest.fixture
def sharing() -> Iterator[Sharing]:
    made = Sharing()
    yield made
    made.close()


def shared(sharing: Sharing, content: bytes = bytes(LARGE)) -> Shared:
    made = sharing.share([content])
    assert made is not None
    return made


def passed(made: Shared, receiver: Sharing) -> Shared:
    """The payload as another process would have it."""
    descriptor = made.descriptor()
    assert descriptor is not None
    return receiver.adopt(os.dup(descriptor), len(made))


def memory_of(made: Shared) -> int:
    """What tells one memory from another."""
    descriptor = made.descriptor()
    assert descriptor is not None
    return os.fstat(descriptor).st_ino


def run(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# There and back.


@needs_memfds
def test_what_was_shared_is_what_arrives(sharing: Sharing) -> None:
    content = os.urandom(LARGE)
    made = sharing.share([content[:1000], b"", bytearray(content[1000:])])
    assert made is not None
    arrived = passed(made, sharing)
    assert len(made) == len(arrived) == LARGE
    assert arrived.view() == made.view() == content


@needs_memfds
def test_what_was_shared_is_as_it_was_then(sharing: Sharing) -> None:
    content = bytearray(LARGE)
    made = sharing.share([content])
    assert made is not None
    content[:3] = b"abc"
    assert bytes(passed(made, sharing).view()[:3]) == bytes(3)


@needs_memfds
def test_what_the_receiver_writes_is_seen_by_nobody_else(sharing: Sharing) -> None:
    made = shared(sharing)
    one, other = passed(made, sharing), passed(made, sharing)
    one.view()[:3] = b"abc"
    assert bytes(one.view()[:3]) == b"abc"
    assert bytes(other.view()[:3]) == bytes(made.view()[:3]) == bytes(3)


@needs_memfds
def test_a_received_payload_is_mapped_once_and_its_descriptor_closed(sharing: Sharing) -> None:
    made = shared(sharing)
    before = open_descriptors()
    arrived = passed(made, sharing)
    view = arrived.view()
    assert arrived.view().obj is view.obj
    # A mapping holds a descriptor of its own on some versions of Python.
    assert open_descriptors() - before <= 1
    del view, arrived
    gc.collect()
    assert open_descriptors() == before


# Where there is no segment to be had.


def test_what_is_small_is_not_shared(sharing: Sharing) -> None:
    assert sharing.share([bytes(WORTH_SHARING - 1)]) is None


def test_nothing_is_shared_beyond_the_bound() -> None:
    assert Sharing(most_bytes=1).share([bytes(LARGE)]) is None


@needs_memfds
def test_the_bound_counts_what_is_out() -> None:
    sharing = Sharing(most_bytes=LARGE)
    first = shared(sharing)
    assert sharing.share([bytes(LARGE)]) is None
    sharing.take_back(first, reusable=False)
    assert sharing.share([bytes(LARGE)]) is not None


def test_nothing_is_shared_after_the_end() -> None:
    sharing = Sharing()
    sharing.close()
    assert sharing.share([bytes(LARGE)]) is None


@needs_memfds
def test_without_memory_nothing_is_shared_and_nothing_is_left() -> None:
    source = f"""
        import os, resource
        from ppnext.runtime.sharing import Sharing
        sharing = Sharing()
        sharing.share([bytes({LARGE})])
        before = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_FSIZE, ({LARGE}, resource.RLIM_INFINITY))
        assert sharing.share([bytes({LARGE} + 1)]) is None
        assert len(os.listdir("/proc/self/fd")) == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, ) * 2)
        assert len(sharing.share([bytes({LARGE} + 1)])) == {LARGE} + 1
    """
    run(source)


@needs_memfds
def test_without_descriptors_nothing_is_shared_until_there_are_some() -> None:
    source = f"""
        import os, resource
        from ppnext.runtime.sharing import Sharing
        sharing = Sharing()
        sharing.share([bytes({LARGE})])
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        assert sharing.share([bytes({LARGE})]) is None
        os.close(taken.pop())
        made = sharing.share([b"x" * {LARGE}])
        # There is none left for a mapping, at least on some versions of Python.
        assert bytes(made.view()[:2]) == b"xx"
    """
    run(source)


def test_what_segments_are_made_of_is_loaded_with_the_first() -> None:
    source = """
        import sys
        from ppnext.runtime.sharing import Sharing
        sharing = Sharing()
        assert sharing.trim() is None
        sharing.close()
        print("ppnext.runtime.segments" in sys.modules)
    """
    assert run(source) == "False\n"


# What arrives may be anything.


@needs_memfds
def test_what_is_no_segment_is_refused_and_closed(sharing: Sharing) -> None:
    def file() -> int:
        with tempfile.TemporaryFile() as made:
            made.truncate(LARGE)
            return os.dup(made.fileno())

    def pipe() -> int:
        here, there = os.pipe()
        os.close(there)
        return here

    def unsealed() -> int:
        made = os.memfd_create("test", os.MFD_ALLOW_SEALING)
        os.ftruncate(made, LARGE)
        return made

    def too_small() -> int:
        made = shared(sharing, bytes(LARGE - 1))
        return os.dup(made.descriptor() or 0)

    sharing.take_back(shared(sharing), reusable=False)
    before = open_descriptors()
    for make in (file, pipe, unsealed, too_small):
        with pytest.raises(ProtocolError, match="segment"):
            sharing.adopt(make(), LARGE)
        gc.collect()
        assert open_descriptors() == before


@needs_memfds
def test_a_segment_of_nothing_is_refused(sharing: Sharing) -> None:
    made = shared(sharing)
    with pytest.raises(ProtocolError, match="is to hold 0"):
        sharing.adopt(os.dup(made.descriptor() or 0), 0)


# When nobody uses it any more.


@needs_memfds
def test_it_is_free_when_nothing_uses_it_any_more(sharing: Sharing) -> None:
    arrived = passed(shared(sharing), sharing)
    told: list[bool] = []
    arrived.when_free(told.append)
    part = arrived.view()[5:7]
    arrived.drop()
    del arrived
    gc.collect()
    assert told == []
    del part
    gc.collect()
    assert told == [True]


@needs_memfds
def test_it_is_free_at_once_if_nobody_has_looked_at_it(sharing: Sharing) -> None:
    made = shared(sharing)
    before = open_descriptors()
    for end in (Shared.drop, Shared.__del__):
        arrived = passed(made, sharing)
        told: list[bool] = []
        arrived.when_free(told.append)
        end(arrived)
        assert told == [True]
        assert open_descriptors() == before
        del arrived
        assert told == [True]


@needs_memfds
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_was_forked_is_free_and_not_to_be_written_again(sharing: Sharing) -> None:
    arrived = passed(shared(sharing), sharing)
    told: list[bool] = []
    arrived.when_free(told.append)
    arrived.view()
    child = os.fork()
    if not child:
        del arrived
        os._exit(len(told))  # it is not for the child to say
    assert os.waitpid(child, 0)[1] == 0
    del arrived
    gc.collect()
    assert told == [False]


# Taken back.


@needs_memfds
def test_memory_that_is_taken_back_is_written_again(sharing: Sharing) -> None:
    made = shared(sharing)
    memory = memory_of(made)
    sharing.take_back(made, reusable=True)
    assert memory_of(shared(sharing, b"x" * LARGE)) == memory


@needs_memfds
def test_memory_that_somebody_may_look_at_is_not_written_again(sharing: Sharing) -> None:
    made = shared(sharing)
    memory, arrived = memory_of(made), passed(made, sharing)
    looks = arrived.view()
    sharing.take_back(made, reusable=False)
    assert memory_of(shared(sharing, b"x" * LARGE)) != memory
    assert looks == bytes(LARGE)


@needs_memfds
def test_memory_that_is_mapped_by_its_owner_is_not_written_again(sharing: Sharing) -> None:
    made = shared(sharing)
    memory, view = memory_of(made), made.view()
    sharing.take_back(made, reusable=True)
    assert memory_of(shared(sharing, b"x" * LARGE)) != memory
    assert view == bytes(LARGE)


@needs_memfds
def test_nothing_is_kept_after_the_end(sharing: Sharing) -> None:
    before = open_descriptors()
    out, idle = shared(sharing), shared(sharing)
    sharing.take_back(idle, reusable=True)
    sharing.close()
    sharing.take_back(out, reusable=True)
    assert open_descriptors() == before


@needs_memfds
def test_somebody_is_asked_once_to_look_after_idle_memory() -> None:
    asked: list[None] = []
    sharing = Sharing(on_idle=lambda: asked.append(None))
    first, second = shared(sharing), shared(sharing)
    sharing.take_back(first, reusable=False)
    assert asked == [] and sharing.trim() is None
    sharing.take_back(second, reusable=True)
    sharing.take_back(shared(sharing), reusable=True)
    assert len(asked) == 1
    again = sharing.trim()
    assert again is not None and 0 < again <= 60
    sharing.close()
    assert sharing.trim() is None


@needs_memfds
def test_who_was_told_that_nothing_is_idle_is_asked_again() -> None:
    asked: list[None] = []
    sharing = Sharing(on_idle=lambda: asked.append(None))
    sharing.take_back(shared(sharing), reusable=True)
    taken = shared(sharing)
    assert sharing.trim() is None
    sharing.take_back(taken, reusable=True)
    assert len(asked) == 2
    sharing.close()


# Over a stream from a process that means no good.


class Strange:
    """A payload that is not what it is said to be."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size

    def __len__(self) -> int:
        return self._size

    def view(self) -> memoryview:
        return memoryview(bytes(self._size))

    def descriptor(self) -> int:
        return self._descriptor


class Listening:
    """A stream on a loop of its own, and what becomes of it."""

    def __init__(self, sharing: Sharing) -> None:
        self.thread = LoopThread("test-loop")
        self.other, self._sock = socket.socketpair()
        self._sock.setblocking(False)
        self.heard: list[Received] = []
        self.ends: SimpleQueue[str | None] = SimpleQueue()
        self._sharing = sharing
        self.stream = self.thread.ask(self._make)

    def _make(self) -> Stream:
        connection = Connection(0.0, adopt=self._sharing.adopt)
        turn = self.thread.turn
        return Stream(turn, self._sock, connection, self.heard.extend, self.ends.put, True)

    def close(self) -> None:
        self.thread.ask(self.stream.close)
        self.thread.stop()
        self.other.close()


@needs_memfds
@pytest.mark.parametrize("what", ["a pipe", "too small", "none", "many"])
def test_what_a_strange_process_passes_ends_its_stream(sharing: Sharing, what: str) -> None:
    made = shared(sharing)
    listening = Listening(sharing)
    here, there = os.pipe()
    try:
        listening.thread.ask(lambda: None)
        before = open_descriptors()
        end = Connection(0.0, adopt=sharing.adopt)
        size = LARGE + 1 if what == "too small" else LARGE
        descriptor = made.descriptor() or 0 if what == "too small" else here
        end.send(Result([Outcome(1, 1, size, False, 0.1)]), (Strange(descriptor, size),))
        content = b"".join(end.data_to_send(0.0).buffers)
        if what == "none":
            listening.other.sendall(content)
        elif what == "many":
            for _ in range(100):
                end.send(Offer(1))
                data = b"".join(end.data_to_send(0.0).buffers)
                with suppress(OSError):  # it has had enough
                    send_passing(listening.other, [data], Strange(here, 1))
        else:
            send_passing(listening.other, [content], Strange(descriptor, size))
        cause = listening.ends.get(timeout=20)
        assert cause is not None and ("segment" in cause or "passed along" in cause)
        assert not listening.heard or what == "many"
        assert open_descriptors() == before - 1  # its end of the stream
    finally:
        os.close(here)
        os.close(there)
        listening.close()
