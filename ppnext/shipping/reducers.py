"""Reducers: objects that are written in another form than pickle's own, by their exact type.

Pickle knows no properties, type variables or mapping proxies, and what it writes of some others
holds parts that differ from one Python to the next. What is written here can be loaded by all
supported ones.
"""

from __future__ import annotations

import _thread
import builtins
import contextlib
import dataclasses
import enum
import functools
import os.path
import sys
import types
import typing
from collections.abc import Callable
from typing import TypeAlias, cast

from ppnext.shipping import rebuild, remake
from ppnext.shipping.rebuild import is_importable

__all__ = ["REDUCERS", "Reduced", "reduce_dataclass_part", "reduce_library_class", "reduce_wrapper"]

Reduced: TypeAlias = tuple[object, ...] | str
"""What a reduce function returns to pickle."""


# Functions that the standard library wraps around the user's: made again by what made them.


def _sample(decorator: Callable[[Callable[[object], None]], object]) -> types.CodeType:
    """The code that all functions share which a decorator returns."""
    return cast(types.FunctionType, decorator(lambda thing: None)).__code__


_SINGLE_DISPATCH = _sample(functools.singledispatch)
_CONTEXT_MANAGERS = {
    id(_sample(maker)): maker  # type: ignore[arg-type]  # a generator is expected, and not called
    for maker in (contextlib.contextmanager, contextlib.asynccontextmanager)
}
_DISPATCH_WORDS = frozenset({"register", "dispatch", "registry", "_clear_cache", "__wrapped__"})


def reduce_wrapper(function: types.FunctionType) -> Reduced | None:
    """Return how a function is written that one of the library's decorators has returned."""
    code = function.__code__
    if code is _SINGLE_DISPATCH:
        registry = dict(function.registry)  # type: ignore[attr-defined]  # it has one
        more = {k: v for k, v in function.__dict__.items() if k not in _DISPATCH_WORDS}
        plain = cast("Callable[..., object]", function.__wrapped__)  # type: ignore[attr-defined]  # as above
        state = (registry, more)
        fill = remake.fill_single_dispatch
        return remake.make_single_dispatch, (plain,), state, None, None, fill
    maker = _CONTEXT_MANAGERS.get(id(code))
    if maker is not None and function.__closure__:
        return maker, (function.__closure__[0].cell_contents,)
    return None


def _reduce_single_dispatch_method(obj: object) -> Reduced:
    it = cast("functools.singledispatchmethod[object]", obj)
    registry = dict(it.dispatcher.registry)
    make, fill = remake.make_single_dispatch_method, remake.fill_single_dispatch_method
    return make, (it.func,), registry, None, None, fill


# Classes of the standard library that pickle does not find, or that others find elsewhere.

_TYPES = {
    kind: name
    for name, kind in vars(types).items()
    if isinstance(kind, type) and kind.__module__ == "builtins"
}


def reduce_library_class(cls: type) -> Reduced | None:
    """Return how a class is written that can be imported, or None if pickle knows how."""
    if cls is enum.EnumMeta:
        return "EnumMeta"  # its newer name is not known to older Pythons
    if cls in _TYPES and getattr(builtins, cls.__name__, None) is not cls:
        # Pickle knows where to find these.
        if cls not in (types.NoneType, types.EllipsisType, types.NotImplementedType):
            return getattr, (types, _TYPES[cls])
    return None


# Parts of dataclasses.


def reduce_dataclass_part(obj: object) -> Reduced | None:
    """Return how an object is written whose class belongs to ``dataclasses``."""
    # dataclasses compares these with "is"; as globals they stay what they are.
    singletons = {
        "_MISSING_TYPE": "MISSING",
        "_KW_ONLY_TYPE": "KW_ONLY",
        "_HAS_DEFAULT_FACTORY_CLASS": "_HAS_DEFAULT_FACTORY",
    }
    kind = type(obj).__name__
    if kind == "_FIELD_BASE":
        return cast(str, obj.name)  # type: ignore[attr-defined]  # its kind has one
    if kind == "_DataclassParams":
        slots: tuple[str, ...] = type(obj).__slots__  # type: ignore[attr-defined]  # its kind has them
        values = {name: getattr(obj, name) for name in slots if hasattr(obj, name)}
        return remake.make_dataclass_params, (values,)
    if isinstance(obj, dataclasses.InitVar):
        return dataclasses.InitVar, (obj.type,)
    return singletons.get(kind)


# The others.


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
    return remake.make_type_variable, (rebuild.name_of(obj), kind.__name__, args, options)


def _reduce_type_alias(obj: object) -> Reduced:
    name = cast(str, obj.__name__)  # type: ignore[attr-defined]  # its kind has one
    if getattr(sys.modules.get(obj.__module__), name, None) is obj and obj.__module__ != "__main__":
        return name
    value, variables = obj.__value__, obj.__type_params__  # type: ignore[attr-defined]  # as above
    return remake.make_type_alias, (name, value, variables)


def _reduce_forward_reference(obj: object) -> Reduced:
    # Its own pickle holds compiled code.
    it = cast(typing.ForwardRef, obj)
    module = cast("str | None", getattr(it, "__forward_module__", None))
    is_class = bool(getattr(it, "__forward_is_class__", False))
    argument = it.__forward_is_argument__
    return remake.make_forward_reference, (it.__forward_arg__, argument, module, is_class)


def _reduce_module(obj: object) -> Reduced:
    # Which module that is differs from system to system.
    name = "os.path" if obj is os.path else cast(types.ModuleType, obj).__name__
    return rebuild.module_named, (name,)


def _refuse_lock(lock: object) -> Reduced:
    # dill would send a copy: it guards nothing, and one that is held would stay held for ever.
    raise TypeError("a lock guards the memory of one process and means nothing in another")


REDUCERS: dict[type, Callable[[object], Reduced]] = {
    _thread.LockType: _refuse_lock,
    _thread.RLock: _refuse_lock,
    types.CellType: lambda cell: (rebuild.make_cell, ()),
    types.ModuleType: _reduce_module,
    types.MappingProxyType: lambda proxy: (
        types.MappingProxyType,
        (dict(cast("dict[object, object]", proxy)),),
    ),
    typing.TypeVar: _reduce_type_variable,
    typing.ParamSpec: _reduce_type_variable,
    typing.NewType: _reduce_type_variable,
    typing.ForwardRef: _reduce_forward_reference,
    property: _reduce_property,
    classmethod: lambda method: (
        classmethod,
        (cast("classmethod[object, ..., object]", method).__func__,),
    ),
    staticmethod: lambda method: (
        staticmethod,
        (cast("staticmethod[..., object]", method).__func__,),
    ),
    functools.singledispatchmethod: _reduce_single_dispatch_method,
    functools.cached_property: _reduce_cached_property,
    type(functools.lru_cache(lambda: None)): _reduce_lru_cache,
}
"""How objects of a type are written."""

# These are younger than the oldest supported Python.
for _kind, _reducer in (
    (getattr(typing, "TypeVarTuple", None), _reduce_type_variable),
    (getattr(typing, "TypeAliasType", None), _reduce_type_alias),
):
    if _kind is not None:
        REDUCERS[_kind] = _reducer
