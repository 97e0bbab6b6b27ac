"""The peers: each system through its usual interface.

A peer is made, gives out ``submit`` (one job, returns a handle) and ``collect`` (the handle's
result), and is closed. The systems are imported when they are made: each child has one only, and
its start-up is not burdened with the others.

Python's own pools start their workers by fork where that is the default: quick, and unsafe in
programs with threads. ppnext always starts fresh interpreters, so a pool that does the same is
measured as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.jobs import nothing

__all__ = ["PEERS", "Handle", "Peer", "Running", "start", "version"]

Handle = Any


class Peer(NamedTuple):
    """A system to measure.

    Attributes:
        name: what it is called in the tables.
        kind: ``"local"`` or ``"remote"``; only peers of one kind are compared.
        environment: the virtual environment that it needs.
        package: the distribution that it comes from; None for the standard library.
        jobs: how many jobs it is given at a time, as a share of those of the fastest.
    """

    name: str
    kind: str
    environment: str
    package: str | None
    jobs: float = 1.0


class Running(NamedTuple):
    """A peer that has been started."""

    submit: Callable[[int], Handle]
    collect: Callable[[Handle], int]
    close: Callable[[], object]


PEERS = {
    "ppnext": Peer("ppnext", "local", "bench", "ppnext"),
    "executor": Peer("ProcessPoolExecutor", "local", "bench", None),
    "pool": Peer("multiprocessing.Pool", "local", "bench", None),
    "pool-spawn": Peer("multiprocessing.Pool, spawn", "local", "bench", None),
    "ppft": Peer("ppft", "local", "bench-ppft", "ppft"),
    "ppnext-remote": Peer("ppnext, ppserver", "remote", "bench", "ppnext"),
    # 88 ms a job: more would only take longer.
    "ppft-remote": Peer("ppft, ppserver", "remote", "bench-ppft", "ppft", jobs=0.004),
}


def start(name: str, workers: int, access: Mapping[str, str]) -> Running:
    """Start a peer.

    Args:
        name: a key of ``PEERS``.
        workers: how many; for remote peers, the daemon's are meant.
        access: how to reach the daemon: ``server``, and ``key_file`` or ``secret``.
    """
    return _STARTERS[name](workers, access)


def version(name: str) -> str:
    """Return the version of a peer, in the environment that this process runs in."""
    import importlib.metadata
    import platform

    package = PEERS[name].package
    if package is None:
        return f"Python {platform.python_version()}"
    return importlib.metadata.version(package)


def _ppnext(workers: int, access: Mapping[str, str]) -> Running:
    import ppnext

    server = ppnext.Server(workers)
    return Running(lambda number: server.submit(nothing, (number,)), _call, server.destroy)


def _ppnext_remote(workers: int, access: Mapping[str, str]) -> Running:
    import ppnext

    server = ppnext.Server(0, (access["server"],), key_file=access["key_file"])
    return Running(lambda number: server.submit(nothing, (number,)), _call, server.destroy)


def _executor(workers: int, access: Mapping[str, str]) -> Running:
    from concurrent.futures import ProcessPoolExecutor

    executor = ProcessPoolExecutor(workers)
    return Running(
        lambda number: executor.submit(nothing, number),
        lambda future: future.result(),
        executor.shutdown,
    )


def _pool(workers: int, access: Mapping[str, str], method: str | None = None) -> Running:
    import multiprocessing

    pool = multiprocessing.get_context(method).Pool(workers)

    def close() -> None:
        pool.close()
        pool.join()

    return Running(
        lambda number: pool.apply_async(nothing, (number,)), lambda result: result.get(), close
    )


def _pool_spawn(workers: int, access: Mapping[str, str]) -> Running:
    return _pool(workers, access, "spawn")


def _ppft(workers: int, access: Mapping[str, str]) -> Running:
    import ppft

    server = ppft.Server(ncpus=workers)
    return Running(lambda number: server.submit(nothing, (number,)), _call, server.destroy)


def _ppft_remote(workers: int, access: Mapping[str, str]) -> Running:
    import ppft

    server = ppft.Server(ncpus=0, ppservers=(access["server"],), secret=access["secret"])
    return Running(lambda number: server.submit(nothing, (number,)), _call, server.destroy)


def _call(job: Handle) -> int:
    return job()


_STARTERS: dict[str, Callable[[int, Mapping[str, str]], Running]] = {
    "ppnext": _ppnext,
    "executor": _executor,
    "pool": _pool,
    "pool-spawn": _pool_spawn,
    "ppft": _ppft,
    "ppnext-remote": _ppnext_remote,
    "ppft-remote": _ppft_remote,
}
