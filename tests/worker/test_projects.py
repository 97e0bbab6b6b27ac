"""Projects: each job sees the modules of its own table, and nothing of the jobs before it."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ppnext.shipping.bundles import Bundle, SourceFile, pack
from ppnext.shipping.contents import Entries
from ppnext.worker.projects import Answer, Projects

WORLDS = 8


class Client:
    """What the other end has: bundles by digest, answers by name, and what it was asked."""

    def __init__(self) -> None:
        self.bundles: dict[bytes, bytes] = {}
        self.answers: dict[str, Answer] = {}
        self.fetched: list[bytes] = []
        self.asked: list[str] = []

    def make(self, name: str, files: dict[str, str], folder: str = "/home/ann") -> bytes:
        sources = [SourceFile(path, folder, text.encode()) for path, text in files.items()]
        bundle: Bundle = pack(name, sources)
        self.bundles[bundle.digest] = bundle.payload
        return bundle.digest

    def module(self, name: str, text: str) -> tuple[str, bytes]:
        """Make the bundle of a module; return its entry in a table."""
        return name, self.make(name, {f"{name}.py": text})

    def fetch(self, digest: bytes) -> bytes:
        self.fetched.append(digest)
        return self.bundles[digest]

    def ask(self, name: str) -> Answer:
        self.asked.append(name)
        return self.answers.get(name)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def projects_with(client: Client) -> Iterator[Callable[..., Projects]]:
    """Make projects; they are closed after the test."""
    made: list[Projects] = []
    before = set(sys.modules)

    def make(**options: Any) -> Projects:
        made.append(Projects(client.fetch, client.ask, **options))
        return made[-1]

    yield make
    for projects in made:
        projects.close()
    for name in [name for name in set(sys.modules) - before if name.startswith("t_")]:
        del sys.modules[name]  # those from disk


@pytest.fixture
def projects(projects_with: Callable[..., Projects]) -> Projects:
    return projects_with()


def value(name: str) -> object:
    return importlib.import_module(name).VALUE


def test_a_job_sees_the_modules_of_its_table(projects: Projects, client: Client) -> None:
    first: Entries = (client.module("t_a", "VALUE = 1"),)
    second: Entries = (client.module("t_a", "VALUE = 2"),)
    for entries, expected in ((first, 1), (second, 2), (first, 1), (second, 2)):
        projects.enter(entries)
        assert value("t_a") == expected
    assert len(client.fetched) == 2


def test_a_module_is_fetched_when_it_is_imported(projects: Projects, client: Client) -> None:
    projects.enter((client.module("t_a", "VALUE = 1"),))
    assert client.fetched == []
    assert value("t_a") == 1
    assert len(client.fetched) == 1


def test_a_module_that_comes_back_is_the_same(projects: Projects, client: Client) -> None:
    first: Entries = (client.module("t_a", "VALUE = 1"),)
    projects.enter(first)
    module = importlib.import_module("t_a")
    projects.enter((client.module("t_a", "VALUE = 2"),))
    assert importlib.import_module("t_a") is not module
    projects.enter((*first,))
    assert importlib.import_module("t_a") is module


def test_no_module_meets_another_version_of_what_it_imports(
    projects: Projects, client: Client
) -> None:
    user = client.module("t_user", "import t_a\ndef value(): return t_a.VALUE")
    old: Entries = (client.module("t_a", "VALUE = 1"), user)
    new: Entries = (client.module("t_a", "VALUE = 2"), user)
    for entries, expected in ((old, 1), (new, 2), (old, 1)):
        projects.enter(entries)
        assert importlib.import_module("t_user").value() == expected


def test_an_old_definition_imports_its_own_version_late(projects: Projects, client: Client) -> None:
    late = client.module("t_late", "def value():\n    import t_a\n    return t_a.VALUE")
    old: Entries = (client.module("t_a", "VALUE = 1"), late)
    new: Entries = (client.module("t_a", "VALUE = 2"), late)
    projects.enter(old)
    function = importlib.import_module("t_late").value
    projects.enter(new)
    assert value("t_a") == 2
    projects.enter(old)
    assert function() == 1


def test_tables_that_agree_share_modules(projects: Projects, client: Client) -> None:
    a, b = client.module("t_a", "VALUE = []"), client.module("t_b", "VALUE = 1")
    projects.enter((a,))
    shared = value("t_a")
    projects.enter((a, b))
    assert value("t_a") is shared
    projects.enter((b,))
    projects.enter((a,))
    assert value("t_a") is shared


def test_what_the_table_does_not_have_is_not_there(projects: Projects, client: Client) -> None:
    projects.enter((client.module("t_a", "VALUE = 1"),))
    assert value("t_a") == 1
    projects.enter(())
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("t_a")


def test_submodules_go_with_their_package(projects: Projects, client: Client) -> None:
    def package(n: int) -> Entries:
        files = {
            "t_p/__init__.py": "from . import sub",
            "t_p/sub.py": f"VALUE = {n}",
        }
        return (("t_p", client.make("t_p", files)),)

    projects.enter(package(1))
    one = importlib.import_module("t_p.sub")
    projects.enter(package(2))
    assert "t_p.sub" not in sys.modules
    assert value("t_p.sub") == 2
    projects.enter(package(1))
    assert sys.modules["t_p.sub"] is one is importlib.import_module("t_p").sub


def test_old_worlds_are_forgotten(projects: Projects, client: Client) -> None:
    tables: list[Entries] = [
        (("t_p", client.make("t_p", {"t_p/__init__.py": f"VALUE = {n}"})),)
        for n in range(3 * WORLDS)
    ]
    for entries in tables:
        projects.enter(entries)
        importlib.import_module("t_p")
        importlib.util.find_spec("t_p.sub")  # this makes an entry in a cache of Python
    ours = [path for path in sys.path_importer_cache if str(path).startswith("ppnext-bundle")]
    assert len(ours) <= WORLDS + 1
    projects.enter(tables[0])
    assert value("t_p") == 0


def test_bundles_are_kept_in_so_many_bytes(
    projects_with: Callable[..., Projects], client: Client
) -> None:
    projects = projects_with(kept=1)
    entries: Entries = (client.module("t_a", "import t_b"), client.module("t_b", "VALUE = 1"))
    projects.enter(entries)
    module = importlib.import_module("t_a")
    assert client.fetched == [entries[0][1], entries[1][1]]
    assert module.__spec__ is not None
    source = module.__spec__.loader.get_source("t_a")  # type: ignore[union-attr]  # one of ours
    assert source == "import t_b"
    assert client.fetched == [entries[0][1], entries[1][1], entries[0][1]]


# The node's own modules.


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed modules, with t_a, whose value is 0, and a portion of t_ns."""
    (tmp_path / "t_a.py").write_text("VALUE = 0")
    (tmp_path / "t_ns").mkdir()
    (tmp_path / "t_ns" / "theirs.py").write_text("VALUE = 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_bundle_wins_over_what_is_installed_while_it_is_seen(
    installed: Path, projects: Projects, client: Client
) -> None:
    projects.enter(())
    own = importlib.import_module("t_a")
    assert own.VALUE == 0
    projects.enter((client.module("t_a", "VALUE = 1"),))
    assert value("t_a") == 1
    projects.enter((client.module("t_a", "VALUE = 2"),))
    assert value("t_a") == 2
    projects.enter(())
    assert importlib.import_module("t_a") is own


def test_what_the_worker_runs_on_is_never_replaced(projects: Projects, client: Client) -> None:
    pickler, msgspec = sys.modules["pickle"], sys.modules["msgspec"]
    projects.enter((client.module("msgspec", "VALUE = 1"), client.module("pickle", "VALUE = 1")))
    assert importlib.import_module("pickle") is pickler
    assert importlib.import_module("msgspec") is msgspec
    projects.enter(())
    assert sys.modules["pickle"] is pickler


def test_what_jobs_have_loaded_before_gives_way(
    installed: Path, projects_with: Callable[..., Projects], client: Client
) -> None:
    own = importlib.import_module("t_a")
    projects = projects_with(own=["msgspec"])
    projects.enter((client.module("t_a", "VALUE = 1"),))
    assert value("t_a") == 1
    projects.enter(())
    assert importlib.import_module("t_a") is own


def test_a_namespace_package_has_the_portions_of_the_node_too(
    installed: Path, projects: Projects, client: Client
) -> None:
    projects.enter((("t_ns", client.make("t_ns", {"t_ns/ours.py": "VALUE = 1"})),))
    assert value("t_ns.ours") == 1
    assert value("t_ns.theirs") == 0


# Names that are asked for.


def test_a_name_that_nobody_has_is_asked_for_once(projects: Projects, client: Client) -> None:
    client.answers["t_shapes"] = client.module("t_shapes", "VALUE = 1")[1]
    projects.enter(())
    for _ in range(2):
        assert value("t_shapes") == 1
        with pytest.raises(ModuleNotFoundError, match="t_nowhere"):
            importlib.import_module("t_nowhere")
    assert client.asked == ["t_shapes", "t_nowhere"]


def test_an_answer_holds_for_its_table_only(projects: Projects, client: Client) -> None:
    other: Entries = (client.module("t_a", "VALUE = 1"),)
    client.answers["t_shapes"] = client.module("t_shapes", "VALUE = 1")[1]
    projects.enter(())
    shapes = importlib.import_module("t_shapes")
    projects.enter(other)
    assert "t_shapes" not in sys.modules
    assert importlib.import_module("t_shapes") is shapes  # for it is the same still
    client.answers["t_shapes"] = client.module("t_shapes", "VALUE = 2")[1]
    projects.enter((client.module("t_b", ""),))
    assert value("t_shapes") == 2
    projects.enter(())
    assert importlib.import_module("t_shapes") is shapes
    assert client.asked == ["t_shapes"] * 3


def test_a_package_that_was_asked_for_comes_back_whole(projects: Projects, client: Client) -> None:
    files = {"t_p/__init__.py": "from . import sub", "t_p/sub.py": "VALUE = 1"}
    client.answers["t_p"] = client.make("t_p", files)
    projects.enter(())
    package = importlib.import_module("t_p")
    spec = package.__spec__
    projects.enter((client.module("t_b", ""),))
    assert importlib.import_module("t_p") is package
    assert importlib.import_module("t_p.sub") is package.sub
    assert package.__spec__ is spec


def test_instances_arrive_whose_class_must_be_asked_for(projects: Projects, client: Client) -> None:
    client.answers["t_shapes"] = client.module("t_shapes", "class Point: pass")[1]
    projects.enter(())
    point = pickle.loads(b"ct_shapes\nPoint\n)\x81.")
    assert type(point).__module__ == "t_shapes"


def test_parts_of_modules_and_odd_names_are_not_asked_for(
    projects: Projects, client: Client
) -> None:
    projects.enter((client.module("t_a", "VALUE = 1"),))
    for name in ("t_a.sub", "not-a-name", "_winapi_x.y", "os.nothing"):
        with pytest.raises(ImportError):
            importlib.import_module(name)
    for name in ("msvcrt", "winreg"):  # the standard library's, elsewhere
        assert importlib.util.find_spec(name) is None or sys.platform == "win32"
    assert client.asked == ["_winapi_x"]


def test_nothing_is_asked_before_the_first_table(projects: Projects, client: Client) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("t_a")
    assert client.asked == []


def test_a_client_that_goes_while_it_is_asked(projects: Projects, client: Client) -> None:
    def gone(name: str) -> Answer:
        raise ConnectionError("the parent went")

    projects.enter(())
    projects._ask = gone
    with pytest.raises(ConnectionError):
        importlib.import_module("t_a")
    projects._ask = client.ask
    client.answers["t_a"] = client.module("t_a", "VALUE = 1")[1]
    assert value("t_a") == 1


# Refusals.

WHY = "t_a has a part in C, /home/ann/t_a/fast.so: install t_a on the nodes"


def test_what_cannot_be_shipped_is_said_in_its_words(projects: Projects, client: Client) -> None:
    projects.enter((("t_a", WHY),))
    with pytest.raises(ImportError, match=WHY) as caught:
        importlib.import_module("t_a.sub")
    assert caught.value.name == "t_a"
    client.answers["t_b"] = "no"
    with pytest.raises(ImportError, match="no"):
        importlib.import_module("t_b")


def test_what_cannot_be_shipped_may_be_installed(installed: Path, projects: Projects) -> None:
    projects.enter((("t_a", WHY),))
    assert value("t_a") == 0


def test_the_name_of_a_standard_module_fails_at_once(projects: Projects, client: Client) -> None:
    with pytest.raises(ImportError, match="rename it"):
        projects.enter((("queue", "rename it"),))
    projects.enter((client.module("t_a", "VALUE = 1"),))
    assert value("t_a") == 1


def test_on_the_clients_machine_it_is_imported_from_disk(
    projects_with: Callable[..., Projects], client: Client, tmp_path: Path
) -> None:
    (tmp_path / "t_a.py").write_text("VALUE = 0")
    projects = projects_with(disk=[str(tmp_path)])
    projects.enter((("queue", "rename it"), ("t_a", WHY)))
    assert value("t_a") == 0


def test_on_the_clients_machine_the_client_is_asked_before_the_disk(
    projects_with: Callable[..., Projects], client: Client, tmp_path: Path
) -> None:
    (tmp_path / "t_a.py").write_text("VALUE = 0")
    projects = projects_with(disk=[str(tmp_path)])
    client.answers["t_a"] = client.module("t_a", "VALUE = 1")[1]
    projects.enter(())
    assert value("t_a") == 1
    importlib.util.find_spec("iniconfig")
    assert client.asked == ["t_a"]


# Threads.


def test_threads_import_a_cycle_of_modules(projects: Projects, client: Client) -> None:
    count = 6
    modules = [
        client.module(f"t_{n}", f"import t_{(n + 1) % count}\nVALUE = {n}") for n in range(count)
    ]
    projects.enter(tuple(modules))
    start = threading.Barrier(count)
    values: list[object] = []

    def load(n: int) -> None:
        start.wait()
        values.append(value(f"t_{n}"))

    threads = [threading.Thread(target=load, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, values)) == [str(n) for n in range(count)]
    assert len(client.fetched) == count


# Bad input: it fails in words, and the next job runs clean.


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"something else", "not what was asked for"),
        (b"", "not what was asked for"),
    ],
)
def test_a_wrong_bundle_is_dropped(
    projects: Projects, client: Client, payload: bytes, why: str
) -> None:
    entries: Entries = (client.module("t_a", "VALUE = 1"),)
    digest = entries[0][1]
    assert isinstance(digest, bytes)
    right = client.bundles[digest]
    client.bundles[digest] = payload
    projects.enter(entries)
    with pytest.raises(ImportError, match=why):
        importlib.import_module("t_a")
    client.bundles[digest] = right
    assert value("t_a") == 1


def test_a_malformed_bundle_and_one_of_another_module(projects: Projects, client: Client) -> None:
    digest = sha256(b"junk").digest()
    client.bundles[digest] = b"junk"
    projects.enter((("t_a", digest), ("t_b", client.module("t_c", "")[1])))
    with pytest.raises(ImportError, match="bundle of t_a is malformed"):
        importlib.import_module("t_a")
    with pytest.raises(ImportError, match="bundle of t_b is that of t_c"):
        importlib.import_module("t_b")


def test_a_module_that_raises_leaves_nothing(projects: Projects, client: Client) -> None:
    files = {
        "t_p/__init__.py": "from . import sub\nimport t_knows\n1 / 0",
        "t_p/sub.py": "",
    }
    knows = client.module("t_knows", "import t_p")
    other = client.module("t_a", "VALUE = 1")
    projects.enter((other, knows, ("t_p", client.make("t_p", files))))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            importlib.import_module("t_p")
        last = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert (last.filename, last.lineno, last.line) == ("/home/ann/t_p/__init__.py", 3, "1 / 0")
        assert not any(name.startswith(("t_p", "t_knows")) for name in sys.modules)
    assert value("t_a") == 1


def test_a_syntax_error_is_in_the_users_file(projects: Projects, client: Client) -> None:
    projects.enter((client.module("t_a", "x = 1\ndef broken(:\n"),))
    with pytest.raises(SyntaxError) as caught:
        importlib.import_module("t_a")
    assert (caught.value.filename, caught.value.lineno) == ("/home/ann/t_a.py", 2)
    assert caught.value.text is not None
    assert "def broken(:" in caught.value.text


def test_the_lines_of_a_traceback_are_those_of_the_version(
    projects: Projects, client: Client, tmp_path: Path
) -> None:
    def table(text: str) -> Entries:
        digest = client.make("t_a", {"t_a.py": text}, str(tmp_path))
        return (("t_a", digest),)

    (tmp_path / "t_a.py").write_text("edited since")
    old, new = table("def f(): return old"), table("def f(): return new")
    for entries, line in ((old, "old"), (new, "new"), (old, "old")):
        projects.enter(entries)
        with pytest.raises(NameError) as caught:
            importlib.import_module("t_a").f()
        last = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert last.line == f"def f(): return {line}"
    projects.enter(())
    assert linecache.cache.get(str(tmp_path / "t_a.py")) is None
