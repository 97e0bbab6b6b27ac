"""The importer: modules from bundles.

A package from a bundle has one entry in its ``__path__``, which names the bundle by its digest and
the folder in it: ``ppnext-bundle:<digest>:<name>:<folder>``. No file system has such a path, so
nothing else takes it for its own, and two versions of one package never share an entry. A path
hook makes a ``BundleFinder`` of it; top-level modules are found by ``find_top``, which ``projects``
calls. All else is the machinery of Python's own import.

What the user sees is the user's own: ``__file__``, the file names and lines of tracebacks and of
syntax errors. A folder without ``__init__.py`` is a package too, as it is in Python.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import decode_source
from io import StringIO
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, TypeAlias

from ppnext.shipping.contents import Contents
from ppnext.worker.resources import Resource, ResourceReader
from ppnext.worker.shelf import Shelf

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # its module takes long to load, and it has nothing that is needed

__all__ = ["SCHEME", "BundleFinder", "BundleLoader", "find_top", "path_hook"]

SCHEME = "ppnext-bundle"
"""What entries of ``__path__`` begin with."""

Lines: TypeAlias = tuple[int, None, list[str], str]
"""What ``linecache`` keeps of a file that is not to be looked at again."""


def path_hook(shelf: Shelf) -> Callable[[str], BundleFinder]:
    """Return what makes finders of the entries of ``__path__`` that are ours."""

    def hook(entry: str) -> BundleFinder:
        parts = entry.split(":", 3) if isinstance(entry, str) else []
        if len(parts) != 4 or parts[0] != SCHEME:
            raise ImportError(f"{entry!r} is not the path of a bundle")
        return BundleFinder(shelf, bytes.fromhex(parts[1]), parts[2], parts[3])

    return hook


def find_top(shelf: Shelf, digest: bytes, name: str) -> ModuleSpec:
    """Return the spec of the top-level module of a bundle.

    Args:
        shelf: where the bundle is, or comes to.
        digest: of the bundle.
        name: the module.

    Raises:
        ImportError: the bundle cannot be had, or does not have the module.
    """
    spec = BundleFinder(shelf, digest, name, "").find_spec(name)
    if spec is None:
        raise ImportError(f"the bundle of {name} does not have it", name=name)
    return spec


class BundleFinder:
    """Finds modules in one folder of a bundle.

    Args:
        shelf: where the bundle is, or comes to.
        digest: of the bundle.
        name: the top-level module that it holds.
        folder: path in the bundle; ``""`` is the outermost.
    """

    def __init__(self, shelf: Shelf, digest: bytes, name: str, folder: str) -> None:
        self._shelf = shelf
        self._digest = digest
        self._name = name
        self._folder = folder

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module in this folder; None if there is none."""
        contents = self._shelf.contents(self._digest, self._name)
        path = self._below(fullname.rpartition(".")[2])
        for source in (f"{path}/__init__.py", f"{path}.py"):
            if source in contents:
                return self._spec(fullname, source, contents.location(source))
        # A folder is a package if it could be imported at all, not because it has data in it.
        return self._spec(fullname, path, None) if path in contents.folders else None

    def _spec(self, fullname: str, path: str, location: str | None) -> ModuleSpec:
        loader = BundleLoader(self._shelf, self._digest, self._name, path)
        is_package = loader.is_package(fullname)
        spec = ModuleSpec(fullname, loader, origin=location, is_package=is_package)
        spec.has_location = location is not None
        if spec.submodule_search_locations is not None:
            entry = ":".join([SCHEME, self._digest.hex(), self._name, loader.folder])
            spec.submodule_search_locations.append(entry)
        return spec

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """Yield names of modules in this folder, and whether each is a package."""
        contents = self._shelf.contents(self._digest, self._name)
        for name in sorted(contents.folders.get(self._folder, ())):
            if f"{self._below(name)}/__init__.py" in contents:
                yield prefix + name, True
            elif name.endswith(".py") and name != "__init__.py":
                yield prefix + name[:-3], False

    def invalidate_caches(self) -> None:
        """Do nothing: a bundle does not change."""

    def _below(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name


class BundleLoader(Loader):
    """Loads a module from a bundle.

    Args:
        shelf: where the bundle is, or comes to.
        digest: of the bundle.
        name: the top-level module that it holds.
        path: the source of the module, or the folder of a package that has none.

    Attributes:
        folder: where its submodules and resources are, or would be.
    """

    def __init__(self, shelf: Shelf, digest: bytes, name: str, path: str) -> None:
        self._shelf = shelf
        self._digest = digest
        self._name = name
        self._path = path
        self._has_source = path.endswith(".py")
        self.folder = path.rpartition("/")[0] if self._has_source else path
        self._lines: tuple[str, Lines] | None = None

    @property
    def digest(self) -> bytes:
        """The digest of the bundle."""
        return self._digest

    @property
    def _contents(self) -> Contents:
        return self._shelf.contents(self._digest, self._name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave making the module to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module.

        If it raises, none of what it has imported and what knows it stays behind.
        """
        code = self.get_code(module.__name__)
        if code is None:
            return
        self.show_lines()
        before = set(sys.modules)
        try:
            exec(code, module.__dict__)
        # Whatever it raises is the importer's business; here it is only cleaned up after.
        except BaseException:
            _forget(module, before)
            raise

    def show_lines(self) -> None:
        """Tell ``linecache`` the lines of this module, which are not those on this disk."""
        if self._lines is None and self._has_source:
            source = self._contents.read(self._path)
            # A source that cannot be decoded is refused by the compiler.
            with suppress(SyntaxError, UnicodeDecodeError):
                lines = StringIO(decode_source(source)).readlines()
                location = self._contents.location(self._path)
                self._lines = location, (len(source), None, lines, location)
        if self._lines is not None:
            location, entry = self._lines
            linecache.cache[location] = entry

    def hide_lines(self) -> None:
        """Undo ``show_lines``."""
        if self._lines is not None:
            location, entry = self._lines
            if linecache.cache.get(location) is entry:
                del linecache.cache[location]

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a package."""
        return not self._has_source or self._path.endswith("/__init__.py")

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of the module; None of a package that has none."""
        if not self._has_source:
            return None
        return self._shelf.code(self._digest, self._name, self._path)

    def get_source(self, fullname: str) -> str | None:
        """Return the source of the module; None of a package that has none."""
        return decode_source(self._contents.read(self._path)) if self._has_source else None

    def get_filename(self, fullname: str) -> str:
        """Return the path of the module on the user's machine."""
        return self._contents.location(self._path)

    def get_data(self, path: str) -> bytes:
        """Return the content of a file beside the module.

        Args:
            path: what it is, or was, on the user's machine.

        Raises:
            OSError: it did not come along.
        """
        contents = self._contents
        inside = contents.path_of(path)
        if inside is None or inside not in contents:
            raise FileNotFoundError(2, "this file did not come along with the package", path)
        return contents.read(inside)

    def get_resource_reader(self, fullname: str) -> ResourceReader:
        """Return what ``importlib.resources`` reads with."""
        return ResourceReader(Resource(self._contents, self.folder))


def _forget(module: ModuleType, before: set[str]) -> None:
    """Remove what was imported while a module was, if it is a part of it or knows it."""
    prefix = f"{module.__name__}."
    for name in sys.modules.keys() - before:
        found = sys.modules.get(name)
        loader = getattr(getattr(found, "__spec__", None), "loader", None)
        if not isinstance(loader, BundleLoader):
            continue
        if name.startswith(prefix) or any(value is module for value in list(vars(found).values())):
            del sys.modules[name]
