"""Functions and packages that are made to be shipped are what they are to be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import ppnext
from benchmarks.measures import DEFAULT, MEASURES, Sizes
from benchmarks.measures.shipping import FORMS, functions, make_package, shipping, submit_costs
from benchmarks.peers.running import Running, Unavailable

SIZES = Sizes(single=10, submits=100, firsts=2)


class Here(Running):
    """A system that runs everything at once, in this process."""

    def __init__(self) -> None:
        self.folder = ""
        self.closed = False

    def submit(self, func: Callable[..., Any], *args: Any) -> Any:
        return func(*args)

    def collect(self, handle: Any) -> Any:
        return handle

    def with_modules(self, folder: str) -> Running:
        self.folder = folder
        return self

    def form_of(self, func: Callable[..., Any]) -> str:
        return ppnext.explain(func).form

    def close(self) -> None:
        self.closed = True


class Wrong(Here):
    """A system that loses a result."""

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return list(handles)[:-1]


class Same(Here):
    """A system that has one form only."""

    def form_of(self, func: Callable[..., Any]) -> str:
        return "value"


@pytest.fixture
def forget() -> Iterator[None]:
    """Packages that are imported are forgotten afterwards."""
    before = set(sys.modules)
    yield
    for name in [name for name in sys.modules if name.startswith("helpers")]:
        if name not in before:
            del sys.modules[name]


@pytest.fixture
def imports(forget: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to import from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_functions_go_in_the_form_that_they_are_made_for(tmp_path: Path) -> None:
    made = functions(tmp_path, 4)
    assert tuple(made) == FORMS
    for form in FORMS:
        assert {ppnext.explain(function).form for function in made[form]} == {form}


def test_there_are_enough_functions_and_each_is_new(tmp_path: Path) -> None:
    count = DEFAULT.firsts + 1
    made = [function for found in functions(tmp_path, count).values() for function in found]
    assert len(made) == count * len(FORMS)
    assert len({ppnext.explain(function).digest for function in made}) == len(made)


def test_a_package_is_all_imported_and_of_about_30_kb(imports: Path) -> None:
    function = make_package(imports, "helpers_of_a_test", 20)
    assert isinstance(function(1), int)
    assert sum(name.startswith("helpers_of_a_test.") for name in sys.modules) == 19
    size = sum(file.stat().st_size for file in (imports / "helpers_of_a_test").glob("*.py"))
    assert 20_000 < size < 50_000


def test_a_package_goes_by_reference_and_its_modules_come_along(imports: Path) -> None:
    function = make_package(imports, "helpers_of_another", 3)
    found = ppnext.explain(function, ship_roots=[str(imports)])
    assert found.form == "reference"
    assert [module.name for module in found.modules if module.origin == "shipped"] == [
        "helpers_of_another"
    ]


@pytest.mark.usefixtures("forget")
def test_all_that_is_shown_is_measured_and_everything_is_tidied_up() -> None:
    here, path = Here(), list(sys.path)
    found = shipping(here, SIZES, {"workers": 1}).values
    prefixes = ("submit_", "single_", "first_", "package_")
    assert {name for name in MEASURES if name.startswith(prefixes)} <= found.keys()
    assert found["submit_forms"] >= 1
    assert here.closed
    assert sys.path == path
    assert not Path(here.folder).exists()


@pytest.mark.usefixtures("forget")
def test_other_forms_than_those_that_are_meant_are_not_measured() -> None:
    same = Same()
    with pytest.raises(ValueError, match="that was to go by reference goes by value"):
        shipping(same, SIZES, {"workers": 1})
    assert same.closed


def test_results_are_checked(tmp_path: Path) -> None:
    known = {form: found[0] for form, found in functions(tmp_path, 1).items()}
    with pytest.raises(ValueError, match="results are wrong"):
        submit_costs(Wrong(), known, 1)


def test_a_system_without_modules_or_forms_says_so() -> None:
    with pytest.raises(Unavailable, match="ships no modules"):
        Running.with_modules(Here(), "")
    with pytest.raises(Unavailable, match="how it ships"):
        Running.form_of(Here(), abs)
