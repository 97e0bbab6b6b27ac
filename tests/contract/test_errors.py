"""What a job raises is raised at the client, with the story of where it happened."""

from __future__ import annotations

import sys

import pytest

from ppnext import Server
from ppnext.errors import JobError, JobExited, NotShippable, RemoteError, ResultNotShippable


class Trouble(Exception):
    """An exception of the user's own, with a constructor of its own and an attribute."""

    def __init__(self, code):
        super().__init__(f"trouble {code}")
        self.code = code

    def __reduce__(self):
        return Trouble, (self.code,)


class Stubborn(Exception):
    """An exception whose pickle cannot be loaded, as many libraries have them."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def deep(level):
    if level:
        return deep(level - 1)
    raise ValueError("the bottom is reached")


def test_an_exception_is_raised_and_never_becomes_none(server):
    with pytest.raises(ValueError, match="^the bottom is reached$"):
        server.submit(deep, (3,))()


def test_the_remote_traceback_node_and_process_are_in_view(server):
    job = server.submit(deep, (3,))
    error = job.exception()
    story = str(error.__cause__)
    assert story.count("in deep") == 4
    assert f"job {job.tid}, attempt 1, on " in story and ", process " in story
    assert "ValueError: the bottom is reached" in story
    assert "ppnext/worker" not in story


def test_the_exception_is_the_same_each_time_it_is_asked_for(server):
    job = server.submit(deep, (0,))
    assert job.exception() is job.exception()
    for _ in range(2):
        with pytest.raises(ValueError, match="bottom") as caught:
            job()
        assert caught.value is job.exception()


def test_exceptions_of_the_users_own_classes(server):
    def fail(code):
        raise Trouble(code)

    with pytest.raises(Trouble, match="trouble 7") as caught:
        server.submit(fail, (7,))()
    assert caught.value.code == 7


def test_an_exception_that_cannot_be_rebuilt_says_what_it_was(server):
    def fail():
        raise Stubborn("this", "that")

    with pytest.raises(RemoteError, match="Stubborn: this and that") as caught:
        server.submit(fail)()
    assert caught.value.type_name.endswith("Stubborn")
    assert "in fail" in str(caught.value.__cause__)


def test_a_chain_of_exceptions_is_told_in_full(server):
    def fail():
        try:
            {}["missing"]
        except KeyError as error:
            raise RuntimeError("no such thing") from error

    with pytest.raises(RuntimeError, match="no such thing") as caught:
        server.submit(fail)()
    assert "KeyError: 'missing'" in str(caught.value.__cause__)


@pytest.mark.parametrize("end", [lambda: sys.exit(3), lambda: sys.exit("enough")])
def test_sys_exit_ends_the_job_and_not_the_program(server, end):
    with pytest.raises(JobExited, match=r"SystemExit: (3|enough)"):
        server.submit(end)()
    assert server.submit(abs, (-1,))() == 1


def test_a_keyboard_interrupt_in_a_job_ends_that_job(server):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(JobExited, match="KeyboardInterrupt"):
        server.submit(fail)()


def test_an_unpicklable_result_fails_its_job_only(server):
    jobs = [server.submit(lambda: (x for x in ())) for _ in range(3)]
    fine = [server.submit(abs, (-x,)) for x in range(6)]
    for job in jobs:
        with pytest.raises(ResultNotShippable, match="generator"):
            job()
    assert [job() for job in fine] == list(range(6))


class Sealed:
    """Can be pickled and cannot be loaded."""

    def __reduce__(self):
        return int, ("not a number",)


def test_an_argument_that_cannot_be_loaded_fails_its_job_only(server):
    job = server.submit(abs, (Sealed(),))
    with pytest.raises(ValueError, match="not a number"):
        job()
    assert server.submit(abs, (-1,))() == 1


def test_a_result_that_cannot_be_loaded_is_an_error(server):
    with pytest.raises(RemoteError, match="cannot be rebuilt here: ValueError"):
        server.submit(Sealed)()


def test_a_module_that_cannot_be_imported_is_named(server):
    with pytest.raises(ImportError, match="no_such_module_anywhere"):
        server.submit(abs, (1,), modules=("no_such_module_anywhere",))()
    assert server.submit(abs, (-1,))() == 1


def test_a_statement_in_modules_that_is_not_python_is_an_error(server):
    with pytest.raises(SyntaxError):
        server.submit(abs, (1,), modules=("import from",))()
    assert server.submit(abs, (-1,))() == 1


def test_a_failed_submit_names_the_culprit_and_does_not_make_wait_hang(server: Server):
    with pytest.raises(NotShippable, match=r"argument 2: \['many'\]\[0\] is a generator"):
        server.submit(max, (1, {"many": [(x for x in ())]}))
    with pytest.raises(NotShippable, match="keyword argument key"):
        server.submit(max, (1, 2), kwargs={"key": (x for x in ())})
    assert server.wait(timeout=0)
    assert server.submit(abs, (-1,))() == 1


def test_a_function_that_cannot_be_shipped_names_the_culprit(server):
    numbers = (x for x in ())
    with pytest.raises(NotShippable, match="closure's 'numbers' is a generator"):
        server.submit(lambda: list(numbers))
    assert server.wait(timeout=0)


def test_every_error_of_ours_that_ends_a_job_is_a_job_error():
    assert issubclass(ResultNotShippable, JobError) and issubclass(JobExited, RemoteError)
