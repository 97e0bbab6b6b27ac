"""Recipes: what the standard library generated is generated again, and what users wrote is not."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.errors import UnsuitablePython
from ppnext.shipping import byvalue, loading
from ppnext.shipping.ledger import Ledger
from ppnext.shipping.rebuild import make_enum

Script = Callable[[str], SimpleNamespace]


def bound(thing: object) -> bool:
    ledger = Ledger()
    byvalue.dumps(thing, 5, ledger)
    return ledger.bound is not None


CLASSES = """
    import collections, dataclasses, enum, functools, typing, contextlib
    @dataclasses.dataclass(order=True, frozen=True)
    class Frozen:
        x: int = 1
        y: dataclasses.InitVar[int] = 2
    @dataclasses.dataclass(slots=True, kw_only=True)
    class Slotted:
        x: int
        y: int = dataclasses.field(default=5, init=False)
    Pair = collections.namedtuple("Pair", "a b")
    class Typed(typing.NamedTuple):
        x: int = 1
    class Bits(enum.Flag):
        A = 1
        B = 2
    class Kind(enum.IntEnum):
        ONE = 1
    @typing.runtime_checkable
    class Sized(typing.Protocol):
        width: int
    class Row(typing.TypedDict):
        a: "Row"
    @functools.singledispatch
    def show(x): return "thing"
"""


@pytest.mark.parametrize(
    "name", ["Frozen", "Slotted", "Pair", "Typed", "Bits", "Kind", "Sized", "Row"]
)
def test_generated_methods_do_not_bind_to_a_version(name: str, script: Script) -> None:
    assert not bound(getattr(script(CLASSES), name))


def test_a_class_that_arrives_again_is_not_generated_again(far: Any, script: Script) -> None:
    it = script(CLASSES + "    def f(cls): return id(cls.__init__), cls.__init__ is not None\n")
    assert far.call(it.f, it.Frozen) == far.call(it.f, it.Frozen)


def test_fields_in_slots_that_are_no_arguments_get_their_defaults(far: Any, script: Script) -> None:
    it = script(CLASSES + "    def f(): return Slotted(x=1), Slotted(x=1).y, Slotted.__slots__\n")
    made, y, slots = far.call(it.f)
    assert type(made) is it.Slotted
    assert (made.x, y, slots) == (1, 5, ("x", "y"))


def test_methods_that_users_wrote_stay_theirs(far: Any, script: Script) -> None:
    it = script("""
        from dataclasses import dataclass
        @dataclass
        class Own:
            x: int
            def __init__(self): self.x = 7
            def __repr__(self): return "own"
            __hash__ = lambda self: 3
        @dataclass
        class Later:
            x: int
        Later.__repr__ = lambda self: "later"
        @dataclass(init=False)
        class Bare:
            x: int = 4
            y: "list" = None
        def f():
            try:
                Bare(1)
            except TypeError:
                return repr(Own()), hash(Own()), Own() == Own(), repr(Later(1)), repr(Bare())
    """)
    assert far.call(it.f)[:4] == ("own", 3, True, "later")
    assert far.call(it.f)[4].endswith("Bare(x=4, y=None)")


def test_named_tuples_with_changed_defaults_and_methods(far: Any, script: Script) -> None:
    it = script("""
        from collections import namedtuple
        Old = namedtuple("Old", "a b")
        Old.__new__.__defaults__ = (8, 9)
        Old.__repr__ = lambda self: "mine"
        Old.a.__doc__ = "Its first."
        Old.more = property(lambda self: self.a + 1)
        def f(): return repr(Old()), Old(), Old().more, Old.a.__doc__, Old.b.__doc__
    """)
    text, made, more, doc, plain = far.call(it.f)
    assert (text, tuple(made), more) == ("mine", (8, 9), 9)
    assert (doc, plain) == ("Its first.", "Alias for field number 1")
    assert type(made) is it.Old


def test_dispatch_that_is_added_to_later(far: Any, script: Script) -> None:
    it = script(CLASSES + "    def f(x): return show(x), show.__name__\n    show.note = 1\n")
    assert far.call(it.f, 1) == ("thing", "show")
    it.show.register(int, lambda x: "number")
    assert far.call(it.f, 1) == ("number", "show")
    assert far.call(lambda: it.show.note) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="flags have a boundary from 3.11 on")
def test_what_flags_do_with_unknown_bits(far: Any, script: Script) -> None:
    it = script("""
        import enum
        class Kept(enum.Flag, boundary=enum.KEEP):
            A = 1
        class Strict(enum.Flag):
            A = 1
        def f():
            try:
                Strict(4)
            except ValueError:
                return Kept(5).value
    """)
    assert far.call(it.f) == 5


def test_a_boundary_where_flags_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import enum

    monkeypatch.delattr(enum, "FlagBoundary", raising=False)
    with pytest.raises(UnsuitablePython, match="have no boundary; Kept has one"):
        make_enum("a flag's name", enum.EnumMeta, "Kept", (enum.Flag,), {"A": 1}, "KEEP")


def test_qualified_names_of_nested_classes(far: Any, script: Script) -> None:
    it = script("class A:\n    class B: pass\ndef f(): return A.B.__qualname__, A.B.__name__")
    assert far.call(it.f) == ("A.B", "B")


def test_types_that_pickle_does_not_find(far: Any) -> None:
    import types

    kinds = (types.MappingProxyType, types.FunctionType, types.CodeType, types.GeneratorType)
    plain = (type(None), type(...), type(NotImplemented), int, types.SimpleNamespace)
    assert far.call(lambda: (kinds, plain)) == (kinds, plain)


def test_a_module_that_has_another_name_elsewhere(script: Script) -> None:
    it = script("import os.path as p\ndef f(): return p")
    payload = byvalue.dumps(it.f, 5)
    assert b"os.path" in payload
    assert b"posixpath" not in payload


def test_relative_imports_inside_a_function(far: Any, script: Script) -> None:
    it = script("__package__ = 'json'\ndef f():\n    from . import decoder\n    return decoder")
    assert far.call(lambda: it.f().__name__) == "json.decoder"


def test_paths_of_a_newer_python() -> None:
    newer = pickle.dumps(PurePosixPath("a/b"), 2).replace(b"cpathlib\n", b"cpathlib._local\n")
    assert loading.decode_call(pickle.dumps(((),))) == ((), {})
    assert pickle.loads(newer) == PurePosixPath("a/b")
    assert pickle.loads(pickle.dumps(Path("a"))) == Path("a")
