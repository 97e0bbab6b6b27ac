"""The worker process, over its real sockets: what jobs return, and what they cannot break."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ppnext.broadcasting import Held
from ppnext.errors import JobExited, NotShippable, RemoteError, ResultNotShippable
from ppnext.shipping.broadcasts import Broadcast
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper
from ppnext.version import VERSION
from ppnext.wire.messages import (
    PROTOCOL,
    Define,
    Drop,
    Found,
    Need,
    Outcome,
    Returned,
    Seek,
    Stop,
    Unfit,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def by_value(source: str, name: str = "f") -> Any:
    """Return what a script with this source defines."""
    space: dict[str, object] = {"__name__": "__main__"}
    exec(compile(source, "<script>", "exec", dont_inherit=True), space)
    return space[name]


# Starting.


def test_it_introduces_itself(worker: Any) -> None:
    assert worker.hello.protocol == PROTOCOL
    assert worker.hello.version == VERSION
    assert worker.hello.python == platform.python_version()
    assert worker.hello.name == "here"
    assert worker.hello.pid == worker.pid
    assert worker.hello.slots == 1


def test_it_looks_for_modules_where_it_is_told(start: Callable[..., Any], tmp_path: Any) -> None:
    (tmp_path / "made_for_the_worker.py").write_text("VALUE = 7")
    worker = start(path=[str(tmp_path), *sys.path])
    assert worker.run(
        by_value("def f(): return made_for_the_worker.VALUE"), modules=("made_for_the_worker",)
    ).value == (7)


def test_settings_and_secrets_are_not_in_its_environment(start: Callable[..., Any]) -> None:
    worker = start({"PPNEXT_KEY": "secret", "PPNEXT_SERVERS": "a", "OTHER": "kept"})
    names = worker.value(lambda: dict(os.environ))
    assert names["OTHER"] == "kept"
    assert [name for name in names if name.startswith("PPNEXT")] == []


@linux_only
def test_it_has_no_descriptors_but_its_own(worker: Any) -> None:
    worker.value(lambda: None)
    links = {}
    for number in os.listdir(f"/proc/{worker.pid}/fd"):
        links[int(number)] = os.readlink(f"/proc/{worker.pid}/fd/{number}")
    assert links[0] == os.devnull
    assert links[1] == links[2]
    assert "(deleted)" in links[1]
    kinds = sorted(link.partition(":")[0] for number, link in links.items() if number > 2)
    # Jobs and control, the pair that wakes the watching thread, the lifeline, the captured output,
    # the note of the job that runs, and where it is written what it does.
    assert kinds[-5:] == ["pipe", "socket", "socket", "socket", "socket"]
    files = kinds[:-5]
    assert len(files) == 3
    assert links[1] in files and len(set(files)) == 2


def test_children_of_jobs_get_none_of_them(worker: Any) -> None:
    def descriptors() -> bytes:
        return subprocess.check_output(["sh", "-c", "ls /dev/fd"])

    # ls itself has one open.
    assert len(worker.value(descriptors).split()) <= 4


def test_standard_input_is_empty(worker: Any) -> None:
    assert worker.value(lambda: sys.stdin.read()) == ""
    assert worker.value(lambda: subprocess.call(["cat"])) == 0
    with pytest.raises(EOFError):
        worker.value(lambda: input("?"))


def test_it_has_a_session_and_a_process_group_of_its_own(worker: Any) -> None:
    assert worker.value(lambda: (os.getsid(0), os.getpgrp())) == (worker.pid, worker.pid)


# Running.


def test_jobs_run_in_the_order_in_which_they_were_sent(worker: Any) -> None:
    sent = [worker.start(lambda x: x * x, n) for n in range(100)]
    outcomes = [worker.finish() for _ in sent]
    assert [outcome.result.job for outcome in outcomes] == sent
    assert [outcome.value for outcome in outcomes] == [n * n for n in range(100)]


def test_the_time_that_a_job_took_is_reported(worker: Any) -> None:
    assert worker.run(lambda: time.sleep(0.05)).result.seconds >= 0.05  # time is what is measured


def test_large_arguments_and_results(worker: Any) -> None:
    data = os.urandom(5_000_000)
    assert worker.value(lambda data: data[::-1], data) == data[::-1]


def test_classes_of_a_script_keep_their_identity(worker: Any) -> None:
    point = by_value("class Point:\n    def __init__(self, x): self.x = x", "Point")

    def move(p: Any) -> object:
        assert isinstance(p, point)
        return point(p.x + 1)

    for n in range(3):
        made = worker.value(move, point(n))
        assert type(made) is point
        assert made.x == n + 1


def test_an_exception_is_the_jobs_and_the_next_job_runs(worker: Any) -> None:
    outcome = worker.run(lambda: 1 / 0)
    assert outcome.result.raised
    assert type(outcome.value) is ZeroDivisionError
    text = str(outcome.value.__cause__)
    assert f"job 1, attempt 1, on here, process {worker.pid}" in text
    assert "in <lambda>" in text
    assert "worker/main.py" not in text
    assert worker.value(lambda: None) is None


@pytest.mark.parametrize("what", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_job_that_exits_is_a_job_that_raised(worker: Any, what: BaseException) -> None:
    def leave() -> None:
        raise what

    with pytest.raises(JobExited, match=type(what).__name__):
        worker.value(leave)
    with pytest.raises(JobExited, match="SystemExit: 5"):
        worker.value(lambda: sys.exit(5))
    assert worker.value(lambda: os.getpid()) == worker.pid


def test_a_result_that_cannot_be_pickled(worker: Any) -> None:
    with pytest.raises(ResultNotShippable, match="generator"):
        worker.value(lambda: (x for x in ()))
    with pytest.raises(ResultNotShippable, match="socket"):
        worker.value(lambda: __import__("socket").socket())
    assert worker.value(lambda: 1) == 1


def test_an_argument_that_cannot_be_loaded(worker: Any) -> None:
    class Odd:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    with pytest.raises(ValueError, match="invalid literal"):
        worker.value(lambda x: x, Odd())
    assert worker.value(lambda: 1) == 1


def test_recursion_without_end_is_an_error(worker: Any) -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError):
        worker.value(deeper)
    assert worker.value(lambda: 1) == 1


def test_deep_results_are_an_error_or_a_result(worker: Any) -> None:
    def deep() -> object:
        made: list[object] = []
        for _ in range(100_000):
            made = [made]
        return made

    with pytest.raises(ResultNotShippable, match="recursion"):
        worker.value(deep)
    assert worker.value(lambda: 1) == 1


# Many at a time.


def test_jobs_of_one_message_run_in_their_order(worker: Any) -> None:
    worker.start_all(lambda x: x * x, [(n,) for n in range(500)])
    outcomes = [worker.finish() for _ in range(500)]
    assert [outcome.result.job for outcome in outcomes] == list(range(1, 501))
    assert [outcome.value for outcome in outcomes] == [n * n for n in range(500)]


def test_large_results_among_small_ones_keep_their_order(worker: Any) -> None:
    sizes = [1, 300_000, 5, 70_000, 250_000, 2, 1_000_000, 3]
    worker.start_all(lambda size: bytes(size), [(size,) for size in sizes])
    assert [len(worker.finish().value) for _ in sizes] == sizes


def test_output_stays_with_its_job(worker: Any) -> None:
    worker.start_all(lambda n: print(f"job {n}" * (n % 3)), [(n,) for n in range(60)])
    for n in range(60):
        text = worker.finish().text.decode()
        assert text == (f"job {n}" * (n % 3)) + "\n"


def test_results_do_not_wait_for_a_long_job(worker: Any, tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    for n in range(3):
        worker.start(lambda n: n, n)
    worker.start(lambda gate: gate.read_text(), gate)
    assert [worker.finish().value for _ in range(3)] == [0, 1, 2]
    gate.write_text("open")
    assert worker.finish().value == "open"


def test_results_are_there_before_a_function_is_asked_for(worker: Any) -> None:
    # In one write, so that the worker has it all.
    for n in range(20):
        worker.start(lambda n: n, n)
    worker.run_call(b"\1" * 32, 99, b"")
    assert [worker.finish().value for _ in range(20)] == list(range(20))
    assert worker.jobs.receive().message == Need(b"\1" * 32)


def test_what_may_run_only_once_is_reported_before_the_next_job_starts(worker: Any) -> None:
    worker.start(lambda: "held back, perhaps")
    worker.start(lambda: "once", once=True)
    worker.start(lambda: os._exit(3))
    assert worker.finish().value == "held back, perhaps"
    assert worker.finish().value == "once"
    with pytest.raises(worker.Ended):
        worker.finish()


def test_the_job_that_ended_the_worker_is_known_although_results_are_missing(worker: Any) -> None:
    worker.start_all(lambda n: n if n != 30 else os._exit(3), [(n,) for n in range(50)])
    got = []

    def take_all() -> None:
        while True:
            got.append(worker.finish().value)

    with pytest.raises(worker.Ended):
        take_all()
    assert got == list(range(len(got)))
    assert len(got) <= 30
    assert worker.process.last_started() == 31


# Functions.


def test_a_function_that_it_does_not_have_is_asked_for(worker: Any) -> None:
    definition = FunctionShipper().ship(lambda x: x + 1)
    call = worker.jobs
    worker.run_call(definition.digest, 1, joined(encode_call((1,), {}, 5)))
    assert call.receive().message == Need(definition.digest)
    # The jobs behind it wait, also when their function is here.
    other = worker.start(lambda: "later")
    call.send(Define(definition.digest), definition.payload)
    assert worker.finish().value == 2
    assert worker.finish().value == "later"
    assert other


def test_a_job_whose_function_nobody_has_fails_and_the_next_runs(worker: Any) -> None:
    worker.run_call(b"\0" * 32, 1, b"")
    assert worker.jobs.receive().message == Need(b"\0" * 32)
    worker.jobs.send(Drop(b"\0" * 32))
    outcome = worker.finish()
    assert outcome.result.raised and isinstance(outcome.value, NotShippable)
    assert "the function that the job needs, 0000" in str(outcome.value)
    assert worker.value(abs, -1) == 1


def test_a_job_that_is_stopped_while_it_reads_an_object_leaves_the_worker_in_order(
    worker: Any,
) -> None:
    held = Held(b"h" * 32, b"unused", ())
    arguments = joined(encode_call((Broadcast(held.digest, 6, held),), {}, 5))
    worker.run_call(worker.define(print).digest, 100, arguments)
    assert worker.jobs.receive().message == Need(held.digest)
    worker.control.send(Stop(100, 1, 2.0))
    assert worker.retract(7) == Returned([], [(7, 1)])  # the worker has heard it
    worker.jobs.send(Drop(held.digest))
    outcome = worker.finish()
    assert outcome.result.raised and isinstance(outcome.value, NotShippable)
    assert worker.value(abs, -1) == 1


def test_a_job_that_is_stopped_while_it_looks_for_a_module_leaves_the_worker_in_order(
    worker: Any,
) -> None:
    def imports() -> None:
        import nobody_has_this  # noqa: F401 - it is looked for

    job = worker.start(imports)
    assert worker.jobs.receive().message == Seek("nobody_has_this")
    worker.control.send(Stop(job, 1, 2.0))
    assert worker.retract(7) == Returned([], [(7, 1)])  # the worker has heard it
    worker.jobs.send(Found("nobody_has_this", b"", ""))
    outcome = worker.finish()
    assert outcome.result.raised
    assert isinstance(outcome.value, (KeyboardInterrupt, RemoteError, ModuleNotFoundError))
    assert worker.value(abs, -1) == 1


def test_it_ends_when_the_parent_goes_while_a_function_is_awaited(worker: Any) -> None:
    worker.run_call(b"\0" * 32, 1, b"")
    assert isinstance(worker.jobs.receive().message, Need)
    worker.process.jobs.shutdown(1)
    with pytest.raises(worker.Ended):
        worker.jobs.receive()


def test_a_definition_that_cannot_be_loaded_fails_its_jobs_only(worker: Any) -> None:
    bad = b"\1" * 32
    worker.jobs.send(Define(bad), b"not a pickle")
    for job in (1, 2):
        worker.run_call(bad, job, joined(encode_call((), {}, 5)))
        outcome = worker.finish()
        assert outcome.result.raised
        assert outcome.result.job == job
    worker.start(lambda: "fine")
    assert worker.finish().value == "fine"


def test_an_import_error_is_the_jobs(worker: Any) -> None:
    job = worker.start(lambda: 1, modules=("no_such_module",))
    assert worker.jobs.receive().message == Seek("no_such_module")
    worker.jobs.send(Found("no_such_module", b""))
    outcome = worker.finish()
    assert outcome.result.job == job
    assert type(outcome.value) is ModuleNotFoundError
    outcome = worker.run(lambda: 1, modules=("import 5",))
    assert type(outcome.value) is SyntaxError
    assert worker.value(lambda: 1) == 1


def test_modules_that_want_a_terminal(worker: Any) -> None:
    assert worker.run(lambda: 1, modules=("readline",)).value == 1


def test_functions_do_not_share_names(worker: Any) -> None:
    one = by_value("VALUE = 1\ndef helper(): return VALUE\ndef f(): return helper()")
    two = by_value("VALUE = 2\ndef helper(): return VALUE\ndef f(): return helper()")
    assert [worker.value(f) for f in (one, two, one)] == [1, 2, 1]
    leaves = by_value("def f():\n    global left\n    left = 1\n    return left")
    looks = by_value("def f(): return 'left' in globals()")
    assert worker.value(leaves) == 1
    assert worker.value(looks) is False


@pytest.mark.parametrize("name", ["preprocess", "pickle", "sys", "os", "ppc", "main", "len"])
def test_any_name_will_do_for_a_function(worker: Any, name: str) -> None:
    function = by_value(f"def {name}(x): return x + 1\ndef f(x): return {name}(x) * 2")
    assert worker.value(function, 1) == 4
    assert worker.value(function.__globals__[name], 1) == 2
    assert worker.value(lambda: os.getpid()) == worker.pid


# Jobs that end the process, or split it.


def test_exit_without_cleaning_up(worker: Any) -> None:
    worker.start(lambda: os._exit(7))
    with pytest.raises(worker.Ended):
        worker.finish()
    assert worker.process.describe_end() == f"worker process {worker.pid} exited with status 7"
    assert not worker.process.is_running()


def test_a_segmentation_fault(worker: Any) -> None:
    def crash() -> None:
        os.write(1, b"before the crash\n")
        ctypes.string_at(0)

    worker.start(crash)
    with pytest.raises(worker.Ended):
        worker.finish()
    end = worker.process.describe_end()
    assert f"worker process {worker.pid} was killed by SIGSEGV" in end
    assert "in crash\n" in end and "Fatal Python error" not in end
    assert "in crash" in end


def test_a_crash_is_told_from_what_earlier_jobs_have_written(worker: Any) -> None:
    worker.run(lambda: print("an earlier job"))
    worker.start(lambda: os.abort())
    with pytest.raises(worker.Ended):
        worker.finish()
    end = worker.process.describe_end()
    assert "SIGABRT" in end
    assert "an earlier job" not in end


def test_killed_from_outside(worker: Any) -> None:
    worker.start(lambda: time.sleep(60))  # a job that is running when it is ended
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(worker.Ended):
        worker.finish()
    assert "was killed by SIGKILL" in worker.process.describe_end()


def test_a_job_that_forks_and_returns_in_the_child_has_one_result(worker: Any) -> None:
    def split() -> int:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return os.getpid()

    assert worker.value(split) == worker.pid
    # Were there a second result, it would come before this one.
    assert worker.value(lambda: "next") == "next"


def test_a_job_that_forks_and_raises_in_the_child_has_one_result(worker: Any) -> None:
    def split() -> str:
        child = os.fork()
        if not child:
            raise SystemExit(3)
        _, status = os.waitpid(child, 0)
        return f"the child has ended, {os.WIFEXITED(status)}"

    assert worker.value(split) == "the child has ended, True"
    assert worker.value(lambda: "next") == "next"


def test_multiprocessing_inside_a_job(worker: Any) -> None:
    def pooled() -> list[int]:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2, -3])

    assert worker.value(pooled) == [1, 2, 3]
    assert worker.value(lambda: "next") == "next"


def test_threads_that_a_job_leaves_behind(worker: Any) -> None:
    def leave() -> None:
        threading.Thread(target=time.sleep, args=(60,)).start()

    worker.value(leave)
    assert worker.value(lambda: "next") == "next"


@pytest.mark.parametrize("channel", ["jobs", "control"])
def test_it_ends_when_a_channel_is_closed(channel: str, worker: Any) -> None:
    getattr(worker.process, channel).shutdown(1)
    assert "killed by SIGKILL" in worker.process.describe_end()


def test_a_result_says_no_output_where_there_was_none(worker: Any) -> None:
    outcome = worker.run(lambda: 1)
    size = outcome.result.size
    assert outcome.result == Outcome(1, 1, size, False, outcome.result.seconds, 0, 0)


def test_a_function_of_another_python_is_given_back_with_the_reason(worker: Any) -> None:
    space: dict[str, Any] = {}
    exec("def f(): return 1", space)  # no source: by value
    here = f"{sys.version_info.major}.{sys.version_info.minor}".encode()
    other = b"3.7" if len(here) == 3 else b"3.99"
    payload = FunctionShipper().ship(space["f"]).payload.replace(here, other)
    digest = b"another python's function"[:32].ljust(32)
    worker.jobs.send(Define(digest), payload)
    worker.run_call(digest, 1, joined(encode_call((), {}, 5)))
    unfit = worker.jobs.receive().message
    assert isinstance(unfit, Unfit)
    assert (unfit.job, unfit.attempt) == (1, 1)
    assert f"Python {other.decode()}" in unfit.why
    assert worker.value(lambda: 5) == 5


def test_a_job_that_closes_what_is_not_its_own(worker: Any) -> None:
    worker.start(lambda: os.closerange(3, 100))
    with pytest.raises(worker.Ended):
        worker.finish()
    assert worker.process.describe_end()


def test_an_exception_that_cannot_be_looked_at(worker: Any) -> None:
    source = """
class Evil(Exception):
    def __getattribute__(self, name): raise ZeroDivisionError(name)
    def __str__(self): raise ZeroDivisionError("text")
def f(): raise Evil
"""
    outcome = worker.run(by_value(source))
    assert type(outcome.value) is RemoteError
    assert "Evil" in str(outcome.value)
    assert worker.value(lambda: "next") == "next"


def test_arguments_of_another_python_are_given_back_and_say_so(worker: Any) -> None:
    space: dict[str, Any] = {}
    exec("def f(): return 1", space)  # no source: by value
    here = f"{sys.version_info.major}.{sys.version_info.minor}".encode()
    other = b"3.7" if len(here) == 3 else b"3.99"
    call = joined(encode_call((space["f"],), {}, 5)).replace(here, other, 1)
    digest = worker.define(callable).digest
    worker.run_call(digest, 1, call)
    unfit = worker.jobs.receive().message
    assert isinstance(unfit, Unfit)
    assert (unfit.job, unfit.attempt, unfit.arguments) == (1, 1, True)
    worker._job = 1
    assert worker.value(lambda: 5) == 5
