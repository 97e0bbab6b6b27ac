"""Trees: the files of a module or package as they were read, and whether they still are the same.

Whether a file or folder has changed is told by its stamp (time, size, number). A stamp that is
hardly older than the look at it may stay the same through one more change; until it is, contents
are compared as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from hashlib import sha256
from stat import S_ISDIR, S_ISREG
from typing import TypeAlias

from ppnext.shipping.bundles import SourceFile
from ppnext.shipping.contents import BUNDLE_LIMIT, FILE_LIMIT, FILES_LIMIT, is_normal
from ppnext.shipping.places import Place
from ppnext.shipping.roots import Roots

__all__ = ["Tree"]

Stamp: TypeAlias = tuple[int, int, int, int]
"""Time of the content, time of the entry, bytes, number of the file."""

_SETTLED_AFTER = 2 * 10**9
"""Nanoseconds after which a change surely gives another time, on all file systems."""

_LEFT_OUT = (
    "__pycache__ CVS node_modules *.pyc *.pyo *~ *.bak *.swp *.swo *.orig *.rej *.tmp #*# .* "
    "*.egg-info *.dist-info"
).split()

_ENTRIES_LIMIT = 10 * FILES_LIMIT
"""Most entries of folders that are looked at."""

_TRIES = 3


class _Refused(Exception):
    """The tree cannot be shipped; the reason in words."""


class _Disturbed(Exception):
    """The tree has changed while it was read."""


class Tree:
    """The files of a place.

    Args:
        place: where they are.
        roots: outside of which no symbolic link is followed.

    Attributes:
        sources: the files; empty if they are refused.
        refusal: why they cannot be shipped; None if they can.
    """

    def __init__(self, place: Place, roots: Roots) -> None:
        self._place = place
        self._roots = roots
        self.sources: list[SourceFile] = []
        self.refusal: str | None = None
        self._read()

    def _read(self) -> None:
        for _ in range(_TRIES):
            self._stamps: dict[str, Stamp] = {}
            # What a file holds, or a folder has in it, whose stamp is too new to be relied on.
            self._unsettled: dict[str, bytes] = {}
            self._entries = self._size = self._count = 0
            try:
                self.sources = list(self._sources())
            except _Refused as refused:
                self.sources, self.refusal = [], str(refused)
            except (_Disturbed, FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self.sources = []
                self.refusal = f"{error.filename} cannot be read: {error.strerror}"
            return
        self.sources = []
        self.refusal = f"{self._place.paths[0]} changes all the time; submit it again"

    def changed(self) -> bool:
        """Whether any of the files has changed, gone or come since they were read."""
        try:
            for path, stamp in self._stamps.items():
                found = os.stat(path)
                if stamp != (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino):
                    return True
            return not self._stamps or any(
                self._differs(path, content) for path, content in list(self._unsettled.items())
            )
        except OSError:
            return True

    def _differs(self, path: str, content: bytes) -> bool:
        now = time.time_ns()
        if _content(path) != content:
            return True
        if abs(now - self._stamps[path][0]) > _SETTLED_AFTER:
            del self._unsettled[path]
        return False

    def _sources(self) -> Iterator[SourceFile]:
        place = self._place
        if place.is_extension:
            raise _Refused(_in_c(place.name, place.paths[0]))
        for path in place.metadata:
            folder, file = os.path.split(path)
            outer, inner = os.path.split(folder)
            yield self._source(outer, f"{inner}/{file}", path)
        if place.is_module:
            path = place.paths[0]
            yield self._source(os.path.dirname(path), f"{place.name}.py", path)
        else:
            yield from self._package()

    def _package(self) -> Iterator[SourceFile]:
        place = self._place
        seen: set[str] = set()
        for base in place.paths:
            files = list(self._files(base, place.name, ()))
            if place.is_namespace:
                files = _near_sources(files)
            for path, location in files:
                if path not in seen:
                    seen.add(path)
                    yield self._source(os.path.dirname(base), path, location)

    def _files(
        self, folder: str, path: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[str, str]]:
        """Yield path and location of each file below a folder."""
        found = os.stat(folder)
        here = (found.st_dev, found.st_ino)
        if here in above:
            return  # a link to a folder that it is in
        names = sorted(os.listdir(folder))
        self._note(folder, found, "\0".join(names).encode("utf-8", "surrogateescape"))
        self._entries += len(names)
        if self._entries > _ENTRIES_LIMIT:
            raise _Refused(
                f"there are more than {_ENTRIES_LIMIT} files below {self._place.paths[0]}"
            )
        if "pyvenv.cfg" in names:
            return
        for name in names:
            location = os.path.join(folder, name)
            if any(fnmatchcase(name, pattern) for pattern in _LEFT_OUT):
                continue
            mode = self._mode(location)
            if S_ISDIR(mode):
                yield from self._files(location, f"{path}/{name}", (*above, here))
            elif S_ISREG(mode):
                yield f"{path}/{name}", location

    def _mode(self, location: str) -> int:
        """The mode of a file or folder; 0 of what is left out."""
        if os.path.islink(location) and not self._place.installed:
            if not self._roots.hold(location):
                if location.endswith(".py"):
                    raise _Refused(
                        f"{location} is a link to {os.path.realpath(location)}, which is not in "
                        "a folder that may be shipped: name its folder in ship_roots="
                    )
                return 0
        try:
            return os.stat(location).st_mode
        except FileNotFoundError:
            if os.path.islink(location):
                return 0  # a link to nothing
            raise

    def _source(self, folder: str, path: str, location: str) -> SourceFile:
        name = self._place.name
        if path.endswith((".so", ".pyd")):
            raise _Refused(_in_c(name, location))
        if not is_normal(path, name) or not _is_unicode(path):
            raise _Refused(f"the name of {location!r} cannot be that of a file everywhere")
        before = os.stat(location)
        self._stamps[location] = _stamp(before)
        if before.st_size > FILE_LIMIT:
            raise _Refused(
                f"{location} has {before.st_size:,} bytes; at most {FILE_LIMIT:,} of a file can "
                "be shipped: move it out of the package and hand its data to the jobs"
            )
        self._size += before.st_size
        if self._size > BUNDLE_LIMIT:
            raise _Refused(
                f"the files of {name} have more than {BUNDLE_LIMIT:,} bytes, with {location} "
                f"({before.st_size:,}); at most so many can be shipped: move data out of it"
            )
        with open(location, "rb") as file:
            data = file.read(FILE_LIMIT + 1)
            after = os.fstat(file.fileno())
        if _stamp(before) != _stamp(after) or len(data) != before.st_size:
            raise _Disturbed
        self._note(location, before, sha256(data).digest())
        self._count += 1
        if self._count > FILES_LIMIT:
            raise _Refused(
                f"{name} has more than {FILES_LIMIT:,} files, with {location}; at most so many "
                "can be shipped: move data out of it"
            )
        return SourceFile(path, folder, data)

    def _note(self, path: str, found: os.stat_result, content: bytes) -> None:
        stamp = self._stamps[path] = _stamp(found)
        if abs(time.time_ns() - stamp[0]) <= _SETTLED_AFTER:
            self._unsettled[path] = content


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _content(path: str) -> bytes:
    if os.path.isdir(path):
        return "\0".join(sorted(os.listdir(path))).encode("utf-8", "surrogateescape")
    with open(path, "rb") as file:
        return sha256(file.read()).digest()


def _near_sources(files: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keep what lies beside or below a source; other folders were taken for a package."""
    folders = {path.rpartition("/")[0] for path, _ in files if path.endswith(".py")}
    return [
        (path, location)
        for path, location in files
        if any(path.startswith(f"{folder}/") for folder in folders)
    ]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_c(name: str, location: str) -> str:
    return (
        f"{name} has a part in C, {location}, which runs on this kind of machine only: install "
        f"{name} on the nodes"
    )
