"""The job server: ``Server``, the Parallel Python interface.

``Server`` checks what it is told and leaves the rest to its parts; see ``assembly``. It runs in the
user's threads. What its parts are made of is loaded while the first worker process starts.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ppnext.amounts import check_amounts
from ppnext.arguments import check_call
from ppnext.errors import DestroyedServerError
from ppnext.runtime.processes import check_platform, start_worker, worker_environment
from ppnext.runtime.units import UnitFile
from ppnext.settings import (
    AUTODETECT,
    check_backlog,
    check_ncpus,
    check_proto,
    check_shipped,
    check_timeout,
    wants_network,
)
from ppnext.terms import DEFAULT, Asked, agree

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ppnext.history import Report
    from ppnext.job import Job
    from ppnext.mapping import MapRun
    from ppnext.network import Network
    from ppnext.shipping.broadcasts import Broadcast
    from ppnext.stats import NodeStats

__all__ = ["Server"]

_NOTHING: tuple[Any, ...] = ()

# Servers that are to be destroyed when the interpreter ends; none is kept alive by being here.
_servers: weakref.WeakSet[Server] = weakref.WeakSet()


class Server:
    """Runs jobs on the processors of this machine and on ppservers.

    Without ``ppservers`` it opens no socket. A context manager: leaving the block destroys it.

    Args:
        ncpus: local worker processes; ``"autodetect"`` for as many as this process may use
            (its affinity and its cgroup's quota count), 0 for none.
        ppservers: servers to use as well: ``"host"``, ``"host:port"``, ``"[v6]:port"``, or
            ``"*"`` and patterns such as ``"10.0.*.*"`` for those found by mDNS. If empty, the
            environment variable ``PPNEXT_SERVERS`` counts.
        secret: a line of a key file, as ``ppserver --export-key`` prints it; None for the user's
            key file.
        restart: start every job in a new worker process.
        proto: pickle protocol for arguments and results.
        socket_timeout: seconds of silence after which a ppserver is given up, at most 30. It does
            not limit how long a job may run.
        key_file: key file to use instead of the user's own.
        interfaces: addresses of the interfaces on which to look for ppservers; all if None and
            ``PPNEXT_INTERFACES`` is not set.
        backlog: most unfinished jobs before ``submit`` waits for one to end; None for no limit.
        ship_roots: folders whose modules are the user's own and come along with jobs, besides those
            of the script and the current one.
        ship: installed distributions that come along as well, pure Python only.
        offers: what local jobs may take with ``resources``, such as ``{"gpu": 2}``.
        rescue: start the last jobs on slow or silent machines on idle ones as well.
        terms: for all jobs that say nothing else; see ``Asked``.

    Raises:
        TypeError, ValueError: an argument is wrong.
        AddressError: a server's name is malformed.
        KeyFileError: ppservers are wanted, and there is no key to use.
    """

    def __init__(
        self,
        ncpus: int | str = AUTODETECT,
        ppservers: Iterable[str] = (),
        secret: str | None = None,
        restart: bool = False,
        proto: int = 5,
        socket_timeout: float = 3600,
        *,
        key_file: str | os.PathLike[str] | None = None,
        interfaces: Iterable[str] | str | None = None,
        backlog: int | None = None,
        ship_roots: Iterable[str | os.PathLike[str]] = (),
        ship: Iterable[str] = (),
        offers: Mapping[str, int] | None = None,
        rescue: bool = True,
        **terms: Unpack[Asked],
    ) -> None:
        self._ncpus = check_ncpus(ncpus)
        self._proto = check_proto(proto)
        self._backlog = check_backlog(backlog)
        self._terms = agree(DEFAULT, terms)
        roots, shipped = check_shipped(ship_roots, ship)
        silence = check_timeout(socket_timeout)
        units = UnitFile(check_amounts("offers", {} if offers is None else offers))
        if self._ncpus:
            check_platform()
        network: Network | None = None
        if wants_network(ppservers, interfaces, secret):
            from ppnext.network import choose

            network, key = choose(ppservers, interfaces, secret, key_file)
        self._created = time.monotonic()
        environment = worker_environment(os.environ, self._ncpus) | units.variables()
        # A worker takes about as long to come up as what this process needs is to load.
        started = [start_worker(environment)] if self._ncpus else []
        from ppnext.assembly import Assembly

        try:
            self._parts = Assembly(
                self._ncpus,
                started,
                environment,
                self._proto,
                restart,
                self._backlog,
                roots,
                shipped,
                units,
            )
        except BaseException:  # what is to be shipped is only now looked for; no worker may be left
            for worker in started:
                worker.end()
            raise
        self._destroyed = False
        if network and key is not None:
            self._parts.use_network(network, key, silence, rescue)
        _servers.add(self)

    # Jobs.

    def submit(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        depfuncs: tuple[Any, ...] = (),
        modules: tuple[str, ...] = (),
        callback: Callable[..., Any] | None = None,
        callbackargs: tuple[Any, ...] = (),
        group: str = "default",
        globals: Mapping[str, Any] | None = None,  # Parallel Python's name
        *,
        kwargs: Mapping[str, Any] | None = None,
        **terms: Unpack[Asked],
    ) -> Job:
        """Run ``func(*args, **kwargs)`` on some node, and return at once.

        Args:
            func: any function: of a module, of the script, lambda, closure, bound method.
            args: its arguments, as a tuple.
            depfuncs: functions and classes that it calls by name; what its own code names is
                found without.
            modules: modules, or whole import statements, that it relies on.
            callback: called as ``callback(*callbackargs, result)`` when the job has a result, in
                a thread of the server's own; not called when the job raises.
            callbackargs: see ``callback``.
            group: a label for ``wait`` and ``cancel``.
            globals: ``globals()``, to make all its functions, classes and modules available.
            kwargs: keyword arguments for ``func``.
            terms: limits, retries, priority and whatever else ``Asked`` names. What is not said is
                as the server was told, or not limited.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: a limit is out of its range, or a requirement malformed.
            NotShippable: the function or an argument cannot be pickled.
            DestroyedServerError: the server has been destroyed.
        """
        if self._destroyed:
            raise DestroyedServerError("the job server has been destroyed and takes no jobs")
        if (
            kwargs is not None
            or globals is not None
            or callback is not None
            or depfuncs is not _NOTHING
            or modules is not _NOTHING
            or callbackargs is not _NOTHING
            or type(args) is not tuple
            or type(group) is not str
            or not callable(func)
        ):
            check_call(
                func, args, depfuncs, modules, callback, callbackargs, group, globals, kwargs
            )
        return self._parts.submitter.submit(
            self,
            func,
            args,
            kwargs,
            depfuncs,
            modules,
            globals,
            group,
            None if callback is None else (callback, callbackargs),
            agree(self._terms, terms) if terms else self._terms,
        )

    def map(
        self,
        func: Callable[..., Any],
        *iterables: Iterable[Any],
        chunksize: int | str = "auto",
        ordered: bool = True,
        **terms: Unpack[Asked],
    ) -> Iterator[Any]:
        """Call ``func`` with each set of arguments, as ``map`` does; yield the results.

        Work starts at once; arguments are pulled only a little ahead of the results, so the
        iterables may be endless. What a call raises is raised at its place, what an iterable
        raises when the results before it are out; then the generator is finished. Closing or
        dropping it cancels what has not been started. Calls may be made again when a worker or
        node is lost, as jobs are; of a bound method or a partial each worker has one copy.

        Args:
            chunksize: calls that go as one job; ``"auto"`` for as many as make some milliseconds,
                which is learnt while it runs.
            ordered: whether results come in the order of the arguments, or as they are there.
            terms: as for ``submit``; ``timeout``, ``max_memory``, ``nice``, ``retry_on`` and a
                ``retry`` that is not True are those of a call, and each call then goes as one job.

        Raises:
            TypeError, ValueError: an argument is wrong.
            NotShippable: the function cannot be pickled.
            DestroyedServerError: the server has been destroyed.
        """
        return self._map(func, iterables, chunksize, ordered, **terms).results()

    def _map(
        self,
        func: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        chunksize: int | str,
        ordered: bool = True,
        keep_going: bool = False,
        group: str = "default",
        **terms: Unpack[Asked],
    ) -> MapRun:
        if self._destroyed:
            raise DestroyedServerError("the job server has been destroyed and takes no jobs")
        agreed = agree(self._terms, terms) if terms else self._terms
        is_each = agreed.limits is not None or agreed.retry_on or agreed.retries is not None
        if is_each and chunksize == "auto":
            chunksize = 1
        return self._parts.submitter.map(
            self, self._slots, func, iterables, chunksize, ordered, keep_going, group, agreed
        )

    def _slots(self) -> int:
        return sum(self.get_active_nodes().values())

    def broadcast(self, obj: object) -> Broadcast:
        """Have nodes hold an object that many jobs use, and return a handle to it.

        Jobs that are given the handle, anywhere in their arguments, get the object itself. It is
        pickled now, sent to each node once, when a job there first needs it, and mapped by all
        workers of a machine from the same memory. It is not to be written to; arrays are read-only.
        Nodes drop it when the handle is gone and no unfinished job was given it.

        Raises:
            NotShippable: the object cannot be pickled.
            DestroyedServerError: the server has been destroyed.
        """
        if self._destroyed:
            raise DestroyedServerError("the job server has been destroyed and holds no objects")
        return self._parts.submitter.broadcast(obj)

    def wait(self, group: str | None = None, timeout: float | None = None) -> bool:
        """Wait until all jobs, or all of a group, have ended and their callbacks have returned.

        Jobs that are submitted meanwhile are waited for as well. Never raises what a job raised.

        Returns:
            whether they have; False after ``timeout`` seconds.
        """
        return self._parts.client.wait(group, timeout)

    def cancel(self, group: str | None = None, kill: bool = False) -> int:
        """Cancel all jobs that have not ended, or all of a group; see ``Job.cancel``.

        Returns:
            how many were cancelled.
        """
        # The last first: a job that is stopped makes room for one that was submitted after it.
        jobs = sorted(self._parts.client.open_jobs(group), key=lambda job: -job.tid)
        return sum(job.cancel(kill) for job in jobs)

    def explain(self, job: Job) -> Report:
        """Return what is known of a job: its state and each attempt, with node, times and cause.

        It can be printed. How its function is sent, ``job.shipping`` says."""
        if not hasattr(job, "server") or job.server is not self:
            raise TypeError(f"explain() takes a job of this server, not {job!r:.60}")
        return self._parts.client.history.report(job)

    def quarantine(self) -> list[Report]:
        """Return the last thousand jobs that were given up because workers died under them, the
        latest last. They are run again if they are submitted again."""
        return self._parts.client.history.quarantine()

    # Nodes.

    def get_ncpus(self) -> int:
        """Return the number of local worker processes."""
        return self._ncpus

    def set_ncpus(self, ncpus: int | str = AUTODETECT) -> None:
        """Have this many local worker processes from now on.

        New ones start at once. Surplus ones end at once if they are idle, and otherwise after
        the job they are running.

        Raises:
            TypeError, ValueError: ``ncpus`` is wrong.
            DestroyedServerError: the server has been destroyed.
        """
        wanted = check_ncpus(ncpus)
        if self._destroyed:
            raise DestroyedServerError("the job server has been destroyed")
        self._ncpus = wanted
        self._parts.thread.post(self._parts.pool.resize, wanted)

    def get_active_nodes(self) -> dict[str, int]:
        """Return the nodes that are connected, with the number of jobs that each runs at a time.

        This machine is ``"local"``, others are ``"host:port"``.
        """
        if self._destroyed:
            return {}
        return {"local": self._ncpus, **self._parts.client.roster.active()}

    def wait_for_nodes(self, n: int, timeout: float | None = None) -> bool:
        """Wait until ``n`` nodes are connected; this machine is one if it has workers.

        Returns:
            whether they are; False after ``timeout`` seconds.
        """
        return self._parts.client.wait_for_nodes(n, timeout)

    # Statistics.

    def get_stats(self) -> dict[str, NodeStats]:
        """Return what each node has done for this server, by name. Never waits for a node."""
        return self._parts.client.roster.stats()

    def print_stats(self) -> None:
        """Print what each node has done, as a table."""
        print(self._parts.client.stats_table(time.monotonic() - self._created, self._ncpus))

    # The end.

    def destroy(self) -> None:
        """End all workers and connections, now.

        Jobs that have not ended end with ``DestroyedServerError``; whoever waits for one wakes.
        May be called again, and from any thread.
        """
        if not self._parts.is_closed:  # else all of it was done: a signal may have cut it short
            self._destroyed = True
            self._parts.close()
            _servers.discard(self)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.destroy()

    def __del__(self) -> None:
        # A server that nobody can reach any more must not leave workers behind.
        if hasattr(self, "_destroyed"):
            self.destroy()

    def __repr__(self) -> str:
        state = "destroyed" if self._destroyed else f"{self._ncpus} local workers"
        return f"<ppnext.Server: {state}>"


@atexit.register
def _destroy_all() -> None:
    for server in list(_servers):
        server.destroy()
