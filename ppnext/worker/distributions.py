"""Distributions: what ``importlib.metadata`` is told of shipped packages.

A package that was installed at the client, and named in ``ship=``, may ask for its own version or
look for its plug-ins. Only loaded when somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from pathlib import Path

from ppnext.shipping.contents import Contents

__all__ = ["ShippedDistribution", "shipped_distributions"]


class ShippedDistribution(Distribution):
    """A distribution of which a part was shipped.

    Args:
        contents: the bundle.
        folder: where its metadata are in the bundle.
    """

    def __init__(self, contents: Contents, folder: str) -> None:
        self._contents = contents
        self._folder = folder

    def read_text(self, filename: str | os.PathLike[str]) -> str | None:
        """Return the text of a file of the metadata; None if it did not come along."""
        path = f"{self._folder}/{filename}"
        return self._contents.read(path).decode() if path in self._contents else None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """Return where a file of the distribution is on the user's machine."""
        return Path(self._contents.location(os.fspath(path)))


def shipped_distributions(
    bundles: Iterable[Contents], name: str | None
) -> Iterator[ShippedDistribution]:
    """Yield the distributions that bundles tell of.

    Args:
        bundles: where to look.
        name: of the only one that is wanted, in any spelling; None: all.
    """
    for contents in bundles:
        for folder in sorted(contents.folders[""]):
            if folder.endswith(".dist-info"):
                found = ShippedDistribution(contents, folder)
                if name is None or _plain(found.metadata["Name"]) == _plain(name):
                    yield found


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
