"""Source: where a function's code stands in its file, if what stands there is what runs.

The text of a file, or of a notebook cell, is taken from ``linecache``; the top-level statement that
a function's first line is in is its unit (see ``compiling``). The unit is compiled here as it will
be at the other end, and only a place in it whose code equals the function's, in everything, line
numbers and columns included, is an answer. So whatever can be wrong (the file was edited
since, the code was rewritten or came from ``exec``, a line that holds several lambdas) ends in
"not equal", and never in other code being run elsewhere.

Answers are remembered for each code object: one that was right stays right when its file changes.
"""

from __future__ import annotations
import __future__

import linecache
import re
import sys
from bisect import bisect_right
from collections import OrderedDict
from types import CodeType
from typing import NamedTuple
from weakref import ref

from ppnext.shipping.compiling import (
    Unit,
    code_at,
    functions_in,
    outline,
    units_shown,
)

__all__ = ["Source", "find", "same_code"]

_FUTURE_FLAGS = 0
for _name in __future__.all_feature_names:
    _FUTURE_FLAGS |= getattr(__future__, _name).compiler_flag
_FUTURE_FLAGS &= ~0x10  # "nested_scopes" shares its bit with code that is nested

_FILES = 32

_WORD = re.compile(r"\w+")


class Source(NamedTuple):
    """Where the code of a function comes from: the function at ``place`` in ``unit``."""

    unit: Unit
    place: int


class _File:
    """A file's text, cut into units."""

    def __init__(self, filename: str, lines: list[str]) -> None:
        self.lines = lines
        self._filename = filename
        # A notebook's may hold ends of lines of any kind; Python knows three.
        text = "".join(lines).replace("\r\n", "\n").replace("\r", "\n")
        self._lines = text.split("\n")
        self._ranges, self._imports = outline(filename, text)
        self._units: dict[tuple[int, int], list[Unit]] = {}

    def units_at(self, line: int, flags: int) -> list[Unit]:
        """Return the unit that a line is in, in each form that it may have been compiled in.

        For the same line these are always the same objects.
        """
        index = bisect_right(self._ranges, (line, sys.maxsize)) - 1
        if index < 0 or line > self._ranges[index][1]:
            return []
        units = self._units.get((index, flags))
        if units is None:
            first, last = self._ranges[index]
            text = "\n".join(self._lines[first - 1 : last]) + "\n"
            alone = Unit(self._filename, first, text, flags, sys.flags.optimize, ())
            imports = tuple(sorted(self._imports.intersection(_WORD.findall(text))))
            # Prompts and notebooks compile a statement alone, without what they import before it.
            units = [alone._replace(imports=imports), alone] if imports else [alone]
            self._units[index, flags] = units
        return units


_files: OrderedDict[str, _File] = OrderedDict()
_found: dict[int, tuple[ref[CodeType], Source | str]] = {}


def find(code: CodeType, space: dict[str, object] | None = None) -> Source | str:
    """Return where the code of a function comes from, or why that cannot be said.

    Args:
        space: the globals of the function, by which archives are found.

    Returns:
        the source, or the reason in words, without the function's name.
    """
    key = id(code)
    known = _found.get(key)
    if known is not None and known[0]() is code:
        return known[1]
    answer = _look(code, space)
    _found[key] = ref(code, lambda gone: _forget(key, gone)), answer
    return answer


def _forget(key: int, gone: ref[CodeType]) -> None:
    known = _found.get(key)
    if known is not None and known[0] is gone:
        del _found[key]


def _look(code: CodeType, space: dict[str, object] | None) -> Source | str:
    flags = code.co_flags & _FUTURE_FLAGS
    # What came here as source goes on as the same source.
    for unit in reversed(units_shown(code.co_filename)):
        source = _in_unit(unit, code)
        if source is not None:
            return source
    try:
        file = _file(code.co_filename, space)
        if file is None:
            return f"its source text is not to be had ({code.co_filename})"
        for unit in file.units_at(code.co_firstlineno, flags):
            source = _in_unit(unit, code)
            if source is not None:
                return source
    except SyntaxError as error:
        return f"{code.co_filename} is no Python as it is now (line {error.lineno}: {error.msg})"
    except (RecursionError, MemoryError):
        return f"{code.co_filename} is too deeply nested to be compiled again"
    return (
        f"line {code.co_firstlineno} of {code.co_filename} is not what runs: the file was edited "
        "after it was loaded, or the code was made by exec or rewritten by a tool"
    )


def _file(filename: str, space: dict[str, object] | None) -> _File | None:
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, space)
    if not lines:
        return None
    known = _files.get(filename)
    if known is None or (known.lines is not lines and known.lines != lines):
        known = _files[filename] = _File(filename, lines)
        if len(_files) > _FILES:
            _files.popitem(last=False)
    return known


def _in_unit(unit: Unit, code: CodeType) -> Source | None:
    for place, (name, line, _) in enumerate(functions_in(unit)):
        if line == code.co_firstlineno and name == code.co_name:
            there = code_at(unit, place)
            if there is not None and same_code(there, code):
                return Source(unit, place)
    return None


# Equality. That of code objects leaves out line tables on some Pythons, and their hash is slow.

_TRAITS = tuple(
    name
    for name in (
        "co_name co_qualname co_filename co_firstlineno co_flags co_argcount co_posonlyargcount "
        "co_kwonlyargcount co_nlocals co_stacksize co_varnames co_cellvars co_freevars co_names "
        "co_code co_linetable co_exceptiontable"
    ).split()
    if hasattr(CodeType, name)
)


def same_code(one: CodeType, other: CodeType) -> bool:
    """Return whether two code objects are the same in everything, positions included."""
    if any(getattr(one, trait) != getattr(other, trait) for trait in _TRAITS):
        return False
    # The order of this table of a class differs from run to run on some Pythons.
    unordered = "__static_attributes__" in one.co_names
    return len(one.co_consts) == len(other.co_consts) and all(
        _same_constant(a, b, unordered) for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def _same_constant(one: object, other: object, unordered: bool) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return same_code(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        if unordered and set(map(type, one)) == set(map(type, other)) == {str}:
            return sorted(one) == sorted(other)
        return len(one) == len(other) and all(
            _same_constant(a, b, False) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return {(type(it), it) for it in one} == {(type(it), it) for it in other}
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)  # signs of zeros differ, and nan is nan
    return one == other
