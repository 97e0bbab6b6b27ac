"""Recipes: classes that are made again at the other end instead of being copied.

The methods of dataclasses and named tuples are generated, and classes of ``enum`` and ``typing``
carry tables and methods that belong to one version of these modules. Neither has a source, and
a copy would not fit another Python. What is generated is left out here and made anew by the same
decorator or base class where the class is rebuilt; what the user wrote comes along.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import types
import typing
from typing import cast

from ppnext.shipping import rebuild, remake
from ppnext.shipping.reducers import Reduced

__all__ = ["add_recipe", "reduce_enum", "reduce_namedtuple"]

_GENERATED_FILE = "<string>"


def _function_in(value: object) -> types.FunctionType | None:
    """The plain function in a method of a class."""
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    return value if isinstance(value, types.FunctionType) else None


def _belongs_to(module: types.ModuleType, value: object) -> bool:
    function = _function_in(value)
    return function is not None and function.__globals__ is vars(module)


def add_recipe(cls: type, attributes: dict[str, object]) -> None:
    """Take generated attributes out of those of a class, and put a recipe among them instead."""
    if "__dataclass_fields__" in cls.__dict__:
        _add_dataclass(cls, attributes)
    elif getattr(cls, "_is_protocol", None) is not None and "_is_protocol" in cls.__dict__:
        _add_protocol(cls, attributes)


# Dataclasses.

_DATACLASS_METHODS = (
    "__init__ __repr__ __eq__ __lt__ __le__ __gt__ __ge__ __hash__ __setattr__ __delattr__".split()
)


def _is_generated(value: object) -> bool:
    function = _function_in(getattr(value, "__wrapped__", value))
    if function is None or function.__code__.co_filename != _GENERATED_FILE:
        return False
    code = function.__code__
    # Older Pythons do not say inside which function; the generating one is the whole text.
    qualified: str | None = getattr(code, "co_qualname", None)
    if qualified is None:
        return code.co_firstlineno == 2
    return qualified.startswith("__create_fn__.")


def _add_dataclass(cls: type, attributes: dict[str, object]) -> None:
    generated = tuple(name for name in _DATACLASS_METHODS if _is_generated(attributes.get(name)))
    annotations = {
        name: dict(cast(types.FunctionType, attributes.pop(name)).__annotations__)
        for name in generated
    }
    if attributes.get("__replace__") is getattr(dataclasses, "_replace", None):
        attributes.pop("__replace__", None)
    slots = cls.__dict__.get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else tuple(cast("tuple[str, ...]", slots))
    attributes[rebuild.RECIPE] = (
        "dataclass",
        generated,
        {name: hints for name, hints in annotations.items() if hints},
        slots,
        hasattr(cls, "__post_init__"),
    )


# Protocols.

_PROTOCOL_TABLES = (
    "_is_protocol _is_runtime_protocol __protocol_attrs__ __non_callable_proto_members__ "
    "__callable_proto_members_only__".split()
)


def _add_protocol(cls: type, attributes: dict[str, object]) -> None:
    is_protocol = bool(attributes.get("_is_protocol"))
    checkable = bool(attributes.get("_is_runtime_protocol"))
    for table in _PROTOCOL_TABLES:
        attributes.pop(table, None)
    for name in ("__init__", "__subclasshook__"):
        if _belongs_to(typing, attributes.get(name)):
            del attributes[name]
    if is_protocol:
        attributes[rebuild.RECIPE] = ("protocol", checkable)


# Named tuples.

_TUPLE_METHODS = "__new__ _make _replace __replace__ __repr__ _asdict __getnewargs__".split()


def reduce_namedtuple(cls: type, name: str) -> Reduced | None:
    """Return how a class is written that ``namedtuple`` has made, or None if it has not."""
    fields = cls.__dict__.get("_fields")
    bases = cls.__bases__
    if (
        bases[0] is not tuple
        or fields is None
        or not _belongs_to(collections, cls.__dict__.get("_make"))
    ):
        return None
    attributes = dict(cls.__dict__)
    new = cls.__dict__["__new__"]
    for method in _TUPLE_METHODS:
        value = attributes.get(method)
        if _belongs_to(collections, value) or (method == "__new__" and _is_tuple_new(value)):
            del attributes[method]
    for place, field in enumerate(fields):
        if getattr(attributes.get(field), "__doc__", None) == f"Alias for field number {place}":
            del attributes[field]
    if attributes.get("__match_args__") == fields:
        del attributes["__match_args__"]
    for dropped in ("__slots__", "_fields", "__class_getitem__"):
        attributes.pop(dropped, None)
    function = _function_in(new)
    defaults = None if function is None else function.__defaults__
    hints = {} if function is None else dict(function.__annotations__)
    attributes[rebuild.RECIPE] = ("namedtuple", defaults, hints)
    args = (name, cls.__name__, fields, bases)
    return remake.make_namedtuple, args, attributes, None, None, rebuild.fill_class


def _is_tuple_new(value: object) -> bool:
    function = _function_in(value)
    return function is not None and str(function.__globals__.get("__name__")).startswith(
        "namedtuple_"
    )


# Enumerations.

_ENUM_DROPPED = frozenset({"__new__", "__new_member__", "__dict__", "__weakref__"})


def reduce_enum(cls: enum.EnumMeta, name: str) -> Reduced:
    """Return how an enumeration is written."""
    named = cast("dict[str, enum.Enum]", dict(cls.__members__))
    members = {key: member.value for key, member in named.items()}
    attributes = {
        key: value
        for key, value in cls.__dict__.items()
        if key not in members and not _is_of_enum(cls, key, value)
    }
    # What __init__ and __new__ gave to members comes along, for they do not run again.
    contents = {
        key: {k: v for k, v in vars(member).items() if not (_is_sunder(k) or k == "__objclass__")}
        for key, member in named.items()
    }
    args = (name, type(cls), cls.__name__, cls.__bases__, members, _boundary(cls))
    return rebuild.make_enum, args, (attributes, contents), None, None, rebuild.fill_enum


def _is_sunder(key: str) -> bool:
    return len(key) > 2 and key[0] == key[-1] == "_" and key[1] != "_" and key[-2] != "_"


def _is_of_enum(cls: enum.EnumMeta, key: str, value: object) -> bool:
    """Return whether the enum module has put an attribute into a class, or makes it anew."""
    if key == "_missing_":
        return False
    if key in _ENUM_DROPPED or _is_sunder(key) or isinstance(value, enum.Enum):
        return True
    member_type = cls.__dict__.get("_member_type_", object)
    return _belongs_to(enum, value) or (
        key.startswith("__")
        and not isinstance(value, types.FunctionType)
        and callable(value)
        and value is getattr(member_type, key, None)
    )


def _boundary(cls: enum.EnumMeta) -> str | None:
    """The name of what a flag does with values that it has no members for, if it is its own."""
    own = cls.__dict__.get("_boundary_")
    inherited = [getattr(base, "_boundary_", None) for base in cls.__bases__]
    return None if own is None or own in inherited else cast(enum.Enum, own).name
