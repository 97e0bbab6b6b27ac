"""What watches for leaks finds them."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.chaos.leaks import Growth, Vigil, own_memory, segments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    # It stays until its input ends. Its answer shows that it has become what it is to be: until
    # then the system may say that it has no command.
    with subprocess.Popen(["cat", "-u"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            os.write(process.stdin.fileno(), b"here\n")
            assert process.stdout.readline() == b"here\n"
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def test_a_process_that_ends_in_time_is_not_blamed(sleeper: psutil.Process) -> None:
    vigil = Vigil(5.0)
    vigil.expect([sleeper], 0.0, "a test")
    vigil.look(4.0)
    sleeper.kill()
    sleeper.wait(10)
    vigil.look(6.0)
    assert not vigil.violations
    assert not len(vigil)


def test_a_process_that_stays_is_blamed_and_killed(sleeper: psutil.Process) -> None:
    vigil = Vigil(5.0)
    vigil.expect([sleeper], 0.0, "a test")
    vigil.look(6.0)
    assert ["cat -u" in line and "after a test" in line for line in vigil.violations] == [True]
    sleeper.wait(10)


def test_a_process_that_hangs_has_its_time_when_it_goes_on(sleeper: psutil.Process) -> None:
    vigil = Vigil(5.0)
    vigil.expect([sleeper], 0.0, "a test")
    sleeper.send_signal(signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    vigil.look(6.0)
    sleeper.send_signal(signal.SIGCONT)
    os.waitpid(sleeper.pid, os.WCONTINUED)
    vigil.look(10.0)
    assert not vigil.violations
    vigil.look(12.0)
    assert vigil.violations


def test_a_slope_is_that_of_the_line_after_the_warm_up() -> None:
    growth = Growth()
    for second in range(200):
        noise = (second % 2) * 4096
        growth.add("steady", 1, second, (50 << 20 if second < 20 else 80 << 20) + noise)
        growth.add("leaking", 2, second, (50 << 20) + second * 1024 + noise)
        if second < 60:
            growth.add("short", 3, second, second << 20)
    steady, leaking = growth.slopes()
    assert steady.who == "steady (process 1)"
    assert abs(steady.per_minute) < 3 * steady.error + 1
    assert leaking.per_minute == pytest.approx(60 * 1024, rel=0.02)
    assert leaking.grown == pytest.approx(leaking.seconds * 1024, rel=0.02)


def test_memory_of_its_own_is_what_a_process_does_not_share() -> None:
    this, size = psutil.Process(), 32 << 20
    before = own_memory(this)
    with mmap.mmap(-1, size) as shared:
        shared.write(bytes(1) * size)
        assert abs(own_memory(this) - before) < size // 2
        copy = shared[:]
        assert own_memory(this) - before > size // 2
        del copy


def test_segments_are_counted() -> None:
    before = segments(os.getpid())
    descriptor = os.memfd_create("ppnext")
    try:
        assert segments(os.getpid()) == before + 1
    finally:
        os.close(descriptor)
