"""Broadcasting: objects that nodes hold for a server, and their names.

The name is a hash of the content if that is cheap. The name of a large object is that of another
whose content is the same, or else a new one: to find that out, only objects that look alike are
hashed, so that nobody waits for a hash of what is broadcast once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TypeAlias
from weakref import WeakValueDictionary, finalize

from ppnext.shipping.broadcasts import Broadcast
from ppnext.wire.payloads import Payload, view_of

__all__ = ["Broadcasts", "Held", "Names"]

Buffer: TypeAlias = "bytes | bytearray | memoryview"

_CHEAP = 4 << 20
"""Bytes that are hashed without further thought."""

_SAMPLES = 64
_SAMPLE = 4096


class Held:
    """An object as it is shipped. Nodes hold it for as long as this exists.

    Attributes:
        digest: its name, 32 bytes.
        payload: the object, pickled.
        uses: other objects that it refers to.
    """

    __slots__ = ("__weakref__", "digest", "payload", "uses")

    is_held = True

    def __init__(self, digest: bytes, payload: Payload, uses: Sequence[object]) -> None:
        self.digest = digest
        self.payload = payload
        self.uses = uses


class Names:
    """Finds names for objects, so that equal ones have one name. Not for several threads at once.

    Args:
        token: returns 32 random bytes.
    """

    def __init__(self, token: Callable[[], bytes]) -> None:
        self._token = token
        self._all: WeakValueDictionary[bytes, Held] = WeakValueDictionary()
        self._looks: dict[bytes, bytes] = {}

    def find(self, buffers: Sequence[Buffer]) -> tuple[bytes, Held | None]:
        """Return a name for what the buffers hold together, and what bears it already.

        Args:
            buffers: the pickled object, in order.
        """
        if sum(map(len, buffers)) <= _CHEAP:
            name = _hash(buffers)
            return name, self._all.get(name)
        look = _look(buffers)
        alike = [held for held in self._all.values() if self._looks.get(held.digest) == look]
        if alike:
            content = _hash(buffers)
            for held in alike:
                if _hash([view_of(held.payload)]) == content:
                    return held.digest, held
        name = self._token()
        self._looks[name] = look
        return name, None

    def keep(self, held: Held) -> None:
        """Remember an object for as long as it exists."""
        self._all[held.digest] = held

    def forget(self, name: bytes) -> None:
        """The object of a name is gone."""
        self._looks.pop(name, None)


class Broadcasts:
    """The objects that nodes hold for one server. For any thread.

    Args:
        share: returns a pickled object, given in parts, as a payload that is kept.
        drop: called with the name of an object that nobody uses any more; in any thread, between
            any two instructions.
    """

    def __init__(
        self, share: Callable[[Sequence[Buffer]], Payload], drop: Callable[[bytes], object]
    ) -> None:
        self._share = share
        self._drop = drop
        self._names = Names(lambda: os.urandom(32))
        self._lock = Lock()

    def hold(self, buffers: Sequence[Buffer], uses: Sequence[object]) -> Broadcast:
        """Return a handle to an object, which nodes can be sent for as long as it exists.

        Args:
            buffers: the pickled object, in order; copied before this returns.
            uses: what it refers to.
        """
        size = sum(map(len, buffers))
        with self._lock:
            name, held = self._names.find(buffers)
            if held is None:
                held = Held(name, self._share(buffers), uses)
                self._names.keep(held)
                finalize(held, self._gone, name).atexit = False
        return Broadcast(name, size, held)

    def _gone(self, name: bytes) -> None:
        self._names.forget(name)
        self._drop(name)


def _hash(buffers: Sequence[Buffer]) -> bytes:
    content = hashlib.sha256()
    for buffer in buffers:
        content.update(buffer)
    return content.digest()


def _look(buffers: Sequence[Buffer]) -> bytes:
    """What equal objects have in common: their sizes and some of their bytes."""
    look = hashlib.sha256(repr([len(buffer) for buffer in buffers]).encode())
    for buffer in buffers:
        step = max(_SAMPLE, len(buffer) // _SAMPLES)
        for start in range(0, len(buffer), step):
            look.update(memoryview(buffer)[start : start + _SAMPLE])
    return look.digest()
