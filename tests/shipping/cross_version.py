"""A script that is one end of a shipment between two Pythons.

Run as ``cross_version.py send FILE`` it ships what it defines, with arguments, and writes down what
it gets when it calls that itself; as ``cross_version.py receive FILE`` it loads and calls it all,
and prints what differs. It uses the standard library and ``ppnext.shipping`` only, so that plain
interpreters can run it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[1] == "receive":
    # Nothing of what is below is there where it is received.
    import pickle as _pickle

    from ppnext.shipping.envelope import joined as _joined
    from ppnext.shipping.loading import decode_call as _decode_call
    from ppnext.shipping.loading import load_definition as _load_definition

    with open(sys.argv[2], "rb") as _file:
        _cases = _pickle.load(_file)
    for _name, _payload, _call, _expected in _cases:
        try:
            _args, _kwargs = _decode_call(_joined(_call))
            _got = repr(_load_definition(_payload)(*_args, **_kwargs))
        except Exception as _error:  # whatever goes wrong is the report
            _got = f"{type(_error).__name__}: {_error}"
        if _got != _expected:
            print(f"{_name}: {_got} instead of {_expected}")
    print(len(_cases), "cases")
    sys.exit()

import abc
import asyncio
import collections
import contextlib
import dataclasses
import enum
import functools
import math
import os.path
import pathlib
import typing
from dataclasses import InitVar, dataclass, field

LIMIT = 10
TABLE = {"a": [1, 2]}


# Functions.


def helper(x):
    return min(x, LIMIT)


def plain(x, y=TABLE["a"], *, z=5):
    "What it does."
    return helper(x), y, z, plain.__doc__, plain.note, math.floor(2.5), __name__


plain.note = "kept"


def scale_by(factor):
    def scale(x):
        return x * factor

    return scale


def counter():
    count = 0

    def step():
        nonlocal count
        count += 1
        return count

    return step


twins = [lambda x: x + 1, lambda x: x * 10]


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def odd(n):
    return n != 0 and even(n - 1)


def even(n):
    return n == 0 or odd(n - 1)


@functools.lru_cache(maxsize=50)
def cached(n):
    return n if n < 2 else cached(n - 1) + cached(n - 2)


def doubled(function):
    @functools.wraps(function)
    def wrapper(*args):
        return 2 * function(*args)

    return wrapper


@doubled
@doubled
def decorated(x: int) -> int:
    return x + 1


def squares(n):
    for i in range(n):
        yield i * i


async def later(x):
    await asyncio.sleep(0)  # so that it does await something
    return [y async for y in alater(x)]


async def alater(x):
    for y in range(x):
        yield y


def generators():
    return list(squares(4)), asyncio.run(later(3)), [x * y for x in range(3) for y in range(x)]


def scopes(values):
    total = 0

    class Local:
        factor = 3
        names = tuple(name.upper() for name in ("a", "b"))

        def times(self, x):
            nonlocal total
            total += x
            return x * self.factor, __class__.__name__

    local = Local()
    pairs = [local.times(x) for x in values]
    return (
        pairs,
        total,
        {k: v + factor for k, v, factor in zip("ab", values, (1, 2), strict=True)},
        Local.names,
        (lambda: total)(),
    )


def fails(x):
    try:
        with contextlib.suppress(KeyError):
            raise KeyError(x)
        return 1 / x
    except ZeroDivisionError as error:
        return type(error).__name__, error.__traceback__.tb_lineno
    finally:
        TABLE["last"] = x


def matched(value):
    match value:
        case {"kind": "point", "at": [x, y]}:
            return x + y
        case [first, *rest] if rest:
            return first, rest
        case str() | bytes():
            return "text"
        case _:
            return None


def formatted(x):
    return f"{x!r:>5} {(lambda y: y + 1)(x)} {x=}", f"{(lambda y: y * 2)(x):03}"


def imports(text):
    import xml.dom.minidom
    from json import loads

    return xml.dom.minidom.parseString(text).documentElement.tagName, loads("[1]")


def joined_path():
    return os.path.join("a", "b").replace(os.sep, "/")


@contextlib.contextmanager
def twofold(x):
    yield 2 * x


@functools.singledispatch
def show(x):
    return "thing"


@show.register(int)
def _(x):
    return "number"


@show.register
def _(x: list):
    return [show(it) for it in x]


def library(x):
    with twofold(x) as two:
        return two, show(x), show(""), show([1, "a"]), cached(30), cached.cache_info().maxsize


# Classes.


class Shape(abc.ABC):
    "A shape."

    def __init__(self, side):
        self.side = side
        self.__hidden = side + 1

    @abc.abstractmethod
    def area(self): ...

    @property
    def double(self):
        return 2 * self.side

    @double.setter
    def double(self, value):
        self.side = value // 2

    @functools.cached_property
    def kept(self):
        return self.side, self.__hidden

    @classmethod
    def make(cls, side):
        return cls(side)

    @staticmethod
    def static(x):
        return x * 10

    def __repr__(self):
        return f"{type(self).__qualname__}({self.side})"


class Square(Shape):
    __slots__ = ("extra",)

    def area(self):
        return self.side**2

    def __init__(self, side):
        super().__init__(side)
        self.extra = -side


Shape.register(complex)


@functools.total_ordering
class Version:
    class Inner:
        value = 3

    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        return self.n == other.n

    def __lt__(self, other):
        return self.n < other.n

    __hash__ = None
    add = functools.partialmethod(lambda self, a, b: (self.n, a, b), 1)

    @functools.singledispatchmethod
    def kind(self, x):
        return "thing"

    @kind.register
    def _(self, x: int):
        return "number"


def classes(square):
    square.double = 12
    version = Version(1)
    try:
        Shape(1)
    except TypeError:
        abstract = True
    return (
        square,
        square.area(),
        square.kept,
        square.extra,
        Square.make(3),
        Square.static(2),
        abstract,
        isinstance(square, Shape),
        isinstance(1j, Shape),
        Shape.__doc__,
        version >= version,
        version.add(2),
        version.kind(1),
        version.kind(""),
        Version.Inner.__qualname__,
        Version.Inner.value,
    )


@dataclass(order=True)
class Point:
    x: int
    y: int = 2
    tags: list = field(default_factory=list, compare=False)

    def norm(self):
        return self.x**2 + self.y**2


@dataclass
class Point3(Point):
    z: int = 0
    _: dataclasses.KW_ONLY
    name: typing.ClassVar[str] = "p3"
    scale: InitVar[int] = 1
    late: int = field(init=False, repr=False, default=7)

    def __post_init__(self, scale):
        self.z *= scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    x: int
    p: Point = field(default_factory=lambda: Point(1), hash=False)
    n: int = field(default=5, init=False)

    def me(self):
        return __class__ is type(self)


@dataclass(eq=False, repr=False, unsafe_hash=True)
class Custom:
    x: int

    def __repr__(self):
        return f"<custom {self.x}>"

    def __eq__(self, other):
        return self.x % 10 == other.x % 10


def dataclasses_(cold, point):
    moved = dataclasses.replace(point, x=10)
    try:
        cold.x = 3
    except dataclasses.FrozenInstanceError as error:
        frozen = str(error)
    custom = Custom(1)
    return (
        dataclasses.asdict(cold),
        moved,
        Point(1) < Point(2),
        Point(3).norm(),
        cold,
        frozen,
        Point3(1, 2, [], 3, scale=5),
        Point3(1) == Point3(1),
        Point3.name,
        Point3(1).late,
        [f.name for f in dataclasses.fields(Point3)],
        [f.type for f in dataclasses.fields(Point3)],
        {cold: 1}[dataclasses.replace(cold)],
        cold.me(),
        hasattr(cold, "__dict__"),
        custom,
        custom == Custom(11),
        hash(custom) == hash(Custom(1)),
        Cold.__match_args__,
        Point.__init__.__annotations__,
        dataclasses.is_dataclass(Point3),
        Point.__hash__,
    )


Pair = collections.namedtuple("Pair", "a b", defaults=[2])


class Typed(typing.NamedTuple):
    "It is typed."

    x: int
    y: str = "why"

    def shout(self):
        return self.y.upper()


class Sub(collections.namedtuple("Base", "one _two", rename=True)):
    __slots__ = ()

    def both(self):
        return self.one, self[1]


def tuples(pair, typed):
    return (
        pair._replace(a=9),
        Pair(1)._asdict(),
        typed.shout(),
        Typed(5),
        pair.b,
        Pair._fields,
        Typed.__annotations__,
        Typed._field_defaults,
        Typed.__doc__,
        Sub(1, 2).both(),
        Sub._fields,
        Pair.__match_args__,
        isinstance(pair, Pair),
        Pair.a.__doc__,
        repr(Typed(1)),
    )


class Color(enum.Enum):
    RED = 1
    CRIMSON = 1
    GREEN = enum.auto()

    @property
    def pretty(self):
        return self.name.title()

    @classmethod
    def first(cls):
        return next(iter(cls))

    @classmethod
    def _missing_(cls, value):
        return cls.RED


class Bits(enum.Flag):
    A = 1
    B = 2
    BOTH = 3


class Access(enum.IntFlag):
    R = 4
    W = 2


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Word(str, enum.Enum):
    HI = "hi"


class Planet(enum.Enum):
    EARTH = (5.976e24, 6.37814e6)

    def __init__(self, mass, radius):
        self.mass, self.radius = mass, radius

    def __str__(self):
        return self.name.lower()


def enums(color, bits):
    return (
        color is Color.RED,
        color.pretty,
        Color.first().name,
        Color(2).name,
        Color["CRIMSON"].name,
        Color(99).name,
        bits == Bits.A | Bits.B,
        Bits.A in bits,
        (bits & Bits.B).name,
        Number.ONE + 1,
        Number(2).name,
        [it.name for it in Color],
        Planet.EARTH.mass,
        str(Planet.EARTH),
        (Access.R | Access.W).value,
        Access(6) == Access.R | Access.W,
        Word.HI + "!",
        Word("hi") is Word.HI,
        len(Number),
        bits is Bits.BOTH,
        (~Bits.A).value,
        isinstance(Access.R, int),
    )


T = typing.TypeVar("T")
N = typing.TypeVar("N", int, float)
Meters = typing.NewType("Meters", int)


class Row(typing.TypedDict, total=False):
    a: int
    b: Row | None


@typing.runtime_checkable
class Sized(typing.Protocol[T]):
    width: int

    def size(self) -> T: ...


class Box(Sized[int]):
    width = 1

    def size(self) -> int:
        return 3


class Loose:
    width = 2

    def size(self):
        return 4


class Stack(typing.Generic[T]):
    def __init__(self) -> None:
        self.items: list[T] = []

    def push(self, item: T) -> Stack[T]:
        self.items.append(item)
        return self


class Ints(Stack[int]):
    pass


def typed(x: N, y: int | None, m: Meters) -> list[T]:
    return [
        Row(a=1), sorted(Row.__optional_keys__), Row.__total__, isinstance(Box(), Sized),
        isinstance(Loose(), Sized), isinstance(1, Sized), Box().size(), Ints().push(x).items,
        Stack[int]().push(1).items, Stack.__parameters__ == (T,), Meters(m), N.__constraints__,
        issubclass(Ints, Stack), sorted(typed.__annotations__),
    ]  # fmt: skip


class Meta(type):
    def __call__(cls, *args):
        made = super().__call__(*args)
        made.stamp = cls.__name__
        return made


class Plugin(metaclass=Meta):
    names: typing.ClassVar[list] = []

    def __init_subclass__(cls, *, tag="", **kwargs):
        Plugin.names.append((cls.__name__, tag))


class First(Plugin, tag="one"):
    pass


class Positive:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, thing, owner):
        return getattr(thing, self.name)

    def __set__(self, thing, value):
        setattr(thing, self.name, abs(value))


class Account(collections.OrderedDict):
    balance = Positive()


def metaclasses():
    account = Account(a=1)
    account.balance = -5
    return First().stamp, Plugin.names, account.balance, list(account.items())


class Trouble(Exception):
    def __init__(self, text, code):
        super().__init__(text, code)
        self.code = code


def raises(trouble):
    try:
        raise trouble
    except Trouble as error:
        return error.args, error.code


def refers_to_later():
    return Early().later()


@dataclass
class Early:
    "A dataclass whose child is met while it is being filled."

    x: int = 1

    def __post_init__(self):
        self.x += 1

    def later(self):
        return Late(3), Late(3) == Late(3)


@dataclass
class Late(Early):
    y: int = 2


CASES = [
    ("classes that refer to each other", refers_to_later, ()),
    ("plain", plain, (50,)),
    ("closure", scale_by(3), (5,)),
    ("counter", counter(), ()),
    ("twin 1", twins[0], (5,)),
    ("twin 2", twins[1], (5,)),
    ("two in a line", (lambda x: x - 1, lambda x: x - 2)[1], (5,)),
    ("recursion", fib, (12,)),
    ("mutual recursion", even, (10,)),
    ("lru_cache", cached, (40,)),
    ("decorated", decorated, (1,)),
    ("generators", generators, ()),
    ("scopes", scopes, ([1, 2],)),
    ("fails", fails, (0,)),
    ("matched", matched, ({"kind": "point", "at": [1, 2]},)),
    ("formatted", formatted, (7,)),
    ("imports", imports, ("<a/>",)),
    ("submodule", joined_path, ()),
    ("library", library, (4,)),
    ("classes", classes, (Square(5),)),
    ("a class", Point, (1,)),
    ("dataclasses", dataclasses_, (Cold(x=1), Point3(1, scale=2))),
    ("tuples", tuples, (Pair(0, 1), Typed(1))),
    ("enums", enums, (Color.RED, Bits.A | Bits.B)),
    ("typing", typed, (2, None, 3)),
    ("metaclasses", metaclasses, ()),
    ("exceptions", raises, (Trouble("no", 4),)),
    ("a function as an argument", lambda f, x: f(x), (lambda x: -x, 5)),
    ("a method", Square.area, (Square(2),)),
    ("a partial", functools.partial(lambda a, b: (a, b), 1), (2,)),
    ("a path", lambda path: path.name, (pathlib.PurePosixPath("a/b"),)),
]


def send(path):
    import pickle

    from ppnext.shipping.calls import encode_call
    from ppnext.shipping.functions import FunctionShipper, unwrap_call

    shipper = FunctionShipper(5)
    cases = []
    for name, func, args in CASES:
        func, args, kwargs = unwrap_call(func, args, {})
        definition = shipper.ship(func)
        if definition.python is not None:
            print(f"{name} is bound: {definition.reasons}")
        cases.append((name, definition.payload, encode_call(args, kwargs, 5)))
    expected = [repr(func(*args)) for _, func, args in CASES]
    with open(path, "wb") as file:
        pickle.dump([(*case, it) for case, it in zip(cases, expected, strict=True)], file)


if __name__ == "__main__":
    send(sys.argv[2])
    print(len(CASES), "cases")
