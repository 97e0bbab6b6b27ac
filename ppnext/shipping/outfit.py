"""Outfit: a definition together with the modules of the user's that it needs.

A definition's payload is two pickles, one after the other: the entries of the table of modules with
the sender's version of Python, and the function. So a worker knows which modules the function is to
see before it loads it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING

from ppnext.shipping.functions import Definition

if TYPE_CHECKING:
    from ppnext.shipping.project import Look, Project

__all__ = ["Outfit", "Outfitter"]


class Outfit:
    """What was found for a definition the last time.

    Args:
        sought: what jobs had looked for at the time.
        look: the table that was found; None if it needs none of the user's modules, and never will.
        complete: the definition that sees them; None if it sees none.
    """

    __slots__ = ("complete", "look", "sought")

    def __init__(
        self, sought: frozenset[str], look: Look | None, complete: Definition | None
    ) -> None:
        self.sought = sought
        self.look = look
        self.complete = complete


class Outfitter:
    """Adds what definitions need of the user's modules. A definition has one outfitter.

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
        known, sought = definition.outfit, self._sought
        if known is None or known.sought is not sought:
            known = None
        elif known.look is None or perf_counter() < known.look.look_at:
            return known.complete or definition
        names = definition.modules | sought
        if not names or (self._made is None and all(map(_is_standard, names))):
            return definition
        look = self.project.look(names)
        if not look.table.entries:
            if all(map(_is_settled, names)):
                definition.outfit = Outfit(sought, None, None)
            return definition
        if known is None or known.look is None or known.look.table is not look.table:
            known = Outfit(sought, look, definition.seeing(look.table))
            definition.outfit = known
        return known.complete or definition


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_settled(module: str) -> bool:
    """Whether a module that is not the user's will not become the user's."""
    top = module.partition(".")[0]
    return top in sys.modules or top in sys.stdlib_module_names
