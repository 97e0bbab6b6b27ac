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

Code travels as ``marshal`` data, which belongs to one minor version of Python; that version is
written beside it and checked. What the C pickler refuses besides (an open file, a weak reference)
is left to dill, with the same hook; only locks are refused, since a copy would guard nothing.

The two-step form follows cloudpickle; dill's own by-value classes lose their identity, and a
pickler in Python takes 12 to 18 times as long (small functions and classes, medians of 5).
"""

from __future__ import annotations

import _thread
import abc
import functools
import importlib
import io
import marshal
import pickle
import sys
import types
import typing
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum, EnumMeta
from typing import TypeAlias, cast
from weakref import ref

from ppnext.shipping import rebuild
from ppnext.shipping.envelope import Collector
from ppnext.shipping.guards import Guards, referenced_names
from ppnext.shipping.rebuild import is_importable

__all__ = ["ByValuePickler", "dumps", "dumps_home"]

Reduced: TypeAlias = tuple[object, ...] | str
"""What a reduce function returns to pickle."""

_ENUM_INTERNALS = frozenset(
    "_generate_next_value_ _member_names_ _member_map_ _member_type_ _value2member_map_ "
    "_new_member_ _use_args_ _value_repr_ _hashable_values_ _unhashable_values_ "
    "_unhashable_values_map_ _sort_order_ __new__ __new_member__".split()
)


_HEAP_TYPE = 1 << 9
"""The flag of classes that are made at run time, as against those that are part of C code."""

_MARSHAL_VERSION = 2
"""Later ones write references by reference count, so the same code is other bytes each time."""

_ENUM_MEMBER_INTERNALS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


class _Reducer:
    """The hook: decides what is written in another form than pickle's own.

    Args:
        guards: told of everything that by-value functions and classes are made of.
        homeward: classes that came from the other side go back as their identity only.
    """

    def __init__(self, guards: Guards | None, homeward: bool) -> None:
        self._guards = guards or Guards()
        self._homeward = homeward
        # The globals dictionaries of by-value functions, and what stands for each in the pickle.
        self._globals: dict[int, dict[str, object]] = {}

    def reduce(self, obj: object) -> Reduced | None:
        kind = type(obj)
        if kind is types.FunctionType:
            function = cast(types.FunctionType, obj)
            return None if is_importable(function) else self._reduce_function(function)
        if isinstance(obj, type):
            return None if _is_builtin_type(obj) else self._reduce_class(obj)
        reducer = _REDUCERS.get(kind)
        if reducer is not None:
            return reducer(obj)
        if kind.__module__ == "dataclasses":
            return _reduce_dataclass_sentinel(obj)
        return None

    def _reduce_function(self, function: types.FunctionType) -> Reduced:
        code = function.__code__
        names = referenced_names(code)
        namespace = self._globals.setdefault(
            id(function.__globals__), {"__name__": function.__module__ or "__main__"}
        )
        self._guards.add_function(function, names)
        found = {name: function.__globals__[name] for name in names if name in function.__globals__}
        state = {
            "globals": found,
            "cells": tuple(_cell_contents(cell) for cell in function.__closure__ or ()),
            "defaults": function.__defaults__,
            "kwdefaults": function.__kwdefaults__,
            "dict": function.__dict__,
            "doc": function.__doc__,
            "module": function.__module__,
            "qualname": function.__qualname__,
            "annotations": function.__annotations__,
            "submodules": _submodules_used(found, code),
        }
        args = (
            rebuild.PYTHON,
            marshal.dumps(code, _MARSHAL_VERSION),
            namespace,
            function.__name__,
            function.__closure__,
        )
        return rebuild.make_function, args, state, None, None, rebuild.fill_function

    def _reduce_class(self, cls: type) -> Reduced | None:
        if is_importable(cls):
            return None
        if self._homeward and cls in rebuild.received:
            return rebuild.class_at_home, (rebuild.name_of(cls), cls.__qualname__)
        name = rebuild.name_of(cls)
        self._guards.add_class(cls)
        if isinstance(cls, EnumMeta):
            return _reduce_enum(cls, name)
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
        args = (name, type(cls), cls.__name__, _bases(cls), namespace)
        return rebuild.make_class, args, attributes, None, None, rebuild.fill_class


class ByValuePickler(pickle.Pickler):
    """The C pickler, with functions and classes by value where they cannot be imported."""

    def __init__(
        self,
        file: io.BytesIO,
        protocol: int,
        guards: Guards | None = None,
        homeward: bool = False,
        buffers: Collector | None = None,
    ) -> None:
        super().__init__(file, protocol, buffer_callback=None if buffers is None else buffers.take)
        self._reducer = _Reducer(guards, homeward)

    def reducer_override(self, obj: object) -> Reduced:  # type: ignore[override]  # wider stub
        """Called by pickle for every object that is not of a basic type."""
        reduced = self._reducer.reduce(obj)
        return NotImplemented if reduced is None else reduced


def dumps(
    obj: object, protocol: int, guards: Guards | None = None, *, buffers: Collector | None = None
) -> bytes:
    """Pickle ``obj`` for a process that cannot import what this one has defined.

    Args:
        guards: told of everything that by-value functions and classes are made of.
        buffers: collects large buffers, which are then not in the pickle.

    Raises:
        Exception: whatever an object's own pickling raises; there is no common class.
    """
    return _dumps(obj, protocol, guards, False, buffers)


def dumps_home(obj: object, protocol: int, *, buffers: Collector | None = None) -> bytes:
    """Pickle ``obj`` for the process that sent the functions which run in this one.

    Args:
        buffers: collects large buffers, which are then not in the pickle.

    Raises:
        Exception: whatever an object's own pickling raises; there is no common class.
    """
    return _dumps(obj, protocol, None, True, buffers)


def _dumps(
    obj: object, protocol: int, guards: Guards | None, homeward: bool, buffers: Collector | None
) -> bytes:
    file = io.BytesIO()
    try:
        ByValuePickler(file, protocol, guards, homeward, buffers).dump(obj)
    # Objects raise what they like while they are pickled; dill may know better, or raises again.
    except Exception as refusal:
        if buffers is not None:
            buffers.clear()  # they belong to a pickle that there is not; dill leaves none out
        return _dill_dumps(obj, protocol, guards, homeward, refusal)
    return file.getvalue()


def _dill_dumps(
    obj: object, protocol: int, guards: Guards | None, homeward: bool, refusal: Exception
) -> bytes:
    import dill  # only what the C pickler refuses pays for loading it

    class DillPickler(dill.Pickler):  # type: ignore[misc]  # dill has no types
        _reducer = _Reducer(guards, homeward)

        def reducer_override(self, thing: object) -> Reduced:
            reduced = self._reducer.reduce(thing)
            return NotImplemented if reduced is None else reduced

    file = io.BytesIO()
    # The first refusal names the object as its user knows it. dill's own is not even its context:
    # its traceback would keep the object's memory.
    with suppress(Exception):
        DillPickler(file, protocol, recurse=True).dump(obj)
        if guards is not None:
            guards.refuse()
        return file.getvalue()
    raise refusal


# Writing: the special cases.


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


def _reduce_enum(cls: EnumMeta, name: str) -> Reduced:
    named = cast("dict[str, Enum]", dict(cls.__members__))
    members = {key: member.value for key, member in named.items()}
    attributes = {
        key: value
        for key, value in cls.__dict__.items()
        if key not in members and key not in _ENUM_INTERNALS and not isinstance(value, Enum)
    }
    for dropped in ("__dict__", "__weakref__"):
        attributes.pop(dropped, None)
    # What __init__ and __new__ gave to members comes along, for they do not run again.
    contents = {
        key: {k: v for k, v in vars(member).items() if k not in _ENUM_MEMBER_INTERNALS}
        for key, member in named.items()
    }
    args = (name, type(cls), cls.__name__, cls.__bases__, members)
    return rebuild.make_enum, args, (attributes, contents), None, None, rebuild.fill_enum


def _reduce_dataclass_sentinel(obj: object) -> Reduced | None:
    # dataclasses compares these with "is"; as globals they stay what they are.
    singletons = {
        "_MISSING_TYPE": "MISSING",
        "_KW_ONLY_TYPE": "KW_ONLY",
        "_HAS_DEFAULT_FACTORY_CLASS": "_HAS_DEFAULT_FACTORY",
    }
    kind = type(obj).__name__
    if kind == "_FIELD_BASE":
        return cast(str, obj.name)  # type: ignore[attr-defined]  # its kind has one
    return singletons.get(kind)


def _reduce_code(code: object) -> Reduced:
    return rebuild.make_code, (
        rebuild.PYTHON,
        marshal.dumps(cast(types.CodeType, code), _MARSHAL_VERSION),
    )


def _reduce_property(obj: object) -> Reduced:
    it = cast(property, obj)
    return property, (it.fget, it.fset, it.fdel, it.__doc__)


def _reduce_cached_property(obj: object) -> Reduced:
    it = cast("functools.cached_property[object]", obj)
    return rebuild.make_cached_property, (it.func, it.attrname)


def _reduce_lru_cache(obj: object) -> Reduced:
    it = cast("functools._lru_cache_wrapper[object]", obj)
    if is_importable(it):
        return it.__qualname__
    return rebuild.make_lru_cache, (it.__wrapped__, dict(it.cache_parameters()))


def _reduce_type_variable(obj: object) -> Reduced:
    kind = type(obj)
    name = cast(str, obj.__name__)  # type: ignore[attr-defined]  # its kind has one
    if getattr(sys.modules.get(obj.__module__), name, None) is obj and obj.__module__ != "__main__":
        return name
    args: tuple[object, ...] = (name,)
    options: dict[str, object] = {}
    if isinstance(obj, typing.NewType):
        args = (name, obj.__supertype__)
    elif isinstance(obj, (typing.TypeVar, typing.ParamSpec)):
        args = (name, *getattr(obj, "__constraints__", ()))
        words = ("bound", "covariant", "contravariant", "infer_variance")
        options = {word: getattr(obj, f"__{word}__", None) for word in words}
        options = {word: value for word, value in options.items() if value}
    return rebuild.make_type_variable, (rebuild.name_of(obj), kind, args, options)


def _refuse_lock(lock: object) -> Reduced:
    # dill would send a copy: it guards nothing, and one that is held would stay held for ever.
    raise TypeError("a lock guards the memory of one process and means nothing in another")


_REDUCERS: dict[type, Callable[[object], Reduced]] = {
    types.CodeType: _reduce_code,
    _thread.LockType: _refuse_lock,
    _thread.RLock: _refuse_lock,
    types.CellType: lambda cell: (rebuild.make_cell, ()),
    types.ModuleType: lambda module: (importlib.import_module, (cast(type, module).__name__,)),
    types.MappingProxyType: lambda proxy: (
        types.MappingProxyType,
        (dict(cast("dict[object, object]", proxy)),),
    ),
    typing.TypeVar: _reduce_type_variable,
    typing.ParamSpec: _reduce_type_variable,
    typing.NewType: _reduce_type_variable,
    property: _reduce_property,
    classmethod: lambda method: (
        classmethod,
        (cast("classmethod[object, ..., object]", method).__func__,),
    ),
    staticmethod: lambda method: (
        staticmethod,
        (cast("staticmethod[..., object]", method).__func__,),
    ),
    functools.cached_property: _reduce_cached_property,
    type(functools.lru_cache(lambda: None)): _reduce_lru_cache,
}
