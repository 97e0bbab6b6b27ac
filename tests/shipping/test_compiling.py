"""Compiling: which code belongs to which function, and what tracebacks show."""

from __future__ import annotations

import linecache
import pickle
import sys
import threading
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from ppnext.errors import RemoteError
from ppnext.shipping import compiling
from ppnext.shipping.compiling import (
    PYTHON,
    Unit,
    UnsuitablePython,
    code_at,
    codes,
    functions_in,
    load_code,
    outline,
    units_shown,
)

TEXT = """\
class C:
    def f(self, key=lambda x: x):
        def f(): return lambda: self
        return f
    @staticmethod
    def g(): return 1
"""


def unit(text: str = TEXT, line: int = 1, filename: str = "/no/such/folder/user.py") -> Unit:
    return Unit(filename, line, text, 0, sys.flags.optimize, ())


def make(one: Unit, place: int = 0) -> Any:
    return types.FunctionType(load_code(one, place, "f"), {"__builtins__": __builtins__})


def test_places_are_positions_in_the_syntax_tree() -> None:
    assert functions_in(unit(line=11)) == (
        ("f", 12, 0),
        ("<lambda>", 12, 1),
        ("f", 13, 1),
        ("<lambda>", 13, 2),
        ("g", 15, 0),
    )
    found = codes(unit(line=11))
    assert [(code.co_name, code.co_firstlineno) for _, code in sorted(found.items())] == [
        ("f", 12),
        ("<lambda>", 12),
        ("f", 13),
        ("<lambda>", 13),
        ("g", 15),
    ]
    assert found[2].co_freevars == ("self",)
    assert found[0].co_argcount == 2


def test_codes_are_compiled_once() -> None:
    one, same = unit("def f(): return 12345\n"), unit("def f(): return 12345\n")
    assert one is not same
    assert code_at(one, 0) is code_at(same, 0)


def test_a_place_that_there_is_not() -> None:
    assert code_at(unit(), 5) is None
    assert code_at(unit(), -1) is None
    never = unit("assert lambda: 1\n")._replace(optimize=1)
    assert code_at(never, 0) is None
    with pytest.raises(UnsuitablePython, match=r"function f .*line 1\) is compiled to nothing"):
        load_code(never, 0, "f")
    assert code_at(never._replace(optimize=0), 0) is not None


def test_lines_in_class_bodies_are_those_of_the_file() -> None:
    one = unit("def f():\n    class C:\n        x = 1\n    return C\n", line=40)
    made = make(one)()
    assert getattr(made, "__firstlineno__", 41) == 41
    assert made.x == 1


def test_constants_that_look_like_lines_stay() -> None:
    numbers = ", ".join(map(str, range(40)))
    one = unit(f"def f():\n    class C:\n        x = [{numbers}]\n    return C\n")
    assert make(one)().x == list(range(40))


def test_syntax_that_this_python_does_not_know_is_named() -> None:
    newer = unit("def f():\n    a = 1\n    return a ?? 2\n", line=7)
    with pytest.raises(UnsuitablePython) as caught:
        load_code(newer, 0, "work.<locals>.f")
    text = str(caught.value)
    assert text.startswith(
        f"the function work.<locals>.f cannot run on this node's Python {PYTHON}"
    )
    assert "does not understand line 9 of /no/such/folder/user.py: 'return a ?? 2'" in text
    assert isinstance(caught.value, RemoteError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (UnsuitablePython, text)
    with pytest.raises(SyntaxError):
        functions_in(newer)
    with pytest.raises(UnsuitablePython):
        load_code(unit("def f(): return '\0'\n"), 0, "f")


def test_warnings_about_the_users_code_are_not_given_again() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(unit("def f(x): return x is 1, '\\d'\n"))(1)[1] == "\\d"


def test_where_statements_begin_and_end() -> None:
    text = (
        "import a.b, c as d\n@x\n@y\ndef f():\n    import g\n\n"
        "if a:\n    from h import i; z = 1\n\nj = (\n); k = (\n)\n"
    )
    ranges, imported = outline("x.py", text)
    assert ranges == [(1, 1), (2, 5), (7, 8), (10, 12)]
    assert imported == {"a", "d", "i"}


def test_many_threads_compile_one_unit() -> None:
    text = "".join(f"def f{n}(): return lambda: {n}\n" for n in range(50))
    one = unit(f"if True:\n{''.join('    ' + line + chr(10) for line in text.splitlines())}")
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(codes(one)), name=str(n)) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found) for found in results] == [100] * 8
    assert all(found == results[0] for found in results)


# Tracebacks.


def shown(function: Any) -> str:
    try:
        function()
    except ZeroDivisionError:
        return traceback.format_exc()
    raise AssertionError


@pytest.fixture(autouse=True)
def nothing_is_left_in_linecache() -> Any:
    before = dict(linecache.cache)
    yield
    linecache.cache.clear()
    linecache.cache.update(before)
    compiling._shown.clear()


@pytest.mark.parametrize("filename", ["/no/such/folder/user.py", "<cell 1>", "relative.py"])
def test_tracebacks_show_the_users_lines(filename: str) -> None:
    first = unit("def f():\n\f    x = 0\n    return 1 / x  # here\n", 5, filename)
    other = unit("def g():\n    return 2 / 0  # there\n", 20, filename)
    text = shown(make(first))
    assert f'File "{filename}", line 7, in f\n    return 1 / x  # here\n' in text
    assert f'File "{filename}", line 21, in g\n    return 2 / 0  # there\n' in shown(make(other))
    linecache.checkcache()
    assert "return 1 / x  # here" in shown(make(first))
    assert units_shown(filename) == (first, other)


def test_a_file_that_is_there_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "user.py"
    path.write_text("def f():\n    return 1 / 0  # on disk\n")
    one = unit("def f():\n    return 1 / 0  # sent\n", 1, str(path))
    assert "# on disk" in shown(make(one))
    path.unlink()
    linecache.checkcache()
    load_code(one, 0, "f")


def test_the_text_of_a_notebook_is_not_replaced() -> None:
    linecache.cache["<cell>"] = (1, None, ["its own\n"], "<cell>")
    make(unit("def f(): pass\n", 1, "<cell>"))
    assert linecache.getlines("<cell>") == ["its own\n"]


def test_what_is_shown_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_FILES_SHOWN", 2)
    monkeypatch.setattr(compiling, "_UNITS_SHOWN", 2)
    for n in range(4):
        make(unit("def f(): pass\n", 1, f"<cell {n}>"))
        make(unit("def f(): pass\n", 10 * n + 1, "<cell>"))
    assert [one.line for one in units_shown("<cell>")] == [21, 31]
    assert units_shown("<cell 0>") == ()
    assert "<cell 0>" not in linecache.cache
