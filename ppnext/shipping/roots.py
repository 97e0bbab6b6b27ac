"""Roots: the folders whose modules are the user's own.

A file is the user's own if it lies below a root once all symbolic links are followed, and no
site-packages or dist-packages folder, no virtual environment and not the standard library lies
between. What was installed is there on the nodes or is not; it is not the user's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from types import ModuleType

__all__ = ["Roots", "automatic_roots"]

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = os.path.realpath(os.path.dirname(os.__file__))


class Roots:
    """Folders, and what lies below them.

    Args:
        folders: paths of folders; those that do not exist hold nothing.
    """

    def __init__(self, folders: Iterable[str | os.PathLike[str]]) -> None:
        given = [os.path.abspath(folder) for folder in folders]
        self.folders: tuple[str, ...] = tuple(dict.fromkeys(given))
        self._real = tuple(dict.fromkeys(map(os.path.realpath, self.folders)))

    def hold(self, path: str) -> bool:
        """Whether a file or folder is the user's own."""
        real = os.path.realpath(path)
        return any(_is_own(real, root) for root in self._real)


def automatic_roots() -> list[str]:
    """Return the folder of the script and the current folder, without those of installations."""
    main = sys.modules.get("__main__")
    folders = [] if main is None else _folder_of(main)
    folders.append(os.getcwd())
    return [folder for folder in dict.fromkeys(folders) if not _is_installation(folder)]


def _folder_of(main: ModuleType) -> list[str]:
    """Return the folder that the main module, or the package that it is part of, was found in."""
    script = getattr(main, "__file__", None)
    if not script:
        return []
    folder = os.path.dirname(os.path.abspath(script))
    package = getattr(getattr(main, "__spec__", None), "parent", None)
    for _ in package.split(".") if package else ():
        folder = os.path.dirname(folder)
    return [folder]


def _is_installation(folder: str) -> bool:
    real = os.path.realpath(folder)
    return (
        not _INSTALLED.isdisjoint(real.split(os.sep))
        or _is_below(real, _STANDARD_LIBRARY)
        or real == os.path.realpath(os.path.dirname(sys.executable))
    )


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_own(real: str, root: str) -> bool:
    if not _is_below(real, root):
        return False
    if _is_below(real, _STANDARD_LIBRARY) and not _is_below(root, _STANDARD_LIBRARY):
        return False
    between = real[len(root) :].strip(os.sep).split(os.sep)[:-1]
    if not _INSTALLED.isdisjoint(between):
        return False
    folder = root
    for part in between:
        folder = os.path.join(folder, part)
        if _is_environment(folder):
            return False
    return True


@lru_cache(maxsize=4096)
def _is_environment(folder: str) -> bool:
    """Whether a folder is a virtual environment; one does not become another thing."""
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))
