"""A client that makes every node do the same, and compares; see ``test_pythons``.

    python far_client.py KEY_FILE FOLDER ADDRESS...

Runs on any supported Python, knows nothing of pytest, and prints one line of JSON. Each node is to
have one slot: what is to run on all of them are as many jobs as there are nodes, which wait for one
another.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import json
import operator
import platform
import socket
import sys
import typing
from collections.abc import Callable, Iterator

import ppnext

__all__ = ["CASES", "main"]

PATIENCE = 60.0
FACTOR = 3


# What jobs do.


def plain(x: int, *more: int, scale: float = 2.0) -> float:
    return FACTOR * x * scale + sum(more)


def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


def is_even(n: int) -> bool:
    return n == 0 or is_odd(n - 1)


def is_odd(n: int) -> bool:
    return n != 0 and is_even(n - 1)


def twice(func: Callable[[int], int]) -> Callable[[int], int]:
    @functools.wraps(func)
    def wrapper(x: int) -> int:
        return func(func(x))

    return wrapper


@twice
def increased(x: int) -> int:
    return x + FACTOR


def counter(start: int) -> Callable[[], int]:
    count = start

    def step() -> int:
        nonlocal count
        count += 1
        return count

    return step


def squares(n: int) -> Iterator[int]:
    for i in range(n):
        yield i * i


def comprehensions(n: int) -> list[object]:
    pairs = {i: [j for j in range(i) if j % 2] for i in range(n)}
    return [sorted(pairs.items()), sorted({i % 3 for i in range(n)}), sum(i for i in range(n))]


def all_of_squares(n: int) -> list[int]:
    return list(squares(n))


def matched(value: object) -> str:
    match value:
        case {"kind": str(kind), "of": [first, *_]}:
            return f"{kind} {first}"
        case Point(x=0):
            return "on the axis"
        case _:
            return "nothing"


class Shape:
    sides = 0

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def title(self) -> str:
        return f"{self.name} with {self.sides} sides"

    @classmethod
    def named(cls, name: str) -> Shape:
        return cls(name)

    @staticmethod
    def unit() -> int:
        return FACTOR


class Square(Shape):
    sides = 4
    __slots__ = ("length",)

    def __init__(self, name: str, length: int = 1) -> None:
        super().__init__(f"square {name}")
        self.length = length

    def area(self) -> int:
        return self.unit() * self.length**2


@functools.total_ordering
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    tags: list[str] = dataclasses.field(default_factory=list, compare=False)

    def __lt__(self, other: Point) -> bool:
        return (self.x, self.y) < (other.x, other.y)

    def moved(self, by: int) -> Point:
        return dataclasses.replace(self, x=self.x + by)


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Entry(typing.NamedTuple):
    name: str
    number: int = 0


Pair = collections.namedtuple("Pair", "left right")


class Refused(ValueError):
    def __init__(self, what: str, code: int) -> None:
        super().__init__(what, code)
        self.code = code


def shape_of(name: str) -> tuple[str, int]:
    square = Square.named(name)
    assert isinstance(square, Square)
    return square.title, square.area()


def point_moved(point: Point) -> Point:
    return max(point.moved(FACTOR), Point(1), key=operator.attrgetter("x"))


def refuse(code: int) -> None:
    raise Refused("refused", code)


def caught(code: int) -> str:
    try:
        refuse(code)
    except Refused as error:
        return f"{type(error).__name__} {error.code}"
    return "nothing"


def stepped(step: Callable[[], int]) -> list[int]:
    return [step(), step()]


CASES: list[tuple[str, Callable[..., object], tuple[object, ...]]] = [
    ("a function", plain, (1, 2, 3)),
    ("a partial", functools.partial(plain, scale=0.5), (1,)),
    ("recursion", factorial, (20,)),
    ("functions that call each other", is_even, (11,)),
    ("a decorator", increased, (1,)),
    ("a closure", lambda: stepped(counter(5)), ()),
    ("a closure as an argument", stepped, (counter(7),)),
    ("a lambda", lambda x, *, y=FACTOR: [x + i for i in range(y)], (1,)),
    ("two lambdas on a line", (lambda x: x + 1, lambda x: x - 1)[1], (1,)),
    ("a lambda in a lambda", (lambda x: lambda y: x * y)(6), (7,)),
    ("a generator", all_of_squares, (5,)),
    ("comprehensions", comprehensions, (7,)),
    ("a match statement", matched, ({"kind": "a", "of": [1, 2]},)),
    ("a match of a class", matched, (Point(0),)),
    ("a class", shape_of, ("s",)),
    ("a bound method", Square("t", 2).area, ()),
    ("a class as a function", Entry, ("e", 2)),
    ("a dataclass", point_moved, (Point(1, 2, ["t"]),)),
    ("an enumeration", lambda colour: [colour, Colour("b")], (Colour.RED,)),
    ("named tuples", lambda entry: [entry._replace(number=1), Pair(1, 2)], (Entry("e"),)),
    ("an exception that is caught", caught, (5,)),
]


def in_words(value: object) -> str:
    """What is compared: the value and its type, as they are here."""
    return f"{type(value).__qualname__} of {type(value).__module__}: {value!r}"


class Meeting:
    """Where as many jobs as there are nodes wait for one another."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._listening.getsockname()[1]

    def let_through(self, number: int) -> None:
        """Wait for so many jobs, then let them go on."""
        self._listening.settimeout(PATIENCE)
        jobs = [self._listening.accept()[0] for _ in range(number)]
        for sock in jobs:
            sock.close()

    def close(self) -> None:
        self._listening.close()


def met(port: int, func: Callable[..., object], args: tuple[object, ...]) -> tuple[str, object]:
    """The job: wait for the others, then do the work."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.recv(1)
    return platform.python_version(), func(*args)


def on_all(
    server: ppnext.Server, meeting: Meeting, func: Callable[..., object], args: tuple[object, ...]
) -> dict[str, object]:
    """Run something on every node; return the results by version of Python."""
    nodes = len(server.get_active_nodes()) - 1  # without this machine
    jobs = [server.submit(met, (meeting.port, func, args)) for _ in range(nodes)]
    meeting.let_through(nodes)
    return dict(job.result(PATIENCE) for job in jobs)


def errors(server: ppnext.Server) -> list[str]:
    """An exception of the client's own class, with the client's file and lines."""
    try:
        server.submit(refuse, (9,)).result(PATIENCE)
    except Refused as error:
        text = str(error.__cause__)
        return [repr(error), str(error.code), str(f'File "{__file__}", line' in text)]
    return ["nothing was raised"]


def main(key_file: str, folder: str, *addresses: str) -> dict[str, object]:
    """Run all cases on all nodes."""
    sys.path.insert(0, folder)
    import surveys  # type: ignore[import-not-found]  # the project of the test

    wrong: list[str] = []
    pythons: set[str] = set()
    cases = [*CASES, ("a project", surveys.measure, (5,))]
    cases.append(("a project in a lambda", lambda x: surveys.measure(x) + surveys.LIMIT, (5,)))
    cases.append(("a class of a project", surveys.moved, (surveys.Place(1, 2),)))
    meeting = Meeting()
    with ppnext.Server(0, addresses, key_file=key_file, ship_roots=[folder]) as server:
        assert server.wait_for_nodes(len(addresses), PATIENCE), server.get_active_nodes()
        for name, func, args in cases:
            here = in_words(func(*args) if name != "a closure as an argument" else [8, 9])
            for python, value in on_all(server, meeting, func, args).items():
                pythons.add(python)
                if in_words(value) != here:
                    wrong.append(f"{name}: {in_words(value)} on {python}, {here} here")
            form = server.submit(func, args).shipping.python
            if form is not None:
                wrong.append(f"{name}: bound to Python {form}")
        mapped = list(server.map(lambda x: surveys.measure(x) * FACTOR, range(200)))
        if mapped != [surveys.measure(x) * FACTOR for x in range(200)]:
            wrong.append(f"map: {mapped}")
        raised = errors(server)
        server.wait()
        used = sorted(name for name, done in server.get_stats().items() if done.njobs)
    meeting.close()
    return {
        "pythons": sorted({".".join(it.split(".")[:2]) for it in pythons}),
        "wrong": wrong,
        "cases": len(cases),
        "raised": raised,
        "used": used,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
