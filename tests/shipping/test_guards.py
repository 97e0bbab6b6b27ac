"""Guards: every change is seen, and what proves nothing is not relied on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.shipping import byvalue
from ppnext.shipping.guards import Guards, imported_names, referenced_names
from ppnext.shipping.ledger import Ledger

Script = Callable[[str], SimpleNamespace]


def guards_of(thing: object) -> Guards:
    ledger = Ledger()
    byvalue.dumps(thing, 5, ledger)
    return ledger.guards


def test_names_are_those_of_all_the_code_inside() -> None:
    def f() -> object:
        def g() -> object:
            return [len(str(x)) for x in range(3)]

        class C:
            value = print

        return g, C

    assert set(referenced_names(f.__code__)) >= {"len", "str", "range", "print"}
    assert list(referenced_names(f.__code__)) == sorted(referenced_names(f.__code__))


def test_attributes_and_locals_are_not_names() -> None:
    def f(a: Any) -> object:
        b = a.whatever
        return b

    assert referenced_names(f.__code__) == ()


def test_imports_are_those_of_all_the_code_inside() -> None:
    source = """if True:
        def f():
            import os.path as p
            from json import loads, dumps
            from . import near
            from ..far import away
            from nothing.else_ import it
            def g():
                import xml.dom
            return lambda: __import__("computed")
    """
    space: dict[str, Any] = {}
    exec(source, space)
    assert imported_names(space["f"].__code__) == (
        (0, "os.path"),
        (0, "json"),
        (1, ""),
        (2, "far"),
        (0, "nothing.else_"),
        (0, "xml.dom"),
    )


CONSTANT = """
    LIMIT = 10
    PAIR = (1, "a", (2.0, None))
    def helper(x): return x
    class Base:
        rate = 1
        def rise(self): return self.rate
    class Child(Base):
        def rise(self): return super().rise() + 1
    def make():
        hidden = 3
        def set(value):
            nonlocal hidden
            hidden = value
        def f(x=5, *, y=6):
            return helper(x) + LIMIT + hidden + Child().rise() + y, PAIR, later_defined
        return f, set
    f, set_hidden = make()
"""


def test_what_has_not_changed_holds(script: Script) -> None:
    it = script(CONSTANT)
    guards = guards_of(it.f)
    assert guards.reliable
    assert guards.hold()
    gc.collect()
    assert guards.hold()


def change_global(it: SimpleNamespace) -> None:
    it.f.__globals__["LIMIT"] = 11


def delete_global(it: SimpleNamespace) -> None:
    del it.f.__globals__["LIMIT"]


def define_later(it: SimpleNamespace) -> None:
    it.f.__globals__["later_defined"] = None


def change_tuple(it: SimpleNamespace) -> None:
    it.f.__globals__["PAIR"] = (1, "a", (2.5, None))


def redefine_helper(it: SimpleNamespace) -> None:
    exec("def helper(x): return x + 1", it.f.__globals__)


def change_code_of_helper(it: SimpleNamespace) -> None:
    it.helper.__code__ = (lambda x: x + 1).__code__


def change_default(it: SimpleNamespace) -> None:
    it.f.__defaults__ = (6,)


def change_keyword_default(it: SimpleNamespace) -> None:
    it.f.__kwdefaults__["y"] = 7


def rename_keyword_default(it: SimpleNamespace) -> None:
    it.f.__kwdefaults__ = {"z": it.f.__kwdefaults__["y"]}


def add_attribute(it: SimpleNamespace) -> None:
    it.f.note = "new"


def change_cell(it: SimpleNamespace) -> None:
    it.set_hidden(4)


def change_class_attribute(it: SimpleNamespace) -> None:
    it.Base.rate = 2


def add_class_attribute(it: SimpleNamespace) -> None:
    it.Child.more = 2


def replace_method(it: SimpleNamespace) -> None:
    it.Child.rise = lambda self: 0


def change_code_of_method(it: SimpleNamespace) -> None:
    it.Base.rise.__code__ = (lambda self: 0).__code__


def redefine_class(it: SimpleNamespace) -> None:
    exec("class Child(Base): pass", it.f.__globals__)


@pytest.mark.parametrize(
    "change",
    [
        change_global,
        delete_global,
        define_later,
        change_tuple,
        redefine_helper,
        change_code_of_helper,
        change_default,
        change_keyword_default,
        rename_keyword_default,
        add_attribute,
        change_cell,
        change_class_attribute,
        add_class_attribute,
        replace_method,
        change_code_of_method,
        redefine_class,
    ],
)
def test_every_change_is_seen(change: Callable[[SimpleNamespace], None], script: Script) -> None:
    it = script(CONSTANT)
    guards = guards_of(it.f)
    assert guards.hold()
    change(it)
    assert not guards.hold()


MEMBERS = """
    class C:
        __slots__ = ("a",)
        @property
        def p(self): return 1
        @classmethod
        def c(cls): return 1
        @staticmethod
        def s(): return 1
    def f(): return C
"""


@pytest.mark.parametrize(
    "change",
    [
        lambda cls: setattr(cls, "p", property(lambda self: 2)),
        lambda cls: setattr(cls, "c", classmethod(lambda cls: 2)),
        lambda cls: setattr(cls, "s", staticmethod(lambda: 2)),
        lambda cls: setattr(cls, "a", 5),
        lambda cls: delattr(cls, "p"),
    ],
)
def test_changes_of_descriptors_are_seen(change: Callable[[Any], None], script: Script) -> None:
    it = script(MEMBERS)
    guards = guards_of(it.f)
    assert guards.hold()
    change(it.C)
    assert not guards.hold()


@pytest.mark.parametrize(
    "value",
    [
        "[1]",
        "{}",
        "set()",
        "bytearray(b'x')",
        "([],)",
        "object()",
        "[].append",
        "type('Int', (int,), {})(5)",
        "__import__('functools').partial(print, 1)",
        "__import__('array').array('d', [1.0])",
    ],
)
def test_what_can_change_and_stay_the_same_object_is_not_relied_on(
    value: str, script: Script
) -> None:
    guards = guards_of(script(f"VALUE = {value}\ndef f(): return VALUE").f)
    assert not guards.reliable
    assert not guards.hold()


@pytest.mark.parametrize(
    "source",
    [
        "def f(x=[]): return x",
        "def f(*, x={}): return x",
        "def f(): pass\nf.seen = []",
        "class C: table = []\ndef f(): return C",
        "def make(it): return lambda: it\nf = make([])",
    ],
)
def test_mutable_things_in_other_places(source: str, script: Script) -> None:
    assert not guards_of(script(source).f).reliable


@pytest.mark.parametrize(
    "value", ["5", "'a'", "b'a'", "None", "2j", "range(3)", "...", "frozenset({1})", "len", "int"]
)
def test_what_cannot_change_is_relied_on(value: str, script: Script) -> None:
    it = script(f"VALUE = {value}\ndef f(): return VALUE")
    assert guards_of(it.f).hold()


def test_enums_and_modules_are_relied_on(script: Script) -> None:
    it = script("""
        import enum, math
        class Color(enum.Enum):
            RED = 1
        RED = Color.RED
        def f(): return RED, Color, math.pi
    """)
    assert guards_of(it.f).hold()


def test_refused_guards_never_hold() -> None:
    function = lambda: None  # noqa: E731  # a lambda is what is guarded
    guards = guards_of(function)
    assert guards.hold()
    guards.refuse()
    assert not guards.hold()


def test_guards_do_not_keep_anything_alive(script: Script) -> None:
    def make() -> tuple[Guards, weakref.ref[Any], weakref.ref[Any]]:
        class Local:
            def method(self) -> type:
                return __class__  # type: ignore[name-defined]  # the cell that Python makes

            @property
            def value(self) -> type:
                return __class__  # type: ignore[name-defined]  # the cell that Python makes

        def recursive(n: int) -> object:
            return (recursive, Local)[n]

        return guards_of(recursive), weakref.ref(recursive), weakref.ref(Local)

    guards, function, cls = make()
    gc.collect()
    assert function() is None
    assert cls() is None
    assert not guards.hold()
