"""Library: the functions that have been sent to this worker, ready to be called."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from ppnext.shipping.loading import load_definition

__all__ = ["Function", "Library"]

Function: TypeAlias = Callable[..., object]


class Library:
    """A bounded cache of functions by content hash.

    A function that cannot be loaded stays here as its payload: every job that calls it fails with
    the reason, and no other job does.

    Args:
        size: most functions kept; the one that was used longest ago goes first.
    """

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._functions: OrderedDict[bytes, bytes | Function] = OrderedDict()

    def add(self, digest: bytes, payload: bytes) -> None:
        """Keep a function that was sent."""
        self._functions[digest] = payload
        self._functions.move_to_end(digest)
        while len(self._functions) > self._size:
            self._functions.popitem(last=False)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._functions

    def get(self, digest: bytes) -> Function:
        """Return a function that is here, loading it the first time.

        Raises:
            Exception: whatever loading the function or its modules raises.
        """
        self._functions.move_to_end(digest)
        function = self._functions[digest]
        if isinstance(function, bytes):
            function = load_definition(function)
            self._functions[digest] = function
        return function
