"""The user's own modules come along: nodes do not have them, and jobs import them all the same."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ppnext import RemoteError, Server

PATIENCE = 20.0


class Project:
    """A folder with modules that only the client has. Names end in a suffix of this test's own.

    Attributes:
        folder: the folder.
        suffix: what ``@`` stands for at the end of names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suffix = uuid.uuid4().hex[:8]

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file; ``_@`` is the suffix."""
        file = self.folder / path.replace("_@", f"_{self.suffix}")
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            file.write_bytes(text)
        else:
            file.write_text(textwrap.dedent(text).replace("_@", f"_{self.suffix}"))
        return file

    def load(self, name: str) -> ModuleType:
        """Import a module here, anew."""
        full = name.replace("_@", f"_{self.suffix}")
        for loaded in [it for it in sys.modules if it.partition(".")[0] == full.partition(".")[0]]:
            del sys.modules[loaded]
        importlib.invalidate_caches()
        return importlib.import_module(full)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """An empty project, importable here."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Project(tmp_path)
    yield made
    for name in [name for name in sys.modules if made.suffix in name]:
        del sys.modules[name]


@pytest.fixture
def server(cluster: Any, project: Project) -> Iterator[Server]:
    """A job server with all its nodes, to which the project belongs."""
    with Server(
        cluster.ncpus,
        cluster.ppservers,
        key_file=cluster.key_file,
        ship_roots=(project.folder,),
    ) as server:
        assert server.wait_for_nodes(cluster.nodes, PATIENCE)
        yield server


def everywhere(server: Server, cluster: Any, call: Callable[..., Any], *args: Any) -> list[Any]:
    """The results of enough jobs for every worker to have had some."""
    jobs = [server.submit(call, args) for _ in range(4 * cluster.slots)]
    return [job.result(PATIENCE) for job in jobs]


def test_a_function_of_a_helper_module(server: Server, cluster: Any, project: Project) -> None:
    project.write("helpers_@.py", "FACTOR = 3\ndef triple(x):\n    return FACTOR * x\n")
    helpers = project.load("helpers_@")
    assert set(everywhere(server, cluster, helpers.triple, 5)) == {15}


def test_a_package_with_all_that_packages_have(
    server: Server, cluster: Any, project: Project
) -> None:
    project.write("lab_@/__init__.py", "from .core import measure\n")
    project.write("lab_@/core.py", "from . import units\nfrom .deep.inner import depth\n")
    core = project.write(
        "lab_@/core.py",
        """
        from importlib import resources
        from . import units
        from .deep.inner import depth
        import constants_@

        def measure(x):
            table = resources.files(__package__).joinpath("data/table.txt").read_text()
            return units.double(x) + depth() + len(table) + constants_@.ONE
        """,
    )
    project.write("lab_@/units.py", "def double(x):\n    return 2 * x\n")
    project.write("lab_@/deep/__init__.py", "")
    project.write(
        "lab_@/deep/inner.py", "from ..units import double\ndef depth(): return double(1)\n"
    )
    project.write("lab_@/data/table.txt", "12345")
    project.write("constants_@.py", "ONE = 1\n")
    assert core.exists()
    lab = project.load("lab_@")
    expected = lab.measure(10)
    assert expected == 20 + 2 + 5 + 1
    assert set(everywhere(server, cluster, lab.measure, 10)) == {expected}
    assert set(everywhere(server, cluster, lambda x: lab.measure(x), 10)) == {expected}


def test_a_namespace_package_and_an_import_cycle(
    server: Server, cluster: Any, project: Project
) -> None:
    project.write("space_@/one.py", "import space_@.two\ndef f(): return space_@.two.g() + 1\n")
    project.write(
        "space_@/two.py", "from space_@ import one\ndef g(): return 41\ndef h(): return one.f()\n"
    )
    two = project.load("space_@.two")
    assert set(everywhere(server, cluster, two.h)) == {42}


def test_imports_that_only_show_when_the_job_runs(
    server: Server, cluster: Any, project: Project
) -> None:
    project.write("late_@.py", "VALUE = 7\n")
    name = f"late_{project.suffix}"

    def by_statement() -> int:
        space: dict[str, Any] = {}
        exec(f"import {name} as module", space)
        return space["module"].VALUE  # type: ignore[no-any-return]  # a module made here

    def by_name() -> int:
        return importlib.import_module(name).VALUE  # type: ignore[no-any-return]  # as above

    assert set(everywhere(server, cluster, by_statement)) == {7}
    assert set(everywhere(server, cluster, by_name)) == {7}


def test_a_module_that_nobody_has_is_missing_on_nodes_as_well(server: Server) -> None:
    def look() -> None:
        import no_such_module_at_all  # noqa: F401  # looked for, and not there

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
            server.submit(look).result(PATIENCE)


def test_arguments_results_and_exceptions_of_the_projects_classes(
    server: Server, project: Project
) -> None:
    project.write(
        "shapes_@.py",
        """
        import dataclasses

        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int
            y: int = 0

        class TooFar(ValueError):
            def __init__(self, point, limit):
                super().__init__(point, limit)
                self.point, self.limit = point, limit
        """,
    )
    shapes = project.load("shapes_@")

    def moved(point: Any) -> Any:
        if point.x > 10:
            raise shapes.TooFar(point, 10)
        return type(point)(point.x + 1, point.y)

    # Only the arguments tell of the module.
    assert server.submit(repr, (shapes.Point(1),)).result(PATIENCE) == "Point(x=1, y=0)"
    result = server.submit(moved, (shapes.Point(1, 2),)).result(PATIENCE)
    assert type(result) is shapes.Point and result == shapes.Point(2, 2)
    with pytest.raises(shapes.TooFar) as caught:
        server.submit(moved, (shapes.Point(11),)).result(PATIENCE)
    assert caught.value.point == shapes.Point(11) and caught.value.limit == 10


def test_edited_files_are_noticed_and_old_functions_keep_the_old_ones(
    server: Server, cluster: Any, project: Project
) -> None:
    file = project.write("rate_@.py", "def rate():\n    return 1\n")
    old = project.load("rate_@")
    assert set(everywhere(server, cluster, old.rate)) == {1}
    file.write_text("def rate():\n    return 22\n")
    os.utime(file, (1, 1))  # clocks of file systems may be coarse
    new = project.load("rate_@")
    assert set(everywhere(server, cluster, new.rate)) == {22}
    file.write_text("def rate():\n    return 333\n")
    os.utime(file, (2, 2))
    newest = project.load("rate_@")
    assert set(everywhere(server, cluster, newest.rate)) == {333}


def test_a_running_job_keeps_the_modules_that_it_began_with(
    server: Server, project: Project, gate: Any
) -> None:
    file = project.write("slow_@.py", "VALUE = 1\n")
    name = f"slow_{project.suffix}"
    module = project.load("slow_@")

    def job(way: Callable[[object], object]) -> tuple[int, int]:
        first = module.VALUE
        way(None)
        return first, importlib.import_module(name).VALUE

    running = server.submit(job, (gate.way,))
    gate.wait_for(1)
    file.write_text("VALUE = 2\n")
    os.utime(file, (1, 1))
    assert project.load("slow_@").VALUE == 2
    gate.release(1)
    assert running.result(PATIENCE) == (1, 1)


def test_a_traceback_has_the_users_files_and_lines(server: Server, project: Project) -> None:
    file = project.write("wrong_@.py", "def divide(x):\n    return 1 / x  # here\n")
    wrong = project.load("wrong_@")
    with pytest.raises(ZeroDivisionError) as caught:
        server.submit(wrong.divide, (0,)).result(PATIENCE)
    text = str(caught.value.__cause__)
    assert f'File "{file}", line 2, in divide' in text
    assert "return 1 / x  # here" in text


def test_a_module_that_raises_at_import_fails_its_job_and_no_other(
    server: Server, cluster: Any, project: Project
) -> None:
    project.write("broken_@.py", "import sound_@\nraise RuntimeError('at import')\n")
    project.write("sound_@.py", "def f(): return 1\n")
    name = f"broken_{project.suffix}"

    def use() -> None:
        importlib.import_module(name)

    sound = project.load("sound_@")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="at import"):
            server.submit(use).result(PATIENCE)
        assert set(everywhere(server, cluster, sound.f)) == {1}


def test_what_cannot_be_shipped_is_named_and_not_half_loaded(
    server: Server, cluster: Any, project: Project
) -> None:
    """Where the project lies on this machine it is imported from there, as ever."""
    project.write("fast_@/__init__.py", "LOADED = True\n")
    project.write("fast_@/_speed.cpython-311-x86_64-linux-gnu.so", b"\x7fELF")
    project.write("heavy_@/__init__.py", "LOADED = True\n")
    with open(project.write("heavy_@/table.bin", b""), "wb") as file:
        file.truncate(50_000_000)
    for name, said in (("fast_@", "_speed"), ("heavy_@", "table.bin")):
        full = name.replace("_@", f"_{project.suffix}")

        def load(full: str = full) -> bool:
            return importlib.import_module(full).LOADED  # type: ignore[no-any-return]  # ours

        jobs = [server.submit(load) for _ in range(2 * cluster.slots)]
        for job in jobs:
            job.wait(PATIENCE)
            if job.node == "local":
                assert job.result() is True
            else:
                with pytest.raises(ImportError, match=said):
                    job.result()
    assert server.submit(abs, (-1,)).result(PATIENCE) == 1


def test_two_clients_with_different_modules_of_one_name_do_not_meet(
    server: Server, cluster: Any, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("other")
    name = f"mine_{project.suffix}"
    project.write("mine_@.py", "WHOSE = 'ours'\n")
    (folder / f"{name}.py").write_text("WHOSE = 'theirs'\n")

    def whose() -> str:
        return importlib.import_module(name).WHOSE  # type: ignore[no-any-return]  # ours

    with Server(
        cluster.ncpus, cluster.ppservers, key_file=cluster.key_file, ship_roots=(folder,)
    ) as other:
        assert other.wait_for_nodes(cluster.nodes, PATIENCE)
        for _ in range(3):
            assert server.submit(whose).result(PATIENCE) == "ours"
            assert other.submit(whose).result(PATIENCE) == "theirs"


def test_map_takes_the_users_modules_along(server: Server, project: Project) -> None:
    project.write("squares_@.py", "def square(x):\n    return x * x\n")
    squares = project.load("squares_@")
    assert list(server.map(squares.square, range(100))) == [x * x for x in range(100)]


def test_modules_and_depfuncs_may_be_the_users_own(server: Server, project: Project) -> None:
    project.write("tools_@.py", "def double(x):\n    return 2 * x\n")
    tools = project.load("tools_@")
    full = tools.__name__

    def by_module(x: int) -> int:
        return eval(f"{full}.double(x)")  # type: ignore[no-any-return]  # a number

    def by_name(x: int) -> int:
        return double(x)  # type: ignore[name-defined, no-any-return]  # noqa: F821  # from depfuncs

    assert server.submit(by_module, (4,), modules=(full,)).result(PATIENCE) == 8
    assert server.submit(by_name, (4,), depfuncs=(tools.double,)).result(PATIENCE) == 8
    statement = f"from {full} import double"
    assert server.submit(by_name, (4,), modules=(statement,)).result(PATIENCE) == 8


def test_an_error_that_cannot_be_rebuilt_comes_as_text(server: Server) -> None:
    def fail() -> None:
        class Local(Exception):
            def __init__(self, a: int, b: int) -> None:
                super().__init__(f"{a} and {b}")

        raise Local(1, 2)

    with pytest.raises(RemoteError, match="1 and 2") as caught:
        server.submit(fail).result(PATIENCE)
    assert "Local" in str(caught.value)
