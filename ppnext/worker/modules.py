"""Modules: loads what imports the user's modules when a job first needs it.

Most workers run functions that need none, and are to start quickly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppnext.shipping.bundles import Entries
    from ppnext.worker.projects import Answer, Projects

__all__ = ["Modules"]

_JYTHON = "org"
"""What modules of the standard library look for, to see whether this is Jython."""


class Modules:
    """The user's modules, as the present job sees them.

    Args:
        fetch: as ``Projects`` takes it.
        ask: as ``Projects`` takes it.

    Attributes:
        disk: folders of the project if it is on this machine; to be set before the first job.
    """

    def __init__(
        self,
        fetch: Callable[[bytes], bytes],
        ask: Callable[[str], Answer],
    ) -> None:
        self.disk: Sequence[str] = ()
        self._fetch = fetch
        self._ask = ask
        # What the worker itself is made of; what jobs import later is not.
        self._own = frozenset(sys.modules)
        self._entries: Entries = ()
        self._projects: Projects | None = None
        self._lock = RLock()
        self._is_loading = False
        self._lookouts = (_Lookout(self._is_on_disk, self._load), _Lookout(_is_missing, self._load))
        sys.meta_path.insert(0, self._lookouts[0])
        sys.meta_path.append(self._lookouts[1])

    def enter(self, entries: Entries) -> None:
        """Let what is imported from now on be what a definition's table says.

        Raises:
            ImportError: a module of the user's has the name of one of the standard library.
        """
        self._entries = entries
        if self._projects is None and entries:
            self._load()
        elif self._projects is not None:
            self._projects.enter(entries)

    def close(self) -> None:
        """Import nothing of the user's any more."""
        for lookout in self._lookouts:
            sys.meta_path.remove(lookout)
        if self._projects is not None:
            self._projects.close()

    def _load(self) -> None:
        with self._lock:
            if self._projects is None and not self._is_loading:
                self._is_loading = True  # what is imported here is looked for as well
                from ppnext.worker.projects import Projects  # as said above

                self._projects = Projects(self._fetch, self._ask_for, self.disk, own=self._own)
                self._projects.enter(self._entries)

    def _ask_for(self, name: str) -> Answer:
        return None if name == _JYTHON else self._ask(name)

    def _is_on_disk(self, name: str) -> bool:
        """Whether a folder of the user's has a module of this name."""
        paths = [os.path.join(folder, name) for folder in self.disk]
        return any(os.path.isdir(path) or os.path.isfile(f"{path}.py") for path in paths)


class _Lookout:
    """A finder that finds nothing, but sees what is looked for.

    Args:
        counts: whether a module of this name means that the user's modules are needed.
        call: called then; once, for it puts other finders where this one is.
    """

    def __init__(self, counts: Callable[[str], bool], call: Callable[[], None]) -> None:
        self._counts = counts
        self._call: Callable[[], None] | None = call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the finders find that are put in place now; None otherwise."""
        call = self._call
        if call is None or path is not None or "." in fullname or not self._counts(fullname):
            return None
        self._call = None
        call()
        # Who goes through the finders now may have passed the place of the new first one.
        return sys.meta_path[0].find_spec(fullname, path, target)


def _is_missing(name: str) -> bool:
    return name != _JYTHON
