"""The peers: which there are, what they need and what they are measured in.

Each is used through its usual interface, behind the same few methods: see ``running``. A system
is imported when its peer is started: each child has one only, and its start-up is not burdened
with the others.

Python's own pools start their workers by fork where that is the default: quick, and unsafe in
programs with threads. ppnext always starts fresh interpreters, so a pool that does the same is
measured as well.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

from benchmarks.peers.running import Running

__all__ = ["CORE", "PEERS", "Peer", "start", "version"]


class Peer(NamedTuple):
    """A system to measure.

    Attributes:
        name: what it is called in the tables.
        home: where it is started: module of this package and class.
        environment: the virtual environment that it needs.
        package: the distribution that it comes from; None for the standard library.
        groups: the groups of measures that it takes part in.
        share: how many jobs it is given, as a share of those of the fastest: a rate needs no
            20,000 jobs of a system that runs 300 a second.
        single: the same for jobs one at a time.
        calls: the same for the calls of a map; systems that cut it into chunks get all.
        daemon: the ppserver that it needs, if any.
        alone: whether it listens on all addresses, and so gets a network of its own.
        launcher: what runs its programs in place of plain ``python``.
        heavy: whether it is slow to start, and so measured in every fourth round only.
    """

    name: str
    home: str
    environment: str
    package: str | None
    groups: str
    share: float = 1.0
    single: float = 1.0
    calls: float = 1.0
    daemon: str | None = None
    alone: bool = False
    launcher: tuple[str, ...] = ()
    heavy: bool = False


PEERS = {
    "ppnext": Peer(
        "ppnext",
        "parallel:Ppnext",
        "ppnext",
        "ppnext",
        "calls map uneven array broadcast queue shipping control idle",
    ),
    "executor": Peer(
        "ProcessPoolExecutor", "pools:Executor", "ppnext", None, "calls map uneven array"
    ),
    "pool": Peer("multiprocessing.Pool", "pools:Pool", "ppnext", None, "calls map uneven array"),
    "pool-spawn": Peer(
        "multiprocessing.Pool, spawn", "pools:SpawnPool", "ppnext", None, "calls array"
    ),
    "loky": Peer("loky", "pools:Loky", "joblib", "loky", "calls map uneven array"),
    "joblib": Peer("joblib", "pools:Joblib", "joblib", "joblib", "map uneven array broadcast"),
    "pebble": Peer("Pebble", "pools:Pebble", "pebble", "pebble", "calls map uneven array control"),
    "ppft": Peer(
        "ppft", "parallel:Ppft", "ppft", "ppft", "calls map uneven array", 0.25, calls=0.2
    ),
    "scoop": Peer(
        "SCOOP",
        "clusters:Scoop",
        "scoop",
        "scoop",
        "calls map uneven",
        share=0.1,
        calls=0.1,
        alone=True,
        launcher=("-m", "scoop", "--host", "127.0.0.1", "-n", "{workers}"),
        heavy=True,
    ),
    "dask": Peer(
        "Dask, TCP",
        "clusters:Dask",
        "dask",
        "distributed",
        "calls map uneven array broadcast idle",
        share=0.05,
        single=0.2,
        heavy=True,
    ),
    "dask-processes": Peer(
        "Dask, processes", "clusters:DaskProcesses", "dask", "dask", "calls map", 0.1, 0.2
    ),
    "ray": Peer(
        "Ray",
        "clusters:Ray",
        "ray",
        "ray",
        "calls map uneven array broadcast idle",
        share=0.1,
        single=0.4,
        alone=True,
        heavy=True,
    ),
    "ipyparallel": Peer(
        "ipyparallel",
        "clusters:Ipyparallel",
        "ipyparallel",
        "ipyparallel",
        "calls map uneven array",
        share=0.03,
        single=0.2,
        heavy=True,
    ),
    "ppnext-remote": Peer(
        "ppnext, ppserver",
        "parallel:PpnextRemote",
        "ppnext",
        "ppnext",
        "calls map array broadcast shipping control idle share",
        daemon="ppnext",
    ),
    # 88 ms a job: more would only take longer.
    "ppft-remote": Peer(
        "ppft, ppserver",
        "parallel:PpftRemote",
        "ppft",
        "ppft",
        "calls",
        share=0.002,
        single=0.03,
        daemon="ppft",
    ),
}

CORE = ("ppnext", "executor", "pool", "joblib", "ppft", "dask", "ppnext-remote")
"""The peers of a quick run."""


def start(name: str, workers: int, access: Mapping[str, str]) -> Running:
    """Start a peer.

    Args:
        name: a key of ``PEERS``.
        workers: how many; for those with a daemon, the daemon's are meant.
        access: how to reach the daemon: ``server``, and ``key_file`` or ``secret``.
    """
    module, _, kind = PEERS[name].home.partition(":")
    started: Running = getattr(import_module(f"benchmarks.peers.{module}"), kind)(workers, access)
    return started


def version(name: str) -> str:
    """Return the version of a peer, in the environment that this process runs in."""
    package = PEERS[name].package
    if package == "ppnext":
        return str(import_module("ppnext").__version__)
    if package is None:
        return f"Python {platform.python_version()}"
    return importlib.metadata.version(package)
