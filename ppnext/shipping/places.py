"""Places: where on disk a top-level module of the user's is.

What has been imported is where it was imported from. For the rest, the roots are looked through in
their order, by the names that Python would look for, and without listing them: there may be ten
thousand files in the folder of a script.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import find_spec
from stat import S_ISDIR, S_ISREG
from types import ModuleType
from typing import NamedTuple

from ppnext.shipping.roots import Roots

__all__ = ["Place", "find_place", "place_of_installed"]

_NEVER = frozenset({"__main__", "__mp_main__", "ppnext"})

_EXTENSIONS = (".so", ".pyd")


class Place(NamedTuple):
    """Where a top-level module or package is."""

    name: str
    paths: tuple[str, ...]
    """The file of a module, or the folders of a package; a namespace package may have several."""
    is_module: bool = False
    """Whether it is a single file."""
    is_namespace: bool = False
    installed: bool = False
    """Whether it is to be shipped although it is not below a root."""
    metadata: tuple[str, ...] = ()
    """Files that tell of the distribution that has installed it."""

    @property
    def is_extension(self) -> bool:
        """Whether it is a module in C."""
        return self.is_module and self.paths[0].endswith(_EXTENSIONS)


def find_place(name: str, roots: Roots) -> Place | None:
    """Return where a top-level module is; None if it is not the user's own."""
    if name in _NEVER or name in sys.builtin_module_names:
        return None
    module = sys.modules.get(name)
    if module is not None:
        spec = _spec_of(module)
        place = None if spec is None else _place(name, spec, roots)
        # What was loaded from elsewhere stays so; what has vanished may have moved.
        if place is not None or _exists(spec):
            return place
    if name in sys.stdlib_module_names:
        return None  # what nobody has imported from a root is the standard library's
    return _find_below(name, roots)


def place_of_installed(name: str) -> Place | None:
    """Return where an installed module or package is; None if there is none of this name."""
    module = sys.modules.get(name)
    try:
        spec = _spec_of(module) if module is not None else find_spec(name)
    except (ImportError, ValueError):
        return None
    place = None if spec is None else _place(name, spec, None)
    return place and place._replace(installed=True)


def _spec_of(module: ModuleType) -> ModuleSpec | None:
    # Not by getattr: modules that load themselves when they are looked at are left alone.
    spec = module.__dict__.get("__spec__") if isinstance(module, ModuleType) else None
    return spec if isinstance(spec, ModuleSpec) else None


def _place(name: str, spec: ModuleSpec, roots: Roots | None) -> Place | None:
    """Make the place of a spec, of those of its paths that are the user's."""
    locations = spec.submodule_search_locations
    # None, or emptied by a module such as six, which makes its submodules itself.
    is_module = not locations
    if not locations:
        paths = [spec.origin] if spec.has_location and spec.origin else []
    else:
        paths = list(locations)
    own = tuple(path for path in paths if os.path.exists(path) and (not roots or roots.hold(path)))
    if not own:
        return None
    return Place(name, own, is_module, not is_module and not spec.has_location)


def _exists(spec: ModuleSpec | None) -> bool:
    """Whether what a spec tells of is still there, if that can be told."""
    if spec is None or spec.origin is None or not spec.has_location:
        return True
    return os.path.exists(spec.origin)


def _find_below(name: str, roots: Roots) -> Place | None:
    portions: list[str] = []
    for folder in roots.folders:
        base = os.path.join(folder, name)
        is_folder = S_ISDIR(_mode(base)) and _has_this_case(folder, name)
        if is_folder and S_ISREG(_mode(os.path.join(base, "__init__.py"))):
            return Place(name, (base,)) if roots.hold(base) else None
        for suffix in (*EXTENSION_SUFFIXES, ".py"):
            path = base + suffix
            if S_ISREG(_mode(path)) and _has_this_case(folder, name + suffix):
                return Place(name, (path,), is_module=True) if roots.hold(path) else None
        if is_folder and roots.hold(base):
            portions.append(base)
    # A folder that is no package gives way to any module of this name.
    if not portions or _is_regular(name, sys.path):
        return None
    return Place(name, tuple(portions), is_namespace=True)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return 0


def _has_this_case(folder: str, name: str) -> bool:
    """Whether a file that was found has just this name, where upper and lower case are alike."""
    if sys.platform not in ("win32", "darwin"):
        return True
    return name in os.listdir(folder)


def _is_regular(name: str, path: Iterable[str]) -> bool:
    spec = PathFinder.find_spec(name, list(path))
    return spec is not None and spec.loader is not None
