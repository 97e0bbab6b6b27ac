"""Contents: the files of a bundle where it has arrived.

Form: a MessagePack array (format, name, separator, folders, files); a file is (path, folder, size,
packed, data). A path is relative, with slashes, and begins with the top-level name, or with the
name of a ``.dist-info`` folder; ``folder`` is the index of the folder that it was in on the user's
machine, which is what tracebacks name. A namespace package has several folders. ``packed`` data is
deflated.

What comes from the wire is not trusted to be well-formed: all of it is checked first.
"""

from __future__ import annotations

import posixpath
import re
import zlib
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

__all__ = [
    "BUNDLE_LIMIT",
    "FILES_LIMIT",
    "FILE_LIMIT",
    "FORMAT",
    "Contents",
    "Entries",
    "File",
    "Form",
    "is_normal",
]

FILE_LIMIT = 8 << 20
"""Most bytes of one file in a bundle."""

BUNDLE_LIMIT = 32 << 20
"""Most bytes of all files in a bundle."""

FILES_LIMIT = 2000
"""Most files in a bundle."""

Entries: TypeAlias = tuple[tuple[str, bytes | str], ...]
"""Top-level names with the digests of their bundles, or with why there is none."""

FORMAT = 1
"""The number of this form."""

_PATH_LIMIT = 1000
_NAME = re.compile(r"[^\W\d]\w*\Z")


class File(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A file in a bundle."""

    path: str
    folder: int
    size: int
    packed: bool
    data: bytes


class Form(msgspec.Struct, array_like=True, frozen=True):
    """A bundle."""

    format: int
    name: str
    separator: str
    folders: list[str]
    files: list[File]


class Contents:
    """The files of a bundle, checked.

    Args:
        payload: the bytes of a bundle.

    Attributes:
        name: the top-level name.
        files: the paths of the files.
        folders: the names in each folder, by its path; ``""`` is the outermost.

    Raises:
        ValueError: they are not those of a bundle that keeps the rules; the message says why.
    """

    def __init__(self, payload: bytes) -> None:
        form = _decoded(payload)
        self.name = form.name
        self._separator = form.separator
        self._places = form.folders
        self._files = {file.path: file for file in form.files}
        self.folders: dict[str, set[str]] = {"": set()}
        for path in self._files:
            self._enlist(path)
        if len(self._files) < len(form.files) or self._files.keys() & self.folders.keys():
            raise ValueError("two of its files have the same path")

    def _enlist(self, path: str) -> None:
        folder, _, last = path.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = set()
            self._enlist(folder)
        self.folders[folder].add(last)

    @property
    def files(self) -> Iterable[str]:
        """The paths of all files."""
        return self._files.keys()

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            KeyError: there is no such file.
            ValueError: its data cannot be inflated to what it should be.
        """
        file = self._files[path]
        if not file.packed:
            return file.data
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(file.data, file.size + 1)
        except zlib.error as error:
            raise ValueError(f"{path} in the bundle of {self.name} is damaged: {error}") from None
        if len(data) != file.size:
            raise ValueError(f"{path} in the bundle of {self.name} is not as long as it should be")
        return data

    def location(self, path: str) -> str:
        """Return the path on the user's machine of a file that is here, or of a folder."""
        file = self._files.get(path)
        place = self._places[0 if file is None else file.folder]
        return self._separator.join([place.rstrip(self._separator), *path.split("/")])

    def path_of(self, location: str) -> str | None:
        """Return the path here of a file on the user's machine; None if it is not in a folder."""
        wanted = posixpath.normpath(location.replace("\\", "/"))
        for place in self._places:
            prefix = place.replace("\\", "/").rstrip("/") + "/"
            if wanted.startswith(prefix):
                return wanted[len(prefix) :]
        return None


_DECODER = msgspec.msgpack.Decoder(Form)


def _decoded(payload: bytes) -> Form:
    try:
        form = _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"it cannot be decoded: {error}") from None
    if form.format != FORMAT:
        raise ValueError(f"its form is {form.format}, not {FORMAT}")
    if not _NAME.match(form.name) or form.separator not in ("/", "\\"):
        raise ValueError(f"it is not that of a module, but of {form.name[:100]!r}")
    if not 0 < len(form.files) <= FILES_LIMIT:
        raise ValueError(f"it has {len(form.files)} files; from 1 to {FILES_LIMIT} may be")
    for file in form.files:
        _check_file(file, form)
    if sum(file.size for file in form.files) > BUNDLE_LIMIT:
        raise ValueError(f"its files have more than {BUNDLE_LIMIT} bytes")
    return form


def _check_file(file: File, form: Form) -> None:
    if not is_normal(file.path, form.name):
        raise ValueError(f"{file.path[:100]!r} is no path in {form.name}")
    if not 0 <= file.folder < len(form.folders):
        raise ValueError(f"{file.path} is in a folder that it does not name")
    if not 0 <= file.size <= FILE_LIMIT or (not file.packed and file.size != len(file.data)):
        raise ValueError(f"the size of {file.path}, {file.size} bytes, is wrong")


def is_normal(path: str, name: str) -> bool:
    """Whether a path may be in the bundle of a name: relative, normal, below the name."""
    parts = path.split("/")
    top = parts[0]
    return (
        len(path) <= _PATH_LIMIT
        and not any(part in ("", ".", "..") for part in parts)
        and not any(sign in path for sign in "\\\0:")
        and (
            (top == name and len(parts) > 1)
            or (top == f"{name}.py" and len(parts) == 1)
            or (top.endswith(".dist-info") and len(parts) == 2)
        )
    )
