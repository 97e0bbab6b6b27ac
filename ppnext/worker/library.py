"""Library: the functions and objects that have been sent to this worker, ready to be used.

What arrives is put here by whichever thread reads it; the main thread takes it out and forgets what
is too much. A thread of a job may use objects too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ppnext.shipping.envelope import unpack
from ppnext.shipping.loading import load_definition
from ppnext.wire.messages import Define, Drop, Found, Hold, Message
from ppnext.wire.payloads import Payload, view_of

if TYPE_CHECKING:
    from ppnext.shipping.bundles import Entries

__all__ = ["Function", "Library"]

Function: TypeAlias = Callable[..., object]


class _Unloaded(NamedTuple):
    """A function or an object that nobody has used yet, or that cannot be loaded."""

    payload: Payload


class _Loaded(NamedTuple):
    """A function, and which of the user's modules it sees."""

    function: Function
    entries: Entries


class Library:
    """A bounded cache of functions by content hash.

    A function that cannot be loaded stays here as its payload: every job that calls it fails with
    the reason, and no other job does.

    Args:
        size: most functions kept; the one that was used longest ago goes first.

    Attributes:
        answers: the last answer for each module that was looked for.
    """

    def __init__(self, size: int = 1000) -> None:
        self.answers: dict[str, Found] = {}
        self._size = size
        self._functions: OrderedDict[bytes, _Unloaded | _Loaded] = OrderedDict()
        self._objects: dict[bytes, object] = {}
        # The function that is being loaded, and those that refer to an object since they were.
        self._loading: bytes | None = None
        self._users: dict[bytes, set[bytes]] = {}
        # What jobs wait for, and whether it is known that it will not come.
        self._expected: dict[bytes, bool] = {}

    def keep(self, message: Message, payload: Payload) -> bool:
        """Keep what was sent, in any thread. Return False if it is nothing for the library."""
        if isinstance(message, Define):
            self.add(message.digest, payload)
        elif isinstance(message, Hold):
            self.hold(message.digest, payload)
        elif isinstance(message, Drop):
            self.drop(message.digest)
        elif isinstance(message, Found):
            self.answers[message.module] = message
        else:
            return False
        return True

    def add(self, digest: bytes, payload: Payload) -> None:
        """Keep a function that was sent."""
        self._functions[digest] = _Unloaded(payload)
        self._functions.move_to_end(digest)

    def hold(self, name: bytes, payload: Payload) -> None:
        """Keep an object that was sent until it is dropped."""
        self._objects[name] = _Unloaded(payload)

    def drop(self, name: bytes) -> None:
        """Forget an object, and the functions that keep it; who waits for it waits no more."""
        if name in self._expected:
            self._expected[name] = True
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

    def expect(self, digest: bytes) -> None:
        """A job waits for something until it is here, or gone."""
        self._expected[digest] = False

    def is_gone(self, digest: bytes) -> bool:
        """Whether it is known that something a job waits for will not come."""
        return self._expected.get(digest, True)

    def expect_no_more(self, digest: bytes) -> None:
        """The job waits no more; others that do are to look whether it is here."""
        self._expected.pop(digest, None)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._functions

    def take(self, digest: bytes) -> bytes:
        """Take out what was sent like a function and is none: a bundle of modules."""
        found = self._functions.pop(digest)
        return bytes(view_of(found.payload)) if isinstance(found, _Unloaded) else b""

    def get(
        self,
        digest: bytes,
        enter: Callable[[Entries], None],
        fetch: Callable[[bytes], None],
    ) -> Function:
        """Return a function, loading it the first time.

        Args:
            enter: told which of the user's modules it sees, before it is loaded or used.
            fetch: called if it is not here; it is when this returns.

        Raises:
            Exception: whatever loading the function or its modules raises.
        """
        found = self._functions.get(digest)
        if found is None:
            fetch(digest)
            found = self._functions[digest]
        if isinstance(found, _Unloaded):
            found = self._functions[digest] = self._load(digest, found.payload, enter)
        else:
            enter(found.entries)
        self._functions.move_to_end(digest)
        while len(self._functions) > self._size:
            self._functions.popitem(last=False)
        return found.function

    def _load(self, digest: bytes, payload: Payload, enter: Callable[[Entries], None]) -> _Loaded:
        seen: Entries = ()

        def see(entries: Entries) -> None:
            nonlocal seen
            seen = entries
            enter(entries)

        self._loading = digest
        try:
            return _Loaded(load_definition(bytes(view_of(payload)), see), seen)
        finally:
            self._loading = None
