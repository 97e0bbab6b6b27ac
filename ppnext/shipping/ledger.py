"""The ledger: what a pickle is made of, written down while it is made.

From it come the answers to four questions. Is the pickle still right (``guards``)? What is in it,
in which form and why (``parts``)? Which modules must the other end be able to import (``modules``,
``imports``)? And may any Python load it, or is it bound to the minor version of this one
(``bound``)?
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, NamedTuple, cast

from ppnext.shipping.guards import Guards, imported_names, referenced_names
from ppnext.shipping.rebuild import is_importable
from ppnext.version import PYTHON

if TYPE_CHECKING:
    from ppnext.shipping.source import Source

__all__ = ["REFERENCE", "SOURCE", "VALUE", "Ledger", "Part"]

REFERENCE = "reference"
SOURCE = "source"
VALUE = "value"


class Part(NamedTuple):
    """A function or class in a pickle.

    Attributes:
        kind: "function" or "class".
        name: its qualified name.
        module: the name of the module that it says it is from.
        form: "reference" (imported at the other end), "source" (compiled there; any supported
            Python) or "value" (this minor version of Python only).
        reason: why it goes in that form, in words.
        where: file and line where it is defined, "" where that is not known or not ours to tell.
    """

    kind: str
    name: str
    module: str
    form: str
    reason: str
    where: str


class Ledger:
    """What one pickle is made of.

    Attributes:
        guards: tell whether it has changed since.
        modules: full names of the modules that are imported where the pickle is loaded.
        imports: top-level names of modules that its code imports when it runs.
        home: the module that the function itself is imported from at the other end, if it is and
            not every node has it.
    """

    def __init__(self) -> None:
        self.guards = Guards()
        self.home: str | None = None
        self.modules: set[str] = set()
        self.imports: set[str] = set()
        self._parts: dict[tuple[str, str, str, str], Part] = {}
        self._reasons: dict[str, None] = {}

    @property
    def bound(self) -> tuple[str, tuple[str, ...]] | None:
        """None if every supported Python can load the pickle; else the one that can, and why."""
        return (PYTHON, tuple(self._reasons)) if self._reasons else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The functions and classes in the pickle, in the order in which they were met."""
        by_value = [part for part in self._parts.values() if part.form == VALUE]
        return tuple(_with_methods(part, by_value) for part in self._parts.values())

    def bind(self, reason: str) -> None:
        """Note that only this minor version of Python can load the pickle."""
        self._reasons[reason] = None

    def add_reference(self, obj: types.FunctionType | types.BuiltinFunctionType | type) -> None:
        """Note a function or class that is imported at the other end."""
        module = obj.__module__
        if not isinstance(module, str) or module == "builtins" or _is_ours(module):
            return
        self.modules.add(module)
        self._add(obj, REFERENCE, f"it can be imported from {module}", "")

    def add_called(self, obj: object) -> None:
        """Note what is to be called, before it is written."""
        module = getattr(obj, "__module__", None)
        if not isinstance(module, str) or module == "builtins" or not is_importable(obj):
            return
        if not isinstance(obj, (types.FunctionType, types.BuiltinFunctionType, type)):
            self.add_module(module)  # such as numpy's, which pickle themselves by name
        if module.partition(".")[0] not in sys.stdlib_module_names and not _is_ours(module):
            self.home = module

    def add_module(self, name: str) -> None:
        """Note a module that is imported at the other end."""
        if not _is_ours(name):
            self.modules.add(name)

    def add_function(self, function: types.FunctionType, source: Source | str) -> None:
        """Note a function that is written by its content.

        Args:
            source: where its code comes from, or why its code is marshalled.
        """
        code = function.__code__
        self.guards.add_function(function, referenced_names(code))
        package = cast("str | None", function.__globals__.get("__package__"))
        for level, name in imported_names(code):
            self._add_import(level, name, package or "")
        reason = why_by_content(function)
        where = f"{code.co_filename}:{code.co_firstlineno}"
        if isinstance(source, str):
            self._add(function, VALUE, f"{reason}, and {source}", where)
        else:
            self._add(function, SOURCE, reason, where)

    def add_class(self, cls: type) -> None:
        """Note a class that is written by its content."""
        self.guards.add_class(cls)
        self._add(cls, SOURCE, why_by_content(cls), "")

    def add_import(self, name: str) -> None:
        """Note that a module is imported by name when the job runs."""
        self._add_import(0, name, "")

    def _add_import(self, level: int, name: str, package: str) -> None:
        if level:
            name = package
        if name:
            self.imports.add(name.partition(".")[0])

    def _add(self, obj: types.FunctionType | types.BuiltinFunctionType | type, *rest: str) -> None:
        kind = "class" if isinstance(obj, type) else "function"
        part = Part(kind, obj.__qualname__, obj.__module__, *rest)
        self._parts.setdefault((kind, part.name, part.module, part.where), part)


def why_by_content(obj: types.FunctionType | type) -> str:
    """Say why a function or class cannot be imported at the other end."""
    module, name = obj.__module__, obj.__qualname__
    if obj.__name__ == "<lambda>":
        return "a lambda has no name to be imported by"
    if "<locals>" in name:
        return "it is defined inside a function"
    if module == "__main__" or module is None:
        return "it is defined in the program itself (__main__)"
    if module not in sys.modules:
        return f"its module {module} is none that is imported"
    return f"{module}.{name} is something else"


def _is_ours(module: str) -> bool:
    # Where there is a worker there is ppnext.
    return module == "ppnext" or module.startswith("ppnext.")


def _with_methods(part: Part, by_value: list[Part]) -> Part:
    """A class goes by value if a method of it does."""
    if part.kind != "class" or part.form != SOURCE:
        return part
    for other in by_value:
        if other.module == part.module and other.name.startswith(part.name + "."):
            return part._replace(
                form=VALUE, reason=f"{part.reason}; its {other.name} goes by value"
            )
    return part
