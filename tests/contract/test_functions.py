"""Whatever can be called can be a job, and it runs with what it was given and no more."""

from __future__ import annotations

import abc
import collections
import dataclasses
import enum
import functools
import math
import operator
import re

import pytest

CONSTANT = 10


def plus(a, b=0):
    return a + b + CONSTANT


def factorial(n):
    return n * factorial(n - 1) if n else 1


def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        return "logged", function(*args)

    return wrapper


@logged
def decorated(x):
    return plus(x)


@functools.lru_cache(maxsize=8)
def cached(x):
    return x + CONSTANT


class Colour(enum.Enum):
    RED = 1


Point = collections.namedtuple("Point", "x y")
ORIGIN = Point(0, 0)


@dataclasses.dataclass
class Body:
    mass: float
    at: Point = ORIGIN

    unit = "kg"

    def moved(self, dx):
        return dataclasses.replace(self, at=Point(self.at.x + dx, self.at.y))

    @classmethod
    def heavy(cls):
        return cls(1e6)

    @staticmethod
    def gravity():
        return 9.81


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2

    def __call__(self, factor):
        return factor * self.area()


class Cube(Square):
    def area(self):
        return 6 * super().area()


def closure(n):
    def add(x):
        return x + n

    return add


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        pytest.param(math.sqrt, (16,), 4.0, id="a builtin"),
        pytest.param(operator.itemgetter(1), ("ab",), "b", id="a callable of the library"),
        pytest.param("a-b".split, ("-",), ["a", "b"], id="a method of a builtin"),
        pytest.param(re.compile("b+").sub, ("x", "abba"), "axa", id="a method of a pattern"),
        pytest.param(plus, (1, 2), 13, id="a function with a global"),
        pytest.param(factorial, (20,), math.factorial(20), id="a recursive function"),
        pytest.param(lambda x: x + CONSTANT, (1,), 11, id="a lambda"),
        pytest.param(closure(5), (1,), 6, id="a closure"),
        pytest.param(functools.partial(plus, b=3), (1,), 14, id="a partial"),
        pytest.param(functools.partial(functools.partial(plus, 1), 2), (), 13, id="two partials"),
        pytest.param(decorated, (1,), ("logged", 11), id="a decorated function"),
        pytest.param(cached, (1,), 11, id="a cached function"),
        pytest.param(Body(2).moved, (3,), Body(2, Point(3, 0)), id="a bound method"),
        pytest.param(Body.heavy, (), Body(1e6), id="a class method"),
        pytest.param(Body.gravity, (), 9.81, id="a static method"),
        pytest.param(Square(2), (3,), 12, id="a callable object"),
        pytest.param(Cube(2).area, (), 24, id="a method that calls super"),
        pytest.param(Point, (1, 2), Point(1, 2), id="a named tuple"),
        pytest.param(Colour, (1,), Colour.RED, id="an enumeration"),
    ],
)
def test_whatever_can_be_called(server, function, args, result):
    assert server.submit(function, args)() == result


def test_objects_of_own_classes_inside_containers(server):
    bodies = {"all": [Body(1), (Body(2), {"deep": Body(3, Point(1, 1))})], "c": Colour.RED}
    assert server.submit(lambda it: it, (bodies,))() == bodies


def test_a_class_made_in_a_function(server):
    class Local:
        def __init__(self, x):
            self.x = x

        def double(self):
            return Local(self.x * 2)

    result = server.submit(Local.double, (Local(4),))()
    assert type(result) is Local and result.x == 8


def test_a_new_function_at_an_old_address_runs_its_own_code(server):
    results = []
    for number in range(20):
        space = {}
        exec(f"def f(): return {number}", space)
        results.append(server.submit(space.pop("f"))())
    assert results == list(range(20))


def test_a_function_that_was_changed_runs_as_it_is_now(server):
    space = {"factor": 2}
    exec("def scale(x): return factor * x", space)
    scale = space["scale"]
    assert server.submit(scale, (3,))() == 6
    space["factor"] = 5
    assert server.submit(scale, (3,))() == 15


def test_an_inline_lambda_does_not_run_the_callers_statement(server, counter):
    add = counter.add
    results = [server.submit(lambda x: x**3, (x,))() for x in (1, 2, 3)] + [add()]
    assert results == [1, 8, 27, None]
    assert counter.value == 1


@pytest.mark.parametrize("name", ["preprocess", "pickle", "sys", "os", "main", "dumps", "Worker"])
def test_names_of_a_function_do_not_matter(server, name):
    space = {}
    exec(f"def {name}(x):\n    return x + 1", space)
    assert server.submit(space[name], (1,))() == 2
    assert server.submit(closure(1), (1,))() == 2


def test_globals_that_one_job_sets_are_not_seen_by_another(server, cluster):
    def setter():
        global leaked
        leaked = 1
        return leaked

    def getter():
        return globals().get("leaked", "nothing")

    for _ in range(2 * cluster.slots):
        assert server.submit(setter)() == 1
        assert server.submit(getter)() == "nothing"


def helper(x):
    return x * 100


def test_depfuncs_are_there_by_name(server):
    space = {}
    exec("def call(x): return later(x) + 1", space)
    later = types_function("later", "def later(x): return x * 7")
    assert server.submit(space["call"], (2,), (later,))() == 15


def types_function(name, source):
    space = {}
    exec(source, space)
    return space[name]


def test_classes_as_depfuncs(server):
    call = types_function("call", "def call(): return Square(3).area()")
    assert server.submit(call, (), (Square,))() == 9


def test_modules_are_there_by_name(server):
    call = types_function("call", "def call(x): return math.sqrt(x), os.path.join('a', 'b')")
    assert server.submit(call, (9,), (), ("math", "os.path"))() == (3.0, "a/b")


def test_modules_may_be_whole_statements(server):
    call = types_function("call", "def call(x): return root(x), m.pi > 3")
    modules = ("from math import sqrt as root", "import math as m")
    assert server.submit(call, (9,), modules=modules)() == (3.0, True)


def test_a_module_that_reads_standard_input_does_not_hang(server):
    assert server.submit(abs, (-1,), modules=("readline",))() == 1


def test_globals_bring_functions_classes_and_modules(server):
    call = types_function("call", "def call(x): return helper(x), Square(2).area(), math.floor(x)")
    assert server.submit(call, (1.5,), globals=globals())() == (150.0, 4, 1)


def test_a_job_sees_the_arguments_as_they_were_at_submit(server, gate):
    held = server.submit(gate.way)
    things = [1]
    job = server.submit(sum, (things,))
    things.append(100)
    gate.release(1)
    assert job() == 1
    assert held() is None
