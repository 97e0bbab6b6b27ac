"""Compiling: a function's code out of the source text that came along with it.

A *unit* is the source of one top-level statement of a file or notebook cell, as whole lines. A
function in it is known by its *place*: the how-manieth ``def`` or ``lambda`` it is in the syntax
tree, in the order of the tree's fields. Unlike a line, or a column inside an f-string, that is the
same on every Python that can parse the unit.

Theory of operation. A whole unit is compiled, so that closures, name mangling, ``__class__`` cells
and line numbers become what they are at home; the difficulty is to tell which of the many code
objects in the result belongs to a place. So before the tree is compiled, the lines of every
function at one depth of nesting are moved, each function by a distance of its own. In the result
a code object's first line says whose it is. Line tables are relative to the first line, hence the
move is undone by writing another first line. Of the codes that were moved by one distance the
function's own is the outermost that has its name; lambdas in its defaults come before it, and
so do bounds of its type parameters.

Only ``_ast`` is used, so a worker need not load ``ast``. The text of units that were loaded is
shown to ``linecache``, for tracebacks, where no file of that name is.
"""

from __future__ import annotations

import _ast
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache, partial
from threading import Lock
from types import CodeType
from typing import Any, NamedTuple, TypeAlias

from ppnext.errors import UnsuitablePython
from ppnext.version import PYTHON

__all__ = [
    "FunctionNode",
    "Unit",
    "code_at",
    "codes",
    "functions_in",
    "load_code",
    "outline",
    "units_shown",
]

_FUNCTIONS = (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.Lambda)
_FunctionDef: TypeAlias = "_ast.FunctionDef | _ast.AsyncFunctionDef | _ast.Lambda"

_BLOCKS = (_ast.stmt, _ast.excepthandler, _ast.match_case)

_TOP_LEVEL_AWAIT = 0x2000
"""Allows ``await`` outside functions, as notebooks do; functions are not compiled differently."""

# Python 3.13 writes the first line into the code of a class, as a constant. Far moves cannot be
# mistaken for a constant of the user's; before 3.11 they would make line tables long.
_FAR = 1 << 30 if sys.version_info >= (3, 13) else 0

_FILES_SHOWN = 256
_UNITS_SHOWN = 256


class Unit(NamedTuple):
    """The source text of a top-level statement.

    Attributes:
        filename: where it stands, as tracebacks show it.
        line: the number of its first line there, from 1.
        text: whole lines.
        flags: compiler flags of the ``__future__`` features that are in force.
        optimize: 0, 1 (no assertions) or 2 (no docstrings either).
        imports: names in it that the file imports at its top level: Python compiles calls of
            what is an attribute of these in another way.
    """

    filename: str
    line: int
    text: str
    flags: int
    optimize: int
    imports: tuple[str, ...]


class FunctionNode(NamedTuple):
    """A ``def`` or ``lambda`` in a unit.

    Attributes:
        name: of the code object; ``<lambda>`` for lambdas.
        line: the first line of its code in the file, which is that of its first decorator.
        depth: how many functions it stands in, in the syntax tree.
    """

    name: str
    line: int
    depth: int


class _Compiled:
    """A unit, compiled as far as was asked for."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._lock = Lock()
        self._codes: dict[int, dict[int, CodeType]] = {}
        # Parsed for the outline, then compiled once: compiling it moves its lines.
        self._tree: _ast.Module | None = _parse(unit)
        self.functions = tuple(
            FunctionNode(_name(node), _first_line(node) + unit.line - 1, depth)
            for node, depth in _functions(self._tree)
        )

    def at_depth(self, depth: int) -> dict[int, CodeType]:
        """Return the codes of the functions at a depth, by place."""
        with self._lock:
            if depth not in self._codes:
                tree, self._tree = self._tree or _parse(self._unit), None
                self._codes[depth] = _codes_at_depth(self._unit, tree, depth)
            return self._codes[depth]


@lru_cache(maxsize=128)
def _compiled(unit: Unit) -> _Compiled:
    return _Compiled(unit)


def functions_in(unit: Unit) -> tuple[FunctionNode, ...]:
    """Return the functions of a unit by their places, those in other functions included.

    Raises:
        SyntaxError: this Python does not understand the unit.
    """
    return _compiled(unit).functions


def code_at(unit: Unit, place: int) -> CodeType | None:
    """Return the code of the function at a place, or None if none is compiled for it.

    Raises:
        SyntaxError: this Python does not understand the unit.
    """
    compiled = _compiled(unit)
    if not 0 <= place < len(compiled.functions):
        return None
    return compiled.at_depth(compiled.functions[place].depth).get(place)


def codes(unit: Unit) -> dict[int, CodeType]:
    """Return the codes of all functions of a unit, by place.

    Raises:
        SyntaxError: this Python does not understand the unit.
    """
    found = {place: code_at(unit, place) for place in range(len(functions_in(unit)))}
    return {place: code for place, code in found.items() if code is not None}


def load_code(unit: Unit, place: int, name: str) -> CodeType:
    """Return the code of a function that was sent as source; what its pickle calls.

    Args:
        name: the function's qualified name, for errors.

    Raises:
        UnsuitablePython: this Python does not understand the unit.
    """
    unit = Unit(*unit)
    try:
        code = code_at(unit, place)
    except SyntaxError as error:
        raise UnsuitablePython(_complaint(unit, name, error), "SyntaxError") from None
    if code is None:
        raise UnsuitablePython(
            f"the function {name} ({unit.filename}, line {unit.line}) is compiled to nothing by "
            f"this node's Python {PYTHON}"
        )
    _show(unit)
    return code


def _complaint(unit: Unit, name: str, error: SyntaxError) -> str:
    line = error.lineno or 1
    lines = unit.text.split("\n")
    shown = lines[line - 1].strip() if line <= len(lines) else ""
    return (
        f"the function {name} cannot run on this node's Python {PYTHON}, which does not "
        f"understand line {unit.line + line - 1} of {unit.filename}: {shown!r}: {error.msg}"
    )


def outline(filename: str, text: str) -> tuple[list[tuple[int, int]], frozenset[str]]:
    """Return where a file's top-level statements begin and end, and what it imports there.

    Returns:
        the first and last lines of the statements, in their order, those that share a line being
        one; and the names that imports outside functions and classes define.

    Raises:
        SyntaxError: this Python does not understand the text.
    """
    tree = _parse(Unit(filename, 1, text, 0, 0, ()))
    ranges: list[tuple[int, int]] = []
    for node in tree.body:
        first = _first_line(node)
        last = node.end_lineno or node.lineno
        if ranges and first <= ranges[-1][1]:
            first, last = ranges[-1][0], max(last, ranges.pop()[1])
        ranges.append((first, last))
    return ranges, frozenset(_imported(tree))


# The syntax tree.


def _parse(unit: Unit) -> _ast.Module:
    flags = unit.flags | _TOP_LEVEL_AWAIT | _ast.PyCF_ONLY_AST
    with warnings.catch_warnings():
        # Those of the user's code were given when it was compiled first.
        warnings.simplefilter("ignore")
        text = unit.text
        if unit.imports:
            text += f"import {', '.join(unit.imports)}\n"
        try:
            tree = compile(text, unit.filename, "exec", flags, True, unit.optimize)
        except ValueError as error:  # a null character, say
            raise SyntaxError(str(error)) from None
    assert isinstance(tree, _ast.Module)
    return tree


def _children(node: _ast.AST) -> list[_ast.AST]:
    found: list[_ast.AST] = []
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, _ast.AST):
            found.append(value)
        elif isinstance(value, list):
            found += [item for item in value if isinstance(item, _ast.AST)]
    return found


def _functions(tree: _ast.Module) -> list[tuple[_FunctionDef, int]]:
    """The functions of a tree and their depths; places are positions in this list."""
    found: list[tuple[_FunctionDef, int]] = []
    pending: list[tuple[_ast.AST, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        if isinstance(node, _FUNCTIONS):
            found.append((node, depth))
            depth += 1
        pending += [(child, depth) for child in reversed(_children(node))]
    return found


def _imported(tree: _ast.Module) -> Iterator[str]:
    pending: list[_ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (_ast.Import, _ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif not isinstance(node, (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef)):
            pending += [child for child in _children(node) if isinstance(child, _BLOCKS)]


def _name(node: _FunctionDef) -> str:
    return "<lambda>" if isinstance(node, _ast.Lambda) else node.name


def _first_line(node: _FunctionDef | _ast.stmt) -> int:
    decorators: list[_ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _move(node: _ast.AST, by: int) -> None:
    """Move a node and all in it by a number of lines."""
    pending = [node]
    while pending:
        node = pending.pop()
        if node._attributes:
            node.lineno += by  # type: ignore[attr-defined]  # all attributes are positions
            if node.end_lineno is not None:  # type: ignore[attr-defined]  # as above
                node.end_lineno += by  # type: ignore[attr-defined]  # as above
        pending += _children(node)


# The code.


def _codes_at_depth(unit: Unit, tree: _ast.Module, depth: int) -> dict[int, CodeType]:
    span = unit.text.count("\n") + 3
    # By number of the move: which place was moved by it.
    moved: dict[int, int] = {}
    names: dict[int, str] = {}
    for place, (node, its_depth) in enumerate(_functions(tree)):
        if its_depth == depth:
            number = len(moved) + 1
            _move(node, _FAR + number * span)
            moved[number], names[number] = place, _name(node)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in _parse
        flags = unit.flags | _TOP_LEVEL_AWAIT
        module = compile(tree, unit.filename, "exec", flags, True, unit.optimize)
    return {
        moved[number]: _moved(code, unit.line - 1 - _FAR - number * span)
        for number, code in _outermost(module, names, span).items()
    }


def _outermost(module: CodeType, names: dict[int, str], span: int) -> dict[int, CodeType]:
    """Find, for each number of a move, the last of the outermost codes of the right name."""
    found: dict[int, CodeType] = {}
    level = [module]
    while level:
        level = [it for code in level for it in code.co_consts if isinstance(it, CodeType)]
        here: dict[int, CodeType] = {}
        for code in level:
            number = (code.co_firstlineno - _FAR) // span
            if number not in found and names.get(number) == code.co_name:
                here[number] = code
        found.update(here)
    return found


def _moved(code: CodeType, by: int) -> CodeType:
    """Return code whose first line, and that of all code in it, is another."""
    first = code.co_firstlineno + by
    consts = [_moved(it, by) if isinstance(it, CodeType) else it for it in code.co_consts]
    if "__firstlineno__" in code.co_names:
        consts = [first if type(it) is int and it == code.co_firstlineno else it for it in consts]
    return code.replace(co_firstlineno=first, co_consts=tuple(consts))


# Tracebacks.

_shown: OrderedDict[str, OrderedDict[int, Unit]] = OrderedDict()
_shown_lock = Lock()
_entries: dict[str, Any] = {}

# What linecache would take for the ends of lines.
_LINE_ENDS = dict.fromkeys(map(ord, "\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")


def units_shown(filename: str) -> tuple[Unit, ...]:
    """Return the units of a file that were loaded in this process, the latest last."""
    with _shown_lock:
        return tuple(_shown.get(filename, {}).values())


def _show(unit: Unit) -> None:
    """Let tracebacks find the text of a unit where its file is not there."""
    import linecache  # only workers that are sent source pay for it

    with _shown_lock:
        units = _shown.setdefault(unit.filename, OrderedDict())
        if units.get(unit.line) == unit:
            return
        _shown.move_to_end(unit.filename)
        units[unit.line] = unit
        units.move_to_end(unit.line)
        if len(units) > _UNITS_SHOWN:
            units.popitem(last=False)
        dropped = _shown.popitem(last=False)[0] if len(_shown) > _FILES_SHOWN else None
    if dropped is not None:
        linecache.cache.pop(dropped, None)
        _entries.pop(dropped, None)
    entry = linecache.cache.get(unit.filename)
    if entry is not None and entry is not _entries.get(unit.filename):
        # It is a file's or a notebook's own, or what linecache has made of ours.
        if len(entry) == 1 or entry[1] is not None or unit.filename not in _entries:
            return
    _entries[unit.filename] = linecache.cache[unit.filename] = _entry(unit.filename)


def _entry(filename: str) -> Any:
    """What linecache is to have for a file: its text, or who gives it if there is no such file."""
    if not (filename.startswith("<") and filename.endswith(">")):
        return (partial(_text_shown, filename),)
    # There is no file of such a name, and linecache would not ask.
    text = _text_shown(filename)
    return len(text), None, [line + "\n" for line in text.split("\n")], filename


def _text_shown(filename: str) -> str:
    lines: list[str] = []
    for unit in units_shown(filename):
        own = unit.text.translate(_LINE_ENDS).split("\n")
        lines += [""] * (unit.line - 1 + len(own) - len(lines))
        lines[unit.line - 1 : unit.line - 1 + len(own)] = own
    return "\n".join(lines)
