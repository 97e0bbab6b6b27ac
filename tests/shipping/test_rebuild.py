"""What pickles call when they are loaded: versions, identities, and what is gone."""

from __future__ import annotations

import gc
import marshal
import pickle
import threading
import weakref
from enum import Enum, EnumMeta

import pytest

from ppnext.errors import RemoteError, UnsuitablePython
from ppnext.shipping import byvalue, rebuild


def test_code_of_another_python_says_so() -> None:
    code = marshal.dumps((lambda: 1).__code__)
    with pytest.raises(RemoteError, match=r"made by Python 2\.7 cannot run on this node's Python"):
        rebuild.make_code("2.7", code)
    with pytest.raises(UnsuitablePython, match="same minor version at both ends"):
        rebuild.make_code("2.7", code)
    assert eval(rebuild.make_code(rebuild.PYTHON, code)) == 1


def test_a_class_has_one_name_and_is_found_by_it() -> None:
    class Here:
        pass

    name = rebuild.name_of(Here)
    assert rebuild.name_of(Here) == name
    assert rebuild.class_at_home(name, "Here") is Here
    assert rebuild.make_class(name, type, "Here", (), {}) is Here


def test_a_class_that_is_gone_is_named() -> None:
    class Passing:
        pass

    name = rebuild.name_of(Passing)
    del Passing
    gc.collect()
    with pytest.raises(RemoteError, match="the class Passing that was sent to the node is gone"):
        rebuild.class_at_home(name, "Passing")


def test_a_class_is_made_once_and_dies_with_its_last_user() -> None:
    made = rebuild.make_class("a name of its own", type, "Made", (), {})
    assert rebuild.make_class("a name of its own", type, "Made", (), {}) is made
    assert made in rebuild.received
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None


def test_an_enum_is_made_once() -> None:
    made = rebuild.make_enum("an enum's name", EnumMeta, "Made", (Enum,), {"A": 1})
    assert rebuild.make_enum("an enum's name", EnumMeta, "Made", (Enum,), {"A": 1}) is made
    rebuild.fill_enum(made, ({"word": "w"}, {"A": {"extra": 2}}))  # type: ignore[arg-type]  # damaged on purpose
    assert (made["A"].extra, made["A"].value) == (2, 1)


def test_what_comes_home_does_not_change_what_is_at_home() -> None:
    class Here:
        level = 1

    class Kind(Enum):
        A = 1

    rebuild.fill_class(Here, {"level": 2})
    rebuild.fill_enum(Kind, ({"level": 2}, {"A": {"extra": 2}}))  # type: ignore[arg-type]  # damaged on purpose
    assert Here.level == 1
    assert not hasattr(Kind, "level")
    assert not hasattr(Kind.A, "extra")


def test_a_base_greets_its_subclasses_again_once_the_copy_is_made() -> None:
    greeted: list[str] = []

    class Base:
        def __init_subclass__(cls) -> None:
            greeted.append(cls.__name__)

    base = rebuild.make_class("a base's name", type, "Base", (), {})
    rebuild.fill_class(base, {"__init_subclass__": Base.__dict__["__init_subclass__"]})
    child = rebuild.make_class("a child's name", type, "Child", (base,), {})
    assert greeted == []
    type("Own", (child,), {})
    assert greeted == ["Own"]


def test_an_empty_cell_stays_empty_and_text_that_looks_like_it_does_not_matter() -> None:
    def make(full: bool) -> object:
        if full:
            content = "ppnext"
        return lambda: content

    loaded = pickle.loads(byvalue.dumps((make(True), make(False)), 5))
    assert loaded[0]() == "ppnext"
    with pytest.raises(NameError):
        loaded[1]()


def test_a_function_can_be_loaded_in_several_threads_at_once() -> None:
    class Thing:
        pass

    payload = byvalue.dumps(lambda: Thing, 5)
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(pickle.loads(payload)())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Thing] * 8
