"""Needs: which node can run which job, and what is said of one that cannot."""

from __future__ import annotations

import pytest

from ppnext.needs import Facts, Need, distributions, fits, minor, parse_requires, with_same

NODE = Facts(
    "3.12.4",
    {"numpy": "2.1.0", "scipy": "", "pandas": "", "torch": "2.0.1+cu118"},
    name="ws1:60000",
)
OLD = NODE._replace(limits=False)


@pytest.mark.parametrize(
    ("need", "lack"),
    [
        (Need(), None),
        (Need(python="3.12"), None),
        (Need(python="3.11"), "has Python 3.12.4, not 3.11"),
        (Need(python="3.1"), "has Python 3.12.4, not 3.1"),
        (Need(without=frozenset({"3.10"})), None),
        (
            Need(without=frozenset({"3.12"})),
            "has Python 3.12.4, which does not know the function's syntax",
        ),
        (Need(requires=("numpy",)), None),
        (Need(requires=("numpy>=2",)), None),
        (Need(requires=("numpy<2",)), "has numpy 2.1.0, not <2"),
        (Need(requires=("torch==2.0.1",)), None),
        (Need(requires=("scipy",)), "has no scipy"),
        (Need(requires=("jax",)), "has not said yet whether it has jax"),
        (Need(requires=("pandas",)), "has no pandas"),
        (Need(node="ws?"), None),
        (Need(node="ws1:6*"), None),
        (Need(node="ws2"), "is not ws2"),
        (Need(limited=True), None),
        (Need(priority=7), None),
        (Need(avoid=frozenset({"ws2:60000"})), None),
        (Need(avoid=frozenset({"ws1:60000"})), "is not to run it a second time"),
        (Need(requires=("python>=3.11",)), None),
        (Need(requires=("python>=3.13",)), "has Python 3.12.4, not >=3.13"),
        (Need("3.12", requires=("numpy", "scipy")), "has no scipy"),
    ],
)
def test_whether_a_node_fits(need: Need, lack: str | None) -> None:
    assert fits(need, NODE) == lack


@pytest.mark.parametrize(
    "node", ["[2001:db8::7]:60000", "[2001:db8::7]", "2001:db8::7", "2001:db8:*"]
)
def test_a_node_with_an_ipv6_address_is_named_as_it_is_written(node: str) -> None:
    assert fits(Need(node=node), NODE._replace(name="[2001:db8::7]:60000")) is None
    assert fits(Need(node=node), NODE._replace(name="[2001:db9::8]:60000")) == f"is not {node}"


def test_an_older_node_holds_no_jobs_to_limits() -> None:
    assert fits(Need(limited=True), OLD) == "has an older ppnext, which cannot hold jobs to limits"
    assert fits(Need(), OLD) is None


@pytest.mark.parametrize("need", [Need(threads=2), Need(resources=(("gpu", 1),))])
def test_an_older_node_knows_nothing_of_claims(need: Need) -> None:
    assert fits(need, NODE) is None, "the scheduler looks after them"
    assert fits(need, OLD) == (
        "has an older ppnext, which does not know of threads and resources of jobs"
    )


def test_requirements_in_any_spelling_are_one_need() -> None:
    spellings = [("numpy >= 2", "scipy"), ["scipy", "numpy>=2", "numpy>=2"], ("numpy>=2", "scipy")]
    assert {parse_requires(it) for it in spellings} == {("numpy>=2", "scipy")}
    assert parse_requires(()) == ()


def test_which_distributions_are_asked_for() -> None:
    assert distributions(("scipy", "numpy>=2", "numpy<3", "Python>=3.10")) == ["numpy", "scipy"]


@pytest.mark.parametrize(
    ("requires", "kind", "said"),
    [
        ("numpy", TypeError, r"did you mean \('numpy',\)"),
        ((1,), TypeError, "tuple of strings"),
        (None, TypeError, "tuple of strings, not None"),
        (("numpy=>2",), ValueError, "such as 'numpy>=2', not 'numpy=>2'"),
        (("",), ValueError, "not ''"),
        (("numpy; python_version<'3'",), ValueError, "a name and versions only"),
        (("x @ https://x.invalid/x.whl",), ValueError, "a name and versions only"),
    ],
)
def test_what_is_no_requirement(requires: object, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        parse_requires(requires)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("requires", "name", "version", "expected"),
    [
        ((), "numpy", "2.4.6", ("numpy===2.4.6",)),
        (("scipy",), "numpy", "1.0+cu118", ("numpy===1.0+cu118", "scipy")),
        (("numpy>=2",), "NumPy", "2.4.6", ("numpy>=2",)),
        (("python-dateutil",), "python_dateutil", "2", ("python-dateutil",)),
        (("scipy",), "odd name", "1", ("scipy",)),
        ((), "odd", "today ; or not", ()),
    ],
)
def test_the_same_version_is_required_unless_something_else_is(
    requires: tuple[str, ...], name: str, version: str, expected: tuple[str, ...]
) -> None:
    assert with_same(requires, name, version) == expected


def test_the_same_version_is_the_same_text() -> None:
    need = Need(requires=with_same((), "odd", "blue-7"))
    assert fits(need, Facts("3.12.4", {"odd": "blue-7"})) is None
    assert fits(need, Facts("3.12.4", {"odd": "blue-8"})) == "has odd blue-8, not blue-7"


def test_minor_versions() -> None:
    assert [minor(it) for it in ("3.11.7", "3.13.0rc1", "3.9")] == ["3.11", "3.13", "3.9"]
