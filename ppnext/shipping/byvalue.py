"""By value: functions and classes that the other side cannot import, written as their content.

A function or class goes *by reference* (module and name) if its module can be imported and has it
under that name. Everything else goes *by value*: what a script, the interactive prompt or a
notebook defines, lambdas, closures, classes made inside functions.

Theory of operation. ``ByValuePickler`` is the C pickler with one hook, ``reducer_override``. A
by-value function is written in two steps, so that pickle's memo takes care of recursion: first an
empty function (code, globals, cells), then its state: the globals that its code names, what its
cells hold, defaults and attributes. Functions that share their globals share them on the other
side too. A by-value class is written in two steps as well, and carries an identity: the same class
is rebuilt once per process, so that ``isinstance`` holds between a function and its arguments, and
an instance that comes home is an instance of the very class that was sent out.

A code object is written as the source that it comes from and its place in there, which any
supported Python compiles (see ``source``). Where it has no source, or another one than what runs,
it is written as ``marshal`` data, which belongs to one minor version of Python; that version is
written beside it and checked, and the ledger says so. Methods that were generated are made again
at the other end (see ``recipes``).

What the C pickler refuses besides (an open file, a weak reference)
is left to dill, with the same hook; only locks are refused, since a copy would guard nothing.

The two-step form follows cloudpickle; dill's own by-value classes lose their identity, and a
pickler in Python takes 12 to 18 times as long (small functions and classes, medians of 5).
"""

from __future__ import annotations

import abc
import enum
import io
import marshal
import pickle
import sys
import types
import typing
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, cast
from weakref import ref

from ppnext.shipping import rebuild
from ppnext.shipping.envelope import Collector
from ppnext.shipping.guards import referenced_names
from ppnext.shipping.ledger import Ledger
from ppnext.shipping.rebuild import is_importable
from ppnext.shipping.reducers import (
    REDUCERS,
    Reduced,
    reduce_dataclass_part,
    reduce_library_class,
    reduce_wrapper,
)
from ppnext.version import PYTHON

if TYPE_CHECKING:
    from ppnext.shipping.source import Source

__all__ = ["ByValuePickler", "dumps", "dumps_home"]

_HEAP_TYPE = 1 << 9
"""The flag of classes that are made at run time, as against those that are part of C code."""

_MARSHAL_VERSION = 2
"""Later ones write references by reference count, so the same code is other bytes each time."""


class _Reducer:
    """The hook: decides what is written in another form than pickle's own.

    Args:
        ledger: told of everything that is written.
        homeward: classes that came from the other side go back as their identity only.
    """

    def __init__(self, ledger: Ledger | None, homeward: bool) -> None:
        self._ledger = ledger
        self._homeward = homeward
        # The globals dictionaries of by-value functions, and what stands for each in the pickle.
        self._globals: dict[int, dict[str, object]] = {}

    def reduce(self, obj: object) -> Reduced | None:
        kind = type(obj)
        if kind is types.FunctionType:
            return self._reduce_function(cast(types.FunctionType, obj))
        if isinstance(obj, type):
            return self._reduce_class(obj)
        if kind is types.CodeType:
            return self._reduce_code(cast(types.CodeType, obj))
        if self._ledger is not None:
            if isinstance(obj, types.ModuleType):
                self._ledger.add_module(obj.__name__)
            elif kind is types.BuiltinFunctionType:
                self._ledger.add_reference(cast(types.BuiltinFunctionType, obj))
        reducer = REDUCERS.get(kind)
        if reducer is not None:
            return reducer(obj)
        if kind.__module__ == "dataclasses":
            return reduce_dataclass_part(obj)
        return None

    def _reduce_function(self, function: types.FunctionType) -> Reduced | None:
        if is_importable(function):
            if self._ledger is not None:
                self._ledger.add_reference(function)
            return None
        remade = reduce_wrapper(function)
        if remade is not None:
            if self._ledger is not None:
                self._ledger.guards.refuse()  # what was registered with it may change
            return remade
        code = function.__code__
        namespace = self._globals.get(id(function.__globals__))
        if namespace is None:
            namespace = self._globals[id(function.__globals__)] = _new_namespace(function)
        state = _function_state(function)
        if self._ledger is not None:
            self._ledger.add_function(function, _find_source(code, function.__globals__))
            for submodule in cast("tuple[str, ...]", state.get("submodules", ())):
                self._ledger.add_module(submodule)
        closure = None
        if function.__closure__ is not None:
            closure = dict(zip(code.co_freevars, function.__closure__, strict=True))
        args = (code, namespace, function.__name__, closure)
        return rebuild.make_function, args, state, None, None, rebuild.fill_function

    def _reduce_code(self, code: types.CodeType) -> Reduced:
        found = _find_source(code)
        name: str = getattr(code, "co_qualname", code.co_name)
        if not isinstance(found, str):
            from ppnext.shipping.compiling import load_code

            return load_code, (found.unit, found.place, name)
        if self._ledger is not None:
            self._ledger.bind(f"{name}: {found}")
        return rebuild.make_code, (PYTHON, marshal.dumps(code, _MARSHAL_VERSION))

    def _reduce_class(self, cls: type) -> Reduced | None:
        if _is_builtin_type(cls) or is_importable(cls):
            if self._ledger is not None:
                self._ledger.add_reference(cls)
            return reduce_library_class(cls)
        if self._homeward and cls in rebuild.received:
            return rebuild.class_at_home, (rebuild.name_of(cls), cls.__qualname__)
        name = rebuild.name_of(cls)
        if self._ledger is not None:
            self._ledger.add_class(cls)
        from ppnext.shipping.recipes import reduce_enum, reduce_namedtuple  # as for functions

        if isinstance(cls, enum.EnumMeta):
            return reduce_enum(cls, name)
        return reduce_namedtuple(cls, name) or _reduce_plain_class(cls, name)


def _find_source(code: types.CodeType, space: dict[str, object] | None = None) -> Source | str:
    from ppnext.shipping import source  # many programs send what can be imported, and no more

    return source.find(code, space)


class ByValuePickler(pickle.Pickler):
    """The C pickler, with functions and classes by value where they cannot be imported."""

    def __init__(
        self,
        file: io.BytesIO,
        protocol: int,
        ledger: Ledger | None = None,
        homeward: bool = False,
        buffers: Collector | None = None,
    ) -> None:
        super().__init__(file, protocol, buffer_callback=None if buffers is None else buffers.take)
        self._reducer = _Reducer(ledger, homeward)

    def reducer_override(self, obj: object) -> Reduced:  # type: ignore[override]  # wider stub
        """Called by pickle for every object that is not of a basic type."""
        reduced = self._reducer.reduce(obj)
        return NotImplemented if reduced is None else reduced


def dumps(
    obj: object, protocol: int, ledger: Ledger | None = None, *, buffers: Collector | None = None
) -> bytes:
    """Pickle ``obj`` for a process that cannot import what this one has defined.

    Args:
        ledger: told of everything that is written.
        buffers: collects large buffers, which are then not in the pickle.

    Raises:
        Exception: whatever an object's own pickling raises; there is no common class.
    """
    return _dumps(obj, protocol, ledger, False, buffers)


def dumps_home(obj: object, protocol: int, *, buffers: Collector | None = None) -> bytes:
    """Pickle ``obj`` for the process that sent the functions which run in this one.

    Args:
        buffers: collects large buffers, which are then not in the pickle.

    Raises:
        Exception: whatever an object's own pickling raises; there is no common class.
    """
    return _dumps(obj, protocol, None, True, buffers)


def _dumps(
    obj: object, protocol: int, ledger: Ledger | None, homeward: bool, buffers: Collector | None
) -> bytes:
    file = io.BytesIO()
    try:
        ByValuePickler(file, protocol, ledger, homeward, buffers).dump(obj)
    # Objects raise what they like while they are pickled; dill may know better, or raises again.
    except Exception as refusal:
        if buffers is not None:
            buffers.clear()  # they belong to a pickle that there is not; dill leaves none out
        return _dill_dumps(obj, protocol, ledger, homeward, refusal)
    return file.getvalue()


def _dill_dumps(
    obj: object, protocol: int, ledger: Ledger | None, homeward: bool, refusal: Exception
) -> bytes:
    import dill  # only what the C pickler refuses pays for loading it

    class DillPickler(dill.Pickler):  # type: ignore[misc]  # dill has no types
        _reducer = _Reducer(ledger, homeward)

        def reducer_override(self, thing: object) -> Reduced:
            reduced = self._reducer.reduce(thing)
            return NotImplemented if reduced is None else reduced

    file = io.BytesIO()
    # The first refusal names the object as its user knows it. dill's own is not even its context:
    # its traceback would keep the object's memory.
    with suppress(Exception):
        DillPickler(file, protocol, recurse=True).dump(obj)
        if ledger is not None:
            ledger.guards.refuse()
            ledger.bind(f"only dill could pickle a part of it ({refusal})")
        return file.getvalue()
    raise refusal


# Writing: the special cases.


def _new_namespace(function: types.FunctionType) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": function.__module__ or "__main__"}
    package = function.__globals__.get("__package__")
    if package:
        namespace["__package__"] = package  # for relative imports inside the function
    return namespace


def _function_state(function: types.FunctionType) -> dict[str, object]:
    """What a function is filled with; what it has not is left out."""
    code, space = function.__code__, function.__globals__
    found = {name: space[name] for name in referenced_names(code) if name in space}
    cells = map(_cell_contents, function.__closure__ or ())
    state = {
        "globals": found,
        "cells": dict(zip(code.co_freevars, cells, strict=True)),
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "dict": function.__dict__,
        "doc": function.__doc__,
        "annotations": function.__annotations__,
        "submodules": _submodules_used(found, code),
        "type_params": getattr(function, "__type_params__", ()),
    }
    state = {key: value for key, value in state.items() if value}
    state["module"], state["qualname"] = function.__module__, function.__qualname__
    return state


def _reduce_plain_class(cls: type, name: str) -> Reduced:
    attributes = dict(cls.__dict__)
    slots = attributes.get("__slots__")
    for slot in (slots,) if isinstance(slots, str) else tuple(slots or ()):
        attributes.pop(_mangled(cls, slot), None)
    for dropped in ("__dict__", "__weakref__", "_abc_impl", "__slots__"):
        attributes.pop(dropped, None)
    namespace = {} if slots is None else {"__slots__": slots}
    if "__orig_bases__" in attributes:
        # typing.Generic wants to see it while the class is made.
        namespace["__orig_bases__"] = attributes.pop("__orig_bases__")
    if isinstance(cls, abc.ABCMeta):
        attributes[rebuild.REGISTERED] = _registered(cls)
    if cls.__qualname__ != cls.__name__:
        attributes["__qualname__"] = cls.__qualname__
    from ppnext.shipping.recipes import add_recipe  # it is there already

    add_recipe(cls, attributes)
    args = (name, type(cls), cls.__name__, _bases(cls), namespace)
    return rebuild.make_class, args, attributes, None, None, rebuild.fill_class


def _is_builtin_type(cls: type) -> bool:
    # Not by its module: classes that exec() makes in an empty dictionary claim to be builtins.
    return not cls.__flags__ & _HEAP_TYPE


def _mangled(cls: type, slot: str) -> str:
    private = slot.startswith("__") and not slot.endswith("__")
    return f"_{cls.__name__.lstrip('_')}{slot}" if private else slot


def _bases(cls: type) -> tuple[object, ...]:
    if not typing.is_typeddict(cls):
        return cls.__bases__
    # Its metaclass takes no plain dictionary as a base, though it makes one.
    return tuple(typing.TypedDict if base is dict else base for base in cls.__bases__)


def _registered(cls: abc.ABCMeta) -> tuple[type, ...]:
    """The classes that were registered with an abstract base class."""
    registry: Iterable[ref[type]] = abc._get_dump(cls)[0]  # type: ignore[attr-defined]  # private, no other way
    return tuple(found for found in (entry() for entry in registry) if found is not None)


def _cell_contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return rebuild.EMPTY_CELL


def _submodules_used(found: dict[str, object], code: types.CodeType) -> tuple[str, ...]:
    """Names of loaded submodules that code reaches as attributes of a package."""
    packages = [
        value.__name__
        for value in found.values()
        if isinstance(value, types.ModuleType) and hasattr(value, "__path__")
    ]
    if not packages:
        return ()
    words = _words(code)
    return tuple(
        name
        for name in sorted(sys.modules)
        for package in packages
        if name.startswith(package + ".") and words.issuperset(name[len(package) + 1 :].split("."))
    )


def _words(code: types.CodeType) -> set[str]:
    words = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            words |= _words(constant)
    return words
