"""Guards: has anything changed that a shipped function was made of?

A function by value drags along the globals that it names, what its closure holds, its defaults,
its helper functions and classes. Pickling all that for every job would be slow, and remembering
the pickle by the function alone would run old code with old constants after a change. So while a
function is pickled, guards note what it was made of; before the pickle is used again they look
whether all of that is still the same object. Where something mutable was part of it (a list, an
array, an instance), identity proves nothing, and the function is pickled anew each time.
"""

from __future__ import annotations

import dis
import types
from enum import Enum
from functools import lru_cache
from itertools import repeat
from operator import is_
from typing import NamedTuple, cast
from weakref import ref

__all__ = ["Guards", "imported_names", "referenced_names"]

_MISSING = object()

# Values that cannot change without becoming another object, or that are guarded themselves.
_FIXED = frozenset(
    {
        types.NoneType,
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        types.FunctionType,
        types.CodeType,
        types.EllipsisType,
        range,
    }
)
_FIXED_FAMILIES = (type, types.ModuleType, Enum)

_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)

# Tables that enum and namedtuple make from the rest of the class, and nobody changes.
_CLASS_TABLES = frozenset(
    "_member_map_ _member_names_ _value2member_map_ _unhashable_values_ _hashable_values_ "
    "_unhashable_values_map_ _new_member_ _field_defaults _fields _abc_impl".split()
)

_GLOBAL_OPS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME"})


@lru_cache(maxsize=1024)
def referenced_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names that code, and the code inside it, looks up in its globals, sorted."""
    names = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in _GLOBAL_OPS or instruction.opname == "LOAD_FROM_DICT_OR_GLOBALS"
    }
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(referenced_names(constant))
    return tuple(sorted(names))


@lru_cache(maxsize=1024)
def imported_names(code: types.CodeType) -> tuple[tuple[int, str], ...]:
    """Return what code, and the code inside it, imports: levels of relative imports and names."""
    found: list[tuple[int, str]] = []
    constants: list[object] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            # The level and the names that are wanted were loaded just before.
            level = constants[-2] if len(constants) > 1 else 0
            found.append((level if isinstance(level, int) else 0, instruction.argval))
        elif instruction.opname == "LOAD_CONST":
            constants.append(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found += imported_names(constant)
    return tuple(dict.fromkeys(found))


def _is_fixed(value: object) -> bool:
    kind = type(value)
    if kind in (tuple, frozenset):
        return all(map(_is_fixed, cast("tuple[object, ...]", value)))
    if kind is types.BuiltinFunctionType:
        # A method of a list, say, is as changeable as the list.
        owner = getattr(value, "__self__", None)
        return owner is None or isinstance(owner, (types.ModuleType, type))
    return kind in _FIXED or isinstance(value, _FIXED_FAMILIES)


class _Function:
    """A function as it was."""

    __slots__ = ("_bare", "function", "kept", "names")

    def __init__(
        self, function: types.FunctionType, names: tuple[str, ...], kept: list[object]
    ) -> None:
        self.function = ref(function)
        self.names = names
        self.kept = kept
        # Its code, if it has nothing else that could change. Most are so, and this is quick.
        self._bare = function.__code__ if len(kept) == 2 and kept[1] is None else None

    def is_bare(self) -> bool:
        """Whether it is code alone, and still the same."""
        function = self.function()
        return (
            function is not None
            and function.__code__ is self._bare
            and function.__defaults__ is None
            and function.__kwdefaults__ is None
            and not function.__dict__
        )


class Guards:
    """What a pickle was made of.

    Attributes:
        reliable: False once something was noted that can change and stay the same object.
    """

    def __init__(self) -> None:
        self.reliable = True
        self._functions: list[_Function] = []
        self._classes: list[tuple[ref[type], dict[str, object]]] = []

    def add_function(self, function: types.FunctionType, names: tuple[str, ...]) -> None:
        """Note a function that is written by value, and the globals that it names."""
        content = _content(function, names)
        for value in content:
            self._note(value)
        self._functions.append(_Function(function, names, list(map(_keep, content))))

    def add_class(self, cls: type) -> None:
        """Note a class that is written by value."""
        content = {name: it for name, it in cls.__dict__.items() if name not in _CLASS_TABLES}
        for name, value in content.items():
            if not (name.startswith("__") and name.endswith("__")):
                for part in _parts(value) or (value,):
                    self._note(part)
        self._classes.append((ref(cls), {name: _keep(it) for name, it in content.items()}))

    def refuse(self) -> None:
        """Note that something unknown was part of it."""
        self.reliable = False

    def hold(self) -> bool:
        """Return whether everything noted is still what it was."""
        if not self.reliable:
            return False
        for known in self._functions:  # for every job: no generator
            if not (known.is_bare() or _same(known.function(), known.names, known.kept)):
                return False
        return not self._classes or all(_unchanged(cls(), kept) for cls, kept in self._classes)

    def _note(self, value: object) -> None:
        if value is not _MISSING and not _is_fixed(value):
            self.reliable = False


def _content(function: types.FunctionType, names: tuple[str, ...]) -> list[object]:
    content: list[object] = [function.__code__, function.__defaults__]
    if names:
        content += map(function.__globals__.get, names, repeat(_MISSING))
    if cells := function.__closure__:
        content += map(_contents, cells)
    if table := function.__kwdefaults__:
        content += (*table, *table.values())
    if table := function.__dict__:
        content += (*table, *table.values())
    return content


def _contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _same(function: types.FunctionType | None, names: tuple[str, ...], then: list[object]) -> bool:
    if function is None:
        return False
    now = _content(function, names)
    if len(now) != len(then):
        return False
    # Mostly the very same objects; the others are those that are kept in another way.
    return all(map(is_, then, now)) or all(map(_is_kept, then, now))


def _unchanged(cls: type | None, then: dict[str, object]) -> bool:
    if cls is None:
        return False
    present = {name: it for name, it in cls.__dict__.items() if name not in _CLASS_TABLES}
    return len(present) == len(then) and all(
        _is_kept(kept, present.get(name, _MISSING)) for name, kept in then.items()
    )


# Keeping: to know a value again without keeping a function or a class alive, which may be the very
# one that is remembered together with these guards.


class _Taken(NamedTuple):
    """A value that was taken apart, because it would keep its parts alive."""

    kind: type
    parts: tuple[object, ...]


def _parts(value: object) -> tuple[object, ...] | None:
    if type(value) in (tuple, frozenset):
        return tuple(cast("tuple[object, ...]", value))
    if isinstance(value, property):
        return value.fget, value.fset, value.fdel, value.__doc__
    if isinstance(value, (classmethod, staticmethod)):
        return (value.__func__,)
    if isinstance(value, _SLOTS):
        return (value.__name__,)  # they know their class
    return None


def _keep(value: object) -> object:
    if isinstance(value, (types.FunctionType, type)):
        return ref(value)
    parts = _parts(value)
    if parts is None:
        return value
    kept = tuple(map(_keep, parts))
    if not isinstance(value, _SLOTS) and all(map(is_, kept, parts)):
        return value
    return _Taken(type(value), kept)


def _is_kept(kept: object, value: object) -> bool:
    if isinstance(kept, ref):
        return value is not None and kept() is value
    if isinstance(kept, _Taken):
        parts = _parts(value)
        return (
            type(value) is kept.kind
            and parts is not None
            and len(parts) == len(kept.parts)
            and all(map(_is_kept, kept.parts, parts))
        )
    return kept is value
