"""The project: which modules are the user's own, and their bundles as they are now.

A module is the user's own if it lies below a root, see ``roots``, or was named in ``ship=``. A
definition names the modules that it refers to; its *table* has the bundles of these and of all
modules of the user's that they import in turn, found in their syntax trees. What is imported in a
way that cannot be seen there is asked for by name while the job runs, with ``find``.

Every table is of the files as they are when it is asked for. Looking whether they still are takes
a ``stat`` of each; who asks again and again, many times in a millisecond, is given the last answer
until twenty times as long as the look took has passed. How long it took is counted in the time of
the processor: on a busy machine a look that is held up would otherwise keep edits from being seen.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from threading import RLock
from time import perf_counter, thread_time
from types import ModuleType
from weakref import WeakValueDictionary

from ppnext.shipping.bundles import Bundle, Refusal, pack
from ppnext.shipping.contents import Entries
from ppnext.shipping.imported import imported_names
from ppnext.shipping.places import Place, find_place
from ppnext.shipping.roots import Roots
from ppnext.shipping.trees import Tree

__all__ = ["Look", "Project", "Table"]

_REST = 20
"""How many times as long as a look took the next one waits."""

_LONGEST_REST = 0.01
"""Most seconds between two looks."""

_TABLES = 512
"""Most tables remembered."""

_KEPT = 64 << 20
"""Bytes of bundles that are kept although nothing uses them, for who asks for them late."""


class Table:
    """The bundles that a definition sees.

    Args:
        found: a bundle, or why there is none, for each name.

    Attributes:
        entries: plain data for the definition; sorted by name.
        bundles: those that can be sent.
        refusals: why the others cannot.
        digest: the SHA-256 of what the entries say.
    """

    def __init__(self, found: Iterable[Bundle | Refusal]) -> None:
        ordered = sorted(found, key=lambda one: one.name)
        self.bundles = tuple(one for one in ordered if isinstance(one, Bundle))
        self.refusals = tuple(one for one in ordered if isinstance(one, Refusal))
        self.entries: Entries = tuple(
            (one.name, one.digest if isinstance(one, Bundle) else one.reason) for one in ordered
        )
        self.digest = sha256(repr(self.entries).encode()).digest()


class _Owned:
    """A module of the user's as it was found last."""

    def __init__(self, place: Place, tree: Tree, name: str) -> None:
        self.place = place
        self.tree = tree
        self.found: Bundle | Refusal
        if tree.refusal is not None:
            self.found = Refusal(name, tree.refusal)
        else:
            self.found = pack(name, tree.sources, os.sep)
        sources = [file.data for file in tree.sources if file.path.endswith(".py")]
        self.imports = frozenset[str]().union(*map(imported_names, sources)) - {name}


class Look:
    """A table that was found, and when to look whether it still holds (seconds of the clock)."""

    __slots__ = ("look_at", "table")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.look_at = 0.0


class Project:
    """The modules of the user's. May be used by several threads.

    Args:
        roots: folders whose modules are the user's own.
        ship: names of installed distributions or modules that come along as well.
        clock: returns seconds.
        effort: returns how many seconds of a processor this thread has used.

    Raises:
        ConfigError: something in ``ship`` is not installed.
    """

    def __init__(
        self,
        roots: Iterable[str | os.PathLike[str]],
        ship: Iterable[str] = (),
        clock: Callable[[], float] = perf_counter,
        effort: Callable[[], float] = thread_time,
    ) -> None:
        self._roots = Roots(roots)
        self._clock = clock
        self._effort = effort
        self._lock = RLock()
        named = tuple(ship)
        self._shipped = _installed(named) if named else {}
        self._owned: dict[str, _Owned] = {}
        # Modules that are loaded and not the user's, by name; as long as they are the same.
        self._foreign: dict[str, ModuleType] = {}
        self._tables: OrderedDict[frozenset[str], Look] = OrderedDict()
        self._alive: WeakValueDictionary[bytes, Bundle] = WeakValueDictionary()
        self._kept: OrderedDict[bytes, Bundle] = OrderedDict()
        self._kept_bytes = 0

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders whose modules are the user's own."""
        return self._roots.folders

    def table(self, modules: Iterable[str]) -> Table:
        """Return the bundles that are needed for modules, as their files are now.

        Args:
            modules: dotted names; those that are not the user's count for nothing.

        Returns:
            the same object as before if nothing has changed.
        """
        return self.look(modules).table

    def look(self, modules: Iterable[str]) -> Look:
        """Return the same, with the moment up to which nobody need ask again."""
        names = frozenset(module.partition(".")[0] for module in modules)
        with self._lock:
            known = self._tables.get(names)
            began = self._clock()
            if known is not None and began < known.look_at:
                return known
            spent = self._effort()
            table = Table(self._closure(names))
            if known is not None and known.table.entries == table.entries:
                rest = min(_REST * (self._effort() - spent), _LONGEST_REST)
                known.look_at = self._clock() + rest
                return known
            # How long a look takes is seen the next time: this was more than that.
            known = self._tables[names] = Look(table)
            self._tables.move_to_end(names)
            while len(self._tables) > _TABLES:
                self._tables.popitem(last=False)
            return known

    def find(self, name: str) -> Bundle | Refusal | None:
        """Return the bundle of a module that a node asks for.

        Args:
            name: what it says is the name of a top-level module.

        Returns:
            the bundle, or why it cannot be sent; None if there is no such module of the user's.
        """
        if len(name) > 200 or not name.isidentifier():
            return None
        with self._lock:
            owned = self._look(name)
            if owned is not None and isinstance(owned.found, Bundle):
                self._keep(owned.found)
            return None if owned is None else owned.found

    def bundle(self, digest: bytes) -> Bundle | None:
        """Return a bundle that is in a table that is in use, or was found lately."""
        with self._lock:
            return self._alive.get(digest)

    def _closure(self, names: Iterable[str]) -> list[Bundle | Refusal]:
        """Look at modules and at all that they import."""
        found: list[Bundle | Refusal] = []
        ahead = set(names)
        passed: set[str] = set()
        while ahead:
            name = ahead.pop()
            passed.add(name)
            owned = self._look(name)
            if owned is not None:
                found.append(owned.found)
                ahead |= owned.imports - passed
        return found

    def _look(self, name: str) -> _Owned | None:
        """Return a module as it is now; None if it is not the user's."""
        known = self._owned.get(name)
        if known is not None and not known.tree.changed():
            return known
        module = sys.modules.get(name)
        if module is not None and self._foreign.get(name) is module:
            return None
        place = self._shipped.get(name) or find_place(name, self._roots)
        if place is None:
            if module is not None:
                self._foreign[name] = module
            self._owned.pop(name, None)
            return None
        owned = self._own(place)
        if known is not None and isinstance(known.found, Bundle):
            self._keep(known.found)
        if owned is None:
            self._owned.pop(name, None)
            return None
        self._owned[name] = owned
        return owned

    def _own(self, place: Place) -> _Owned | None:
        tree = Tree(place, self._roots)
        if not tree.sources and tree.refusal is None:
            return None
        if place.name in sys.stdlib_module_names:
            tree.refusal = (
                f"{place.paths[0]} has the name of a module of the standard library, which the "
                "nodes have: rename it"
            )
        owned = _Owned(place, tree, place.name)
        if isinstance(owned.found, Bundle):
            # The same content has the same bundle, whoever holds it.
            owned.found = self._alive.setdefault(owned.found.digest, owned.found)
        return owned

    def _keep(self, bundle: Bundle) -> None:
        """Keep a bundle for a while."""
        if bundle.digest not in self._kept:
            self._kept_bytes += len(bundle.payload)
        self._kept[bundle.digest] = bundle
        self._kept.move_to_end(bundle.digest)
        while self._kept_bytes > _KEPT and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.payload)


def _installed(names: Iterable[str]) -> dict[str, Place]:
    """Return the places of what is to be shipped although it is installed."""
    # What reads the metadata of distributions takes long to load, and is rarely needed.
    from ppnext.shipping.installed import places_of

    return {place.name: place for name in names for place in places_of(name)}
