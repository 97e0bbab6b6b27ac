"""Results and exceptions on their way back."""

from __future__ import annotations

import gc
import pickle
import sys
from collections.abc import Callable
from pickle import PickleBuffer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ppnext.errors import JobExited, RemoteError, ResultNotShippable
from ppnext.shipping.envelope import OUT_OF_BAND, Parts, joined
from ppnext.shipping.outcomes import (
    RemoteTraceback,
    decode_exception,
    decode_result,
    encode_exception,
    encode_result,
    pickled_result,
)

Script = Callable[[str], SimpleNamespace]


def raised_by(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:  # whatever it raises is what is sent
        return decode_exception(encode_exception(error, "job 7, on node a", 5))
    raise AssertionError("it was to raise")


def raise_(error: BaseException) -> None:
    raise error


# Results.


@pytest.mark.parametrize("result", [None, 1, "a", [1, {"b": (2,)}], b"\x00" * 1000, int, len])
def test_results(result: object) -> None:
    assert decode_result(joined(encode_result(result, 5))) == result


def test_functions_come_home(far: Any) -> None:
    add = far.call(lambda n: lambda x: x + n, 4)
    assert add(1) == 5


def test_a_result_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(ResultNotShippable, match=r"returned a builtins\.generator, which cannot"):
        encode_result((x for x in ()), 5)


def test_a_result_that_cannot_be_pickled_is_the_jobs_error(far: Any) -> None:
    with pytest.raises(ResultNotShippable, match="cannot pickle 'generator' object"):
        far.call(lambda: (x for x in ()))
    assert far.call(lambda: "and the process lives") == "and the process lives"


def test_a_result_that_cannot_be_rebuilt() -> None:
    class Odd:
        def __reduce__(self) -> Any:
            return int, ("x",)

    with pytest.raises(RemoteError, match="cannot be rebuilt here: ValueError: invalid literal"):
        decode_result(joined(encode_result(Odd(), 5)))
    for payload in (b"no pickle", b"", b"\xf5", b"\xf5\1\0\0\1\0\0\0"):
        with pytest.raises(RemoteError, match="cannot be rebuilt here"):
            decode_result(payload)


class Block:
    """Something with a large buffer, as an array has it."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (PickleBuffer(self.memory) if protocol >= 5 else bytes(self.memory),)


def test_large_buffers_are_not_copied() -> None:
    parts = encode_result([Block(bytearray(b"a" * OUT_OF_BAND))], 5)
    assert isinstance(parts, Parts)
    region = bytearray(parts.join())
    (back,) = cast(Any, decode_result(region))
    back.memory[-1:] = b"c"
    assert region[-1:] == b"c"


def test_large_buffers_beside_what_goes_by_value() -> None:
    parts = encode_result((lambda: 5, Block(bytes(OUT_OF_BAND))), 5)
    assert isinstance(parts, Parts)
    function, block = cast(Any, decode_result(parts.join()))
    assert function() == 5
    assert bytes(block.memory) == bytes(OUT_OF_BAND)


def test_memory_that_cannot_be_read_is_the_jobs_error() -> None:
    gaps = Block(memoryview(bytes(4 * OUT_OF_BAND))[::2])
    with pytest.raises(ResultNotShippable, match=r"Block, which cannot be pickled: .*contiguous"):
        encode_result(gaps, 5)
    del gaps
    gc.collect()  # some interpreters crash when a buffer and its memory are in one cycle


def test_one_pickle_whatever_it_holds() -> None:
    assert pickle.loads(pickled_result((1, "output"), 5)) == (1, "output")
    block, output = pickle.loads(pickled_result((Block(bytes(OUT_OF_BAND)), "output"), 5))
    assert bytes(block.memory) == bytes(OUT_OF_BAND)
    assert output == "output"
    with pytest.raises(ResultNotShippable):
        pickled_result((x for x in ()), 5)


# Exceptions.


def test_a_standard_exception_is_raised_as_itself_with_the_remote_traceback() -> None:
    error = raised_by(lambda: [][1])
    assert type(error) is IndexError
    assert str(error) == "list index out of range"
    cause = error.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "job 7, on node a\nTraceback (most recent call last):" in str(cause)
    assert "in <lambda>" in str(cause)
    assert cause.text.endswith("IndexError: list index out of range")


def test_chained_exceptions_are_all_in_the_text() -> None:
    def fail() -> None:
        try:
            {}["key"]
        except KeyError as error:
            raise ValueError("outer") from error

    error = raised_by(fail)
    assert type(error) is ValueError
    assert "KeyError: 'key'" in str(error.__cause__)
    assert "direct cause" in str(error.__cause__)


def test_the_frames_of_the_worker_are_left_out() -> None:
    space: dict[str, Any] = {"__name__": "ppnext.worker.main"}
    exec("def run(f): return f()", space)

    def job() -> None:
        raise ValueError("the job's")

    with pytest.raises(ValueError) as caught:
        space["run"](job)
    traceback = caught.value.__traceback__
    assert traceback is not None
    # As in the worker, where its own frame is the outermost one.
    error = caught.value.with_traceback(traceback.tb_next)
    text = str(decode_exception(encode_exception(error, "here", 5)).__cause__)
    assert "in job" in text
    assert "in run" not in text


def test_attributes_and_notes_come_along() -> None:
    error = OSError(2, "gone", "/some/file")
    error.extra = [1]  # type: ignore[attr-defined]  # any attribute may be set
    if sys.version_info >= (3, 11):
        error.add_note("a note")
    back = raised_by(lambda: raise_(error))
    assert type(back) is FileNotFoundError
    assert back.filename == "/some/file"
    assert back.extra == [1]  # type: ignore[attr-defined]  # as was set above
    if sys.version_info >= (3, 11):
        assert back.__notes__ == ["a note"]


def test_exceptions_of_a_script_come_home_as_their_own_class(far: Any, script: Script) -> None:
    it = script("""
        class Trouble(Exception):
            def __init__(self, text, code):
                super().__init__(text, code)
                self.code = code
        class Worse(Trouble): pass
        def f(): raise Worse("it broke", 5)
    """)
    with pytest.raises(it.Trouble) as caught:
        far.call(it.f)
    assert type(caught.value) is it.Worse
    assert caught.value.code == 5
    assert "in f" in str(caught.value.__cause__)


def test_an_exception_class_made_by_the_job(far: Any) -> None:
    def fail() -> None:
        class Local(ValueError):
            pass

        raise Local("made there")

    with pytest.raises(ValueError, match="made there"):
        far.call(fail)


class TwoArguments(Exception):
    def __init__(self, text: str, code: int) -> None:
        super().__init__(f"{text} ({code})")


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class HoldsGenerator(Exception):
    pass


class NotAnException(Exception):
    def __reduce__(self) -> Any:
        return int, ("1",)


def test_awkward_constructors_become_a_remote_error_with_the_text() -> None:
    error = raised_by(lambda: raise_(TwoArguments("broken", 7)))
    assert type(error) is RemoteError
    assert str(error) == f"{__name__}.TwoArguments: broken (7)"
    assert error.type_name == f"{__name__}.TwoArguments"
    assert "in <lambda>" in error.traceback_text
    assert isinstance(error.__cause__, RemoteTraceback)


def test_exceptions_that_cannot_be_pickled() -> None:
    error = raised_by(lambda: raise_(HoldsGenerator(x for x in ())))
    assert type(error) is RemoteError
    assert "HoldsGenerator" in str(error)


def test_an_exception_whose_text_cannot_be_made() -> None:
    description, _ = pickle.loads(encode_exception(NoText(), "here", 5))
    assert description[1] == "(its message cannot be shown)"


def test_a_pickle_that_is_no_exception_is_not_taken() -> None:
    error = raised_by(lambda: raise_(NotAnException("text")))
    assert type(error) is RemoteError
    assert "NotAnException: text" in str(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(3), "builtins.SystemExit: 3"),
        (SystemExit(), "builtins.SystemExit"),
        (KeyboardInterrupt(), "builtins.KeyboardInterrupt"),
        (GeneratorExit(), "builtins.GeneratorExit"),
    ],
)
def test_exits_do_not_end_the_client(error: BaseException, text: str) -> None:
    back = raised_by(lambda: raise_(error))
    assert type(back) is JobExited
    assert str(back) == text


def test_sys_exit_in_another_process(far: Any) -> None:
    with pytest.raises(JobExited, match="SystemExit: enough"):
        far.call(lambda: sys.exit("enough"))


def test_a_class_that_does_not_exist_here_becomes_a_remote_error() -> None:
    description = ("far.Away", "what happened", "far\nTraceback", False)
    payload = pickle.dumps((description, b"cno_such_module\nGone\n."), 5)
    error = decode_exception(payload)
    assert type(error) is RemoteError
    assert str(error) == "far.Away: what happened"


@pytest.mark.parametrize("payload", [b"", b"junk", pickle.dumps(1), pickle.dumps((1, 2))])
def test_a_report_that_cannot_be_read_is_still_an_error(payload: bytes) -> None:
    error = decode_exception(payload)
    assert type(error) is RemoteError
    assert "its report cannot be read" in str(error)


def test_remote_errors_can_travel_on() -> None:
    error = raised_by(lambda: raise_(JobExited("text", "a.B", "trace")))
    assert type(error) is JobExited
    assert (str(error), error.type_name, error.traceback_text) == ("text", "a.B", "trace")
