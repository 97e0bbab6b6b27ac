"""Roster: the nodes of a client, how many jobs each runs at a time, and what each has done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import TIMEOUT_MAX, Condition

from ppnext.nodes.link import Link
from ppnext.stats import NodeStats

__all__ = ["Roster"]


class Roster:
    """Changed on the event loop; read by any thread.

    Attributes:
        slots: how many jobs all nodes that are connected run at a time.
    """

    def __init__(self) -> None:
        self.slots = 0
        # By name; guarded by the condition, which is notified when nodes come and go.
        self._stats: dict[str, NodeStats] = {"local": NodeStats()}
        self._changed = Condition()

    def active(self) -> dict[str, int]:
        """Return how many jobs each connected node runs at a time, by name."""
        # Taken from a copy: the loop may change it while another thread reads.
        return {name: node.ncpus for name, node in list(self._stats.items()) if node.ncpus}

    def stats(self) -> dict[str, NodeStats]:
        """Return what each node has done, by name."""
        return dict(self._stats)

    def wait_for(self, number: int, timeout: float | None, is_over: Callable[[], bool]) -> bool:
        """Wait until this many nodes are connected, or it is over. Return whether they are."""
        # As ``Job.wait`` takes it: infinity is for ever, and what is no number no time.
        seconds = None if timeout is None else min(max(0.0, timeout), TIMEOUT_MAX)
        with self._changed:
            self._changed.wait_for(lambda: is_over() or len(self.active()) >= number, seconds)
            return not is_over() and len(self.active()) >= number

    def wake(self) -> None:
        """Have those who wait look again whether it is over."""
        with self._changed:
            self._changed.notify_all()

    def node(self, name: str) -> NodeStats:
        """Return what a node has done, to be changed."""
        stats = self._stats.get(name)
        if stats is None:
            stats = self._stats[name] = NodeStats()
        return stats

    def recount(self, name: str, links: Iterable[Link]) -> None:
        """A node came, went or changed: bring its size up to date and wake who waits for it.

        Args:
            links: all that are connected; workers of one machine have one name.
        """
        own = slots = 0
        for link in links:
            slots += link.slots
            own += link.slots if link.name == name else 0
        self.slots = slots  # at once: other threads read it
        with self._changed:
            self.node(name).ncpus = own
            self._changed.notify_all()
