"""Ranking: nodes in the order of a key that changes all the time.

A heap with lazy deletion: an entry counts only while it is the one its node was last put in with.
``put`` and ``first`` cost O(log n) amortised; stale entries are swept out when they outnumber the
rest.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TypeAlias

from ppnext.sched.model import NodeId

__all__ = ["Ranking"]

_Entry: TypeAlias = tuple[float, int, NodeId]


class Ranking:
    """A set of nodes, each with a key and a rank among those of equal key; then by number."""

    __slots__ = ("_entries", "_heap")

    def __init__(self) -> None:
        self._entries: dict[NodeId, _Entry] = {}
        self._heap: list[_Entry] = []

    def put(self, node: NodeId, key: float, rank: int = 0) -> None:
        """Add a node, or give it a new key."""
        old = self._entries.get(node)
        if old is not None and old[0] == key and old[1] == rank:
            return
        entry = (key, rank, node)
        self._entries[node] = entry
        heap = self._heap
        heappush(heap, entry)
        if len(heap) > 4 * len(self._entries) + 64:
            heap[:] = self._entries.values()
            heapify(heap)

    def discard(self, node: NodeId) -> None:
        """Take a node out, if it is in."""
        self._entries.pop(node, None)

    def first(self) -> NodeId | None:
        """Return the node with the smallest key; None when there is no node."""
        heap, entries = self._heap, self._entries
        while heap:
            entry = heap[0]
            node = entry[2]
            if entries.get(node) is entry:
                return node
            heappop(heap)
        return None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._entries
