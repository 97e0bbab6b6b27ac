"""Broadcasting: objects that nodes hold for a server, and their names.

Equal objects are one as long as one of them is there. To find that out, small ones are hashed. Of
a large one only some bytes are, and all of it when they are those of another: so nobody waits for
a hash of what is broadcast once.

A name is never used again. What is said to a node of an object that has gone, or of a function that
refers to it, cannot be meant of one that has come since, though their content be the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TypeAlias
from weakref import WeakValueDictionary, finalize, ref

from ppnext.errors import NotShippable
from ppnext.shipping.broadcasts import Broadcast
from ppnext.wire.payloads import Payload, view_of

__all__ = ["Broadcasts", "Held", "Known"]

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
        owner: whose it is.
    """

    __slots__ = ("__weakref__", "digest", "owner", "payload", "uses")

    is_held = True

    def __init__(
        self, digest: bytes, payload: Payload, uses: Sequence[object], owner: object = None
    ) -> None:
        self.owner = owner
        self.digest = digest
        self.payload = payload
        self.uses = uses


class Known:
    """Finds objects by their content. Not for several threads at once."""

    def __init__(self) -> None:
        self._by_look: WeakValueDictionary[bytes, Held] = WeakValueDictionary()

    def find(self, buffers: Sequence[Buffer]) -> tuple[bytes, Held | None]:
        """Return what an object looks like, and one that is equal, if it is known.

        Args:
            buffers: the pickled object, in order.
        """
        if sum(map(len, buffers)) <= _CHEAP:
            look = _hash(buffers)
            return look, self._by_look.get(look)
        look = _look(buffers)
        alike = self._by_look.get(look)
        if alike is not None and _hash([view_of(alike.payload)]) != _hash(buffers):
            alike = None
        return look, alike

    def keep(self, look: bytes, held: Held) -> None:
        """Know an object for as long as it exists, or until another looks the same."""
        self._by_look[look] = held


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
        self._known = Known()
        self._lock = Lock()

    def hold(self, buffers: Sequence[Buffer], uses: Sequence[object]) -> Broadcast:
        """Return a handle to an object, which nodes can be sent for as long as it exists.

        Args:
            buffers: the pickled object, in order; copied before this returns.
            uses: what it refers to.
        """
        size = sum(map(len, buffers))
        with self._lock:
            look, held = self._known.find(buffers)
            if held is None:
                held = Held(os.urandom(32), self._share(buffers), uses, self)
                self._known.keep(look, held)
                # Whoever has ended and still refers to the object must not be kept by this.
                finalize(held, _dropped, ref(self), held.digest).atexit = False
        return Broadcast(held.digest, size, held)

    def check(self, used: Sequence[object]) -> None:
        """Refuse objects of another server: nobody would tell our nodes when they are gone.

        Raises:
            NotShippable: one of them is.
        """
        for held in used:
            if isinstance(held, Held) and held.owner is not self:
                raise NotShippable(
                    "a broadcast of another server was given to this one: broadcast the object "
                    "with the server that runs the job"
                )


def _dropped(broadcasts: ref[Broadcasts], name: bytes) -> None:
    if (known := broadcasts()) is not None:
        known._drop(name)


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
