"""Futures: the interface of ``concurrent.futures`` over a job server.

What that interface promises and ``Server.map`` does not: ``Executor.map`` takes all arguments at
once, makes every call whether or not anybody asks for results, and its results can be had after
the executor was shut down. So a thread drives each map and keeps what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from itertools import count
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, RLock, Thread
from time import monotonic
from typing import Any, cast
from weakref import WeakSet

from ppnext.errors import JobCancelled
from ppnext.job import Job
from ppnext.jobserver import Server
from ppnext.mapping import MapRun, Results
from ppnext.settings import AUTODETECT
from ppnext.terms import DEFAULT, Asked, agree

__all__ = ["Executor"]

_TERMS = Asked.__annotations__.keys()

_numbers = count(1)


class Executor(futures.Executor):
    """A ``concurrent.futures.Executor`` whose jobs run on a job server.

    Args:
        max_workers: local worker processes; None for one on each processor that this process may
            use. 0 goes with ``ppservers`` only.
        server: a job server to use, which then stays when the executor is shut down. Otherwise
            the executor has one of its own.
        server_kwargs: what else ``Server`` is told, such as ``ppservers``, and terms for all jobs,
            such as ``timeout``. With a server that is given, only terms.

    Raises:
        TypeError, ValueError: an argument is wrong.
        PpnextError: what ``Server`` raises.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        server: Server | None = None,
        **server_kwargs: Any,
    ) -> None:
        if server is None:
            if isinstance(max_workers, int) and max_workers < 0:
                raise ValueError(f"max_workers must be more than 0, not {max_workers}")
            if max_workers == 0 and not server_kwargs.get("ppservers"):
                raise ValueError("max_workers must be more than 0 unless there are ppservers")
            ncpus = AUTODETECT if max_workers is None else max_workers
            self._server = Server(ncpus, **server_kwargs)
            terms = Asked()
        elif not isinstance(server, Server):
            raise TypeError(f"server must be a ppnext.Server, not {server!r:.60}")
        elif max_workers is not None or (no_terms := server_kwargs.keys() - _TERMS):
            what = "max_workers" if max_workers is not None else min(no_terms)
            raise TypeError(
                "a server that is given has its workers and settings already; "
                f"only terms are left, not {what!r}"
            )
        else:
            self._server = server
            terms = cast(Asked, server_kwargs)
            agree(DEFAULT, terms)  # so that what is wrong with them is said here
        self._terms = terms
        self._owns_server = server is None
        self._group = f"executor {next(_numbers)}"
        self._lock = RLock()  # pickling runs users' code, which may submit
        self._shut_down = False
        self._jobs: WeakSet[Job] = WeakSet()
        self._maps: set[_Map] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job:
        """Run ``fn(*args, **kwargs)`` on some node, and return at once.

        Raises:
            TypeError: ``fn`` is not callable.
            NotShippable: the function or an argument cannot be pickled.
            RuntimeError: the executor was shut down.
        """
        with self._lock:
            self._check_open()
            job = self._server.submit(
                fn, args, group=self._group, kwargs=kwargs or None, **self._terms
            )
            self._jobs.add(job)
        return job

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = "auto",
    ) -> Iterator[Any]:
        """Call ``fn`` with each set of arguments; yield the results in their order.

        All arguments are taken at once, and all calls are made, unless the results are closed
        or dropped half-way. ``Server.map`` takes and makes them as results are asked for.

        Args:
            timeout: seconds from now until the last result must be there.
            chunksize: calls that go as one job; ``"auto"`` for as many as make some milliseconds,
                which is learnt while it runs.

        Raises:
            TypeError, ValueError: an argument is wrong.
            NotShippable: the function cannot be pickled.
            RuntimeError: the executor was shut down.
            TimeoutError: from the results: they were not there in time.
        """
        end = None if timeout is None else monotonic() + timeout
        if len(iterables) == 1:
            columns: tuple[Iterable[Any], ...] = (list(iterables[0]),)
        else:
            columns = tuple(zip(*zip(*iterables, strict=False), strict=True))
            columns = columns or tuple(() for _ in iterables)
        with self._lock:
            self._check_open()
            run = self._server._map(
                fn, columns, chunksize, keep_going=True, group=self._group, **self._terms
            )
            run.start()
            driven = _Map(run, self._maps.discard)
            self._maps.add(driven)
            driven.thread.start()
        return Results(driven.lists(end))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs, and end the job server, if it is the executor's own, after the last.

        May be called again.

        Args:
            wait: whether to return only then. If not, the program does not end before.
            cancel_futures: whether to cancel the jobs that have not been sent to a node.

        Raises:
            RuntimeError: called by a callback of a job, which would wait for itself.
        """
        with self._lock:
            self._shut_down = True
            jobs, maps = list(self._jobs), list(self._maps)
        if cancel_futures:
            for driven in maps:
                driven.cancel()
            for job in jobs:
                job.drop()
        if wait:
            self._finish()
        else:
            Thread(target=self._finish, name="ppnext-shutdown").start()

    def _finish(self) -> None:
        for driven in list(self._maps):
            driven.thread.join()
        self._server.wait(self._group)
        if self._owns_server:
            self._server.destroy()

    def _check_open(self) -> None:
        if self._shut_down:
            raise RuntimeError("the executor was shut down and takes no jobs")

    def __repr__(self) -> str:
        state = "shut down" if self._shut_down else repr(self._server)
        return f"<ppnext.Executor: {state}>"


class _Map:
    """A map that goes on by itself.

    Args:
        run: the map, started.
        on_end: told when it has ended.
    """

    def __init__(self, run: MapRun, on_end: Callable[[_Map], object]) -> None:
        self._run = run
        self._on_end = on_end
        self._cancelled = False
        # What came of each chunk, then None.
        self._outcomes: SimpleQueue[tuple[list[object], BaseException | None] | None] = (
            SimpleQueue()
        )
        self.thread = Thread(target=self._drive, name="ppnext-map")

    def cancel(self) -> None:
        """Submit no more calls; the results end with ``JobCancelled``."""
        self._cancelled = True
        self._run.stop()

    def lists(self, end: float | None) -> Generator[list[object], None, None]:
        """Yield lists of results.

        Args:
            end: monotonic time in seconds after which none is waited for.
        """
        try:
            while (outcome := self._next(end)) is not None:
                results, error = outcome
                del outcome
                yield results
                del results
                if error is not None:
                    try:
                        raise error
                    finally:
                        del error  # its traceback would hold this frame, which would hold it
        finally:
            self._run.stop()

    def _next(self, end: float | None) -> tuple[list[object], BaseException | None] | None:
        try:
            left = None if end is None else min(max(0.0, end - monotonic()), TIMEOUT_MAX)
            return self._outcomes.get(timeout=left)
        except Empty:
            raise futures.TimeoutError("the results were not there in time") from None

    def _drive(self) -> None:
        try:
            while (chunk := self._run.next_chunk()) is not None:
                self._outcomes.put((chunk.take_results(), chunk.error))
            if self._cancelled:
                error = JobCancelled("the executor was shut down before the call was sent")
                self._outcomes.put(([], error))
        # Pickling runs users' code, which may raise anything; it is raised by the results.
        except BaseException as error:
            self._outcomes.put(([], error))
        finally:
            self._outcomes.put(None)
            self._on_end(self)
