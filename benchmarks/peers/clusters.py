"""Systems for clusters, each with all its processes on this machine, talking over loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.running import Handle, Running

__all__ = ["Dask", "DaskProcesses", "Ipyparallel", "Ray", "Scoop"]

LOOPBACK = "127.0.0.1"
START_SECONDS = 30.0


class Dask(Running):
    """Dask: the scheduler and each worker are processes; plain TCP."""

    chunks = (1024, 8192)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        from distributed import Client

        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        found = Path(self.folder.name) / "scheduler.json"
        # Without a dashboard it still serves HTTP, on all addresses unless told otherwise.
        place = ["--host", LOOPBACK, "--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0"]
        self.processes = [
            self._run("scheduler", *place, "--port", "0", "--scheduler-file", str(found))
        ]
        address = _address(found)
        for _ in range(workers):
            options = ["--nthreads", "1", "--no-nanny", "--local-directory", self.folder.name]
            self.processes.append(self._run("worker", address, *place, *options))
        self.client = Client(address)
        self.client.wait_for_workers(workers, timeout=START_SECONDS)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.client.submit(func, *args, pure=False)

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        return list(self.client.gather(handles))

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        if chunk == 1:
            return self.gather(self.client.map(func, items, pure=False))
        from dask import bag

        bags = bag.from_sequence(items, partition_size=chunk)
        return list(bags.map(func).compute(scheduler=self.client))

    def exchange(self, func: Callable[..., Any], value: Any) -> Any:
        return self.submit(func, self.share(value)).result()

    def share(self, value: Any) -> Any:
        return self.client.scatter(value, hash=False)

    def close(self) -> None:
        self.client.close()
        for process in self.processes:
            process.kill()  # a worker that is asked to end while the scheduler ends may hang
        for process in self.processes:
            process.wait()
        self.folder.cleanup()

    def _run(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)


class DaskProcesses(Running):
    """Dask's ``delayed`` on its scheduler for processes, which takes all calls at once."""

    chunks = (1024, 8192)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        import dask

        spawn = multiprocessing.get_context("spawn")  # what it does by itself
        self.pool = ProcessPoolExecutor(workers, mp_context=spawn)
        self.dask = dask
        dask.config.set(scheduler="processes", pool=self.pool)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.dask.delayed(func, pure=False)(*args)

    def collect(self, handle: Handle) -> Any:
        return handle.compute()

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        return list(self.dask.compute(*handles))

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        from dask import bag

        return list(bag.from_sequence(items, partition_size=chunk).map(func).compute())

    def close(self) -> None:
        self.pool.shutdown()


class Ray(Running):
    """Ray: tasks, and for maps its pool of actors."""

    chunks = (64, 1024, 8192)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        # Short: it puts Unix sockets there, whose names may not be long.
        self.folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["HOME"] = self.folder.name  # it writes a token there
        import ray

        self.ray = ray
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address=LOOPBACK,
            _temp_dir=self.folder.name,
            object_store_memory=2 << 30,
        )
        self.workers = workers
        self.remotes: dict[Callable[..., Any], Any] = {}
        self.pool: Any = None

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        remote = self.remotes.get(func)
        if remote is None:
            remote = self.remotes[func] = self.ray.remote(func)
        return remote.remote(*args)

    def collect(self, handle: Handle) -> Any:
        return self.ray.get(handle)

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        return list(self.ray.get(handles))

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        if self.pool is None:
            from ray.util.multiprocessing import Pool

            self.pool = Pool(self.workers)
        return list(self.pool.imap(func, items, chunk))

    def share(self, value: Any) -> Any:
        return self.ray.put(value)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.terminate()
        self.ray.shutdown()
        self.folder.cleanup()


class Ipyparallel(Running):
    """ipyparallel: a controller and engines, with a balanced view of them."""

    chunks = (64, 1024)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import ipyparallel

        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        os.environ["IPYTHONDIR"] = self.folder.name
        self.cluster = ipyparallel.Cluster(
            n=workers, controller_ip=LOOPBACK, ipython_dir=self.folder.name, log_level=40
        )
        self.client = self.cluster.start_and_connect_sync(activate=False)
        self.view = self.client.load_balanced_view()

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.view.apply_async(func, *args)

    def collect(self, handle: Handle) -> Any:
        return handle.get()

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        return list(self.view.map_async(func, items, chunksize=chunk).get())

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()
        self.folder.cleanup()


class Scoop(Running):
    """SCOOP: its launcher has started the workers; this process is one of them."""

    chunks = (0,)
    uneven = (0,)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        from scoop import futures

        self.futures = futures

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.futures.submit(func, *args)

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        return list(self.futures.map(func, items))

    def close(self) -> None:
        pass  # the launcher ends the workers when this program ends


def _address(found: Path) -> str:
    """Return the address that Dask's scheduler has written down; it tells nobody when."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            return str(json.loads(found.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError):  # not there yet, or not all of it
            time.sleep(0.02)
    raise TimeoutError("Dask's scheduler did not start")
