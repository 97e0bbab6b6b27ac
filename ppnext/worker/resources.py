"""Resources: the files of a bundle as ``importlib.resources`` wants them.

These classes have the methods of ``Traversable`` and ``TraversableResources`` without being
derived from them: they were in another module in each version of Python, and take long to load.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

from ppnext.shipping.contents import Contents

__all__ = ["Resource", "ResourceReader"]


class Resource:
    """A file or folder in a bundle.

    Args:
        contents: the files of the bundle.
        path: which of them.
    """

    def __init__(self, contents: Contents, path: str) -> None:
        self._contents = contents
        self._path = path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rpartition("/")[2]

    def is_file(self) -> bool:
        """Whether this is a file."""
        return self._path in self._contents

    def is_dir(self) -> bool:
        """Whether this is a folder."""
        return self._path in self._contents.folders

    def iterdir(self) -> Iterator[Resource]:
        """Yield what is in this folder.

        Raises:
            NotADirectoryError: it is none.
        """
        if not self.is_dir():
            raise NotADirectoryError(str(self))
        for name in sorted(self._contents.folders[self._path]):
            yield self.joinpath(name)

    def joinpath(self, *descendants: str) -> Resource:
        """Return what is at paths relative to this one, there or not."""
        parts = [part for path in descendants for part in str(path).split("/")]
        path = self._path
        for part in parts:
            if part == "..":
                path = path.rpartition("/")[0]
            elif part not in ("", "."):
                path = f"{path}/{part}" if path else part
        return Resource(self._contents, path)

    def __truediv__(self, descendant: str) -> Resource:
        return self.joinpath(descendant)

    def read_bytes(self) -> bytes:
        """Return the content of this file.

        Raises:
            OSError: it is none.
        """
        if self.is_dir():
            raise IsADirectoryError(str(self))
        if not self.is_file():
            raise FileNotFoundError(str(self))
        return self._contents.read(self._path)

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the content of this file as text; see ``open`` for its arguments."""
        with self.open("r", encoding=encoding, errors=errors) as file:
            text = file.read()
        return text if isinstance(text, str) else text.decode()

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[str] | IO[bytes]:
        """Open this file for reading, as ``open`` does.

        Raises:
            OSError: there is no such file.
            ValueError: the mode is not one for reading.
        """
        if mode not in ("r", "rt", "rb"):
            raise ValueError(f"a file that was shipped can be read only, not opened with {mode!r}")
        raw = io.BytesIO(self.read_bytes())
        if mode == "rb":
            return raw
        return io.TextIOWrapper(raw, encoding or "utf-8", errors, newline)

    def __str__(self) -> str:
        return self._contents.location(self._path)

    def __repr__(self) -> str:
        return f"Resource({str(self)!r})"


class ResourceReader:
    """The resources beside a module.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Resource) -> None:
        self._folder = folder

    def files(self) -> Resource:
        """Return the folder."""
        return self._folder

    def open_resource(self, resource: str) -> IO[bytes]:
        """Open a file of the folder for reading bytes.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return io.BytesIO(self._folder.joinpath(resource).read_bytes())

    def resource_path(self, resource: str) -> str:
        """Raise FileNotFoundError: files of a bundle are not in the file system."""
        raise FileNotFoundError(resource)

    def is_resource(self, path: str) -> bool:
        """Whether the folder has a file of this name."""
        return self._folder.joinpath(path).is_file()

    def contents(self) -> Iterator[str]:
        """Yield the names in the folder."""
        return (item.name for item in self._folder.iterdir())
