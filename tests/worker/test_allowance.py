"""What the system is told of a job's limits: during the job, and not after it.

What cannot be taken back, or takes memory, happens in a process of its own. Each such piece of code
prints what it sees.
"""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

from ppnext.errors import JobMemoryExceeded
from ppnext.wire.messages import Limits
from ppnext.worker.allowance import allowance

resource = pytest.importorskip("resource", reason="the system has no limits of processes")

PATIENCE = 60.0
MIB = 1 << 20

on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere RLIMIT_DATA does not hold, or no /proc"
)


def printed(code: str) -> list[str]:
    """Run code in a process of its own and return the words that it prints."""
    head = """
    import os, resource, sys
    from ppnext.errors import JobMemoryExceeded
    from ppnext.wire.messages import Limits
    from ppnext.worker.allowance import allowance
    MIB = 1 << 20
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(head) + dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_job_without_limits_changes_nothing() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA), os.nice(0)
    with allowance(Limits(timeout=1.0)):
        assert (resource.getrlimit(resource.RLIMIT_DATA), os.nice(0)) == before


# Memory.


@on_linux
def test_memory_is_limited_a_little_beyond_what_the_job_may_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with allowance(Limits(memory=1 << 40)):
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        assert (1 << 40) < soft < (1 << 41)
        assert hard == before[1]
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize("kind", [MemoryError, KeyError, KeyboardInterrupt])
def test_however_the_job_ends_its_limit_ends_with_it(kind: type[BaseException]) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    expected = JobMemoryExceeded if kind is MemoryError else kind
    with pytest.raises(expected):
        with allowance(Limits(memory=1 << 40)):
            raise kind
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_error_names_the_limit_and_the_cause() -> None:
    error = MemoryError()
    with pytest.raises(JobMemoryExceeded, match="its limit of 1099511627776 bytes") as caught:
        with allowance(Limits(memory=1 << 40)):
            raise error
    assert caught.value.__cause__ is error


def test_a_memory_error_of_a_job_without_a_limit_is_its_own() -> None:
    with pytest.raises(MemoryError):
        with allowance(Limits(nice=0)):
            raise MemoryError


@on_linux
def test_what_goes_far_beyond_is_not_given() -> None:
    code = """
    kept = bytearray(150 * MIB)  # what was there before does not count
    try:
        with allowance(Limits(memory=80 * MIB)):
            print(len(bytearray(40 * MIB)) // MIB)
            bytearray(140 * MIB)
    except JobMemoryExceeded:
        print("refused")
    print(len(bytearray(140 * MIB)) // MIB)
    """
    assert printed(code) == ["40", "refused", "140"]


@on_linux
def test_a_hard_limit_is_not_asked_to_be_passed() -> None:
    code = """
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 32, 1 << 32))
    with allowance(Limits(memory=1 << 33)):
        print(*resource.getrlimit(resource.RLIMIT_DATA))
    print(*resource.getrlimit(resource.RLIMIT_DATA))
    """
    assert printed(code) == 4 * [str(1 << 32)]


@on_linux
def test_a_limit_that_is_there_already_is_never_raised() -> None:
    code = """
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 32, resource.RLIM_INFINITY))
    with allowance(Limits(memory=1 << 33)):
        print(resource.getrlimit(resource.RLIMIT_DATA)[0])
    """
    assert printed(code) == [str(1 << 32)]


@on_linux
def test_a_limit_beyond_all_that_can_be_counted_does_no_harm() -> None:
    with allowance(Limits(memory=(1 << 63) - 1)):
        pass


@on_linux
def test_a_job_that_is_interrupted_before_it_begins_leaves_no_limit() -> None:
    """Whichever line an interrupt comes at: each is tried."""
    code = """
    def interrupted_at(number):
        def trace(frame, event, arg):
            nonlocal number
            if frame.f_code.co_filename != allowance.__wrapped__.__code__.co_filename:
                return None
            number -= event == "line"
            if number == 0:
                raise KeyboardInterrupt
            return trace
        sys.settrace(trace)
        try:
            with allowance(Limits(memory=1 << 40)):
                sys.settrace(None)
                return False
        except KeyboardInterrupt:
            return True

    before, number = resource.getrlimit(resource.RLIMIT_DATA), 1
    while interrupted_at(number):
        number += 1
        if resource.getrlimit(resource.RLIMIT_DATA) != before:
            print("left")
    print(number > 5)
    """
    assert printed(code) == ["True"]


@on_linux
def test_where_it_is_not_known_what_was_there_before_it_counts() -> None:
    """Nothing can be opened: so neither what tells how much there is."""
    code = """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
    with allowance(Limits(memory=1 << 32)):
        print(resource.getrlimit(resource.RLIMIT_DATA)[0])
    """
    assert printed(code) == [str(5 << 30)]


# Niceness.


def test_a_job_gives_way_and_others_do_not_where_that_can_be_taken_back() -> None:
    code = """
    before = os.nice(0)
    with allowance(Limits(nice=3)):
        print(os.nice(0) - before)
    try:
        os.nice(-1)
        os.nice(1)
    except PermissionError:
        print(0)  # an ordinary user cannot
    else:
        print(os.nice(0) - before)
    """
    assert printed(code) == ["3", "0"]


def test_a_limit_that_the_job_has_set_itself_for_good_is_no_error() -> None:
    code = """
    limit = resource.RLIMIT_DATA
    if os.geteuid() == 0:
        os.setuid(65534)
    with allowance(Limits(memory=1 << 30)):
        resource.setrlimit(limit, (1 << 40, 1 << 40))
    with allowance(Limits(memory=1 << 30)):
        print(resource.getrlimit(limit)[0] < 1 << 32)
    print(resource.getrlimit(limit) == (1 << 40, 1 << 40))
    """
    assert printed(code) == ["True", "True"]


def test_an_ordinary_user_cannot_take_it_back_and_that_is_no_error() -> None:
    code = """
    before = os.nice(0)
    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    if os.geteuid() == 0:
        os.setuid(65534)
    with allowance(Limits(nice=2)):
        pass
    print(os.nice(0) - before)
    """
    if not hasattr(resource, "RLIMIT_NICE"):
        code = code.replace("resource.setrlimit(resource.RLIMIT_NICE, (0, 0))", "")
    assert printed(code) == ["2"]


def test_both_limits_hold_at_once() -> None:
    code = """
    before = os.nice(0)
    with allowance(Limits(memory=1 << 40, nice=1)):
        print(os.nice(0) - before, resource.getrlimit(resource.RLIMIT_DATA)[0] >= 1 << 40)
    """
    assert printed(code) == ["1", "True"]


def test_a_system_that_has_none_of_this_runs_jobs_as_well() -> None:
    code = """
    for name in ("resource", "ppnext.worker.allowance"):
        del sys.modules[name]
    sys.modules["resource"] = None  # it cannot be imported
    del os.setpriority
    from ppnext.worker.allowance import allowance
    with allowance(Limits(memory=1, nice=1)):
        print(len(bytearray(MIB)) // MIB)
    """
    assert printed(code) == ["1"]
