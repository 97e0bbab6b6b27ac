"""The shelf: bundles that have been sent to this worker, by their digest.

They are fetched when they are first needed, checked against their digest, and kept in a bounded
number of bytes; what has gone is fetched again. Several threads of a job may import.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from types import CodeType

from ppnext.shipping.contents import Contents

__all__ = ["KEPT", "Shelf"]

KEPT = 128 << 20
"""Bytes of bundles that are kept; the last one is, however large it is."""


class _Held:
    """A bundle that is here, and what was compiled of it."""

    def __init__(self, contents: Contents, size: int) -> None:
        self.contents = contents
        self.size = size
        self.codes: dict[str, CodeType] = {}


class Shelf:
    """A bounded cache of bundles.

    Args:
        fetch: returns the bytes of a bundle, waiting for them; raises ConnectionError or the like
            if they do not come.
        kept: bytes of bundles that are kept.
    """

    def __init__(self, fetch: Callable[[bytes], bytes], kept: int = KEPT) -> None:
        self._fetch = fetch
        self._kept = kept
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def here(self, digest: bytes) -> Contents | None:
        """Return the files of a bundle if it has been fetched."""
        with self._lock:
            held = self._held.get(digest)
        return None if held is None else held.contents

    def contents(self, digest: bytes, name: str) -> Contents:
        """Return the files of a bundle.

        Args:
            digest: the SHA-256 of the bundle.
            name: the top-level module that it should hold.

        Raises:
            ImportError: what was sent is not this bundle.
        """
        return self._find(digest, name).contents

    def code(self, digest: bytes, name: str, path: str) -> CodeType:
        """Return the compiled code of a source in a bundle.

        Raises:
            ImportError: what was sent is not this bundle.
            SyntaxError: the source is not Python's; it names the user's file.
        """
        held = self._find(digest, name)
        code = held.codes.get(path)
        if code is None:
            source, location = held.contents.read(path), held.contents.location(path)
            code = held.codes[path] = compile(source, location, "exec", dont_inherit=True)
        return code

    def _find(self, digest: bytes, name: str) -> _Held:
        with self._lock:
            held = self._held.get(digest)
            if held is None:
                payload = self._fetch(digest)
                held = self._held[digest] = _Held(_checked(payload, digest, name), len(payload))
                self._bytes += held.size
                self._trim()
            self._held.move_to_end(digest)
            return held

    def _trim(self) -> None:
        while self._bytes > self._kept and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.size


def _checked(payload: bytes, digest: bytes, name: str) -> Contents:
    # It takes long to load, and most workers never get a bundle.
    from hashlib import sha256

    if sha256(payload).digest() != digest:
        raise ImportError(
            f"what was sent as the module {name} is not what was asked for: its SHA-256 is "
            f"{sha256(payload).hexdigest()[:16]}…, not {digest.hex()[:16]}…",
            name=name,
        )
    try:
        contents = Contents(payload)
    except ValueError as error:
        raise ImportError(f"the bundle of {name} is malformed: {error}", name=name) from None
    if contents.name != name:
        raise ImportError(f"the bundle of {name} is that of {contents.name}", name=name)
    return contents
