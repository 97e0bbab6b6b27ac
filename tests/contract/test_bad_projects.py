"""Projects with something wrong in them: it is named, and the next job on the worker runs clean."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ppnext import RemoteError, Server, explain

PATIENCE = 20.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, importable here; what is imported from it is forgotten."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def name() -> str:
    """The name of a module that no other test has."""
    return f"m_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def server(cluster: Any, project: Path) -> Iterator[Server]:
    """A job server with all its nodes, to which the project belongs."""
    with Server(
        cluster.ncpus, cluster.ppservers, key_file=cluster.key_file, ship_roots=(project,)
    ) as server:
        assert server.wait_for_nodes(cluster.nodes, PATIENCE)
        yield server


@pytest.fixture
def clean(server: Server, cluster: Any) -> Callable[[], None]:
    """Check that workers run what they did before, with the modules that they had."""

    def work(x: int) -> tuple[int, str]:
        import statistics

        assert "site-packages" not in str(statistics.__file__)
        return int(statistics.mean([x, x])), os.path.basename(str(statistics.__file__))

    def check() -> None:
        jobs = [server.submit(work, (x,)) for x in range(4 * cluster.slots)]
        assert [job.result(PATIENCE) for job in jobs] == [
            (x, "statistics.py") for x in range(4 * cluster.slots)
        ]

    return check


def loaded(name: str) -> ModuleType:
    importlib.invalidate_caches()
    return importlib.import_module(name)


def from_file(path: Path, name: str) -> ModuleType:
    """A module of a file, that cannot be imported by its name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def errors_of(server: Server, cluster: Any, call: Callable[[], Any]) -> list[tuple[Any, Any]]:
    """Where each of many jobs ran, and its error."""
    jobs = [server.submit(call) for _ in range(4 * cluster.slots)]
    found = [job.exception(PATIENCE) for job in jobs]
    return [(job.node, error) for job, error in zip(jobs, found, strict=True)]


def test_a_module_with_a_name_of_the_standard_library(
    server: Server, cluster: Any, project: Path, name: str, clean: Callable[[], None]
) -> None:
    (project / "wave.py").write_text("KIND = 'not the one'\n")
    (project / f"{name}.py").write_text("import wave\ndef kind():\n    return wave.KIND\n")
    clean()
    hidden = sys.modules.pop("wave", None)
    try:
        module = loaded(name)
        assert module.kind() == "not the one"
        for node, error in errors_of(server, cluster, module.kind):
            if node == "local":  # here it is the user's, as it is in the script itself
                assert error is None
            else:
                assert isinstance(error, ImportError) and "wave.py" in str(error), error
                assert "standard library" in str(error) and "rename it" in str(error)
    finally:
        sys.modules.pop("wave", None)
        if hidden is not None:
            sys.modules["wave"] = hidden
    (project / "wave.py").unlink()
    clean()

    def frames() -> str:
        import wave

        return wave.Wave_read.__name__

    for node, error in errors_of(server, cluster, frames):
        # A worker of this machine that has imported the user's keeps it, as a script does.
        assert error is None or (node == "local" and isinstance(error, AttributeError)), error


def test_a_module_that_ends_the_process_when_it_is_imported(
    server: Server, project: Path, name: str, clean: Callable[[], None]
) -> None:
    (project / f"{name}.py").write_text("import sys\nsys.exit(3)\n")

    def use() -> None:
        importlib.import_module(name)

    for _ in range(2):
        error = server.submit(use).exception(PATIENCE)
        assert isinstance(error, (SystemExit, RemoteError)), error
    clean()


def test_sources_that_are_none(
    server: Server, cluster: Any, project: Path, name: str, clean: Callable[[], None]
) -> None:
    for content, said in (
        (b"def f(:\n", "invalid syntax"),
        (b"# coding: no-such-coding\n", "no-such-coding"),
        (b"x = '\xff'\n", "utf-8"),
        (b"x = 1\0\n", "null byte"),
    ):
        (project / f"{name}.py").write_bytes(content)

        def use() -> None:
            importlib.import_module(name)

        for _, error in errors_of(server, cluster, use):
            assert isinstance(error, (SyntaxError, ValueError)), (content, error)
            assert said in str(error), (content, error)
        (project / f"{name}.py").unlink()
    clean()


def test_a_cycle_that_python_cannot_resolve(
    server: Server, cluster: Any, project: Path, name: str, clean: Callable[[], None]
) -> None:
    (project / f"{name}_a.py").write_text(f"from {name}_b import two\none = 1\n")
    (project / f"{name}_b.py").write_text(f"from {name}_a import one\ntwo = 2\n")

    def use() -> None:
        importlib.import_module(f"{name}_a")

    for _, error in errors_of(server, cluster, use):
        assert isinstance(error, ImportError), error
        assert "partially initialized" in str(error) and f"{name}_a" in str(error)
    # Repaired, it works; nothing of the half is left.
    (project / f"{name}_b.py").write_text("two = 2\n")

    def value() -> int:
        return importlib.import_module(f"{name}_a").one

    assert server.submit(value).result(PATIENCE) == 1
    clean()


def test_a_module_that_replaces_itself_and_one_that_takes_others_away(
    server: Server, cluster: Any, project: Path, name: str, clean: Callable[[], None]
) -> None:
    (project / f"{name}_a.py").write_text(
        "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(value=5)\n"
    )
    (project / f"{name}_b.py").write_text("import sys\ndel sys.modules[__name__]\n")

    def replaced() -> int:
        return importlib.import_module(f"{name}_a").value

    def gone() -> None:
        importlib.import_module(f"{name}_b")

    jobs = [server.submit(replaced) for _ in range(2 * cluster.slots)]
    assert {job.result(PATIENCE) for job in jobs} == {5}
    for _, error in errors_of(server, cluster, gone):
        assert isinstance(error, (ImportError, KeyError)), error  # as Python has it
    clean()


def test_source_that_has_changed_since_it_was_loaded_is_not_used(
    server: Server, project: Path, name: str, clean: Callable[[], None]
) -> None:
    file = project / f"{name}.py"
    file.write_text("def f(x):\n    return x + 1\n")
    module = from_file(file, f"{name}_unknown")
    assert explain(module.f).form == "source"
    file.write_text("# edited\ndef f(x):\n    return x + 1000\n")
    os.utime(file, (1, 1))
    edited = from_file(file, f"{name}_unknown")
    file.write_text("def f(x):\n    return x - 1\n")
    os.utime(file, (2, 2))
    job = server.submit(edited.f, (1,))
    assert job.result(PATIENCE) == 1001  # what the user has, not what the file has
    assert job.shipping.form == "value"
    assert any("source" in reason for reason in job.shipping.reasons), job.shipping.reasons
    file.unlink()
    fresh = from_file(_written(project / "again.py", "def f(x):\n    return x * 7\n"), "again_")
    (project / "again.py").unlink()
    assert server.submit(fresh.f, (3,)).result(PATIENCE) == 21
    clean()


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_module_that_goes_while_jobs_want_it(
    server: Server, cluster: Any, project: Path, name: str, clean: Callable[[], None]
) -> None:
    file = _written(project / f"{name}.py", "def f():\n    return 1\n")
    module = loaded(name)
    assert server.submit(module.f).result(PATIENCE) == 1
    file.unlink()
    for _, error in errors_of(server, cluster, module.f):
        # Workers that have it still may; the others say that it is missing.
        assert error is None or isinstance(error, ModuleNotFoundError), error
    clean()


def test_names_that_are_none(server: Server, clean: Callable[[], None]) -> None:
    def use(module: str) -> str:
        try:
            importlib.import_module(module)
        except (ImportError, ValueError, TypeError) as error:
            return type(error).__name__
        return "imported"

    odd = ("no/such", "..", "a b", "x" * 2000, "x" * 200_000, "näme", "no.such.module", "\0", "-")
    for module in odd:
        assert server.submit(use, (module,)).result(PATIENCE) in (
            "ModuleNotFoundError", "ImportError", "ValueError", "TypeError",
        ), module  # fmt: skip
    clean()
