"""Broadcasts: objects that many jobs use and that are sent to each node once.

A ``Broadcast`` is a handle. Pickled with the arguments of a job, or with a function, it is a name;
where the job runs, the name is looked up and the job gets the object itself. The object is pickled
once, when the handle is made. Its large buffers are mapped by all workers of a machine from the
same memory, so what a job gets is not to be written to; arrays say so.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import local

__all__ = ["Broadcast", "fetch", "note_used", "set_source", "take_used"]


class Broadcast:
    """A handle to an object that was given to ``Server.broadcast``.

    Jobs of that server can take it as an argument, anywhere in their arguments, and get the object.
    Nodes keep the object for as long as the handle, or an unfinished job that was given it, exists.

    Attributes:
        size: bytes of the pickled object.
    """

    __slots__ = ("__weakref__", "_held", "_name", "size")

    def __init__(self, name: bytes, size: int, held: object) -> None:
        self.size = size
        self._name = name
        # What keeps the object on the nodes for as long as it exists.
        self._held = held

    def __reduce__(self) -> tuple[Callable[[bytes], object], tuple[bytes]]:
        if _used.held is not None:
            _used.held.append(self._held)
        return fetch, (self._name,)

    def __repr__(self) -> str:
        return f"<Broadcast {self._name[:4].hex()} of {self.size} bytes>"


class _Used(local):
    """What this thread has pickled since it was asked to note it."""

    held: list[object] | None = None


_used = _Used()


def note_used() -> None:
    """Note which broadcasts this thread pickles, until ``take_used``; what users pickle is not."""
    if _used.held is None:
        _used.held = []


def take_used() -> tuple[object, ...]:
    """Return what keeps the broadcasts that were noted, and note no more."""
    if _used.held is None:
        return ()
    used = tuple({id(held): held for held in _used.held}.values())
    _used.held = None
    return used


_source: Callable[[bytes], object] | None = None


def set_source(source: Callable[[bytes], object]) -> None:
    """Say how this process finds an object by its name. Called by a worker, once."""
    global _source
    _source = source


def fetch(name: bytes) -> object:
    """Return the object of a name; what a pickled handle calls.

    Raises:
        LookupError: this process is not a worker of the server that knows the name.
    """
    if _source is None:
        raise LookupError("a broadcast object is only there for jobs; keep the object itself here")
    return _source(name)
