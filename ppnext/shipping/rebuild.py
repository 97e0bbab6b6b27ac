"""Rebuild: what the pickles of ``byvalue`` call when they are loaded.

The names here are part of the format. Each by-value class has an identity, given by the process
that made it: it is rebuilt once in a process, however many pickles bring it along, and in the
process that made it, it is that very class.
"""

from __future__ import annotations

import enum
import functools
import importlib
import marshal
import os
import sys
import types
from abc import ABCMeta
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import EnumMeta
from typing import cast
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from ppnext.errors import RemoteError, UnsuitablePython
from ppnext.version import PYTHON

__all__ = [
    "EMPTY_CELL",
    "RECIPE",
    "REGISTERED",
    "class_at_home",
    "fill_class",
    "fill_enum",
    "fill_function",
    "is_importable",
    "known_as",
    "make_cached_property",
    "make_cell",
    "make_class",
    "make_code",
    "make_enum",
    "make_function",
    "make_lru_cache",
    "module_named",
    "name_of",
    "received",
    "remember_as",
    "remember_class",
]

EMPTY_CELL = "ppnext: this cell is empty"
"""Stands for the content of a closure's cell that has none yet."""

REGISTERED = "ppnext: registered"
"""Stands among the attributes of an abstract base class for what was registered with it."""

RECIPE = "ppnext: recipe"
"""Stands among the attributes of a class for what is made again where it is rebuilt."""

received: WeakSet[type] = WeakSet()
"""Classes that were rebuilt in this process from what another one sent."""

# Classes and type variables.
_names: WeakKeyDictionary[object, str] = WeakKeyDictionary()
_known: WeakValueDictionary[str, object] = WeakValueDictionary()


def is_importable(obj: object) -> bool:
    """Return whether the other side can get a function or class by importing its module."""
    module_name = getattr(obj, "__module__", None)
    if module_name is None or module_name == "__main__":
        return False
    found: object = sys.modules.get(module_name)
    if found is None:
        return False
    for part in str(getattr(obj, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
    return found is obj


def name_of(cls: object) -> str:
    """Return the identity of a by-value class; a class of this process gets one when asked."""
    name = _names.get(cls)
    if name is None:
        name = _names.setdefault(cls, os.urandom(16).hex())
        _known[name] = cls
    return name


def known_as(name: str) -> object | None:
    """Return the class, type variable or alias of this identity, if there is one here."""
    return _known.get(name)


def remember_as(name: str, made: object) -> object:
    """Give something that was made anew the identity that it has where it comes from."""
    _names[made] = name
    _known[name] = made
    return made


def remember_class(name: str, cls: type) -> type:
    """Do so for a class, and note that it came from elsewhere."""
    remember_as(name, cls)
    received.add(cls)
    return cls


def _class_named(name: str) -> type | None:
    return cast("type | None", known_as(name))


def make_code(python: str, data: bytes) -> types.CodeType:
    """Return code, if it was made by this minor version of Python."""
    if python != PYTHON:
        raise UnsuitablePython(
            f"code made by Python {python} cannot run on this node's Python {PYTHON}: functions "
            "shipped by value need the same minor version at both ends"
        )
    return cast(types.CodeType, marshal.loads(data))


def module_named(name: str) -> types.ModuleType:
    """Return a module, imported where it was not."""
    return importlib.import_module(name)


def make_cell() -> types.CellType:
    """Return an empty cell; the function that owns it fills it."""
    return types.CellType()


def make_function(
    code: types.CodeType,
    namespace: dict[str, object],
    name: str,
    closure: dict[str, types.CellType] | None,
) -> types.FunctionType:
    """Return a function without its state.

    Args:
        closure: the cells of its free variables, by their names.
    """
    namespace.setdefault("__builtins__", __builtins__)
    if closure is None and not code.co_freevars:
        return types.FunctionType(code, namespace, name)
    try:
        cells = tuple((closure or {})[variable] for variable in code.co_freevars)
    except KeyError as missing:
        raise UnsuitablePython(
            f"the function {name} refers to {missing} of the function around it on this node's "
            f"Python {PYTHON}, and does not where it comes from"
        ) from None
    return types.FunctionType(code, namespace, name, None, cells)


def fill_function(function: types.FunctionType, state: dict[str, object]) -> None:
    """Give a function its globals, its closure and its attributes."""
    for submodule in cast("tuple[str, ...]", state.get("submodules", ())):
        importlib.import_module(submodule)
    function.__globals__.update(cast("dict[str, object]", state.get("globals", {})))
    cells = cast("dict[str, object]", state.get("cells", {}))
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        content = cells[variable]
        # Only text is compared: arrays answer a comparison with an array.
        if not (isinstance(content, str) and content == EMPTY_CELL):
            cell.cell_contents = content
    function.__defaults__ = cast("tuple[object, ...] | None", state.get("defaults"))
    function.__kwdefaults__ = cast("dict[str, object]", state.get("kwdefaults"))
    function.__dict__.update(cast("dict[str, object]", state.get("dict", {})))
    function.__doc__ = cast("str | None", state.get("doc"))
    function.__module__ = cast(str, state["module"])
    function.__qualname__ = cast(str, state["qualname"])
    function.__annotations__ = cast("dict[str, object]", state.get("annotations", {}))
    if "type_params" in state and hasattr(function, "__type_params__"):
        function.__type_params__ = state["type_params"]


@contextmanager
def _without_greeting(bases: tuple[type, ...]) -> Iterator[None]:
    """Keep by-value bases from greeting a subclass: they did so where it was made.

    What ``__init_subclass__`` did there has come along, the arguments that it was given have not.
    """
    hook = "__init_subclass__"
    greeting = {
        cls: cls.__dict__[hook]
        for base in bases
        for cls in getattr(base, "__mro__", ())  # typing.TypedDict is no class
        if hook in cls.__dict__ and cls in received
    }
    for cls in greeting:
        delattr(cls, hook)
    try:
        yield
    finally:
        for cls, method in greeting.items():
            setattr(cls, hook, method)


def make_class(
    name: str,
    metaclass: type,
    class_name: str,
    bases: tuple[type, ...],
    namespace: dict[str, object],
) -> type:
    """Return the class of this identity, made anew and still empty if it is not known."""
    known = _class_named(name)
    if known is not None:
        return known
    with _without_greeting(bases):
        made = types.new_class(
            class_name, bases, {"metaclass": metaclass}, lambda body: body.update(namespace)
        )
    return remember_class(name, made)


def make_enum(
    name: str,
    metaclass: type[EnumMeta],
    class_name: str,
    bases: tuple[type, ...],
    members: dict[str, object],
    boundary: str | None = None,
) -> type:
    """Return the enumeration of this identity, with its members.

    Args:
        boundary: the name of what a flag does with values that it has no members for.
    """
    known = _class_named(name)
    if known is not None:
        return known
    body = metaclass.__prepare__(class_name, bases)
    for key, value in members.items():
        body[key] = value
    options: dict[str, object] = {}
    if boundary is not None:
        if not hasattr(enum, "FlagBoundary"):
            raise UnsuitablePython(
                f"flags of this node's Python {PYTHON} have no boundary; {class_name} has one"
            )
        options["boundary"] = enum.FlagBoundary[boundary]
    make = cast("Callable[..., type]", metaclass)
    return remember_class(name, make(class_name, bases, body, **options))


def fill_class(cls: type, attributes: dict[str, object]) -> None:
    """Give a class its attributes."""
    # A class that was sent out from here and comes back with its content keeps its own.
    if cls not in received:
        return
    registered = cast("tuple[type, ...]", attributes.pop(REGISTERED, ()))
    recipe = cast("tuple[object, ...] | None", attributes.pop(RECIPE, None))
    for key, value in attributes.items():
        setattr(cls, key, value)
    if recipe is not None:
        from ppnext.shipping import remake  # most definitions do not need it

        remake.follow(cls, recipe, attributes)
    for other in registered:
        cast(ABCMeta, cls).register(other)


def fill_enum(cls: EnumMeta, state: tuple[dict[str, object], dict[str, dict[str, object]]]) -> None:
    """Give an enumeration its attributes, and its members theirs."""
    attributes, members = state
    fill_class(cls, attributes)
    if cls in received:
        for key, content in members.items():
            cast("dict[str, object]", vars(cls.__members__[key])).update(content)


def class_at_home(name: str, qualname: str) -> type:
    """Return the class of this process that was sent out under this identity."""
    known = _class_named(name)
    if known is None:
        raise RemoteError(f"the class {qualname} that was sent to the node is gone here")
    return known


def make_cached_property(
    function: Callable[[object], object], attribute: str | None
) -> functools.cached_property[object]:
    """Return a cached property of the given name."""
    made = functools.cached_property(function)
    made.attrname = attribute
    return made


def make_lru_cache(
    function: Callable[..., object], parameters: dict[str, object]
) -> Callable[..., object]:
    """Return a function with an empty cache in front of it."""
    return functools.lru_cache(
        maxsize=cast("int | None", parameters["maxsize"]), typed=cast(bool, parameters["typed"])
    )(function)
