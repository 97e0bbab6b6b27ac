"""The rules of the house that can be read from the source alone.

The import contracts in pyproject.toml say which package may know which. The tests here read the
syntax tree, and so they see imports inside functions and imports by name as well.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ppnext"
MODULES = sorted(PACKAGE.rglob("*.py"))
PURE = ("wire", "sched")

IMPURE = frozenset(
    [
        "asyncio",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "uuid",
    ]
)
PICKLERS = frozenset({"_pickle", "cloudpickle", "dill", "marshal", "pickle", "shelve"})
VAGUE_NAMES = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})

MAX_LINES = 400
# Longer files, each with the reason why it is not two files.
LONG_FILES: dict[str, str] = {}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the full name of everything imported anywhere in ``tree``, a module of ``package``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and is_import_call(node.func):
            argument = node.args[0] if node.args else None
            yield str(argument.value) if isinstance(argument, ast.Constant) else "<computed>"


def is_import_call(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"__import__", "import_module"}


def imported_by(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imports(ast.parse(path.read_text(encoding="utf-8")), package))


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def in_pure_package(path: Path) -> bool:
    return path.relative_to(PACKAGE).parts[0] in PURE


def has_all(tree: ast.Module) -> bool:
    targets = [
        target
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)


def blind_excepts(source: str) -> Iterator[int]:
    """Yield the line of each handler that catches everything and has no comment beside it.

    Beside it is: on its line, on the line above it, or on the first line below it.
    """
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and catches_everything(node.type):
            beside = lines[max(node.lineno - 2, 0) : node.lineno + 1]
            if not any("#" in line for line in beside):
                yield node.lineno


def catches_everything(caught: ast.expr | None) -> bool:
    classes = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        item is None or (isinstance(item, ast.Name) and item.id in {"BaseException", "Exception"})
        for item in classes
    )


def documented_names() -> set[str]:
    """Return the last part of every name that docs/api.rst documents."""
    text = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    directive = r"^\.\. auto(?:class|data|decorator|exception|function):: +([\w.]+)"
    names = {match.rpartition(".")[2] for match in re.findall(directive, text, re.MULTILINE)}
    for module in re.findall(r"^\.\. automodule:: +([\w.]+)", text, re.MULTILINE):
        names |= set(importlib.import_module(module).__all__)
    return names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os.path as p", {"os.path"}),
        ("import json, time", {"json", "time"}),
        ("from time import monotonic", {"time.monotonic"}),
        ("def f():\n    import socket", {"socket"}),
        ("from . import frames", {"ppnext.wire.frames"}),
        ("from ..sched import model", {"ppnext.sched.model"}),
        ("from .frames import Frame", {"ppnext.wire.frames.Frame"}),
        ("__import__('random')", {"random"}),
        ("import importlib\nimportlib.import_module('ssl')", {"importlib", "ssl"}),
        ("__import__(name)", {"<computed>"}),
    ],
)
def test_imports_are_found(source: str, expected: set[str]) -> None:
    assert set(imports(ast.parse(source), "ppnext.wire")) == expected


@pytest.mark.parametrize(
    ("handler", "lines"),
    [
        ("except Exception:\n    x", [3]),
        ("except (ValueError, BaseException):\n    x", [3]),
        ("except:\n    x", [3]),
        ("except Exception:  # a user's function may raise anything\n    x", []),
        ("except Exception:\n    # a user's function may raise anything\n    x", []),
        ("except ValueError:\n    x", []),
    ],
)
def test_blind_excepts_are_found(handler: str, lines: list[int]) -> None:
    assert list(blind_excepts(f"try:\n    f()\n{handler}\n")) == lines


def test_there_are_modules() -> None:
    assert {"ppnext/wire", "ppnext/sched"} <= {name_of(path.parent) for path in MODULES}


@pytest.mark.parametrize("path", sorted({path.parent for path in MODULES}), ids=name_of)
def test_every_folder_is_a_package(path: Path) -> None:
    assert (path / "__init__.py").is_file()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_has_a_docstring_and_all(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
    assert has_all(tree), f"{name_of(path)} has no __all__"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_say_something(path: Path) -> None:
    assert not VAGUE_NAMES & {
        part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts
    }


@pytest.mark.parametrize("path", [path for path in MODULES if in_pure_package(path)], ids=name_of)
def test_wire_and_sched_are_pure(path: Path) -> None:
    names = imported_by(path)
    own = path.relative_to(PACKAGE).parts[0]
    others = {name for name in names if name.startswith("ppnext.")} - {"ppnext.errors"}
    strangers = {
        name for name in others if not name.startswith((f"ppnext.{own}.", "ppnext.errors."))
    }
    assert not tops(names) & IMPURE
    assert "<computed>" not in names
    assert not strangers, f"{own} may know itself and ppnext.errors only"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_shipping_pickles(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] == "shipping":
        return
    assert not tops(imported_by(path)) & PICKLERS


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_discovery_knows_zeroconf(path: Path) -> None:
    if name_of(path) == "ppnext/runtime/discovery.py":
        return
    assert "zeroconf" not in tops(imported_by(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_blind_excepts_give_a_reason(path: Path) -> None:
    assert list(blind_excepts(path.read_text(encoding="utf-8"))) == []


def test_files_are_read_in_one_sitting() -> None:
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES
    }
    too_long = {name for name, lines in lengths.items() if lines > MAX_LINES}
    assert too_long - set(LONG_FILES) == set(), f"longer than {MAX_LINES} lines"
    assert set(LONG_FILES) - too_long == set(), "no longer long: take it out of LONG_FILES"


def test_public_names_are_the_documented_ones() -> None:
    public = set(importlib.import_module("ppnext").__all__) - {"__version__"}
    documented = documented_names()
    assert public - documented == set(), "public, but not in docs/api.rst"
    assert documented - public == set(), "in docs/api.rst, but not public"
