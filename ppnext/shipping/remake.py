"""Remake: what this Python's own library makes again of what another Python's had made.

The counterparts of ``recipes`` and ``reducers``; what pickles call when they are loaded. Most
definitions have none of this, so a worker loads it only when one has.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

from ppnext.errors import UnsuitablePython
from ppnext.shipping.rebuild import known_as, remember_as, remember_class
from ppnext.version import PYTHON

__all__ = [
    "fill_single_dispatch",
    "fill_single_dispatch_method",
    "follow",
    "make_dataclass_params",
    "make_forward_reference",
    "make_namedtuple",
    "make_single_dispatch",
    "make_single_dispatch_method",
    "make_type_alias",
    "make_type_variable",
]

_Function: typing.TypeAlias = Callable[..., object]


def follow(cls: type, recipe: tuple[object, ...], attributes: Mapping[str, object]) -> None:
    """Give a class what its recipe says, beside the attributes that it has already.

    Args:
        recipe: its kind, and what ``recipes`` has written for that kind.
        attributes: those that came along.
    """
    kind, *rest = recipe
    _FOLLOWERS[cast(str, kind)](cls, attributes, *rest)


# Dataclasses.


def make_dataclass_params(values: dict[str, bool]) -> object:
    """Return the parameters of a dataclass, as this Python keeps them."""
    kind: Any = dataclasses._DataclassParams  # type: ignore[attr-defined]  # private, no other way
    made: object = object.__new__(kind)
    for name in kind.__slots__:
        setattr(made, name, values.get(name, name == "match_args"))
    return made


def _follow_dataclass(
    cls: type,
    attributes: Mapping[str, object],
    generated: tuple[str, ...],
    annotations: dict[str, dict[str, object]],
    slots: tuple[str, ...],
    post_init: bool,
) -> None:
    """Let ``dataclass`` make the methods, unless it has: at home they were made once as well."""
    if not cls.__dict__.keys() >= set(generated):
        fields = cast("dict[str, Any]", attributes["__dataclass_fields__"])
        _generate(cls, fields, generated, slots, post_init)
    for name, hint in annotations.items():
        cls.__dict__[name].__annotations__ = hint


def _generate(
    cls: type,
    fields: dict[str, Any],
    generated: tuple[str, ...],
    slots: tuple[str, ...],
    post_init: bool,
) -> None:
    """Let ``dataclass`` make methods of all fields, as if every field were the class's own.

    Its bases may be empty still, where classes refer to each other; what is inherited is not looked
    up in them. Afterwards only the methods stay.
    """
    before = dict(cls.__dict__)
    hints: dict[str, object] = {}
    for name, field in fields.items():
        if field._field_type is dataclasses._FIELD_CLASSVAR:  # type: ignore[attr-defined]  # private, no other way
            continue
        is_argument = field._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]  # as above
        hints[name] = dataclasses.InitVar[object] if is_argument else object
        type.__setattr__(cls, name, _field_again(field, name in slots))
    cls.__annotations__ = hints
    if post_init and not hasattr(cls, "__post_init__"):
        type.__setattr__(cls, "__post_init__", None)
    dataclasses.dataclass(
        init="__init__" in generated,
        repr="__repr__" in generated,
        eq="__eq__" in generated or "__lt__" in generated,
        order="__lt__" in generated,
        unsafe_hash="__hash__" in generated,
        frozen="__setattr__" in generated,
        match_args=False,
    )(cls)
    _keep_only(cls, before, generated)


def _field_again(field: Any, in_slot: bool) -> object:
    options = {
        name: getattr(field, name)
        for name in ("init", "repr", "hash", "compare", "metadata", "kw_only")
    }
    default, factory = field.default, field.default_factory
    if in_slot and not field.init and default is not dataclasses.MISSING:
        # A slot takes the place of the class attribute that would hold it.
        default, factory = dataclasses.MISSING, lambda: field.default
    return dataclasses.field(default=default, default_factory=factory, **options)


def _keep_only(cls: type, before: dict[str, object], generated: tuple[str, ...]) -> None:
    """Undo what ``dataclass`` has done to a class, save for what it was to make."""
    for key in set(cls.__dict__).difference(before, generated, {"__replace__"}):
        type.__delattr__(cls, key)
    for key, value in before.items():
        if cls.__dict__.get(key, dataclasses.MISSING) is not value:
            type.__setattr__(cls, key, value)


# Protocols.


def _follow_protocol(cls: type, attributes: Mapping[str, object], checkable: bool) -> None:
    if "__protocol_attrs__" in cls.__dict__:
        # It was noted while the class was empty.
        members = typing._get_protocol_attrs(cls)  # type: ignore[attr-defined]  # private, no other way
        cls.__protocol_attrs__ = members  # type: ignore[attr-defined]  # as above
    if checkable:
        typing.runtime_checkable(cls)


# Named tuples.


def make_namedtuple(
    name: str, class_name: str, fields: tuple[str, ...], bases: tuple[type, ...]
) -> type:
    """Return the named tuple of this identity, made anew if it is not known."""
    known = known_as(name)
    if known is not None:
        return cast(type, known)
    renamed = any(field.startswith("_") for field in fields)
    make: Callable[..., Any] = collections.namedtuple
    made = make(class_name, fields, rename=renamed)
    if bases != (tuple,):
        made.__bases__ = bases
        if typing.Generic in bases:
            generic: Any = typing.Generic
            plain = getattr(typing, "_generic_class_getitem", None)
            made.__class_getitem__ = classmethod(plain or generic.__class_getitem__.__func__)
    return remember_class(name, made)


def _follow_namedtuple(
    cls: type,
    attributes: Mapping[str, object],
    defaults: tuple[object, ...] | None,
    hints: dict[str, object],
) -> None:
    new = cls.__dict__["__new__"]
    function = cast(types.FunctionType, getattr(new, "__func__", new))
    function.__defaults__, function.__annotations__ = defaults, hints


_FOLLOWERS: dict[str, Callable[..., None]] = {
    "dataclass": _follow_dataclass,
    "protocol": _follow_protocol,
    "namedtuple": _follow_namedtuple,
}


# Functions.


def make_single_dispatch(function: _Function) -> _Function:
    """Return a function that calls another, and others for other types once it is filled."""
    return functools.singledispatch(function)


def fill_single_dispatch(
    function: Any, state: tuple[dict[type, _Function], dict[str, object]]
) -> None:
    """Register what a function calls for which types, and give it its attributes."""
    registry, attributes = state
    for kind, target in registry.items():
        function.register(kind, target)
    function.__dict__.update(attributes)


def make_single_dispatch_method(function: Any) -> functools.singledispatchmethod[object]:
    """Return a method that calls one function, and others for other types once it is filled."""
    return functools.singledispatchmethod(function)


def fill_single_dispatch_method(
    method: functools.singledispatchmethod[object], registry: dict[type, Any]
) -> None:
    """Register what a method calls for which types."""
    for kind, target in registry.items():
        method.register(kind, target)


# What stands in annotations.


def make_type_variable(
    name: str, kind: str, args: tuple[object, ...], options: dict[str, object]
) -> object:
    """Return the type variable of this identity, made anew if it is not known.

    Args:
        kind: what ``typing`` calls it.
    """
    known = known_as(name)
    if known is not None:
        return known
    maker = cast("Callable[..., object] | None", getattr(typing, kind, None))
    if maker is None:
        raise UnsuitablePython(f"this node's Python {PYTHON} has no typing.{kind}")
    if sys.version_info < (3, 12):
        options.pop("infer_variance", None)  # only type checkers look at it
    return remember_as(name, maker(*args, **options))


def make_type_alias(alias: str, value: object, variables: tuple[object, ...]) -> object:
    """Return an alias as a ``type`` statement makes it."""
    maker = cast("Callable[..., object] | None", getattr(typing, "TypeAliasType", None))
    if maker is None:
        raise UnsuitablePython(f"this node's Python {PYTHON} has no 'type' statement ({alias})")
    return maker(alias, value, type_params=variables)


def make_forward_reference(
    text: str, is_argument: bool, module: str | None, is_class: bool
) -> typing.ForwardRef:
    """Return an annotation that is a string."""
    maker = cast("Callable[..., typing.ForwardRef]", typing.ForwardRef)
    return maker(text, is_argument=is_argument, module=module, is_class=is_class)
