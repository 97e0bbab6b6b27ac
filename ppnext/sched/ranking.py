"""Ranking: nodes in the order of a key that changes all the time.

A heap with lazy deletion: an entry counts only while it carries its node's present key. ``put``
and ``first`` cost O(log n) amortised; stale entries are swept out when they outnumber the rest.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TypeAlias

from ppnext.sched.model import NodeId

__all__ = ["Key", "Ranking"]

Key: TypeAlias = tuple[float, float]


class Ranking:
    """A set of nodes, each with a key; the smallest key is first, equal keys by node number."""

    def __init__(self) -> None:
        self._keys: dict[NodeId, Key] = {}
        self._heap: list[tuple[Key, NodeId]] = []

    def put(self, node: NodeId, key: Key) -> None:
        """Add a node, or give it a new key."""
        if self._keys.get(node) == key:
            return
        self._keys[node] = key
        heappush(self._heap, (key, node))
        if len(self._heap) > 4 * len(self._keys) + 64:
            self._heap = [(key, node) for node, key in self._keys.items()]
            heapify(self._heap)

    def discard(self, node: NodeId) -> None:
        """Take a node out, if it is in."""
        self._keys.pop(node, None)

    def first(self) -> tuple[NodeId, Key] | None:
        """Return the node with the smallest key and the key; None when there is no node."""
        heap, keys = self._heap, self._keys
        while heap:
            key, node = heap[0]
            if keys.get(node) == key:
                return node, key
            heappop(heap)
        return None

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._keys
