"""Projects: which modules of the user's the present job sees.

Every definition names its table: top-level modules with the digests of their bundles, or with why
there is none. What is imported while the table is entered comes from these bundles, and they win
over what is installed here. A name that the table does not have and that nobody has here is asked
for; the answer holds for this table.

Theory of operation. A *world* is a set of modules that may know one another: it has one version of
each name. A table is entered in a world that agrees with it, or in a new one, so that no module
ever meets another version of one that it has imported. ``sys.modules`` holds the modules of the
present world of which the table speaks, and no others: what a job sees depends on its table, and
not on the jobs before it. What else the world has is put aside until a table speaks of it. Modules
of the node itself give way while a bundle has their name, and come back afterwards; those that
the worker itself is made of never do.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from ppnext.shipping.contents import Contents, Entries
from ppnext.worker.importer import SCHEME, BundleLoader, find_top, path_hook
from ppnext.worker.shelf import KEPT, Shelf

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.metadata import DistributionFinder

    from ppnext.worker.distributions import ShippedDistribution
else:
    Loader = object  # its module takes long to load, and it has nothing that is needed

__all__ = ["Answer", "Projects"]

Answer: TypeAlias = bytes | str | None
"""The digest of a module's bundle, or why there is none, or None: the user has no such module."""

_WORLDS = 8
"""Most worlds that are kept."""

_TABLES = 256
"""Most tables whose answers are remembered."""

_NAME_LIMIT = 200
"""Most characters of a name that is asked for; no file system has longer ones."""

Modules: TypeAlias = dict[str, ModuleType]


class _World:
    """Modules that may know one another.

    Args:
        versions: the digest of each name.
    """

    def __init__(self, versions: dict[str, bytes]) -> None:
        self.versions = versions
        # What is not in sys.modules now, by top-level name.
        self.aside: dict[str, Modules] = {}

    def agrees(self, versions: dict[str, bytes]) -> bool:
        """Whether modules of these versions may be in it."""
        return all(
            self.versions.get(name, version) == version for name, version in versions.items()
        )


class Projects:
    """The modules of the user's in this process.

    Args:
        fetch: returns the bytes of a bundle, waiting for them. It may be called in any thread.
        ask: returns the answer for a name that nobody has, waiting for it. The same holds.
        disk: folders of the project if it is on this machine: what cannot be shipped is imported
            from there.
        kept: bytes of bundles that are kept.
        own: modules that the worker itself runs on; those that are loaded now if it is not said.
    """

    def __init__(
        self,
        fetch: Callable[[bytes], bytes],
        ask: Callable[[str], Answer],
        disk: Sequence[str] = (),
        kept: int = KEPT,
        own: Iterable[str] | None = None,
    ) -> None:
        self._shelf = Shelf(fetch, kept)
        self._ask = ask
        self._disk = [os.path.abspath(folder) for folder in disk]
        self._lock = RLock()
        self._entries: Entries | None = None
        self._view: dict[str, Answer] = {}
        self._answers: OrderedDict[Entries, dict[str, Answer]] = OrderedDict()
        self._world = _World({})
        self._worlds = [self._world]
        self._shown: dict[str, bytes] = {}
        # Modules of the node itself that have given way to those of a bundle.
        self._displaced: dict[str, Modules] = {}
        tops = {_top(name) for name in (sys.modules if own is None else own)}
        self._protected = sys.stdlib_module_names | tops | {"ppnext"}
        self._hook = path_hook(self._shelf)
        self._finders = (_Finder(self._find_first, self._contents), _Finder(self._find_last))
        sys.path_hooks.insert(0, self._hook)
        sys.meta_path.insert(0, self._finders[0])
        sys.meta_path.append(self._finders[1])

    def close(self) -> None:
        """Take all modules of the user's out, and import none any more."""
        self._show(self._world, {})
        self._entries, self._view = None, {}
        sys.path_hooks.remove(self._hook)
        for finder in self._finders:
            sys.meta_path.remove(finder)
        self._worlds = [_World({})]
        self._forget_paths()

    def enter(self, entries: Entries) -> None:
        """Let what is imported from now on be what a table says.

        Raises:
            ImportError: a module of the user's has the name of one of the standard library, which
                this node would import instead.
        """
        if entries == self._entries:
            return
        with self._lock:
            self._entries, self._view = None, {}
            if not self._disk:
                _refuse_standard_names(entries)
            answers = self._answers.setdefault(entries, {})
            self._answers.move_to_end(entries)
            while len(self._answers) > _TABLES:
                self._answers.popitem(last=False)
            view: dict[str, Answer] = {**answers, **dict(entries)}
            versions = {
                name: version
                for name, version in view.items()
                if isinstance(version, bytes) and name not in self._protected
            }
            self._show(self._world_for(versions), versions)
            self._entries, self._view = entries, view

    def _contents(self) -> list[Contents]:
        """Return what the present table has and what is here."""
        found = [self._shelf.here(digest) for digest in self._shown.values()]
        return [contents for contents in found if contents is not None]

    # Worlds.

    def _world_for(self, versions: dict[str, bytes]) -> _World:
        """Return the world that was used last of those that agree, or a new one."""
        for world in self._worlds:
            if world.agrees(versions):
                self._worlds.remove(world)
                break
        else:
            world = _World({})
        self._worlds.insert(0, world)
        if len(self._worlds) > _WORLDS:
            del self._worlds[_WORLDS:]
            self._forget_paths()
        return world

    def _show(self, world: _World, versions: dict[str, bytes]) -> None:
        """Put modules of a world into ``sys.modules``, and those that are there aside."""
        stay = self._shown.keys() & versions.keys() if world is self._world else set()
        leaving, coming = self._shown.keys() - stay, versions.keys() - stay
        taken = _take_out(leaving | coming)
        for name in leaving:
            self._world.aside[name] = taken.get(name, {})
            _hide_lines(self._world.aside[name].values())
            if name not in coming:
                sys.modules.update(self._displaced.pop(name, {}))
        for name in coming:
            if name not in leaving and name in taken:
                self._displaced[name] = taken[name]
            modules = world.aside.pop(name, {})
            sys.modules.update(modules)
            _show_lines(modules.values())
        world.versions.update(versions)
        self._world, self._shown = world, versions

    def _fork(self) -> None:
        """Leave the present world for a new one with the same modules in sight."""
        modules = _take_out(self._shown)
        self._world.aside.update({name: dict(modules.get(name, {})) for name in self._shown})
        for own in modules.values():
            sys.modules.update(own)
        self._world = _World(dict(self._shown))
        self._worlds.insert(0, self._world)

    def _forget_paths(self) -> None:
        """Drop the finders of bundles that no world has."""
        used = {version.hex() for world in self._worlds for version in world.versions.values()}
        for path in list(sys.path_importer_cache):
            if str(path).startswith(f"{SCHEME}:") and path.split(":")[1] not in used:
                del sys.path_importer_cache[path]

    # Finding.

    def _find_first(self, name: str) -> ModuleSpec | None:
        """Find what the table has, before the node's own modules are looked through."""
        if self._entries is None or name in self._protected:
            return None
        if name not in self._view and self._on_disk(name) is not None:
            self._resolve(name)  # what the user has may have changed
        version = self._view.get(name)
        if isinstance(version, bytes):
            return self._spec(name, version)
        return self._on_disk(name) if isinstance(version, str) else None

    def _find_last(self, name: str) -> ModuleSpec | None:
        """Find what nobody has.

        Raises:
            ImportError: the user has it, and it cannot be shipped.
        """
        if self._entries is None or name in self._protected:
            return None
        if name not in self._view:
            self._resolve(name)
        version = self._view.get(name)
        if isinstance(version, str):
            raise ImportError(version, name=name)
        return None if version is None else self._spec(name, version)

    def _on_disk(self, name: str) -> ModuleSpec | None:
        if not self._disk:
            return None
        spec = PathFinder.find_spec(name, self._disk)
        return spec if spec is None or spec.loader is not None else None

    def _resolve(self, name: str) -> None:
        """Ask for a name and remember the answer for this table."""
        entries = self._entries
        if entries is None or not name.isidentifier() or len(name) > _NAME_LIMIT:
            return
        answer = self._ask(name)
        with self._lock:
            if entries is not self._entries:
                return  # a thread that has outlived its job
            self._view[name] = answer
            self._answers[entries][name] = answer
            if isinstance(answer, bytes):
                self._adopt(name, answer)

    def _adopt(self, name: str, version: bytes) -> None:
        """Take a name into the present world, or into another that has this version of it."""
        if not self._world.agrees({name: version}):
            self._fork()
        self._world.versions[name] = self._shown[name] = version
        displaced = _take_out({name})
        if displaced:
            self._displaced.update(displaced)

    def _spec(self, name: str, version: bytes) -> ModuleSpec:
        known = self._world.aside.pop(name, None)
        if known and name in known:
            module = known.pop(name)
            sys.modules.update(known)
            return ModuleSpec(name, _Known(module), is_package=hasattr(module, "__path__"))
        spec = find_top(self._shelf, version, name)
        if not spec.has_location and spec.submodule_search_locations is not None:
            spec.submodule_search_locations.extend(self._portions(name))
        return spec

    def _portions(self, name: str) -> list[str]:
        """Return the folders that the node itself has of a namespace package."""
        path = [folder for folder in sys.path if os.path.abspath(folder) not in self._disk]
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is not None:
            return []
        return list(spec.submodule_search_locations or ())


class _Finder:
    """A finder of top-level modules, for ``sys.meta_path``.

    Args:
        find: finds one.
        contents: returns the bundles whose distributions are to be known.
    """

    def __init__(
        self,
        find: Callable[[str], ModuleSpec | None],
        contents: Callable[[], list[Contents]] = list,
    ) -> None:
        self._find = find
        self._contents = contents

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a top-level module; None if it is none or not to be found here."""
        return self._find(fullname) if path is None and "." not in fullname else None

    def find_distributions(
        self, context: DistributionFinder.Context
    ) -> Iterable[ShippedDistribution]:
        """Yield what bundles tell of distributions, for ``importlib.metadata``."""
        contents = self._contents()
        if not contents:
            return ()
        # It takes long to load what whoever asks this has loaded.
        from ppnext.worker.distributions import shipped_distributions

        return shipped_distributions(contents, context.name)


class _Known(Loader):
    """A loader of a module that has been loaded, and was put aside."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Restore what making it anew has changed."""
        module.__spec__ = self._spec
        _show_lines([module])


def _refuse_standard_names(entries: Entries) -> None:
    for name, version in entries:
        if isinstance(version, str) and name in sys.stdlib_module_names:
            raise ImportError(version, name=name)


def _take_out(names: Iterable[str]) -> dict[str, Modules]:
    """Take modules of top-level names out of ``sys.modules``."""
    wanted = frozenset(names)
    taken: dict[str, Modules] = {}
    if wanted:
        for name in list(sys.modules):
            top = _top(name)
            if top in wanted:
                taken.setdefault(top, {})[name] = sys.modules.pop(name)
    return taken


def _top(name: str) -> str:
    return name.partition(".")[0]


def _loaders(modules: Iterable[ModuleType]) -> list[BundleLoader]:
    specs = [getattr(module, "__spec__", None) for module in modules]
    loaders = [getattr(spec, "loader", None) for spec in specs]
    return [loader for loader in loaders if isinstance(loader, BundleLoader)]


def _show_lines(modules: Iterable[ModuleType]) -> None:
    for loader in _loaders(modules):
        loader.show_lines()


def _hide_lines(modules: Iterable[ModuleType]) -> None:
    for loader in _loaders(modules):
        loader.hide_lines()
