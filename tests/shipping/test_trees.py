"""Trees: files that change while they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ppnext.shipping.places import Place
from ppnext.shipping.roots import Roots
from ppnext.shipping.trees import Tree


class Disturber(Roots):
    """Roots that do something whenever they are asked about a link."""

    def __init__(self, root: Path, disturb: Callable[[], None]) -> None:
        super().__init__([root])
        self._disturb = disturb

    def hold(self, path: str) -> bool:
        self._disturb()
        return super().hold(path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A package of three files and a link, which is looked at after they were listed."""
    folder = tmp_path / "t_pkg"
    folder.mkdir()
    for name in ("__init__.py", "x.py", "y.py", "z.py"):
        (folder / name).write_text(name)
    (folder / "link.py").symlink_to(folder / "__init__.py")
    return Place("t_pkg", (str(folder),))


def paths(tree: Tree) -> set[str]:
    return {source.path for source in tree.sources}


def test_a_file_that_vanishes_while_the_tree_is_read(place: Place, tmp_path: Path) -> None:
    folder = Path(place.paths[0])
    tree = Tree(place, Disturber(tmp_path, lambda: (folder / "x.py").unlink(missing_ok=True)))
    assert tree.refusal is None
    assert paths(tree) == {f"t_pkg/{name}.py" for name in ("__init__", "link", "y", "z")}
    assert not tree.changed()


def test_a_tree_that_changes_all_the_time_is_refused(place: Place, tmp_path: Path) -> None:
    folder = Path(place.paths[0])
    left = [folder / "x.py", folder / "y.py", folder / "z.py"]
    tree = Tree(place, Disturber(tmp_path, lambda: left.pop().unlink()))
    assert tree.refusal is not None
    assert "changes all the time" in tree.refusal
    assert tree.sources == []
    assert tree.changed()


def test_a_tree_that_has_gone(place: Place, tmp_path: Path) -> None:
    tree = Tree(place, Roots([tmp_path]))
    assert not tree.changed()
    Path(place.paths[0]).rename(tmp_path / "away")
    assert tree.changed()


def test_what_lies_behind_a_link_is_watched(place: Place, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("1")
    (Path(place.paths[0]) / "data").symlink_to(data)
    tree = Tree(place, Roots([tmp_path]))
    assert "t_pkg/data/a.csv" in paths(tree)
    (data / "b.csv").write_text("2")
    assert tree.changed()
