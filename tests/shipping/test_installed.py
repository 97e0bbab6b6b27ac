"""What ``ship=`` names: distributions, modules, and what tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppnext.errors import ConfigError
from ppnext.shipping.installed import places_of

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
