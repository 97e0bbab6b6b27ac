"""The importer: packages from bundles are to Python what packages on disk are."""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppnext.shipping.project import Project
from ppnext.worker.importer import path_hook
from ppnext.worker.projects import Projects
from ppnext.worker.shelf import Shelf

FILES = {
    "t_lab/__init__.py": '"""The lab."""\nfrom .tools import double\nfrom . import deep\n',
    "t_lab/tools.py": (
        "from t_lab import constants\n\n\ndef double(x):\n    return constants.TWO * x\n\n\n"
        "def fail():\n    raise KeyError('no')  # here\n"
    ),
    "t_lab/constants.py": "TWO = 2\n",
    "t_lab/deep/__init__.py": "from ..tools import double as twice\n",
    "t_lab/deep/far.py": "from ...t_lab.constants import TWO\n",
    "t_lab/deep/near.py": "from . import twice\nfrom .. import constants\n",
    "t_lab/table.csv": "1,2\n",
    "t_lab/data/more.txt": "grün\n",
    "t_lab/data/nested/last.bin": "\0\1",
    "t_lab/plain/mod.py": "NAME = __name__\n",
    "t_one.py": "import t_two\n\n\ndef one():\n    return 1\n",
    "t_two.py": "from t_one import one\n",
    "t_three.py": "import t_four\nVALUE = 3\n",
    "t_four.py": "import t_three\n\n\ndef value():\n    return t_three.VALUE\n",
    "t_space/inner/part.py": "HERE = 1\n",
    "t_latin.py": "# -*- coding: latin-1 -*-\nNAME = 'gr\u00fcn'\n",
    "t_check.py": "def f():\n    assert False\n",
}
NAMES = "t_lab t_one t_three t_space t_latin t_check".split()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    """A project that is imported from bundles; its files are gone."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text.encode("latin-1" if "latin" in path else "utf-8"))
    table = Project([tmp_path]).table(NAMES)
    assert not table.refusals
    for path in FILES:
        (tmp_path / path).unlink()
    payloads = {bundle.digest: bundle.payload for bundle in table.bundles}
    projects = Projects(payloads.__getitem__, lambda name: None)
    projects.enter(table.entries)
    yield tmp_path
    projects.close()


def load(name: str):
    return importlib.import_module(name)


def test_a_package(lab: Path) -> None:
    package = load("t_lab")
    assert package.double(4) == 8
    assert package.__doc__ == "The lab."
    assert package.__file__ == str(lab / "t_lab" / "__init__.py")
    assert package.__package__ == "t_lab"
    assert package.__spec__.origin == package.__file__
    assert package.deep.twice is package.double
    assert load("t_lab.deep.near").constants.TWO == 2


def test_a_relative_import_beyond_the_top_fails_as_ever(lab: Path) -> None:
    with pytest.raises(ImportError, match="beyond top-level package"):
        load("t_lab.deep.far")


def test_import_cycles_are_as_python_has_them(lab: Path) -> None:
    assert load("t_four").value() == 3
    with pytest.raises(ImportError, match="partially initialized module 't_one'"):
        load("t_one")
    assert "t_one" not in sys.modules


def test_a_module_that_is_not_there(lab: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 't_lab\.nothing'"):
        load("t_lab.nothing")
    with pytest.raises(ModuleNotFoundError, match="'t_three' is not a package"):
        load("t_three.nothing")


def test_namespace_packages(lab: Path) -> None:
    assert load("t_space.inner.part").HERE == 1
    assert getattr(load("t_space"), "__file__", None) is None
    assert load("t_lab.plain.mod").NAME == "t_lab.plain.mod"


def test_encodings(lab: Path) -> None:
    assert load("t_latin").NAME == "grün"
    assert "grün" in inspect.getsource(load("t_latin"))


def test_the_source_can_be_had(lab: Path) -> None:
    tools = load("t_lab.tools")
    assert inspect.getsource(tools.double).startswith("def double(x):\n")
    assert inspect.getsourcefile(tools.double) == str(lab / "t_lab" / "tools.py")
    assert inspect.getmodule(tools.double) is tools


def test_a_traceback_shows_the_users_lines(lab: Path) -> None:
    with pytest.raises(KeyError) as caught:
        load("t_lab.tools").fail()
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert last.filename == str(lab / "t_lab" / "tools.py")
    assert (last.lineno, last.line) == (9, "raise KeyError('no')  # here")


def test_pkgutil(lab: Path) -> None:
    package = load("t_lab")
    found = [(item.name, item.ispkg) for item in pkgutil.iter_modules(package.__path__, "t_lab.")]
    assert found == [("t_lab.constants", False), ("t_lab.deep", True), ("t_lab.tools", False)]
    walked = {item.name for item in pkgutil.walk_packages(package.__path__, "t_lab.")}
    assert walked == {*dict(found), "t_lab.deep.far", "t_lab.deep.near"}
    assert pkgutil.get_data("t_lab", "table.csv") == b"1,2\n"
    assert pkgutil.get_data("t_lab.deep", "../data/nested/last.bin") == b"\0\1"
    with pytest.raises(OSError):
        pkgutil.get_data("t_lab", "nothing.csv")


def test_resources(lab: Path) -> None:
    root: Any = importlib.resources.files("t_lab")
    assert (root / "table.csv").read_text() == "1,2\n"
    assert root.joinpath("data", "more.txt").read_text(encoding="utf-8") == "grün\n"
    assert root.joinpath("data/nested/last.bin").read_bytes() == b"\0\1"
    with (root / "data" / "more.txt").open(encoding="utf-8") as file:
        assert list(file) == ["grün\n"]
    assert sorted(item.name for item in (root / "data").iterdir()) == ["more.txt", "nested"]
    assert (root / "data").is_dir()
    assert not (root / "nothing").is_file()
    with pytest.raises(FileNotFoundError):
        (root / "nothing").read_bytes()
    with pytest.raises(IsADirectoryError):
        (root / "data").read_bytes()
    with pytest.raises(NotADirectoryError):
        list((root / "table.csv").iterdir())
    with pytest.raises(ValueError, match="read only"):
        (root / "table.csv").open("w")


def test_resources_of_a_folder_that_is_no_package(lab: Path) -> None:
    assert (importlib.resources.files("t_lab.data") / "more.txt").is_file()
    assert (importlib.resources.files("t_lab.data.nested") / "last.bin").is_file()
    assert (importlib.resources.files("t_space") / "inner" / "part.py").is_file()


def test_a_resource_as_a_file(lab: Path) -> None:
    with importlib.resources.as_file(importlib.resources.files("t_lab") / "table.csv") as path:
        assert path.read_text() == "1,2\n"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="folders can be had since Python 3.12")
def test_a_folder_as_files(lab: Path) -> None:
    with importlib.resources.as_file(importlib.resources.files("t_lab") / "data") as path:
        assert (path / "nested" / "last.bin").read_bytes() == b"\0\1"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_older_functions_for_resources(lab: Path) -> None:
    with importlib.resources.open_binary("t_lab", "table.csv") as file:
        assert file.read() == b"1,2\n"
    assert importlib.resources.read_text("t_lab", "table.csv") == "1,2\n"
    assert importlib.resources.is_resource("t_lab", "table.csv")
    assert not importlib.resources.is_resource("t_lab", "data")
    assert "table.csv" in set(importlib.resources.contents("t_lab"))
    with importlib.resources.path("t_lab", "table.csv") as path:
        assert path.read_bytes() == b"1,2\n"


def test_a_module_can_be_loaded_again(lab: Path) -> None:
    constants = load("t_lab.constants")
    constants.TWO = 3
    assert importlib.reload(constants) is constants
    assert constants.TWO == 2


def test_assertions_are_those_of_this_process(lab: Path) -> None:
    function = load("t_check").f
    if __debug__:
        with pytest.raises(AssertionError):
            function()
    else:
        function()


def test_a_spec_can_be_found_without_importing(lab: Path) -> None:
    spec = importlib.util.find_spec("t_lab.tools")
    assert spec is not None
    assert "t_lab.tools" not in sys.modules or spec.origin == str(lab / "t_lab" / "tools.py")


def test_other_paths_are_not_ours() -> None:
    hook = path_hook(Shelf(lambda digest: b""))
    for entry in ("", "/usr/lib", "ppnext-bundle", "ppnext-bundle:zz", "other:00:a:a"):
        with pytest.raises(ImportError):
            hook(entry)
