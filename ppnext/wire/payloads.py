"""Payloads: what messages carry, opaque to everything but the two ends that pickle.

A small payload is ``bytes``. A large one is a ``Large``: memory that is filled or sent piece by
piece, and that may be known to the system by a descriptor, so that another process of the same
machine can be given the memory instead of its content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from ppnext.errors import ProtocolError

__all__ = ["Block", "Large", "Payload", "split", "view_of"]


class Large(Protocol):
    """A payload that is not copied without need."""

    def __len__(self) -> int:
        """Its size in bytes."""

    def room(self) -> memoryview:
        """Where its bytes are put, before anybody looks at them."""

    def view(self) -> memoryview:
        """Its bytes, writable."""

    def descriptor(self) -> int | None:
        """What another process can map it by; None if it is memory of this process alone."""


class Block:
    """A large payload in the memory of this process.

    Args:
        content: its bytes, or how many there will be.
    """

    def __init__(self, content: int | bytearray) -> None:
        self._content = bytearray(content)

    def __len__(self) -> int:
        return len(self._content)

    def room(self) -> memoryview:
        """Where its bytes are put."""
        return memoryview(self._content)

    def view(self) -> memoryview:
        """Its bytes, writable."""
        return memoryview(self._content)

    def descriptor(self) -> int | None:
        """None: no other process can map it."""
        return None


Payload: TypeAlias = bytes | Large


def view_of(payload: Payload) -> memoryview:
    """Return the bytes of a payload."""
    return memoryview(payload) if isinstance(payload, bytes) else payload.view()


def split(payload: Payload, sizes: Sequence[int]) -> list[Payload]:
    """Return the parts of a message's payload, in order.

    Raises:
        ProtocolError: the sizes do not add up to the payload, or a large one is to be shared.
    """
    if sum(sizes) != len(payload):
        raise ProtocolError(f"a payload of {len(payload)} bytes is said to have {sum(sizes)}")
    if len(sizes) == 1:
        return [payload]
    if not isinstance(payload, bytes):
        raise ProtocolError("several jobs are said to share one large payload")
    parts: list[Payload] = []
    start = 0
    for size in sizes:
        parts.append(payload[start : start + size])
        start += size
    return parts
