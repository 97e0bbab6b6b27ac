"""What ``ship=`` names: distributions, modules, and what tells of them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from ppnext.errors import ConfigError
from ppnext.shipping.installed import owner_of, places_of

FILES = {
    "t_inst.py": "",
    "t_inst_pkg/__init__.py": "",
    "t_inst_pkg/a.py": "",
    "t_dist-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: t-dist\nVersion: 1.0\n",
    "t_dist-1.0.dist-info/RECORD": (
        "t_inst.py,,\nt_inst_pkg/__init__.py,,\nt_inst_pkg/a.py,,\n../../bin/t,,\n"
        "t_dist-1.0.dist-info/METADATA,,\nt_dist-1.0.dist-info/RECORD,,\n"
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a distribution of a module and a package is installed."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["t-dist", "T_Dist", "t_inst", "t_inst_pkg"])
def test_all_of_a_distribution_comes_along(site: Path, name: str) -> None:
    module, package = places_of(name)
    assert (module.paths, module.is_module) == ((str(site / "t_inst.py"),), True)
    assert (package.paths, package.is_module) == ((str(site / "t_inst_pkg"),), False)
    for place in (module, package):
        assert place.installed
        assert place.metadata == (str(site / "t_dist-1.0.dist-info" / "METADATA"),)


def test_a_module_that_no_distribution_has_installed(site: Path) -> None:
    (site / "t_plain.py").write_text("")
    (place,) = places_of("t_plain")
    assert (place.paths, place.metadata) == ((str(site / "t_plain.py"),), ())


@pytest.mark.parametrize("name", ["t-nothing", "", "../t_inst", "t_inst_pkg.a", "ppnext"])
def test_what_is_no_such_thing(site: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="ship= names"):
        places_of(name)


def test_which_distribution_a_module_is_from(site: Path) -> None:
    assert owner_of("t_inst") == owner_of("t_inst_pkg") == ("t-dist", "1.0")
    assert owner_of("msgspec") == ("msgspec", metadata.version("msgspec"))
    (site / "t_free.py").write_text("")
    assert owner_of("t_free") is owner_of("json") is owner_of("") is None


def test_a_distribution_of_the_same_name_need_not_be_the_one(site: Path) -> None:
    info = site / "t_inst-7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: t-inst\nVersion: 7\n")
    (info / "RECORD").write_text("t_else.py,,\n")
    assert owner_of("t_inst") == ("t-dist", "1.0")
    assert owner_of("t_else") == ("t-inst", "7")
    (info / "RECORD").write_text("t_inst_pkg/more.py,,\n")
    assert owner_of("t_inst_pkg") is None  # two have a part in it
