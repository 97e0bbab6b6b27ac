"""Explaining: what is said of a function before it is sent, and of a job."""

from __future__ import annotations

import functools
import json
import math
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ppnext import ConfigError, NotShippable, Server, explain

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_function_of_the_standard_library_goes_by_reference() -> None:
    for func, module in ((json.dumps, "json"), (math.sin, "math")):
        found = explain(func)
        assert (found.form, found.python) == ("reference", None)
        assert [(it.name, it.origin) for it in found.modules] == [(module, "standard library")]


def test_a_function_of_an_installed_package_goes_by_reference_to_the_same_version() -> None:
    import packaging.utils
    import packaging.version

    version = metadata.version("packaging")
    for func in (packaging.version.parse, packaging.utils.canonicalize_name):
        found = explain(func)
        assert found.form == "reference"
        [module] = found.modules
        assert (module.name, module.origin) == ("packaging", "installed")
        assert module.detail == f"packaging {version} here; nodes need the same"
        # What comes along is the same everywhere.
        assert explain(func, ship=["packaging"]).modules[0].origin == "shipped"
    # What a function of one's own uses is not the user's choice of a function.
    [used] = explain(lambda x: packaging.version.parse(x)).modules
    assert used.detail == f"packaging {version} here"


def test_a_lambda_goes_by_source_and_says_where_it_stands() -> None:
    found = explain(lambda x: json.dumps(math.floor(x)))
    assert (found.form, found.python, found.reasons) == ("source", None, ())
    [part, *_] = found.parts
    assert part.form == "source" and part.name.endswith("<lambda>")
    assert "test_explaining.py:" in part.where
    assert {it.name for it in found.modules} == {"json", "math"}
    assert f"goes by source, on any supported Python; {found.size} bytes" in str(found)


def test_code_without_source_goes_by_value_and_says_why() -> None:
    space: dict[str, Any] = {}
    exec("def f(): return 1", space)
    found = explain(space["f"])
    assert (found.form, found.python) == ("value", HERE)
    assert "source" in found.reasons[0]
    assert f"only on Python {HERE}" in str(found) and found.reasons[0] in str(found)


def test_the_users_modules_are_listed_with_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "explained_helper.py").write_text("import explained_other\ndef f(): return 1\n")
    (tmp_path / "explained_other.py").write_text("VALUE = 1\n")
    (tmp_path / "explained_fast").mkdir()
    (tmp_path / "explained_fast" / "__init__.py").write_text("")
    (tmp_path / "explained_fast" / "_c.abi3.so").write_bytes(b"\x7fELF")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import explained_fast  # type: ignore[import-not-found]  # made above
    import explained_helper  # type: ignore[import-not-found]  # made above

    try:
        found = explain(explained_helper.f, ship_roots=[str(tmp_path)])
        assert found.form == "reference"
        assert {(it.name, it.origin) for it in found.modules} == {
            ("explained_helper", "shipped"),
            ("explained_other", "shipped"),
        }
        assert all(len(it.digest) == 12 for it in found.modules)
        assert explain(explained_helper.f, ship_roots=[str(tmp_path)]).digest == found.digest
        refused = explain(lambda: explained_fast, ship_roots=[str(tmp_path)])
        assert [(it.name, it.origin) for it in refused.modules] == [
            ("explained_fast", "not shipped")
        ]
        assert "_c.abi3.so" in str(refused)
    finally:
        for name in ("explained_helper", "explained_other", "explained_fast"):
            sys.modules.pop(name, None)


def test_partials_and_methods_are_what_they_call() -> None:
    class Scale:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def times(self, x: int) -> int:
            return self.factor * x

    assert explain(functools.partial(math.pow, 2)).digest == explain(math.pow).digest
    found = explain(Scale(2).times)
    assert found.form == "source" and found.parts[0].name.endswith("Scale.times")


def test_what_cannot_be_sent_is_named() -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(NotShippable, match="lock"):
        explain(lambda: lock)


def test_a_job_says_how_its_function_was_sent() -> None:
    with Server(1) as server:
        job = server.submit(lambda x: math.sqrt(x), (4,))
        assert job() == 2.0
        assert job.shipping.form == "source"
        assert [it.name for it in job.shipping.modules] == ["math"]


@pytest.mark.parametrize(
    ("func", "options", "kind", "said"),
    [
        ("json.dumps", {}, TypeError, "func must be a function, not 'json.dumps'"),
        (json.dumps, {"ship_roots": ["no-such-folder"]}, ValueError, "there is no folder"),
        (json.dumps, {"ship": "networkx"}, TypeError, "did you mean"),
        (json.dumps, {"ship": ["no-such-thing"]}, ConfigError, "'no-such-thing'"),
    ],
)
def test_mistakes_are_named(func: Any, options: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        explain(func, **options)
