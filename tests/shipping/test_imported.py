"""Which modules a source imports, by its text: never fewer than by its syntax tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ppnext
from ppnext.shipping.imported import imported_names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a", {"a"}),
        ("import a.b.c as d, e , f.g", {"a", "e", "f"}),
        ("import a, \\\n    b", {"a", "b"}),
        ("from a.b import (c,\n  d)", {"a"}),
        ("from a import b; import c", {"a", "c"}),
        ("def f():\n\timport a\n", {"a"}),
        ("try: import a\nexcept ImportError: import b", {"a", "b"}),
        ("from . import a\nfrom .b import c\nfrom .. import d", set()),
        ("from __future__ import annotations", {"__future__"}),
        ("important = 1\nfromage = import_module('x')", set()),
        ("# import a\nx = 'import a'", set()),
        ("\ufeffimport a\r\nimport b\rimport c", {"a", "b", "c"}),
        ("import größe", {"größe"}),
        ("from a import*", {"a"}),
        ("def broken(:\n import a", {"a"}),
        ("", set()),
    ],
)
def test_names(source: str, names: set[str]) -> None:
    assert imported_names(source.encode()) == names


def test_no_statement_is_missed_in_this_package() -> None:
    for path in Path(ppnext.__file__).parent.rglob("*.py"):
        source = path.read_bytes()
        exact = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                exact |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                exact.add(node.module.partition(".")[0])
        assert exact <= imported_names(source), path


def test_any_bytes_will_do() -> None:
    assert imported_names(b"\xff\xfe\0import a\nimport b") == {"b"}
