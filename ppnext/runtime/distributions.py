"""Distributions: which versions of which packages are installed for the workers of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import metadata

__all__ = ["versions"]


def versions(names: Iterable[str], path: Sequence[str] = ()) -> dict[str, str]:
    """Return the installed version of each distribution; an empty one if it is not installed.

    Reads the file system: some milliseconds for each.

    Args:
        names: names of distributions, in any spelling.
        path: folders that workers look in before Python's own.
    """
    return {name: _version(name, [*path, *sys.path]) for name in names}


def _version(name: str, path: list[str]) -> str:
    if not name:
        return ""  # would be any of them
    try:
        found = next(iter(metadata.Distribution.discover(name=name, path=path)), None)
        return "" if found is None else found.version or ""
    # Metadata are files of others: a broken one is as good as none.
    except Exception:
        return ""
