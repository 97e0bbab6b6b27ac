"""Shelf: what clients have brought for their workers, by content, for the next session of that key.

What is asked for by its content hash does not change; so a client that comes again, or another one
with the same key, need not send it again. Keys do not share: what is here was sent by somebody who
may run code under that key anyway.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Shelf"]


class Shelf:
    """A cache of bytes by key and content hash, bounded; what was used longest ago goes first.

    Args:
        most: bytes that are kept.
    """

    def __init__(self, most: int = 256 << 20) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()

    def put(self, kid: bytes, digest: bytes, content: bytes) -> None:
        """Keep content whose hash has been checked."""
        if len(content) > self._most // 4:
            return  # it would drive out all others
        known = self._kept.pop((kid, digest), b"")
        self._kept[kid, digest] = content
        self._size += len(content) - len(known)
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1])

    def get(self, kid: bytes, digest: bytes) -> bytes | None:
        """Return the content of a hash, if somebody has brought it under this key."""
        content = self._kept.get((kid, digest))
        if content is not None:
            self._kept.move_to_end((kid, digest))
        return content
