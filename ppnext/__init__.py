"""ppnext: run Python functions on every core, here and on the machines of the lab.

The map of the house::

    jobserver   Server: what users call
    template    a function with its settings, to be given arguments only
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

from ppnext.errors import *  # noqa: F403
from ppnext.errors import __all__ as _errors
from ppnext.version import VERSION as __version__

if TYPE_CHECKING:
    from ppnext.job import Job
    from ppnext.jobserver import Server
    from ppnext.stats import NodeStats
    from ppnext.template import Template

__all__ = ["Job", "NodeStats", "Server", "Template", "__version__", *_errors]

_HOME = {
    "Job": "ppnext.job",
    "NodeStats": "ppnext.stats",
    "Server": "ppnext.jobserver",
    "Template": "ppnext.template",
}


def __getattr__(name: str) -> object:
    # Loaded when first used: a worker imports this package too and needs none of them.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ppnext' has no attribute {name!r}")
