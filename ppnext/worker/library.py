"""Library: the functions and objects that have been sent to this worker, ready to be used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ppnext.shipping.envelope import unpack
from ppnext.shipping.loading import load_definition
from ppnext.wire.payloads import Payload, view_of

__all__ = ["Function", "Library"]

Function: TypeAlias = Callable[..., object]


class _Unloaded(NamedTuple):
    """A function or an object that nobody has used yet, or that cannot be loaded."""

    payload: Payload


class Library:
    """A bounded cache of functions by content hash.

    A function that cannot be loaded stays here as its payload: every job that calls it fails with
    the reason, and no other job does.

    Args:
        size: most functions kept; the one that was used longest ago goes first.
    """

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._functions: OrderedDict[bytes, _Unloaded | Function] = OrderedDict()
        self._objects: dict[bytes, object] = {}
        # The function that is being loaded, and those that refer to an object since they were.
        self._loading: bytes | None = None
        self._users: dict[bytes, set[bytes]] = {}

    def add(self, digest: bytes, payload: Payload) -> None:
        """Keep a function that was sent."""
        self._functions[digest] = _Unloaded(payload)
        self._functions.move_to_end(digest)
        while len(self._functions) > self._size:
            self._functions.popitem(last=False)

    def hold(self, name: bytes, payload: Payload) -> None:
        """Keep an object that was sent until it is dropped."""
        self._objects[name] = _Unloaded(payload)

    def drop(self, name: bytes) -> None:
        """Forget an object, and the functions that keep it."""
        self._objects.pop(name, None)
        for digest in self._users.pop(name, ()):
            self._functions.pop(digest, None)

    def holds(self, name: bytes) -> bool:
        """Whether an object is here."""
        return name in self._objects

    def object(self, name: bytes) -> object:
        """Return an object that is here; its buffers cannot be written to, for all jobs use them.

        Raises:
            Exception: whatever loading the object raises.
        """
        if self._loading is not None:
            self._users.setdefault(name, set()).add(self._loading)
        found = self._objects[name]
        if isinstance(found, _Unloaded):
            found = unpack(view_of(found.payload).toreadonly(), frozen=True)
            self._objects[name] = found
        return found

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._functions

    def get(self, digest: bytes) -> Function:
        """Return a function that is here, loading it the first time.

        Raises:
            Exception: whatever loading the function or its modules raises.
        """
        function = self._functions[digest]
        if isinstance(function, _Unloaded):
            self._loading = digest
            try:
                function = load_definition(bytes(view_of(function.payload)))
            finally:
                self._loading = None
            self._functions[digest] = function
        self._functions.move_to_end(digest)
        return function
