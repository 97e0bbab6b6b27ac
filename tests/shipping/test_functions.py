"""Definitions: a content hash that says what will run, made again only when it must be."""

from __future__ import annotations

import functools
import gc
import hashlib
import math
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.errors import NotShippable
from ppnext.shipping.functions import FunctionShipper, unwrap_call
from ppnext.shipping.loading import load_definition

Script = Callable[[str], SimpleNamespace]


@pytest.fixture
def shipper() -> FunctionShipper:
    return FunctionShipper()


# Taking callables apart.


def test_bound_methods_and_partials_are_taken_apart() -> None:
    class C:
        def method(self, *args: int, **kwargs: int) -> None: ...

    c = C()
    nested = functools.partial(functools.partial(c.method, 1, a=1), 2, a=2)
    assert unwrap_call(nested, (3,), {"b": 3}) == (C.method, (c, 1, 2, 3), {"a": 2, "b": 3})
    assert unwrap_call(nested, (), {"a": 9})[2] == {"a": 9}
    assert unwrap_call(math.sin, (1,), {}) == (math.sin, (1,), {})


def test_subclasses_of_partial_stay_whole() -> None:
    class Own(functools.partial):  # type: ignore[type-arg]  # generic in stubs only
        pass

    own = Own(print, 1)
    assert unwrap_call(own, (), {})[0] is own


def test_a_method_keeps_its_hash_while_its_objects_change(
    shipper: FunctionShipper, script: Script
) -> None:
    it = script("""
        class C:
            def __init__(self, n): self.n = n
            def get(self): return self.n
    """)
    digests = {shipper.ship(unwrap_call(it.C(n).get, (), {})[0]).digest for n in range(5)}
    assert len(digests) == 1


# The content hash.


def test_the_digest_is_the_hash_of_the_payload(shipper: FunctionShipper) -> None:
    definition = shipper.ship(math.sin)
    assert definition.digest == hashlib.sha256(definition.payload).digest()
    assert load_definition(definition.payload) is math.sin


def test_an_unchanged_function_is_not_pickled_again(
    shipper: FunctionShipper, script: Script
) -> None:
    it = script("""
        LIMIT = 3
        def helper(x): return x
        class C:
            def f(self): return LIMIT
        def f(x): return helper(x) + LIMIT, C
    """)
    definition = shipper.ship(it.f)
    # The very same tuple, not an equal one: nothing was pickled.
    assert all(shipper.ship(it.f) is definition for _ in range(3))
    assert shipper.ship(math.sin) is shipper.ship(math.sin)


def test_a_function_that_is_pickled_again_keeps_its_digest(
    shipper: FunctionShipper, script: Script
) -> None:
    it = script("""
        TABLE = [1, 2]
        def f(x): return TABLE, "a constant of this function", (1000, 2000), x + 12345
    """)
    digest = shipper.ship(it.f).digest
    for n in range(50):
        it.f(n)
    kept = it.f.__code__.co_consts, [*it.f.__code__.co_consts]
    assert shipper.ship(it.f).digest == digest
    assert kept


def test_a_new_function_at_a_recycled_address_is_a_new_function(
    shipper: FunctionShipper, far: Any
) -> None:
    results = []
    for n in range(20):
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def f(): return {n}", space)
        results.append(far.call(space.pop("f")))
        space.clear()
        gc.collect()
    assert results == list(range(20))


def test_a_redefined_function_is_a_new_function(far: Any) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    results = []
    for word in ("first", "second", "first", "second"):
        exec(f"def helper(): return {word!r}\ndef f(): return helper()", space)
        results.append(far.call(space["f"]))
    assert results == ["first", "second", "first", "second"]


def test_a_changed_constant_is_a_new_digest(far: Any, script: Script) -> None:
    it = script("LIMIT = 1\ndef f(): return LIMIT")
    first = far.shipper.ship(it.f).digest
    assert far.call(it.f) == 1
    it.f.__globals__["LIMIT"] = 2
    assert far.shipper.ship(it.f).digest != first
    assert far.call(it.f) == 2
    it.f.__globals__["LIMIT"] = 1
    assert far.shipper.ship(it.f).digest == first


def test_mutable_globals_are_as_they_are_at_each_submit(far: Any, script: Script) -> None:
    it = script("TABLE = []\ndef f(): return list(TABLE)")
    assert far.call(it.f) == []
    it.TABLE.append(1)
    assert far.call(it.f) == [1]


def test_a_method_of_a_changing_list(far: Any) -> None:
    items = [1]
    count = items.count
    assert far.call(count, 1) == 1
    items.append(1)
    assert far.call(count, 1) == 2


def test_callables_that_are_not_functions_are_pickled_each_time(far: Any, script: Script) -> None:
    it = script("""
        class Adder:
            def __init__(self, n): self.n = n
            def __call__(self, x): return self.n + x
    """)
    adder = it.Adder(1)
    assert far.call(adder, 1) == 2
    adder.n = 5
    assert far.call(adder, 1) == 6


def test_callables_that_cannot_be_hashed(far: Any, script: Script) -> None:
    it = script("""
        class Call:
            __hash__ = None
            def __call__(self): return 1
    """)
    assert far.call(it.Call()) == 1


def test_what_a_job_relies_on_is_part_of_the_digest(shipper: FunctionShipper) -> None:
    def f() -> None: ...

    def g() -> None: ...

    digests = {
        shipper.ship(f).digest,
        shipper.ship(f, (g,)).digest,
        shipper.ship(f, (), ("math",)).digest,
        shipper.ship(f, (), ("math", "os")).digest,
        shipper.ship(f, (), (), {"h": g}).digest,
    }
    assert len(digests) == 5
    assert shipper.ship(f, (), (), {"g": g}).digest == shipper.ship(f, (g,)).digest


def test_a_changed_helper_of_a_depfunc_is_seen(far: Any) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "K": 1}
    exec("def dep(): return K", space)
    alone: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(): return dep()", alone)
    assert far.run(alone["f"], depfuncs=(space["dep"],)) == 1
    space["K"] = 2
    assert far.run(alone["f"], depfuncs=(space["dep"],)) == 2


# Memory.


def test_a_dropped_lambda_is_collected(shipper: FunctionShipper) -> None:
    function = lambda: 1  # noqa: E731  # a lambda is what is shipped
    shipper.ship(function)
    gone = weakref.ref(function)
    del function
    gc.collect()
    assert gone() is None


def test_a_dropped_recursive_closure_and_method_are_collected(shipper: FunctionShipper) -> None:
    def make() -> list[weakref.ref[Any]]:
        def fact(n: int) -> int:
            return 1 if n < 2 else n * fact(n - 1)

        class Local:
            def method(self) -> object:
                return super().__init__()

        both = (even := lambda n: n == 0 or odd(n - 1)), (odd := lambda n: n != 0 and even(n - 1))
        for function in (fact, Local.method, even):
            shipper.ship(function)
        shipper.ship(lambda: both)
        return [weakref.ref(thing) for thing in (fact, Local, Local.method, even, odd)]

    gone = make()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 5


# depfuncs, modules, globals.


def test_depfuncs_are_found_by_their_names(far: Any) -> None:
    helper_space: dict[str, Any] = {"__name__": "__main__"}
    exec("def helper(x): return x * 3\nclass Box:\n    n = 4", helper_space)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(x): return helper(x), Box.n, isinstance(Box(), Box)", space)
    deps = (helper_space["helper"], helper_space["Box"])
    assert far.run(space["f"], (2,), depfuncs=deps) == (6, 4, True)
    with pytest.raises(NameError, match="helper"):
        far.run(space["f"], (2,))


@pytest.mark.parametrize(
    ("modules", "expression", "expected"),
    [
        (("math",), "math.floor(2.5)", 2),
        (("math", "string"), "math.floor(2.5), string.digits", (2, "0123456789")),
        (("os.path",), "os.path.basename('a/b')", "b"),
        (("xml.dom.minidom",), "xml.dom.minidom.parseString('<a/>').documentElement.tagName", "a"),
        (("from math import floor as down, ceil",), "down(2.5), ceil(2.5)", (2, 3)),
        (("import os.path as p",), "p.basename('a/b')", "b"),
        (("import math; from string import digits",), "math.floor(1.5), digits", (1, "0123456789")),
        (("from collections import *",), "Counter('aa')['a']", 2),
    ],
)
def test_modules(modules: tuple[str, ...], expression: str, expected: object, far: Any) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(f"def f(): return {expression}", space)
    assert far.run(space["f"], modules=modules) == expected
    with pytest.raises(NameError):
        far.run(space["f"])


def test_modules_of_a_decorated_or_cached_function(far: Any, script: Script) -> None:
    it = script("def f(): return math.floor(2.5)\ndef plain(g): return g()")
    there: dict[str, Any] = {"__name__": "elsewhere", "functools": functools}
    exec(
        "def deco(f):\n"
        "    @functools.wraps(f)\n"
        "    def wrapper(): return f()\n"
        "    return wrapper\n",
        there,
    )
    for made in (there["deco"](it.f), functools.lru_cache(it.f), functools.partial(it.f)):
        assert far.run(made, modules=("math",)) == 2


@pytest.mark.parametrize("modules", [("no_such_module",), ("from math import no_such_name",)])
def test_an_import_that_fails_is_the_jobs_error(modules: tuple[str, ...], far: Any) -> None:
    with pytest.raises(ImportError, match="no_such"):
        far.run(lambda: 1, modules=modules)
    assert far.run(lambda: 1) == 1


def test_a_statement_that_is_no_python_is_the_jobs_error(far: Any) -> None:
    with pytest.raises(SyntaxError):
        far.run(lambda: 1, modules=("import import",))


def test_modules_with_a_function_by_reference(far: Any) -> None:
    assert far.run(math.floor, (2.5,), modules=("string",)) == 2
    assert far.run(functools.reduce, (max, [1, 3, 2]), depfuncs=(len,), modules=("math",)) == 3


def test_globals_add_functions_classes_and_modules(far: Any) -> None:
    there: dict[str, Any] = {"__name__": "__main__", "math": math, "number": 5}
    exec("def helper(x): return x + 1\nclass C: n = 3", there)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(): return helper(1), C.n, math.floor(2.5), 'number' in globals()", space)
    assert far.run(space["f"], namespace=there) == (2, 3, 2, False)


def test_what_cannot_be_shipped_of_globals_stays_at_home(far: Any) -> None:
    there: dict[str, Any] = {"__name__": "__main__", "rows": (x for x in ())}
    exec("def helper(): return 1\ndef uses_rows(): return rows", there)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(): return helper(), 'uses_rows' in globals()", space)
    assert far.run(space["f"], namespace=there) == (1, False)


def test_changes_in_globals_are_seen(far: Any) -> None:
    there: dict[str, Any] = {"__name__": "__main__"}
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(): return helper()", space)
    for n in (1, 2):
        exec(f"def helper(): return {n}", there)
        assert far.run(space["f"], namespace=there) == n


def test_functions_do_not_see_each_others_names(far: Any, script: Script) -> None:
    for n in (1, 2):
        it = script(f"VALUE = {n}\ndef helper(): return VALUE\ndef f(): return helper()")
        assert far.call(it.f) == n
    with pytest.raises(NameError):
        far.call(script("def f(): return VALUE").f)


@pytest.mark.parametrize("name", ["preprocess", "pickle", "sys", "os", "ppc", "main", "print"])
def test_any_name_will_do(name: str, far: Any, script: Script) -> None:
    it = script(f"def {name}(x): return x + 1\ndef f(x): return {name}(x)")
    assert far.call(it.f, 1) == 2
    assert far.call(getattr(it, name), 1) == 2
    assert far.call(lambda: sys.version_info[:2]) == sys.version_info[:2]


# What cannot be shipped.


def test_an_unpicklable_global_is_named(shipper: FunctionShipper, script: Script) -> None:
    it = script("""
        rows = (x for x in ())
        def inner(): return rows
        def outer(): return inner()
    """)
    with pytest.raises(NotShippable) as caught:
        shipper.ship(it.outer)
    text = str(caught.value)
    assert text.startswith("the function outer cannot be shipped: the global 'inner'")
    assert "the global 'rows' is a generator: cannot pickle 'generator' object" in text
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_unpicklable_depfunc_is_named(shipper: FunctionShipper, script: Script) -> None:
    it = script("rows = (x for x in ())\ndef dep(): return rows")
    with pytest.raises(NotShippable, match="'dep'.*the global 'rows' is a generator"):
        shipper.ship(lambda: 1, (it.dep,))


def test_a_function_that_could_not_be_shipped_can_be_mended(far: Any, script: Script) -> None:
    it = script("rows = (x for x in ())\ndef f(): return rows")
    with pytest.raises(NotShippable):
        far.call(it.f)
    it.f.__globals__["rows"] = 3
    assert far.call(it.f) == 3


def test_a_definition_from_another_python_says_so(script: Script) -> None:
    payload = FunctionShipper().ship(script("def f(): return 1").f).payload
    here = f"{sys.version_info.major}.{sys.version_info.minor}".encode()
    other = b"3.7" if len(here) == 3 else b"3.99"
    with pytest.raises(Exception, match=f"made by Python {other.decode()} cannot run"):
        load_definition(payload.replace(here, other))
