"""Source: every function has one that is its own, or there is a reason why not."""

from __future__ import annotations

import linecache
import pickle
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppnext.shipping import byvalue, source
from ppnext.shipping.compiling import code_at
from ppnext.shipping.ledger import Ledger
from ppnext.shipping.source import Source, find, same_code

# Bounds of type parameters and values of aliases are code as well; these stand in NEWER.
NOT_FUNCTIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "Pair", "Bounded")


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[..., tuple[dict[str, Any], types.CodeType]]]:
    """Run text as a file, and return what it has defined and its code."""
    made: list[str] = []

    def run(text: str | bytes, name: str = "user.py", optimize: int = -1) -> Any:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        made.append(str(path))
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True, optimize=optimize)
        space: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
        exec(code, space)
        return space, code

    yield run
    for name in made:
        linecache.cache.pop(name, None)


@pytest.fixture
def cell() -> Iterator[Callable[[str], dict[str, Any]]]:
    """Run text as a cell of a notebook."""
    names: list[str] = []

    def run(text: str) -> dict[str, Any]:
        name = f"<cell {len(names)}>"
        names.append(name)
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, name, "exec", dont_inherit=True), space)
        return space

    yield run
    for name in names:
        del linecache.cache[name]


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The codes of all functions in code."""
    for place, constant in enumerate(code.co_consts):
        if isinstance(constant, types.CodeType):
            later = code.co_consts[place + 1 :]
            if code.co_name == "<generic parameters of T>" and any(map(_is_t, later)):
                continue  # the bound of the function's type parameter, which has its name
            is_function = bool(constant.co_flags & 2) and constant.co_name not in NOT_FUNCTIONS
            if is_function and not constant.co_name.startswith("<generic"):
                yield constant
            yield from codes_in(constant)


def _is_t(constant: object) -> bool:
    return isinstance(constant, types.CodeType) and constant.co_name == "T"


CONSTRUCTS = {
    "functions": """
        import os.path, math as m
        from json import loads as load
        LIMIT = 1
        def f(a, /, b=2, *args, c=3, **kwargs) -> int:
            '''Its docstring.

            With a second line.
            '''
            x: int = m.floor(os.path.getsize(__file__)) + load("1") + LIMIT
            return x
    """,
    "decorators": """
        import functools
        def deco(*args): return lambda f: f

        @deco(1,
              lambda x: x)

        @functools.wraps(deco)
        def f(): return 1
        @(lambda f: f)
        class C:
            @property
            @deco(lambda: 1)
            def p(self): return self._p
            @p.setter
            def p(self, value): self._p = value
            @staticmethod
            def s(): pass
    """,
    "lambdas": """
        a, b = lambda x: x + 1, lambda x: x + 2
        table = {"a": lambda: 1, "b": lambda: 1, "c": [lambda: 1, lambda: 2]}
        f = lambda x=lambda y=lambda: 1: y: (lambda: x)
        made = [lambda i=i: (i, lambda: i) for i in range(2)]
        key = sorted([1], key=lambda x: -x); other = lambda: 2; third = (lambda: 2)
        same = (lambda: 0), (lambda: 0)
        def g(x=lambda: 1, *, y=lambda: 2): return lambda: (x, y)
        long = (
            lambda x:
                x +
                1
        )
        text = f"{(lambda: 1)()} {(lambda x: x)(2)!r:>{(lambda: 5)()}}"
    """,
    "nesting": """
        def outer(n):
            free = n
            def middle():
                nonlocal free
                def inner():
                    def outer(): return free
                    return outer, [lambda: (free, x) for x in range(3)]
                class Local(str):
                    def outer(self): return super().upper(), __class__, free
                    names = [lambda self: free for _ in "ab"]
                return inner, Local
            return middle
        if outer:
            for _ in range(1):
                with open(__file__):
                    try:
                        def deep(): return 1
                    finally:
                        def last(): return lambda: 2
        else:
            def never(): pass
        def twin(): return 1
        def twin(): return 1
        def twin(): return 2
    """,
    "classes": """
        class Base:
            __slots__ = ("__private",)
            def __init__(self): self.__private = 1
            def __mangled(self, __x): return self.__private, lambda: self.__mangled
            def zero(self): return super().__hash__()
            @classmethod
            def cls_(cls): return __class__
            class Inner:
                def __init__(self): self.a = self.b = 1
                async def agen(self):
                    yield 1
            value = (lambda: 1)()
        class Child(Base, metaclass=type):
            def zero(self): return super().zero(), self._Base__private
            def __init_subclass__(cls): super().__init_subclass__()
    """,
    "generators": """
        import asyncio
        def squares(n):
            x = yield from (i * i for i in range(n) if (lambda: i)())
            return (yield x)
        async def gather(n):
            async with asyncio.Lock() as lock:
                return [y async for y in agen() if await asyncio.sleep(0) is None]  # it awaits
        async def agen():
            async for _ in agen(): yield lambda: _
        coroutine = lambda: (yield)
        def comprehensions(rows):
            return {k: [v for v in vs if v] for k, vs in rows}, {x for x in rows}, \\
                [(lambda: x) for x in rows for y in (lambda: rows)()]
    """,
    "control": """
        def loops(xs):
            while True:
                try:
                    for x in xs:
                        if x: continue
                        else: break
                    else: return
                except (ValueError, TypeError) as e:
                    raise RuntimeError from e
                finally:
                    f = lambda: xs
                    del f
            match xs:
                case [a, *_] | {"k": a} if a > (lambda: a)(): return a
                case str(): return 0
            assert xs, "message"
            if (n := len(xs)) > 1: return n
            global G
            G = 1, -0.0, 0.0, 1j, "a", b"a", frozenset, xs in {1, 2, 3}, 1_000_000_007
            import os.path as p, sys
            return os.getcwd() if False else sys.path
    """,
    "future": """
        from __future__ import annotations
        def f(x: Undefined, *args: (lambda: 1)) -> Undefined | None:
            y: Also
            def g(z: Undefined): ...
            return g
        class C:
            x: int
            def m(self) -> C: ...
    """,
    "layout": """
        x = 1; f = lambda: x; y = 2 ; g = lambda: y
        if x: h = lambda: 1
        def one(): return 1; return 2
        \f
        def after_a_form_feed():
        \treturn 1
        def \\
            continued(a,
                b): # a comment
            return '''
        def inside_a_string(): pass
        ''', a, \\
                b
        def naïve(größe, ſ="é", 名=lambda é: "→" * é): return größe, lambda ä: (ä, 名)
    """,
}
NEWER = {
    (3, 11): """
        def f():
            try: g()
            except* ValueError as group: g = lambda: group
            x = (1, *map(lambda y: y, ()))
            return a[*x, 1]
    """,
    (3, 12): """
        def first[T](xs: list[T], key=lambda x: x) -> T: return lambda: (T, xs)
        def T[T: (int, str)](x: T): return x
        class Stack[Bounded: (lambda: int)]:
            def push[U](self, item: Bounded, __other: U): return Bounded, U, __class__
            def plain(self) -> Bounded: return lambda: Bounded
        type Pair[A] = tuple[A, A]
        def f(x): return f"{x["a"]} {f"{(lambda y: f"{y}")(x)}"}"
    """,
}


def snippets() -> Iterator[Any]:
    for name, text in CONSTRUCTS.items():
        yield pytest.param(text, id=name)
    for version, text in NEWER.items():
        marks = pytest.mark.skipif(sys.version_info < version, reason=f"needs Python {version}")
        yield pytest.param(text, id=f"new in {version}", marks=marks)


@pytest.mark.parametrize("text", list(snippets()))
@pytest.mark.parametrize("optimize", [0, 1, 2])
def test_every_function_has_its_source(
    text: str, optimize: int, module: Any, tmp_path: Path
) -> None:
    # Codes are compiled as this interpreter optimizes: others have no source, and say so.
    path = tmp_path / "user.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True, optimize=optimize)
    found = list(codes_in(code))
    assert found
    for one in found:
        answer = find(one)
        if isinstance(answer, str):
            assert optimize != sys.flags.optimize
        else:
            again = code_at(answer.unit, answer.place)
            assert again is not None
            assert same_code(again, one)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12")
def test_generic_functions_and_classes_there_and_back(module: Any) -> None:
    space, _ = module(
        """if True:
        type Pair[A] = tuple[A, A]
        def first[T](xs: list[T], pair: Pair[T] = None) -> T: return xs[0], lambda: T.__name__
        class Stack[T]:
            def __init__(self): self.items = []
            def push[U: int](self, item: T, other: U): return [*self.items, item], U.__name__, T
            def same(self): return __class__ is type(self)
        def f(): return Stack[int]().push(1, 2), Stack().same(), Stack.__type_params__[0].__name__
    """
    )
    one, name = pickle.loads(byvalue.dumps(space["first"], 5))([5])
    assert (one, name()) == (5, "T")
    ledger = Ledger()
    pushed, same, parameter = pickle.loads(byvalue.dumps(space["f"], 5, ledger))()
    assert pushed[:2] == ([1], "U")
    assert (same, parameter) == (True, "T")
    assert ledger.bound is None


def test_far_down_in_a_long_file_and_in_a_long_statement(module: Any) -> None:
    body = "".join(
        f"    def f{n}(self, x=lambda: {n}): return [x, lambda: {n}]\n" for n in range(700)
    )
    space, code = module("\n" * 3000 + "class C:\n" + body * 3)
    assert all(isinstance(find(one), Source) for one in codes_in(code))
    assert pickle.loads(byvalue.dumps(space["C"].f699, 5))(None, 1)[1]() == 699


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfdef f(): return '\xc3\xa9'\n",
        b"# -*- coding: latin-1 -*-\ndef f(): return '\xe9'\n",
        b"def f():\r\n\treturn '''\xc3\xa9'''\r\n",
        b"def f():\r\treturn '\xc3\xa9'\r",
        b"x = '''\r\n'''\r\ndef f(): return '\xc3\xa9'",
        b"\x0cdef f(): return '\xc3\xa9'",
    ],
)
def test_encodings_and_ends_of_lines(text: bytes, module: Any) -> None:
    space, _ = module(text)
    assert isinstance(find(space["f"].__code__), Source)
    assert pickle.loads(byvalue.dumps(space["f"], 5))() == "é"


def test_functions_of_one_statement_share_its_unit(module: Any) -> None:
    space, _ = module("class C:\n    def a(self): return 1\n    def b(self): return 2\n")
    one, other = (find(space["C"].__dict__[name].__code__) for name in "ab")
    assert isinstance(one, Source)
    assert isinstance(other, Source)
    assert one.unit is other.unit
    assert one.place != other.place


def test_a_unit_holds_the_statement_and_nothing_else(module: Any) -> None:
    space, _ = module("SECRET = 1\n# comment\n@staticmethod\ndef f():\n    pass\nOTHER = 2\n")
    answer = find(space["f"].__func__.__code__)
    assert isinstance(answer, Source)
    assert answer.unit.text == "@staticmethod\ndef f():\n    pass\n"
    assert answer.unit.line == 3


def test_cells_of_notebooks_compile_each_statement_alone(
    cell: Callable[[str], dict[str, Any]],
) -> None:
    space = cell("import math\ndef f(x): return math.floor(x)\ng = lambda x: x\n")
    assert isinstance(find(space["f"].__code__), Source)
    assert pickle.loads(byvalue.dumps(space["f"], 5))(2.5) == 2
    # As notebooks do it: the import is in another compilation.
    name = space["f"].__code__.co_filename
    alone = "\ndef f(x): return math.floor(x)\n"
    exec(compile(alone, name, "exec", dont_inherit=True), space)
    assert isinstance(find(space["f"].__code__), Source)


def test_a_statement_that_awaits_at_the_top_level_of_a_cell() -> None:
    text = "result = await call(lambda x: x + 1)\n"
    name = "<a cell that awaits>"
    linecache.cache[name] = (len(text), None, [text], name)
    code = compile(text, name, "exec", 0x2000, True)
    [function] = codes_in(code)
    assert isinstance(find(function), Source)
    del linecache.cache[name]


# What has no source.


def edit(path: str, text: str) -> None:
    Path(path).write_text(text)


def test_a_file_that_was_edited_since(module: Any) -> None:
    space, _ = module("def f(): return 1\ndef g(): return 1\n")
    edit(space["__file__"], "\ndef f(): return 2\n")
    answer = find(space["f"].__code__)
    assert isinstance(answer, str)
    assert "edited after it was loaded" in answer
    assert "line 1 of" in answer
    assert pickle.loads(byvalue.dumps(space["f"], 5))() == 1
    edit(space["__file__"], "def (:\n")
    answer = find(space["g"].__code__)
    assert isinstance(answer, str)
    assert "is no Python as it is now (line 1" in answer


def test_what_was_found_before_its_file_was_edited_stays(module: Any) -> None:
    space, _ = module("def f(): return 1\n")
    before = find(space["f"].__code__)
    edit(space["__file__"], "def f(): return 2\n")
    assert find(space["f"].__code__) is before
    assert pickle.loads(byvalue.dumps(space["f"], 5))() == 1


def test_a_file_that_is_gone(module: Any) -> None:
    space, _ = module("def f(): return 1\n")
    Path(space["__file__"]).unlink()
    answer = find(space["f"].__code__)
    assert isinstance(answer, str)
    assert answer.startswith("its source text is not to be had")


def test_code_that_was_executed_or_changed(module: Any) -> None:
    space: dict[str, Any] = {}
    exec(compile("def f(): return 1", "<nowhere>", "exec"), space)
    assert find(space["f"].__code__) == "its source text is not to be had (<nowhere>)"
    there, _ = module("def g(): return 1\n")
    code = there["g"].__code__
    for changed in (
        code.replace(co_consts=(None, 2)),
        code.replace(co_consts=(None, True)),
        code.replace(co_name="h"),
        code.replace(co_firstlineno=2),
        code.replace(co_firstlineno=7),
    ):
        assert isinstance(find(changed), str)


@pytest.mark.parametrize(
    ("one", "other"),
    [("0.0", "-0.0"), ("1", "True"), ("1", "1.0"), ("'a'", "b'a'"), ("(1, 2)", "(1, 2.0)"),
     ("x in {1, 2}", "x in {1, 3}"), ("0j", "-0j"), ("lambda: 1", "lambda: 2"), ("x", "y"),
     ("(  x)", "( x )")],
)  # fmt: skip
def test_constants_are_compared_with_their_types(one: str, other: str) -> None:
    def function(text: str) -> types.CodeType:
        return next(codes_in(compile(f"def f(x): return {text}", "<f>", "exec")))

    assert same_code(function(one), function(one))
    # Only newer Pythons know columns.
    if one != "(  x)" or sys.version_info >= (3, 11):
        assert not same_code(function(one), function(other))
    nan = function("x").replace(co_consts=(float("nan"), frozenset({1, "a"})))
    assert same_code(nan, function("x").replace(co_consts=(float("nan"), frozenset({"a", 1}))))


def test_answers_are_forgotten_with_their_code(module: Any) -> None:
    import gc

    def count() -> int:
        return len(source._found)

    space, code = module("def f(): return 1\n")
    gc.collect()
    before = count()
    find(space["f"].__code__)
    assert count() == before + 1
    del space, code
    gc.collect()
    assert count() == before


def test_scripts_that_are_piped_in_say_why() -> None:
    text = "def f(): pass\nfrom ppnext.shipping.source import find\nprint(find(f.__code__))"
    done = subprocess.run(
        [sys.executable, "-"], input=text, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "its source text is not to be had (<stdin>)\n"
