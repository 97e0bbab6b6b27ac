"""ppnext: run Python functions on every core, here and on the machines of the lab.

The map of the house::

    jobserver   Server: what users call
    futures     Executor: the interface of concurrent.futures
    template    a function with its settings, to be given arguments only
    mapper      starts maps
    mapping     one function over many arguments
    chunking    PURE: how many calls make one job
    job         Job: a Future that can be called
    client      the jobs that are out, and what becomes of them
    engine      the loop's owner of a scheduler: events in, actions carried out
    sched/      PURE: which job runs where
    wire/       PURE: what processes say to each other
    nodes/      worker processes here, daemons elsewhere
    runtime/    sockets, processes, TLS, discovery, key files
    shipping/   functions, arguments and results as bytes
    worker/     what runs inside a worker process
    server/     the ppserver daemon
    errors      one error tree
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ppnext.version import VERSION as __version__

if TYPE_CHECKING:
    from ppnext.errors import (
        AddressError,
        ConfigError,
        DestroyedServerError,
        DiscoveryUnavailable,
        HandshakeError,
        JobCancelled,
        JobError,
        JobExited,
        KeyFileError,
        ListenError,
        NetworkError,
        NodeLost,
        NotShippable,
        PoisonedJob,
        PpnextError,
        ProtocolError,
        RemoteError,
        ResultNotShippable,
        WeakSecretError,
        WorkerDied,
    )
    from ppnext.futures import Executor
    from ppnext.job import Job
    from ppnext.jobserver import Server
    from ppnext.shipping.broadcasts import Broadcast
    from ppnext.stats import NodeStats
    from ppnext.template import Template

__all__ = [
    "AddressError",
    "Broadcast",
    "ConfigError",
    "DestroyedServerError",
    "DiscoveryUnavailable",
    "Executor",
    "HandshakeError",
    "Job",
    "JobCancelled",
    "JobError",
    "JobExited",
    "KeyFileError",
    "ListenError",
    "NetworkError",
    "NodeLost",
    "NodeStats",
    "NotShippable",
    "PoisonedJob",
    "PpnextError",
    "ProtocolError",
    "RemoteError",
    "ResultNotShippable",
    "Server",
    "Template",
    "WeakSecretError",
    "WorkerDied",
    "__version__",
]

_HOME = {
    "Broadcast": "ppnext.shipping.broadcasts",
    "Executor": "ppnext.futures",
    "Job": "ppnext.job",
    "NodeStats": "ppnext.stats",
    "Server": "ppnext.jobserver",
    "Template": "ppnext.template",
}


def __getattr__(name: str) -> object:
    # Loaded when first used: a worker imports this package too and needs few of them.
    if name in __all__:
        return getattr(import_module(_HOME.get(name, "ppnext.errors")), name)
    raise AttributeError(f"module 'ppnext' has no attribute {name!r}")
