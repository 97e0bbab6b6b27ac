"""The ledger: what is in a pickle, in which form and why, and what it needs where it is loaded."""

from __future__ import annotations

import collections
import json
import linecache
import sys
import xml.dom.minidom
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ppnext.shipping import byvalue
from ppnext.shipping.compiling import PYTHON
from ppnext.shipping.functions import FunctionShipper
from ppnext.shipping.ledger import Ledger, Part


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., SimpleNamespace]]:
    """Run text as a file that is a script."""
    path = tmp_path / "job.py"

    def run(text: str, **names: object) -> SimpleNamespace:
        path.write_text(text)
        space: dict[str, Any] = {"__name__": "__main__", **names}
        exec(compile(text, str(path), "exec", dont_inherit=True), space)
        return SimpleNamespace(**space)

    yield run
    linecache.cache.pop(str(path), None)


def ledger_of(thing: object) -> Ledger:
    ledger = Ledger()
    byvalue.dumps(thing, 5, ledger)
    return ledger


def test_what_is_in_a_pickle_and_why(load: Callable[..., Any], tmp_path: Path) -> None:
    it = load(
        "import json, collections\n"
        "class C:\n"
        "    def m(self): return collections.OrderedDict\n"
        "def helper(): return json.loads\n"
        "def make():\n"
        "    def inner(): return helper(), C\n"
        "    return inner\n"
        "f = make()\n"
        "key = lambda x: x\n"
    )
    path = tmp_path / "job.py"
    main = "it is defined in the program itself (__main__)"
    ledger = ledger_of((it.f, it.key, collections.OrderedDict, json.loads, len, int))
    assert set(ledger.parts) == {
        Part("function", "make.<locals>.inner", "__main__", "source",
             "it is defined inside a function", f"{path}:6"),
        Part("function", "helper", "__main__", "source", main, f"{path}:4"),
        Part("class", "C", "__main__", "source", main, ""),
        Part("function", "C.m", "__main__", "source", main, f"{path}:3"),
        Part("function", "<lambda>", "__main__", "source",
             "a lambda has no name to be imported by", f"{path}:9"),
        Part("class", "OrderedDict", "collections", "reference",
             "it can be imported from collections", ""),
        Part("function", "loads", "json", "reference", "it can be imported from json", ""),
    }  # fmt: skip
    assert ledger.bound is None
    assert ledger.modules == {"collections", "json"}


def test_what_binds_to_a_version_says_so(load: Callable[..., Any]) -> None:
    it = load(
        "exec('def made(): return 1')\n"
        "class C:\n"
        "    def m(self): return 1\n"
        "    n = made\n"
        "made.__qualname__ = 'C.n'\n"
        "def f(): return C, made\n"
    )
    ledger = ledger_of(it.f)
    assert ledger.bound is not None
    python, reasons = ledger.bound
    assert python == PYTHON == ".".join(map(str, sys.version_info[:2]))
    [reason] = reasons
    assert reason.startswith("made: ")
    assert "<string>" in reason
    forms = {part.name: (part.form, part.reason) for part in ledger.parts}
    assert forms["f"][0] == forms["C.m"][0] == "source"
    assert forms["C.n"][0] == "value"
    assert "<string>" in forms["C.n"][1]
    assert forms["C"] == (
        "value",
        "it is defined in the program itself (__main__); its C.n goes by value",
    )


def test_what_only_dill_can_pickle_is_bound(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        ledger = ledger_of(lambda: file)
    assert ledger.bound is not None
    assert any("only dill could pickle" in reason for reason in ledger.bound[1])


def test_modules_that_are_referred_to_and_that_are_imported(load: Callable[..., Any]) -> None:
    it = load(
        "def f():\n"
        "    import os.path, colorsys as c\n"
        "    from email.mime import text\n"
        "    from . import near\n"
        "    return xml.dom.minidom, [lambda: __import__('wave')]\n",
        xml=xml,
        __package__="package.inner",
    )
    ledger = ledger_of(it.f)
    assert ledger.imports == {"os", "colorsys", "email", "package"}
    assert ledger.modules >= {"xml", "xml.dom", "xml.dom.minidom"}


def test_why_something_is_not_imported_by_its_name(load: Callable[..., Any]) -> None:
    text = "def loads(): pass\nloads.__module__ = {!r}\n"
    for module, why in (
        ("json", "json.loads is something else"),
        ("no_such_module", "its module no_such_module is none that is imported"),
    ):
        [part] = ledger_of(load(text.format(module)).loads).parts
        assert part.reason == why


def test_what_ppnext_itself_is_made_of_does_not_count() -> None:
    assert ledger_of(lambda: (Ledger, byvalue, Part)).modules == set()


# Definitions.


def test_a_definition_says_what_it_is_made_of(load: Callable[..., Any]) -> None:
    it = load("import json\ndef f():\n    import colorsys\n    return json.loads, json\n")
    definition = FunctionShipper().ship(
        it.f, modules=("wave", "import email.mime as m; from zipfile import ZipFile", "import (")
    )
    assert (definition.python, definition.reasons) == (None, ())
    assert [part.name for part in definition.parts] == ["f"]
    assert definition.imports == {"colorsys", "wave", "email", "zipfile"}
    assert definition.modules == {"json", *definition.imports}
    assert definition.without == frozenset()
    bound = FunctionShipper().ship(load("exec('def f(): pass')").f)
    assert bound.python == PYTHON
    assert len(bound.reasons) == 1


class TableOf:
    """Stands for the table of a project."""

    def __init__(self, *entries: tuple[str, bytes | str]) -> None:
        self.entries = entries


def test_a_definition_that_sees_modules_is_another(load: Callable[..., Any]) -> None:
    from ppnext.shipping.loading import load_definition

    plain = FunctionShipper().ship(load("exec('def f(): return 5')").f)
    plain.without |= {"3.1"}
    table: Any = TableOf(("helpers", b"d" * 32))
    seeing = plain.seeing(table)
    assert seeing.digest != plain.digest
    assert (seeing.table, plain.table) == (table, None)
    for name in ("python", "reasons", "parts", "modules", "imports", "without"):
        assert getattr(seeing, name) == getattr(plain, name)
    seen: list[object] = []
    assert load_definition(seeing.payload, seen.append)() == 5
    assert load_definition(plain.payload, seen.append)() == 5
    assert seen == [(("helpers", b"d" * 32),), ()]
    with pytest.raises(ValueError, match="sees modules already"):
        seeing.seeing(table)
