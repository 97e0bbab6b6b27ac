"""The contract with the user, over three kinds of clusters.

Every test that asks for ``server`` runs three times: with workers of this machine, with a ppserver
alone, and with a mixture. A test cannot tell which one it has, and must not want to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ppnext import Server

__all__ = ["Cluster"]

PATIENCE = 20.0
"""Seconds that anything may take on a busy machine before a test gives up."""


@dataclass(frozen=True)
class Cluster:
    """What a ``Server`` is made with.

    Attributes:
        kind: ``"local"``, ``"remote"`` or ``"mixed"``.
        ncpus: local workers.
        ppservers: addresses of daemons; each has two slots.
        key_file: their key file.
    """

    kind: str
    ncpus: int
    ppservers: tuple[str, ...]
    key_file: Path

    @property
    def slots(self) -> int:
        """Jobs that run at a time."""
        return self.ncpus + 2 * len(self.ppservers)

    @property
    def nodes(self) -> int:
        """Nodes there are, this machine being one if it has workers."""
        return bool(self.ncpus) + len(self.ppservers)


@pytest.fixture(params=["local", "remote", "mixed"])
def cluster(request, shared_ppservers) -> Cluster:
    """Where the jobs of a test run."""
    addresses = shared_ppservers.addresses
    ncpus, ppservers = {"local": (2, ()), "remote": (0, addresses[:1]), "mixed": (1, addresses)}[
        request.param
    ]
    return Cluster(request.param, ncpus, ppservers, shared_ppservers.key_file)


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Server]:
    """A job server with all its nodes."""
    with Server(cluster.ncpus, cluster.ppservers, key_file=cluster.key_file) as server:
        assert server.wait_for_nodes(cluster.nodes, PATIENCE)
        yield server
