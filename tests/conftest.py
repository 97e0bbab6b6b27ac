"""What every test gets: a watch over the processes it starts, and repeatable hypothesis runs.

A test that leaves a process behind fails, and what it left is killed by its process id. Two nets:

* after each test, descendants of this process that were not there before it (what a fixture
  with a wider scope started before the test is that fixture's own affair);
* at the end, processes that lost their parent and so are no descendants any more; they are
  known by a mark in the environment they inherited, which names the test as well.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator

import hypothesis
import psutil
import pytest

from tests.running import is_running

__all__ = ["no_process_left_at_the_end", "no_process_left_behind", "pytest_plugins"]

pytest_plugins = ["tests.ppserver_fixture", "tests.gate_fixture"]

# The contract: nothing is left five seconds after the end of a client.
GRACE_SECONDS = 5.0
MARK = "TESTS_LEAK_MARK"
# One helper process that the standard library keeps until the interpreter ends.
STANDARD_LIBRARY_HELPER = "multiprocessing.resource_tracker"

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def describe(process: psutil.Process) -> str:
    """Return the process id and command line of ``process``, as far as they can be read."""
    try:
        return f"{process.pid}: {' '.join(process.cmdline()) or process.name()}"
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return f"{process.pid}: (ended meanwhile)"


def is_helper(process: psutil.Process) -> bool:
    """Whether ``process`` belongs to the standard library and ends with this interpreter."""
    return STANDARD_LIBRARY_HELPER in describe(process)


def descendants() -> list[psutil.Process]:
    """Return the running processes below this one."""
    return [child for child in psutil.Process().children(recursive=True) if is_running(child)]


def marked(mark: str) -> list[psutil.Process]:
    """Return the other running processes that carry ``mark`` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            carries = process.pid != os.getpid() and process.environ().get(MARK) == mark
        except (psutil.Error, OSError):
            continue  # not ours, or gone: it cannot be read
        if carries and is_running(process):
            found.append(process)
    return found


def end(processes: Iterable[psutil.Process]) -> list[str]:
    """Give ``processes`` their grace time, kill those that still run, and describe these."""
    suspects = [process for process in processes if not is_helper(process)]
    psutil.wait_procs(suspects, timeout=GRACE_SECONDS)
    left = [process for process in suspects if is_running(process)]
    lines = [describe(process) for process in left]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=GRACE_SECONDS)
    return lines


@pytest.fixture(scope="session", autouse=True)
def no_process_left_at_the_end() -> Iterator[None]:
    """Fail if, at the end of the run, a process that any test started is still there."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    yield
    del os.environ[MARK]
    suspects = {process.pid: process for process in [*descendants(), *marked(mark)]}
    tests = {pid: started_in(process) for pid, process in suspects.items()}
    lines = [
        f"{line} (started in {tests[int(line.split(':')[0])]})" for line in end(suspects.values())
    ]
    if lines:
        pytest.fail("left at the end of the run, now killed:\n" + "\n".join(lines), pytrace=False)


def started_in(process: psutil.Process) -> str:
    """Return the name of the test that started ``process``; pytest leaves it in the environment."""
    try:
        return process.environ().get("PYTEST_CURRENT_TEST", "no test")
    except (psutil.Error, OSError):
        return "an unknown test"


@pytest.fixture(autouse=True)
def no_process_left_behind(no_process_left_at_the_end: None) -> Iterator[None]:
    """Fail the test that leaves a process running."""
    before = set(descendants())
    yield
    lines = end(process for process in descendants() if process not in before)
    if lines:
        pytest.fail("this test left processes, now killed:\n" + "\n".join(lines), pytrace=False)
