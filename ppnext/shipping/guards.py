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
from weakref import ref

__all__ = ["Guards", "referenced_names"]

_MISSING = object()

# Values that cannot change without becoming another object, or that are guarded themselves.
_FIXED = (
    types.NoneType,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.EllipsisType,
    type,
    Enum,
    range,
)

_DESCRIPTORS = (
    property,
    classmethod,
    staticmethod,
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
)

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


def _is_fixed(value: object) -> bool:
    if isinstance(value, (tuple, frozenset)) and type(value) in (tuple, frozenset):
        return all(map(_is_fixed, value))
    return isinstance(value, _FIXED)


class Guards:
    """What a pickle was made of.

    Attributes:
        reliable: False once something was noted that can change and stay the same object.
    """

    def __init__(self) -> None:
        self.reliable = True
        self._names: list[tuple[dict[str, object], str, object]] = []
        self._cells: list[tuple[types.CellType, object]] = []
        # Weakly, so that remembering what a function was made of does not keep it alive.
        self._functions: list[tuple[ref[types.FunctionType], tuple[object, ...]]] = []
        self._classes: list[tuple[type, dict[str, object]]] = []

    def add_function(self, function: types.FunctionType, names: tuple[str, ...]) -> None:
        """Note a function that is written by value, and the globals that it names."""
        for name in names:
            value = function.__globals__.get(name, _MISSING)
            self._note(value)
            self._names.append((function.__globals__, name, value))
        for cell in function.__closure__ or ():
            value = _contents(cell)
            self._note(value)
            self._cells.append((cell, value))
        self._note(function.__defaults__)
        self._note(tuple((function.__kwdefaults__ or {}).values()))
        for value in function.__dict__.values():
            self._note(value)
        self._functions.append((ref(function), _parts(function)))

    def add_class(self, cls: type) -> None:
        """Note a class that is written by value."""
        content = dict(cls.__dict__)
        for name, value in content.items():
            if not (name in _CLASS_TABLES or (name.startswith("__") and name.endswith("__"))):
                self._note_member(value)
        self._classes.append((cls, content))

    def refuse(self) -> None:
        """Note that something unknown was part of it."""
        self.reliable = False

    def hold(self) -> bool:
        """Return whether everything noted is still what it was."""
        return (
            self.reliable
            and all(space.get(name, _MISSING) is value for space, name, value in self._names)
            and all(_contents(cell) is value for cell, value in self._cells)
            and all(_same(function(), parts) for function, parts in self._functions)
            and all(_unchanged(cls, content) for cls, content in self._classes)
        )

    def _note(self, value: object) -> None:
        if value is not _MISSING and not _is_fixed(value):
            self.reliable = False

    def _note_member(self, value: object) -> None:
        if not isinstance(value, _DESCRIPTORS):
            self._note(value)


def _contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _parts(function: types.FunctionType) -> tuple[object, ...]:
    return (
        function.__code__,
        function.__defaults__,
        *(function.__kwdefaults__ or {}).values(),
        *function.__dict__.values(),
    )


def _same(function: types.FunctionType | None, then: tuple[object, ...]) -> bool:
    if function is None:
        return False
    now = _parts(function)
    return len(now) == len(then) and all(map(lambda a, b: a is b, now, then))


def _unchanged(cls: type, content: dict[str, object]) -> bool:
    present = cls.__dict__
    return len(present) == len(content) and all(
        present.get(name, _MISSING) is value for name, value in content.items()
    )
