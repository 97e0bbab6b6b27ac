"""Outfit: a definition together with the modules of the user's that it needs.

A definition's payload is two pickles, one after the other: the entries of the table of modules with
the sender's version of Python, and the function. So a worker knows which modules the function is to
see before it loads it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ppnext.shipping.functions import Definition

if TYPE_CHECKING:
    from ppnext.shipping.project import Project, Table

__all__ = ["Outfitter"]


class Outfitter:
    """Adds what definitions need of the user's modules.

    Args:
        roots: as ``Project`` takes them.
        ship: as ``Project`` takes it.

    Raises:
        ConfigError: something in ``ship`` is not installed.
    """

    def __init__(self, roots: Iterable[str], ship: Iterable[str] = ()) -> None:
        self._roots, self._ship = tuple(roots), tuple(ship)
        self._made: Project | None = None
        self._making = Lock()
        if self._ship:
            self.project  # noqa: B018  # names that are wrong are to be said now
        self._completed: WeakKeyDictionary[Definition, tuple[Table, Definition]] = (
            WeakKeyDictionary()
        )
        # Those that need none of the user's modules, and never will.
        self._plain: WeakKeyDictionary[Definition, None] = WeakKeyDictionary()
        # What jobs have looked for while they ran: their arguments may refer to it.
        self._sought: frozenset[str] = frozenset()

    @property
    def project(self) -> Project:
        """The user's modules. Looked for when a function first needs one that may be."""
        with self._making:
            if self._made is None:
                from ppnext.shipping.project import Project

                self._made = Project(self._roots, self._ship)
            return self._made

    def note_sought(self, module: str) -> None:
        """A job has looked for a module of the user's that its definition did not mention.

        From now on all definitions do, so that an edit of it is noticed.
        """
        self._sought |= {module}

    def complete(self, definition: Definition) -> Definition:
        """Return a definition that names the modules that it needs, as they are now."""
        names = definition.modules | self._sought if self._sought else definition.modules
        if not names or (definition in self._plain and not self._sought):
            return definition
        if self._made is None and all(map(_is_standard, names)):
            return definition
        table = self.project.table(names)
        if not table.entries:
            if all(map(_is_settled, names)):
                self._plain[definition] = None
            return definition
        known = self._completed.get(definition)
        if known is None or known[0] is not table:
            known = self._completed[definition] = table, definition.seeing(table)
        return known[1]


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_settled(module: str) -> bool:
    """Whether a module that is not the user's will not become the user's."""
    top = module.partition(".")[0]
    return top in sys.modules or top in sys.stdlib_module_names
