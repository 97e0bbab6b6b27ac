"""The stage for jobs, and clients of daemons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ppnext
from tests.ppserver_fixture import Daemon
from tests.stage_fixture import stage

__all__ = ["connect", "stage"]

PATIENCE = 20.0


@pytest.fixture
def connect(key_file: Path) -> Iterator[Callable[..., ppnext.Server]]:
    """Make clients of daemons, without workers of their own."""
    clients: list[ppnext.Server] = []

    def connect(*daemons: Daemon, **options: object) -> ppnext.Server:
        servers = tuple(daemon.address for daemon in daemons)
        options.setdefault("key_file", key_file)
        client = ppnext.Server(0, servers, **options)  # type: ignore[arg-type]  # options by name
        clients.append(client)
        assert client.wait_for_nodes(len(daemons), PATIENCE)
        return client

    yield connect
    for client in clients:
        client.destroy()
