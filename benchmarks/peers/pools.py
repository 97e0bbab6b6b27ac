"""Pools of processes on one machine, from the standard library and others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.peers.running import Handle, Running

__all__ = ["Executor", "Joblib", "Loky", "Pebble", "Pool", "SpawnPool"]


class Executor(Running):
    """``concurrent.futures.ProcessPoolExecutor``."""

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        from concurrent.futures import ProcessPoolExecutor

        self.executor: Any = ProcessPoolExecutor(workers)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.executor.submit(func, *args)

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        return list(self.executor.map(func, items, chunksize=chunk))

    def close(self) -> None:
        self.executor.shutdown()


class Loky(Executor):
    """``loky``: the executor behind joblib."""

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import loky

        self.executor = loky.get_reusable_executor(max_workers=workers, timeout=60)

    def close(self) -> None:
        self.executor.shutdown(wait=True, kill_workers=True)


class Pool(Running):
    """``multiprocessing.Pool``, started in the default way."""

    method: str | None = None

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        self.pool = multiprocessing.get_context(self.method).Pool(workers)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.pool.apply_async(func, args)

    def collect(self, handle: Handle) -> Any:
        return handle.get()

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        return list(self.pool.imap(func, items, chunk))

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


class SpawnPool(Pool):
    """``multiprocessing.Pool`` of fresh interpreters."""

    method = "spawn"


class Pebble(Running):
    """Pebble's ``ProcessPool``."""

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import pebble

        self.pool = pebble.ProcessPool(max_workers=workers)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.pool.schedule(func, args=args)

    def cancel(self, handle: Handle) -> None:
        handle.cancel()

    def submit_within(self, seconds: float, func: Callable[..., Any], *args: Any) -> Handle:
        return self.pool.schedule(func, args=args, timeout=seconds)

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        return list(self.pool.map(func, items, chunksize=chunk).result())

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


class Joblib(Running):
    """``joblib.Parallel``, which takes all calls at once; large arrays go through files."""

    chunks = (0, 1024, 8192)
    uneven = (0, 1)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import joblib

        self.joblib = joblib
        self.workers = workers
        self.parallel = joblib.Parallel(n_jobs=workers)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.joblib.delayed(func)(*args)

    def collect(self, handle: Handle) -> Any:
        return self.parallel([handle])[0]

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        return list(self.parallel(handles))

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        parallel = self.joblib.Parallel(n_jobs=self.workers, batch_size=chunk or "auto")
        return list(parallel(self.joblib.delayed(func)(item) for item in items))

    def share(self, value: Any) -> Any:
        return value  # it sees by itself that the calls have the same array

    def close(self) -> None:
        from joblib.externals import loky

        loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)
