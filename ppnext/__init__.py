"""ppnext: run Python functions on every core, here and on the machines of the lab.

The map of the house::

    jobserver    Server: what users call
    futures      Executor: the interface of concurrent.futures
    template     a function with its settings, to be given arguments only
    assembly     what stands behind one Server, put together
    forked       what a client is in a child that its process has forked
    submitter    makes jobs of calls
    network      which ppservers to work with, and the key for them
    mapper       starts maps
    mapping      one function over many arguments
    chunking     PURE: how many calls make one job
    explaining   how a function is sent, and why that way
    amounts      PURE: how much of which countable things
    needs        PURE: what a job needs of its node, and whether a node has it
    fitting      what is known of each node, and what jobs need
    provisions   the user's modules, for nodes that ask for them
    client       the jobs that are out, and what becomes of them
    outbox       jobs that the scheduler has not been told of, by priority
    deadlines    jobs that must have been started within a time
    retrying     jobs that are run again after an exception
    standing     where a job is, or why it waits
    twins        second attempts at jobs that run
    rescue       which jobs get one, and when
    durations    PURE: how long calls of each function take
    history      what became of each attempt at a job
    roster       the nodes: their size, and what each has done
    terms        PURE: on which terms a job is run
    groups       how many jobs of each group have not ended
    broadcasting objects that nodes hold, and their names
    callbacks    the thread in which users' callbacks run
    job          Job: a Future that can be called
    lazyfuture   a Future whose own state is made when somebody asks for it
    jobowner     whom a job asks where it stands
    endings      which error a job ends with that has no result
    arguments    what can be wrong with a call of submit
    settings     what can be wrong with what a Server is told
    stats        what each node has done
    engine       the loop's owner of a scheduler: events in, actions carried out
    definitions  the functions and objects that an engine's jobs use
    audience     who is told how an engine's jobs end
    nodes/       worker processes here, daemons elsewhere
    worker/      what runs inside a worker process
    server/      the ppserver daemon
    runtime/     loop, sockets, processes, shared memory, TLS, discovery, key files
    sched/       PURE: which job runs where
    wire/        PURE: what processes say to each other
    shipping/    functions, arguments and results as bytes
    errors       one error tree
    cancelled    the one error that loads concurrent.futures
    version      the version, for everything that names it
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
        JobMemoryExceeded,
        JobStopped,
        JobTimeout,
        KeyFileError,
        ListenError,
        NetworkError,
        NodeLost,
        NoNodes,
        NotShippable,
        PoisonedJob,
        PpnextError,
        ProtocolError,
        RemoteError,
        ResultNotShippable,
        UnsuitablePython,
        WeakSecretError,
        WorkerDied,
    )
    from ppnext.explaining import Explanation, explain
    from ppnext.futures import Executor
    from ppnext.history import Attempt, Report
    from ppnext.job import Job
    from ppnext.jobserver import Server
    from ppnext.shipping.broadcasts import Broadcast
    from ppnext.stats import NodeStats
    from ppnext.template import Template
    from ppnext.terms import Asked
    from ppnext.worker.units import resource_ids

__all__ = [
    "AddressError",
    "Asked",
    "Attempt",
    "Broadcast",
    "ConfigError",
    "DestroyedServerError",
    "DiscoveryUnavailable",
    "Executor",
    "Explanation",
    "HandshakeError",
    "Job",
    "JobCancelled",
    "JobError",
    "JobExited",
    "JobMemoryExceeded",
    "JobStopped",
    "JobTimeout",
    "KeyFileError",
    "ListenError",
    "NetworkError",
    "NoNodes",
    "NodeLost",
    "NodeStats",
    "NotShippable",
    "PoisonedJob",
    "PpnextError",
    "ProtocolError",
    "RemoteError",
    "Report",
    "ResultNotShippable",
    "Server",
    "Template",
    "UnsuitablePython",
    "WeakSecretError",
    "WorkerDied",
    "__version__",
    "explain",
    "resource_ids",
]

_HOME = {
    "Asked": "ppnext.terms",
    "Attempt": "ppnext.history",
    "Broadcast": "ppnext.shipping.broadcasts",
    "Executor": "ppnext.futures",
    "Explanation": "ppnext.explaining",
    "Job": "ppnext.job",
    "NodeStats": "ppnext.stats",
    "Report": "ppnext.history",
    "Server": "ppnext.jobserver",
    "Template": "ppnext.template",
    "explain": "ppnext.explaining",
    "resource_ids": "ppnext.worker.units",
}


def __getattr__(name: str) -> object:
    # Loaded when first used: a worker imports this package too and needs few of them.
    if name in __all__:
        return getattr(import_module(_HOME.get(name, "ppnext.errors")), name)
    raise AttributeError(f"module 'ppnext' has no attribute {name!r}")
