"""The project: whose modules are the user's, and their bundles as the files are now."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from ppnext.errors import ConfigError
from ppnext.shipping.bundles import Bundle, Refusal
from ppnext.shipping.contents import Contents
from ppnext.shipping.project import Project
from tests import folders

OLD = 1_000_000_000


def write(root: Path, files: dict[str, str | bytes]) -> None:
    """Write files as if they had been there for long."""
    folders.write(root, files)
    for path in [*root.rglob("*"), root]:
        os.utime(path, (OLD, OLD))


PROJECT: dict[str, str | bytes] = {
    "t_pkg/__init__.py": "from . import sub\nimport t_first\n",
    "t_pkg/sub/__init__.py": "",
    "t_pkg/sub/deep.py": "def f():\n    import t_second\n",
    "t_pkg/data/table.csv": "1,2\n",
    "t_first.py": "import os, numpy\nimport t_second\n",
    "t_second.py": "import t_first\n",
    "t_alone.py": "",
    "t_ns/part.py": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "lab"
    write(root, PROJECT)
    return root


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, str], object]]:
    """Import a module from a folder; it is forgotten after the test."""
    before = set(sys.modules)

    def load(folder: Path, name: str) -> object:
        monkeypatch.syspath_prepend(str(folder))
        invalidate_caches()
        return import_module(name)

    yield load
    for name in set(sys.modules) - before:
        del sys.modules[name]


def patient(*roots: Path, ship: tuple[str, ...] = ()) -> Project:
    """A project that looks every time."""
    return Project(roots, ship, clock=lambda: 0.0, effort=lambda: 0.0)


def files(found: object) -> set[str]:
    assert isinstance(found, Bundle), found
    return set(Contents(found.payload).files)


def reason(found: object) -> str:
    assert isinstance(found, Refusal), found
    return found.reason


def test_a_table_has_what_is_imported_in_turn(root: Path) -> None:
    table = patient(root).table(["t_pkg.sub.deep", "os.path", "numpy.linalg", "no_such_module"])
    assert [name for name, _ in table.entries] == ["t_first", "t_pkg", "t_second"]
    assert [bundle.digest for bundle in table.bundles] == [it for _, it in table.entries]
    assert table.refusals == ()


def test_an_empty_table(root: Path) -> None:
    assert patient(root).table(["os"]).entries == ()


def test_all_files_of_a_package_come_along(root: Path) -> None:
    write(
        root,
        {
            f"t_pkg/{name}": "x"
            for name in (
                "__pycache__/a.cpython-311.pyc .git/config .hidden a.pyc work.py~ work.py.bak "
                "#work.py# .work.py.swp lab.egg-info/PKG-INFO env/pyvenv.cfg env/lib/x.py"
            ).split()
        },
    )
    assert files(patient(root).find("t_pkg")) == {
        "t_pkg/__init__.py",
        "t_pkg/data/table.csv",
        "t_pkg/sub/__init__.py",
        "t_pkg/sub/deep.py",
    }


def test_locations_are_the_users(root: Path) -> None:
    found = patient(root).find("t_pkg")
    assert isinstance(found, Bundle)
    expected = str(root / "t_pkg" / "sub" / "deep.py")
    assert Contents(found.payload).location("t_pkg/sub/deep.py") == expected


def test_a_namespace_package_has_the_portions_below_all_roots(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, {"t_ns/second.py": "", "t_ns/part.py": "shadowed", "t_ns/pictures/a.png": "x"})
    found = patient(root, other).find("t_ns")
    assert files(found) == {"t_ns/part.py", "t_ns/second.py", "t_ns/pictures/a.png"}
    assert isinstance(found, Bundle)
    contents = Contents(found.payload)
    assert contents.read("t_ns/part.py") == b""
    assert contents.location("t_ns/second.py") == str(other / "t_ns" / "second.py")


def test_a_folder_without_sources_is_no_package(root: Path) -> None:
    write(root, {"t_pictures/a.png": "x", "t_deep/data/b.csv": "1"})
    assert patient(root).find("t_pictures") is None
    assert patient(root).find("t_deep") is None


def test_a_folder_that_is_no_package_gives_way_to_a_module(root: Path) -> None:
    write(root, {"msgspec/notes.py": ""})
    assert patient(root).find("msgspec") is None


def test_what_was_imported_is_where_it_was_imported_from(
    root: Path, imports: Callable[[Path, str], object], tmp_path: Path
) -> None:
    write(tmp_path / "elsewhere", {"t_alone.py": ""})
    imports(tmp_path / "elsewhere", "t_alone")
    assert patient(root).find("t_alone") is None
    assert files(patient(root, tmp_path / "elsewhere").find("t_alone")) == {"t_alone.py"}


def test_installed_things_below_a_root_are_not_the_users(root: Path) -> None:
    write(
        root,
        {
            "venv/pyvenv.cfg": "",
            "venv/t_in_venv.py": "",
            "lib/site-packages/t_installed.py": "",
            "ppnext/__init__.py": "",
        },
    )
    project = patient(root, root / "nowhere")
    for name in ("t_in_venv", "t_installed", "ppnext", "sys", "__main__", "os"):
        assert project.find(name) is None


def test_loaded_from_an_environment_below_a_root(
    root: Path, imports: Callable[[Path, str], object]
) -> None:
    write(root, {"venv/pyvenv.cfg": "", "venv/t_in_venv.py": ""})
    imports(root / "venv", "t_in_venv")
    assert patient(root).find("t_in_venv") is None


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "t_pkg.sub", "t_pkg/sub", "../lab/t_alone", "/etc/passwd", "a b", "é" * 300],
)
def test_a_name_that_is_none_is_not_looked_for(root: Path, name: str) -> None:
    assert patient(root / "t_pkg", root).find(name) is None


def test_the_standard_librarys_names(root: Path, imports: Callable[[Path, str], object]) -> None:
    write(root, {"this.py": "", "antigravity.py": ""})
    imports(root, "this")
    assert "rename it" in reason(patient(root).find("this"))
    # Nobody has imported this one, so whoever does may mean the standard library's.
    assert patient(root).find("antigravity") is None


# Files that change.


def test_nothing_changed_is_the_same_table(root: Path) -> None:
    project = patient(root)
    assert project.table(["t_pkg"]) is project.table(["t_pkg.sub"])
    assert patient(root).table(["t_pkg"]).digest == project.table(["t_pkg"]).digest


@pytest.mark.parametrize("settled", [True, False])
def test_an_edited_file_is_noticed_at_once(root: Path, settled: bool) -> None:
    project = patient(root)
    path = root / "t_pkg" / "sub" / "deep.py"
    if not settled:
        path.write_text("x = 1")
    before = project.table(["t_pkg"])
    stamp = path.stat()
    path.write_text("x = 2")
    if not settled:  # a change within one tick of the clock
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = project.table(["t_pkg"])
    assert after.entries != before.entries
    assert project.table(["t_pkg"]) is after
    assert project.bundle(before.bundles[-2].digest) is before.bundles[-2]


@pytest.mark.parametrize("path", ["t_pkg/new.py", "t_pkg/sub/more/new.csv", "t_pkg/data/x"])
def test_a_new_file_is_noticed(root: Path, path: str) -> None:
    project = patient(root)
    before = files(project.find("t_pkg"))
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text("")
    assert files(project.find("t_pkg")) == before | {path}


def test_a_file_that_goes_is_noticed(root: Path) -> None:
    project = patient(root)
    before = files(project.find("t_pkg"))
    (root / "t_pkg/data/table.csv").unlink()
    assert files(project.find("t_pkg")) == before - {"t_pkg/data/table.csv"}


def test_a_module_that_goes_and_comes_as_a_package(root: Path) -> None:
    project = patient(root)
    assert files(project.find("t_alone")) == {"t_alone.py"}
    (root / "t_alone.py").unlink()
    assert project.find("t_alone") is None
    assert project.table(["t_alone"]).entries == ()
    write(root, {"t_alone/__init__.py": ""})
    assert files(project.find("t_alone")) == {"t_alone/__init__.py"}


def test_a_new_import_brings_another_module(root: Path) -> None:
    project = patient(root)
    assert len(project.table(["t_alone"]).entries) == 1
    (root / "t_alone.py").write_text("import t_ns.part")
    assert [name for name, _ in project.table(["t_alone"]).entries] == ["t_alone", "t_ns"]


def test_who_asks_too_soon_gets_the_last_table(root: Path) -> None:
    moments = iter([0.0, 1.0, 2.0, 2.0019, 2.0021, 2.1])
    spent = iter([0.0, 0.0, 0.0001, 5.0, 6.0])
    project = Project([root], clock=lambda: next(moments), effort=lambda: next(spent))
    first = project.table(["t_alone"])
    assert project.table(["t_alone"]) is first  # a look of 0.1 ms, though it ended at 2.0
    (root / "t_alone.py").write_text("import os")
    assert project.table(["t_alone"]) is first  # 1.9 ms later
    second = project.table(["t_alone"])  # 2.1 ms later, and it is new
    assert second is not first
    (root / "t_alone.py").write_text("import sys")
    assert project.table(["t_alone"]) is not second  # for how long that took says nothing


def test_a_look_that_takes_long_is_not_trusted_for_long(root: Path) -> None:
    moments = iter([0.0, 1.0, 2.0, 2.0099, 2.0101, 2.1])
    spent = iter([0.0, 0.0, 1.0, 1.0, 2.0])
    project = Project([root], clock=lambda: next(moments), effort=lambda: next(spent))
    first = project.table(["t_alone"])
    assert project.table(["t_alone"]) is first
    (root / "t_alone.py").write_text("import os")
    assert project.table(["t_alone"]) is first
    assert project.table(["t_alone"]) is not first


def test_the_folder_of_a_module_is_not_listed(root: Path) -> None:
    write(root, {f"t_data/{n}.txt": "" for n in range(3)})
    project = patient(root)
    table = project.table(["t_alone"])
    (root / "t_new.txt").write_text("")
    assert project.table(["t_alone"]) is table


# What cannot be shipped.


def test_a_part_in_c_is_named(root: Path) -> None:
    write(root, {"t_pkg/sub/fast.cpython-311-x86_64-linux-gnu.so": b"\x7fELF"})
    project = patient(root)
    found = reason(project.find("t_pkg"))
    assert "fast.cpython-311-x86_64-linux-gnu.so" in found
    assert "install t_pkg on the nodes" in found
    (name, said), *_ = [entry for entry in project.table(["t_pkg"]).entries if entry[0] == "t_pkg"]
    assert (name, said) == ("t_pkg", found)
    (root / "t_pkg/sub/fast.cpython-311-x86_64-linux-gnu.so").unlink()
    assert isinstance(project.find("t_pkg"), Bundle)


def test_a_large_file_is_named_with_the_limit(root: Path) -> None:
    large = root / "t_pkg" / "data" / "large.bin"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    project = patient(root)
    found = reason(project.find("t_pkg"))
    assert str(large) in found
    assert "50,000,000 bytes" in found
    assert "8,388,608" in found
    with large.open("r+b") as file:
        file.truncate(1000)
    assert isinstance(project.find("t_pkg"), Bundle)


def test_many_bytes_and_many_files(root: Path) -> None:
    for n in range(5):
        with (root / "t_pkg" / f"{n}.bin").open("wb") as file:
            file.truncate(8_000_000)
    assert "more than 33,554,432 bytes" in reason(patient(root).find("t_pkg"))
    write(root, {f"t_many/{n}.py": "" for n in range(2001)})
    assert "more than 2,000 files" in reason(patient(root).find("t_many"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_file_that_cannot_be_read(root: Path) -> None:
    (root / "t_alone.py").chmod(0)
    assert "t_alone.py cannot be read" in reason(patient(root).find("t_alone"))


def test_a_link_to_itself(root: Path) -> None:
    project = patient(root)
    link = root / "t_pkg" / "again.py"
    link.symlink_to("again.py")
    assert f"{link} cannot be read" in reason(project.find("t_pkg"))
    link.unlink()
    assert isinstance(project.find("t_pkg"), Bundle)


def test_a_name_that_is_not_one_everywhere(root: Path) -> None:
    (root / "t_pkg" / "data" / "a\\b.txt").write_text("")
    assert "cannot be that of a file everywhere" in reason(patient(root).find("t_pkg"))


def test_a_source_that_is_no_python_is_shipped(root: Path) -> None:
    write(root, {"t_alone.py": b"\xff\xfe def (", "t_second.py": "def broken(:\n"})
    assert files(patient(root).find("t_alone")) == {"t_alone.py"}
    assert files(patient(root).find("t_second")) == {"t_second.py"}


# Links.


def test_links_are_followed_below_a_root_only(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "away", {"secret.txt": "x", "other/a.txt": "x"})
    (root / "t_pkg" / "link.py").symlink_to(root / "t_alone.py")
    (root / "t_pkg" / "loop").symlink_to(root / "t_pkg")
    (root / "t_pkg" / "secret.txt").symlink_to(tmp_path / "away" / "secret.txt")
    (root / "t_pkg" / "other").symlink_to(tmp_path / "away" / "other")
    (root / "t_pkg" / "nothing").symlink_to(root / "nothing")
    found = files(patient(root).find("t_pkg"))
    assert "t_pkg/link.py" in found
    assert not any("loop" in path or "secret" in path or "other" in path for path in found)


def test_a_source_that_leads_out_is_refused(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "away", {"work.py": ""})
    (root / "t_pkg" / "work.py").symlink_to(tmp_path / "away" / "work.py")
    assert "ship_roots=" in reason(patient(root).find("t_pkg"))
    assert isinstance(patient(root, tmp_path / "away").find("t_pkg"), Bundle)


def test_a_module_that_leads_out_is_not_the_users(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "away", {"t_link.py": ""})
    (root / "t_link.py").symlink_to(tmp_path / "away" / "t_link.py")
    assert patient(root).find("t_link") is None


# What is installed and named.


def test_an_installed_module_is_shipped_if_it_is_named(root: Path) -> None:
    assert patient(root).find("iniconfig") is None
    assert "iniconfig/__init__.py" in files(patient(root, ship=("iniconfig",)).find("iniconfig"))


def test_an_installed_distribution_with_a_part_in_c(root: Path) -> None:
    assert "part in C" in reason(patient(root, ship=("msgspec",)).find("msgspec"))


def test_the_name_of_a_distribution_brings_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "site-packages",
        {
            "t_inst.py": "",
            "t_inst_pkg/__init__.py": "import t_inst",
            "t_dist-1.0.dist-info/METADATA": "Name: t-dist\nVersion: 1.0\n",
            "t_dist-1.0.dist-info/RECORD": "t_inst.py,,\nt_inst_pkg/__init__.py,,\n",
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    project = patient(tmp_path, ship=("t-dist",))
    assert isinstance(project.find("t_inst"), Bundle)
    assert [name for name, _ in project.table(["t_inst_pkg"]).entries] == ["t_inst", "t_inst_pkg"]
    assert patient(tmp_path).find("t_inst") is None


def test_what_is_not_installed_cannot_be_named() -> None:
    with pytest.raises(ConfigError, match="'no-such-thing'"):
        Project([], ["no-such-thing"])


# Threads.


def test_threads_get_the_same_table(root: Path) -> None:
    project = Project([root])
    start = threading.Barrier(4)
    tables: list[object] = []

    def ask() -> None:
        start.wait()
        tables.extend(project.table(["t_pkg"]) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 200
    assert len({id(table) for table in tables}) == 1
