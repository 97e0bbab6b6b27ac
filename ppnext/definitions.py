"""Definitions: the functions and objects that an engine's jobs use, by content hash.

A function is known for as long as a job calls it or it is among the last that were given. Objects
are held until they are dropped, as long as there is room. What is not here any more is asked for
when a node needs it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import cast
from weakref import WeakValueDictionary

from ppnext.nodes.roles import Call, Definition
from ppnext.wire.payloads import Payload

__all__ = ["Definitions", "used_by"]

_KEPT = 256
"""Most functions that are kept although no job calls them."""

_KEPT_BYTES = 64 << 20
"""Most bytes of functions above which those go that no job calls."""


class _Definition:
    """A function whose payload arrives after the jobs that call it, or before."""

    __slots__ = ("__weakref__", "digest", "is_held", "payload")

    uses = ()

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.payload: Payload | None = None
        self.is_held = False


class Definitions:
    """What jobs of one engine use.

    Args:
        held_most: most bytes of objects that are held, but for the newest.
    """

    def __init__(self, held_most: int) -> None:
        self._known: WeakValueDictionary[bytes, Definition] = WeakValueDictionary()
        # Those that are kept although no job calls them, oldest first.
        self._recent: deque[Definition] = deque()
        self._recent_size = 0
        self._newest: Definition | None = None
        # Objects that were provided to be held, oldest first.
        self._held: dict[bytes, Definition] = {}
        self._held_most = held_most

    def note(self, definition: Definition) -> None:
        """A new job calls this function."""
        if definition is not self._newest:
            # Not if it refers to objects: it would keep them.
            self._newest = None if definition.uses else definition
            self._known[definition.digest] = definition

    def get(self, digest: bytes) -> Definition:
        """Return the function of a content hash; without its payload, if that is not here."""
        definition = self._known.get(digest)
        if definition is None:
            definition = self._known[digest] = _Definition(digest)
        return definition

    def provide(self, digest: bytes, payload: Payload, hold: bool) -> Definition:
        """Keep a function or an object that has arrived.

        Args:
            hold: keep it until ``drop``, if there is room.
        """
        definition = self.get(digest)
        if isinstance(definition, _Definition):
            definition.payload = payload
            definition.is_held = hold
        if definition.is_held:
            self._hold(definition)
        elif definition not in self._recent:
            self._keep(definition)
        return definition

    def drop(self, digest: bytes) -> None:
        """No job uses an object any more."""
        self._held.pop(digest, None)

    def clear(self) -> None:
        """Forget all, once nobody wants any job."""
        self._newest = None
        self._recent.clear()
        self._recent_size = 0
        self._held.clear()

    def _hold(self, definition: Definition) -> None:
        self._held[definition.digest] = definition
        size = sum(len(it.payload or b"") for it in self._held.values())
        while size > self._held_most and len(self._held) > 1:
            # It is asked for again when a job needs it.
            size -= len(self._held.pop(next(iter(self._held))).payload or b"")

    def _keep(self, definition: Definition) -> None:
        self._recent.append(definition)
        self._recent_size += len(definition.payload or b"")
        while len(self._recent) > _KEPT or self._recent_size > _KEPT_BYTES:
            if len(self._recent) == 1:
                return  # the job that calls the newest comes next
            self._recent_size -= len(self._recent.popleft().payload or b"")


def used_by(calls: Iterable[Call], digest: bytes) -> Definition | None:
    """Return what some calls use under a content hash or name, if its payload is here."""
    used = _all_used(it for call in calls for it in (call.definition, *call.uses))
    return next((it for it in used if it.digest == digest and it.payload), None)


def _all_used(used: Iterable[object]) -> Iterator[Definition]:
    """Definitions, and those that they refer to."""
    for definition in cast("Iterable[Definition]", used):
        yield definition
        yield from _all_used(definition.uses)
