"""By value: what a script defines works in another process, and comes home."""

from __future__ import annotations

import collections
import functools
import pickle
import threading
import types
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.shipping import byvalue, rebuild

Script = Callable[[str], SimpleNamespace]


def at_module_level(x: int) -> int:
    return x + 1


# What goes by reference and what by value.


def test_importable_things_go_by_reference() -> None:
    for thing in (collections.OrderedDict, functools.reduce, at_module_level, textwrap_dedent()):
        assert byvalue.dumps(thing, 5) == pickle.dumps(thing, 5)


def textwrap_dedent() -> Callable[..., object]:
    from textwrap import dedent

    return dedent


def test_is_importable_tells_scripts_and_locals_from_modules(script: Script) -> None:
    assert rebuild.is_importable(collections.OrderedDict)
    assert rebuild.is_importable(at_module_level)
    assert not rebuild.is_importable(script("def f(): pass").f)
    assert not rebuild.is_importable(lambda: None)
    assert not rebuild.is_importable(object())
    stranger = script("def f(): pass").f
    stranger.__module__ = "no_such_module"
    assert not rebuild.is_importable(stranger)


def test_a_function_that_hides_behind_an_importable_name_goes_by_value(far: Any) -> None:
    def loads(x: int) -> int:
        return x * 2

    loads.__module__, loads.__qualname__ = "json", "loads"
    assert far.call(loads, 4) == 8


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_can_be_chosen(protocol: int, script: Script) -> None:
    loaded = pickle.loads(byvalue.dumps(script("K = 2\ndef f(x): return x + K").f, protocol))
    assert loaded(3) == 5


# Functions.


def test_lambda(far: Any) -> None:
    double = lambda x: x * 2  # noqa: E731  # a lambda is what is shipped
    assert far.call(double, 4) == 8


def test_in_line_lambdas_in_one_line(far: Any) -> None:
    # The whole line was executed remotely, or the wrong one of two lambdas.
    results = [far.call(lambda x: x**2, 3), far.call(lambda x: x**3, 3)]
    assert results == [9, 27]


def test_closure(far: Any) -> None:
    def scale_by(factor: float) -> Callable[[float], float]:
        def scale(x: float) -> float:
            return x * factor

        return scale

    assert far.call(scale_by(3), 5) == 15


def test_closure_over_something_whose_comparison_cannot_be_asked(far: Any, script: Script) -> None:
    # Arrays answer == and != with arrays, which are neither true nor false.
    it = script("""
        class Answer:
            def __bool__(self): raise ValueError("ambiguous")
        class Array:
            def __eq__(self, other): return Answer()
            def __ne__(self, other): return Answer()
            def __len__(self): return 3
        def make():
            array = Array()
            return lambda: len(array)
        f = make()
    """)
    assert far.call(it.f) == 3


def test_cells_that_two_functions_share_are_shared_over_there(far: Any) -> None:
    def counter() -> tuple[Callable[[], None], Callable[[], int]]:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        def value() -> int:
            return count

        return step, value

    step, value = counter()

    def run() -> int:
        step()
        step()
        return value()

    assert far.call(run) == 2
    assert value() == 0


def test_recursive_closure(far: Any) -> None:
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert far.call(factorial, 10) == 3628800


def test_an_empty_cell_stays_empty(far: Any) -> None:
    def make() -> Callable[[], str]:
        def uses() -> str:
            try:
                return late
            except NameError as error:
                return type(error).__name__

        if not uses:  # never
            late = "bound"
        return uses

    assert far.call(make()) == "NameError"


def test_recursion_and_mutual_recursion_through_globals(far: Any, script: Script) -> None:
    it = script("""
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        def even(n): return True if n == 0 else odd(n - 1)
        def odd(n): return False if n == 0 else even(n - 1)
    """)
    assert far.call(it.fib, 12) == 144
    assert far.call(it.even, 10) is True
    assert far.call(it.odd, 10) is False


def test_globals_helpers_defaults_and_attributes(far: Any, script: Script) -> None:
    it = script("""
        import math
        LIMIT = 10
        TABLE = {"a": [1, 2]}
        def helper(x): return min(x, LIMIT)
        def f(x, y=TABLE["a"], *, z=5):
            "What f does."
            return helper(x), y, z, f.note, f.__doc__, math.floor(2.5), __name__
        f.note = "kept"
    """)
    assert far.call(it.f, 50) == (10, [1, 2], 5, "kept", "What f does.", 2, "__main__")


def test_names_used_only_by_inner_functions_and_comprehensions(far: Any, script: Script) -> None:
    it = script("""
        A, B, C = 1, 2, 3
        def f():
            def inner():
                return [A + x for x in (lambda: range(B))()]
            class Local:
                value = C
            return inner(), Local.value
    """)
    assert far.call(it.f) == ([1, 2], 3)


def test_a_global_that_is_set_by_the_function(far: Any, script: Script) -> None:
    it = script("""
        total = 0
        def add(n):
            global total
            total += n
            return total
    """)
    assert far.call(it.add, 5) == 5
    assert it.total == 0


def test_generators_coroutines_and_annotations(far: Any, script: Script) -> None:
    it = script("""
        import asyncio
        class Unit: pass
        def squares(n: int) -> Unit:
            for i in range(n):
                yield i * i
        async def later(x): return x + 1
        def f(): return list(squares(4)), asyncio.run(later(1)), squares.__annotations__["return"]
    """)
    assert far.call(it.f) == ([0, 1, 4, 9], 2, it.Unit)


def test_submodules_that_code_reaches_through_their_package(far: Any, script: Script) -> None:
    it = script("""
        import xml, xml.dom.minidom
        def f(text): return xml.dom.minidom.parseString(text).documentElement.tagName
    """)
    assert far.call(it.f, "<a/>") == "a"


# Methods and callables.


def test_methods(far: Any, script: Script) -> None:
    it = script("""
        class Base:
            def __init__(self, n): self.n = n
            def plain(self, x): return self.n + x
            @classmethod
            def make(cls, n): return cls(n)
            @staticmethod
            def static(x): return x * 10
        class Child(Base):
            def plain(self, x): return super().plain(x) * 2
    """)
    assert far.call(it.Child(1).plain, 2) == 6
    assert far.call(it.Base.plain, it.Child(1), 2) == 3
    assert far.call(it.Base.static, 2) == 20
    made = far.call(it.Child.make, 7)
    assert type(made) is it.Child
    assert made.n == 7


def test_methods_of_instances_and_classes_from_modules(far: Any) -> None:
    assert far.call("a-b".split, "-") == ["a", "b"]
    assert far.call([3, 1, 3].count, 3) == 2
    assert far.call(dict.fromkeys, "ab") == {"a": None, "b": None}
    assert far.call(collections.Counter("aab").most_common, 1) == [("a", 2)]
    assert far.call(min, 3, 1, 2) == 1


def test_partials_even_nested(far: Any, script: Script) -> None:
    f = script("def f(*args, **kwargs): return args, kwargs").f
    nested = functools.partial(functools.partial(f, 1, a=1, b=1), 2, b=2)
    assert far.call(nested, 3, c=3) == ((1, 2, 3), {"a": 1, "b": 2, "c": 3})
    inside = functools.partial(lambda g, x: g(x), functools.partial(f, "inner"))
    assert far.call(inside, "x") == (("inner", "x"), {})


def test_decorated_functions(far: Any, script: Script) -> None:
    it = script("""
        import functools
        def doubled(function):
            @functools.wraps(function)
            def wrapper(*args): return 2 * function(*args)
            return wrapper
        def times(n):
            def decorate(function):
                def wrapper(*args): return n * function(*args)
                return wrapper
            return decorate
        @doubled
        @times(5)
        def f(x):
            return x + 1
        def name(): return f.__name__, f.__wrapped__(1)
    """)
    assert far.call(it.f, 1) == 20
    assert far.call(it.name) == ("wrapper", 10)


def test_lru_cache_also_around_a_recursive_function(far: Any, script: Script) -> None:
    it = script("""
        import functools
        @functools.lru_cache(maxsize=50)
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        @functools.cache
        def plain(n): return n + 1
        def info(): return fib(60), fib.cache_info().maxsize, fib.cache_info().currsize
    """)
    assert far.call(it.fib, 80) == 23416728348467685
    assert far.call(it.plain, 1) == 2
    assert far.call(it.info) == (1548008755920, 50, 50)


def test_singledispatch(far: Any, script: Script) -> None:
    it = script("""
        import functools
        @functools.singledispatch
        def show(x): return "thing"
        @show.register(int)
        def _(x): return "number"
        def f(x): return show(x)
    """)
    assert [far.call(it.f, x) for x in (1, "a")] == ["number", "thing"]


def test_callable_instances(far: Any, script: Script) -> None:
    it = script("""
        class Adder:
            def __init__(self, n): self.n = n
            def __call__(self, x): return self.n + x
    """)
    assert far.call(it.Adder(3), 4) == 7


def test_a_class_as_the_function(far: Any, script: Script) -> None:
    it = script("""
        class Point:
            def __init__(self, x): self.x = x
    """)
    made = far.call(it.Point, 3)
    assert type(made) is it.Point
    assert made.x == 3


# Classes: identity.


def test_isinstance_holds_between_globals_and_arguments(far: Any, script: Script) -> None:
    it = script("""
        class Shape: pass
        class Square(Shape):
            def __init__(self, side): self.side = side
        def f(x): return isinstance(x, Square), isinstance(x, Shape), type(x) is Square
    """)
    # The second call loads function and argument again: the class must stay the same one.
    assert far.call(it.f, it.Square(2)) == (True, True, True)
    assert far.call(it.f, it.Square(3)) == (True, True, True)


def test_instances_come_home_as_instances_of_the_very_class(far: Any, script: Script) -> None:
    it = script("""
        class Tree:
            def __init__(self, left=None, right=None): self.left, self.right = left, right
        def grow(n): return Tree(grow(n - 1), grow(n - 1)) if n else None
        def same(x): return x
    """)
    tree = far.call(it.grow, 3)
    assert type(tree) is it.Tree
    assert type(tree.left.right) is it.Tree
    assert far.call(it.same, it.Tree) is it.Tree


def test_class_attributes_are_those_of_the_moment(far: Any, script: Script) -> None:
    it = script("""
        class Config:
            level = 1
        def f(): return Config.level
    """)
    assert far.call(it.f) == 1
    it.Config.level = 2
    assert far.call(it.f) == 2


def test_a_class_made_by_the_job_itself_can_be_returned_and_sent_again(far: Any) -> None:
    def make() -> object:
        class Made:
            value = 7

            def twice(self) -> int:
                return 2 * self.value

        return Made()

    made = far.call(make)
    assert made.twice() == 14
    assert far.call(lambda thing: thing.twice(), made) == 14


def test_two_classes_of_one_name_are_two_classes(far: Any, script: Script) -> None:
    def make(n: int) -> type:
        class Same:
            number = n

        return Same

    one, two = make(1), make(2)
    assert far.call(lambda a, b: (a.number, b.number, a is b), one, two) == (1, 2, False)
    assert far.call(lambda: (two(), one())).__class__ is tuple
    back = far.call(lambda: (two(), one()))
    assert (type(back[0]), type(back[1])) == (two, one)


# Classes: all kinds.


def test_dataclasses(far: Any, script: Script) -> None:
    it = script("""
        import dataclasses
        from dataclasses import dataclass, field
        @dataclass(order=True)
        class Point:
            x: int
            y: int = 2
            tags: list = field(default_factory=list, compare=False)
            def norm(self): return self.x ** 2 + self.y ** 2
        @dataclass(frozen=True, slots=True)
        class Cold:
            x: int
            p: Point
        def f(cold):
            moved = dataclasses.replace(cold.p, x=10)
            again = Point(1)
            again.tags.append("there")
            return (
                dataclasses.asdict(cold), moved, again, Point(1) < Point(2), Point(3).norm(),
                [f.name for f in dataclasses.fields(Point)], dataclasses.replace(cold, x=3),
            )
    """)
    import dataclasses

    cold = it.Cold(1, it.Point(2))
    plain, moved, again, less, norm, names, replaced = far.call(it.f, cold)
    assert plain == dataclasses.asdict(cold)
    assert moved == it.Point(10)
    assert again.tags == ["there"]
    assert less is True
    assert norm == 13
    assert names == ["x", "y", "tags"]
    assert replaced == dataclasses.replace(cold, x=3)
    assert it.Point(1).tags == []


def test_enums(far: Any, script: Script) -> None:
    it = script("""
        import enum
        class Color(enum.Enum):
            RED = 1
            CRIMSON = 1
            GREEN = enum.auto()
            @property
            def pretty(self): return self.name.title()
            @classmethod
            def first(cls): return next(iter(cls))
        class Bits(enum.Flag):
            A = 1
            B = 2
        class Number(enum.IntEnum):
            ONE = 1
        class Planet(enum.Enum):
            EARTH = (5.976e24, 6.37814e6)
            def __init__(self, mass, radius): self.mass, self.radius = mass, radius
        def f(color, bits):
            return (
                color is Color.RED, color.pretty, Color.first(), Color(2), Color["CRIMSON"],
                bits == Bits.A | Bits.B, Bits.A in bits, Number.ONE + 1, Number(1), list(Color),
                Planet.EARTH.mass, Planet.EARTH, bits & Bits.B,
            )
    """)
    color, bits = it.Color, it.Bits
    result = far.call(it.f, color.RED, bits.A | bits.B)
    assert result[:6] == (True, "Red", color.RED, color.GREEN, color.RED, True)
    assert result[6:9] == (True, 2, it.Number.ONE)
    assert result[9:] == ([color.RED, color.GREEN], 5.976e24, it.Planet.EARTH, bits.B)


def test_an_enum_with_its_own_new(far: Any, script: Script) -> None:
    it = script("""
        import enum
        class Coordinate(enum.Enum):
            PX = ("P.X", "km")
            def __new__(cls, label, unit):
                made = object.__new__(cls)
                made._value_ = label
                made.unit = unit
                return made
        def f(): return Coordinate.PX.unit, Coordinate("P.X")
    """)
    assert far.call(it.f) == ("km", it.Coordinate.PX)


def test_namedtuples(far: Any, script: Script) -> None:
    it = script("""
        from collections import namedtuple
        from typing import NamedTuple
        Pair = namedtuple("Pair", "a b", defaults=[2])
        class Typed(NamedTuple):
            x: int
            y: str = "why"
            def shout(self): return self.y.upper()
        def f(pair, typed):
            return (
                pair._replace(a=9), Pair(1)._asdict(), typed.shout(), Typed(5), pair.b,
                isinstance(pair, Pair), Pair._fields,
            )
    """)
    result = far.call(it.f, it.Pair(0, 1), it.Typed(1))
    assert result == (it.Pair(9, 1), {"a": 1, "b": 2}, "WHY", it.Typed(5), 1, True, ("a", "b"))
    assert type(result[0]) is it.Pair
    assert type(result[3]) is it.Typed


def test_typed_dictionaries_and_protocols(far: Any, script: Script) -> None:
    it = script("""
        from typing import Protocol, TypedDict, runtime_checkable
        class Base(TypedDict):
            a: int
        class Row(Base, total=False):
            b: str
        @runtime_checkable
        class Sized(Protocol):
            def size(self) -> int: ...
        class Box:
            def size(self): return 3
        def f(): return Row(a=1, b="x"), sorted(Row.__required_keys__), isinstance(Box(), Sized)
    """)
    assert far.call(it.f) == ({"a": 1, "b": "x"}, ["a"], True)


def test_contexts_partial_methods_and_dispatching_methods(far: Any, script: Script) -> None:
    it = script("""
        import contextlib, functools
        @contextlib.contextmanager
        def doubled(x): yield 2 * x
        @functools.total_ordering
        class Version:
            def __init__(self, n): self.n = n
            def __eq__(self, other): return self.n == other.n
            def __lt__(self, other): return self.n < other.n
            add = functools.partialmethod(lambda self, a, b: (self.n, a, b), 1)
            @functools.singledispatchmethod
            def kind(self, x): return "thing"
            @kind.register
            def _(self, x: int): return "number"
        def f():
            with doubled(4) as eight:
                version = Version(1)
                return eight, version.add(2), version.kind(1), version.kind(""), version >= version
    """)
    assert far.call(it.f) == (8, (1, 1, 2), "number", "thing", True)


def test_instances_with_a_state_of_their_own(far: Any, script: Script) -> None:
    it = script("""
        class Frozen:
            __slots__ = ("x",)
            def __init__(self, x): object.__setattr__(self, "x", x)
            def __setattr__(self, *args): raise TypeError("frozen")
            def __getstate__(self): return {"x": self.x}
            def __setstate__(self, state): object.__setattr__(self, "x", state["x"])
        def f(frozen): return Frozen(frozen.x + 1)
    """)
    back = far.call(it.f, it.Frozen(4))
    assert (type(back), back.x) == (it.Frozen, 5)


def test_abstract_base_classes(far: Any, script: Script) -> None:
    it = script("""
        import abc
        class Shape(abc.ABC):
            @abc.abstractmethod
            def area(self): ...
            @property
            @abc.abstractmethod
            def name(self): ...
        class Square(Shape):
            name = "square"
            def area(self): return 4
        Shape.register(complex)
        def f(square):
            try:
                Shape()
            except TypeError:
                return square.area(), isinstance(square, Shape), isinstance(1j, Shape)
    """)
    assert far.call(it.f, it.Square()) == (4, True, True)


def test_slots_also_private_and_inherited(far: Any, script: Script) -> None:
    it = script("""
        class Base:
            __slots__ = "a"
        class Slotted(Base):
            __slots__ = ("b", "__hidden", "__weakref__")
            def __init__(self): self.a, self.b, self.__hidden = 1, 2, 3
            def all(self): return self.a, self.b, self.__hidden
        def f(thing): return thing.all(), Slotted().all(), hasattr(thing, "__dict__")
    """)
    assert far.call(it.f, it.Slotted()) == ((1, 2, 3), (1, 2, 3), False)


def test_properties_and_cached_properties(far: Any, script: Script) -> None:
    it = script("""
        import functools
        class Circle:
            def __init__(self, r): self._r = r
            @property
            def r(self):
                "Its radius."
                return self._r
            @r.setter
            def r(self, value): self._r = value
            @functools.cached_property
            def area(self): return 3 * self._r ** 2
        def f(circle):
            circle.r = 2
            return circle.r, circle.area, "area" in vars(circle), Circle.r.__doc__
    """)
    assert far.call(it.f, it.Circle(1)) == (2, 12, True, "Its radius.")


def test_generic_classes(far: Any, script: Script) -> None:
    it = script("""
        from typing import Generic, NewType, ParamSpec, Protocol, TypeVar
        T = TypeVar("T")
        N = TypeVar("N", int, float)
        P = ParamSpec("P")
        Meters = NewType("Meters", int)
        class Stack(Generic[T]):
            def __init__(self) -> None: self.items: list[T] = []
            def push(self, item: T) -> "Stack[T]":
                self.items.append(item)
                return self
        class Ints(Stack[int]): pass
        class Sized(Protocol):
            def size(self) -> int: ...
        class Box(Sized):
            def size(self) -> int: return 3
        def f(x: N, y: T, m: Meters) -> list[T]:
            return [Stack[int]().push(1), Ints().push(x), Stack.__parameters__ == (T,),
                    Box().size(), Meters(4), N.__constraints__]
    """)
    stack, ints, same, size, meters, constraints = far.call(it.f, 2, "a", 3)
    assert type(stack) is it.Stack
    assert type(ints) is it.Ints
    assert (ints.items, same, size, meters, constraints) == ([2], True, 3, 4, (int, float))


def test_inheritance_from_classes_of_modules(far: Any, script: Script) -> None:
    it = script("""
        import collections, threading
        class Bag(dict):
            def total(self): return sum(self.values())
        class Odd(int):
            pass
        class Order(collections.OrderedDict):
            extra = 1
        def f(bag, odd): return bag.total(), Bag(b=2), odd + 1, Odd(5), Order(a=1)
    """)
    total, bag, more, odd, order = far.call(it.f, it.Bag(a=1, b=4), it.Odd(3))
    assert (total, more, odd) == (5, 4, 5)
    assert (type(bag), type(odd), type(order)) == (it.Bag, it.Odd, it.Order)


def test_metaclasses_and_init_subclass(far: Any, script: Script) -> None:
    it = script("""
        class Meta(type):
            def __call__(cls, *args):
                made = super().__call__(*args)
                made.stamp = cls.__name__
                return made
            @property
            def shout(cls): return cls.__name__.upper()
        class Thing(metaclass=Meta): pass
        class Plugin:
            names = []
            def __init_subclass__(cls, **kwargs): Plugin.names.append(cls.__name__)
        class First(Plugin): pass
        def f(): return Thing(), Thing.shout, type(Thing) is Meta, First.names
    """)
    thing, shout, same, names = far.call(it.f)
    assert type(thing) is it.Thing
    assert (thing.stamp, shout, same, names) == ("Thing", "THING", True, ["First"])


def test_init_subclass_that_wants_arguments(far: Any, script: Script) -> None:
    it = script("""
        class Plugin:
            def __init_subclass__(cls, *, tag, **kwargs):
                super().__init_subclass__(**kwargs)
                cls.tag = tag
        class First(Plugin, tag="one"): pass
        def f(): return First.tag, First()
    """)
    tag, first = far.call(it.f)
    assert tag == "one"
    assert type(first) is it.First


def test_descriptors_with_set_name(far: Any, script: Script) -> None:
    it = script("""
        class Positive:
            def __set_name__(self, owner, name): self.name = "_" + name
            def __get__(self, thing, owner): return getattr(thing, self.name)
            def __set__(self, thing, value):
                if value < 0: raise ValueError(self.name)
                setattr(thing, self.name, value)
        class Account:
            balance = Positive()
        def f():
            account = Account()
            account.balance = 5
            return account.balance
    """)
    assert far.call(it.f) == 5


def test_classes_that_name_each_other(far: Any, script: Script) -> None:
    it = script("""
        class A:
            def other(self): return B()
        class B:
            parent = A
            def other(self): return self.parent()
        def f(): return A().other().other(), A.__qualname__
    """)
    made, name = far.call(it.f)
    assert type(made) is it.A
    assert name == "A"


def test_nested_and_local_classes(far: Any, script: Script) -> None:
    it = script("""
        class Outer:
            class Inner:
                value = 3
        def f(inner): return inner.value, isinstance(inner, Outer.Inner), Outer.Inner()
    """)
    value, same, inner = far.call(it.f, it.Outer.Inner())
    assert (value, same) == (3, True)
    assert type(inner) is it.Outer.Inner


def test_code_without_a_module_name(far: Any) -> None:
    # exec() in an empty dictionary: the classes say that they are builtins.
    space: dict[str, Any] = {}
    exec("class C:\n    x = 1\ndef f(c): return c.x, isinstance(c, C)", space)
    assert far.call(space["f"], space["C"]()) == (1, True)


# What the C pickler cannot do.


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_a_lock_is_refused_because_a_copy_would_guard_nothing(make: Any) -> None:
    lock = make()
    with pytest.raises(TypeError, match="a lock guards the memory of one process"):
        byvalue.dumps(lambda: lock, 5)


def test_the_first_refusal_is_the_one_that_is_raised() -> None:
    with pytest.raises(TypeError, match="generator"):
        byvalue.dumps((x for x in ()), 5)


def test_odds_and_ends(far: Any) -> None:
    proxy = types.MappingProxyType({"a": 1})
    code = (lambda: 5).__code__
    assert far.call(lambda: (dict(proxy), type(code).__name__, type(...), type(None))) == (
        {"a": 1},
        "code",
        type(...),
        type(None),
    )


# Where functions come from.

SCRIPT = """
    from dataclasses import dataclass
    from far_process import Far
    SCALE = 10
    @dataclass
    class Point:
        x: int
    class Trouble(Exception):
        def __init__(self, text, code):
            super().__init__(text, code)
            self.code = code
    def scale(point): return Point(point.x * SCALE)
    def fail(): raise Trouble("no", 4)
    with Far() as far:
        result = far.call(scale, Point(4))
        print(result, type(result) is Point, far.call(lambda x: x + SCALE, 1))
        try:
            far.call(fail)
        except Trouble as error:
            print(error.code)
"""


@pytest.mark.parametrize("how", ["file", "-c", "stdin"])
def test_a_real_script_without_a_main_guard(how: str, run_script: Callable[..., str]) -> None:
    assert run_script(SCRIPT, how) == "Point(x=40) True 11\n4\n"


def test_code_executed_in_a_script(run_script: Callable[..., str]) -> None:
    source = """
        from far_process import Far
        space = {"__name__": "__main__"}
        exec("class C: pass\\ndef f(): return C()", space)
        with Far() as far:
            print(type(far.call(space["f"])) is space["C"])
    """
    assert run_script(source) == "True\n"
