"""What a worker makes of what was sent to it."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ppnext.errors import UnsuitablePython
from ppnext.shipping.calls import encode_call
from ppnext.shipping.functions import FunctionShipper
from ppnext.shipping.loading import decode_call, load_definition
from ppnext.version import PYTHON

NOTHING = pickle.dumps(((), "3.11"))
"""What stands before a function that sees none of the user's modules."""


def test_an_importable_function_is_itself() -> None:
    assert load_definition(FunctionShipper().ship(math.sin).payload) is math.sin


def test_arguments_arrive() -> None:
    assert decode_call(encode_call((1, "a"), {"b": 2}, 5)) == ((1, "a"), {"b": 2})
    assert decode_call(encode_call((), {}, 2)) == ((), {})


def test_names_that_are_added_to_a_function_do_not_reach_the_module_of_another() -> None:
    payload = NOTHING + pickle.dumps((math.sin, {"added": 1}, ("string",)))
    assert load_definition(payload) is math.sin
    assert not hasattr(math, "added")


def test_a_module_that_is_missing_is_an_import_error() -> None:
    with pytest.raises(ImportError):
        load_definition(NOTHING + pickle.dumps((math.sin, {}, ("no_such_module_anywhere",))))


def test_the_modules_that_a_function_sees_are_told_before_it_is_loaded() -> None:
    told: list[object] = []
    broken = pickle.dumps(((("helpers", b"d" * 32),), "3.11")) + b"no pickle"
    with pytest.raises(pickle.UnpicklingError):
        load_definition(broken, told.append)
    assert told == [(("helpers", b"d" * 32),)]


def test_what_this_pythons_library_lacks_is_named() -> None:
    newer = pickle.dumps(math.sin).replace(b"sin", b"new")
    with pytest.raises(UnsuitablePython, match=r"needs math\.new, which this node's Python 3"):
        load_definition(NOTHING + newer)
    ours = pickle.dumps(load_definition).replace(b"load_definition", b"load_everything")
    with pytest.raises(AttributeError, match="load_everything"):
        load_definition(NOTHING + ours)


def test_a_worker_starts_without_what_writes_functions() -> None:
    code = "import sys, ppnext.worker.main; print([m for m in sys.modules if m.endswith(%r)])"
    out = subprocess.run(
        [sys.executable, "-c", code % "byvalue"], capture_output=True, text=True, check=True
    )
    assert out.stdout == "[]\n"


@pytest.mark.parametrize("python", ["3.99", PYTHON])
def test_a_module_in_a_syntax_of_another_python_is_for_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    (tmp_path / "in_newer_syntax.py").write_text("def f() = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    payload = pickle.dumps(((), python)) + b"cin_newer_syntax\nf\n."
    expected = SyntaxError if python == PYTHON else UnsuitablePython
    with pytest.raises(expected):
        load_definition(payload)
