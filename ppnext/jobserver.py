"""The job server: ``Server``, the Parallel Python interface.

``Server`` checks what it is told, pickles what it is given, and hands both to its ``Client``. It
runs in the user's threads; everything behind it runs on one event loop in a thread of its own.
"""

from __future__ import annotations

import atexit
import os
import platform
import secrets
import socket
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from types import TracebackType
from typing import Any

from ppnext.client import Client
from ppnext.errors import DestroyedServerError, NotShippable
from ppnext.job import Job
from ppnext.nodes.link import Call
from ppnext.nodes.local import WorkerPool
from ppnext.runtime.loop import LoopThread
from ppnext.runtime.processes import check_platform, worker_environment
from ppnext.sched.policy import Policy
from ppnext.settings import AUTODETECT, Network, check_ncpus, check_proto, network_settings
from ppnext.shipping.calls import encode_call
from ppnext.shipping.functions import FunctionShipper, unwrap_call
from ppnext.stats import NodeStats, format_stats
from ppnext.version import VERSION
from ppnext.wire.connection import PAYLOAD_LIMIT

__all__ = ["Server"]

_HEARTBEAT_LIMIT = 30.0

# Servers that are to be destroyed when the interpreter ends; none is kept alive by being here.
_servers: weakref.WeakSet[Server] = weakref.WeakSet()


class Server:
    """Runs jobs on the processors of this machine and on ppservers.

    Without ``ppservers`` it opens no socket: its workers are child processes. It is a context
    manager; leaving the block destroys it.

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
        interfaces: addresses of the network interfaces on which to look for ppservers; all if
            None and ``PPNEXT_INTERFACES`` is not set.

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
    ) -> None:
        self._ncpus = check_ncpus(ncpus)
        self._proto = check_proto(proto)
        silence = _check_timeout(socket_timeout)
        if self._ncpus:
            check_platform()
        network = network_settings(ppservers, interfaces)
        key = _key_for(network, secret, key_file)
        self._created = time.monotonic()
        self._tids = count()
        self._shipper = FunctionShipper(self._proto)
        self._thread = LoopThread("ppnext-engine")
        # A worker that ends after each job must not hold others that would have to be taken back.
        self._client = Client(self._thread, Policy(prefetch_limit=0) if restart else Policy())
        engine = self._client.engine
        self._pool = WorkerPool(
            self._thread.loop,
            engine,
            engine.new_node,
            "local",
            list(sys.path),
            self._proto,
            worker_environment(os.environ),
            restart,
        )
        self._thread.post(self._pool.resize, self._ncpus)
        self._destroyed = False
        if network:
            self._thread.post(self._start_network, network, key, silence)
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
        retry: bool = True,
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
            group: a label for ``wait``.
            globals: ``globals()``, to make all its functions, classes and modules available.
            kwargs: keyword arguments for ``func``.
            retry: whether the job may be started again when its worker or node is lost; if not,
                it then ends with ``WorkerDied`` or ``NodeLost``.

        Raises:
            TypeError: an argument is of the wrong type.
            NotShippable: the function or an argument cannot be pickled.
            DestroyedServerError: the server has been destroyed.
        """
        if self._destroyed:
            raise DestroyedServerError("the job server has been destroyed and takes no jobs")
        _check_call(func, args, depfuncs, modules, callback, callbackargs, group, globals, kwargs)
        plain, all_args, all_kwargs = unwrap_call(func, args, kwargs or {})
        definition = self._shipper.ship(plain, depfuncs, modules, globals)
        arguments = encode_call(all_args, all_kwargs, self._proto)
        _check_size("function", definition.payload)
        _check_size("arguments", arguments)
        job = Job(self._client, next(self._tids), group, self)
        call = Call(definition.digest, arguments, not retry)
        self._client.submit(job, call, definition, callback, callbackargs)
        return job

    def map(self, func: Callable[..., Any], *iterables: Iterable[Any]) -> Iterator[Any]:
        """Submit a job for each set of arguments, as ``map`` does; yield results in their order.

        All jobs are submitted at once. If one raises, the iterator raises at its place.
        """
        jobs = [self.submit(func, args) for args in zip(*iterables, strict=False)]
        return (job() for job in jobs)

    def wait(self, group: str | None = None, timeout: float | None = None) -> bool:
        """Wait until all jobs, or all of a group, have ended and their callbacks have returned.

        Jobs that are submitted meanwhile are waited for as well. Never raises what a job raised.

        Returns:
            whether they have; False after ``timeout`` seconds.
        """
        return self._client.wait(group, timeout)

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
        self._thread.post(self._pool.resize, wanted)

    def get_active_nodes(self) -> dict[str, int]:
        """Return the nodes that are connected, with the number of jobs that each runs at a time.

        This machine is ``"local"``, others are ``"host:port"``.
        """
        if self._destroyed:
            return {}
        return {"local": self._ncpus, **self._client.active_nodes()}

    def wait_for_nodes(self, n: int, timeout: float | None = None) -> bool:
        """Wait until ``n`` nodes are connected; this machine is one if it has workers.

        Returns:
            whether they are; False after ``timeout`` seconds.
        """
        return self._client.wait_for_nodes(n, timeout)

    # Statistics.

    def get_stats(self) -> dict[str, NodeStats]:
        """Return what each node has done for this server, by name. Never waits for a node."""
        return self._client.stats()

    def print_stats(self) -> None:
        """Print what each node has done, as a table."""
        print(
            format_stats(
                self.get_stats(),
                time.monotonic() - self._created,
                self._client.unfinished,
                self._ncpus,
                self._client.engine.rescheduled,
            )
        )

    # The end.

    def destroy(self) -> None:
        """End all workers and connections, now.

        Jobs that have not ended end with ``DestroyedServerError``; whoever waits for one wakes.
        May be called again, and from any thread.
        """
        if self._destroyed:
            return
        self._destroyed = True
        _servers.discard(self)
        self._client.destroy()
        self._thread.post(self._pool.close)
        self._thread.stop()
        self._client.callbacks.stop()

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
        if not getattr(self, "_destroyed", True):
            self.destroy()

    def __repr__(self) -> str:
        state = "destroyed" if self._destroyed else f"{self._ncpus} local workers"
        return f"<ppnext.Server: {state}>"

    def _start_network(self, network: Network, key: Any, silence: float) -> None:
        # Loaded here so that a program without ppservers does not pay for the network.
        from ppnext.nodes.remote import RemoteNodes
        from ppnext.wire.connection import Heartbeat
        from ppnext.wire.messages import PROTOCOL, Hello

        name = socket.gethostname()[:200]
        python = platform.python_version()
        engine = self._client.engine
        remote = RemoteNodes(
            self._thread.loop,
            engine,
            engine.new_node,
            key,
            secrets.token_bytes(16),
            Hello(PROTOCOL, VERSION, python, name, os.getpid(), 0),
            network.servers,
            network.wildcards,
            network.interfaces,
            Heartbeat(interval=min(5.0, silence / 4), dead=silence),
        )
        self._client.troubles = remote.troubles
        self._thread.spawn(remote.run())


@atexit.register
def _destroy_all() -> None:
    for server in list(_servers):
        server.destroy()


def _check_timeout(socket_timeout: object) -> float:
    if isinstance(socket_timeout, bool) or not isinstance(socket_timeout, (int, float)):
        raise TypeError(f"socket_timeout must be a number of seconds, not {socket_timeout!r}")
    if not socket_timeout > 0:
        raise ValueError(f"socket_timeout must be more than 0 seconds, not {socket_timeout}")
    return min(float(socket_timeout), _HEARTBEAT_LIMIT)


def _key_for(
    network: Network, secret: str | None, key_file: str | os.PathLike[str] | None
) -> object:
    from ppnext.settings import client_key

    if network or secret is not None:
        return client_key(secret, key_file)
    return None


def _check_size(what: str, payload: bytes) -> None:
    if len(payload) > PAYLOAD_LIMIT:
        raise NotShippable(
            f"the job's {what} make {len(payload)} bytes; at most {PAYLOAD_LIMIT} can be sent: "
            "let the job read large data itself, or split it"
        )


def _not_a_tuple(name: str, value: object) -> str:
    shown = f"{value!r:.60}"
    return f"{name} must be a tuple, not {shown}; did you mean ({shown},)?"


def _check_call(
    func: object,
    args: object,
    depfuncs: object,
    modules: object,
    callback: object,
    callbackargs: object,
    group: object,
    namespace: object,
    kwargs: object,
) -> None:
    if not callable(func):
        raise TypeError(f"func must be a function, not {func!r}; it is called on the node")
    for name, value in (("args", args), ("depfuncs", depfuncs), ("callbackargs", callbackargs)):
        if not isinstance(value, tuple):
            raise TypeError(_not_a_tuple(name, value))
    if not isinstance(modules, tuple) or not all(isinstance(name, str) for name in modules):
        hint = f"; did you mean ({modules!r:.60},)?" if isinstance(modules, str) else ""
        raise TypeError(f"modules must be a tuple of strings, not {modules!r:.60}{hint}")
    for function in depfuncs:  # type: ignore[attr-defined]  # a tuple, as was checked
        if not callable(function) or not hasattr(function, "__name__"):
            raise TypeError(f"depfuncs must be functions or classes, not {function!r:.60}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function, not {callback!r:.60}")
    if not isinstance(group, str):
        raise TypeError(f"group must be a string, not {group!r:.60}")
    for name, mapping in (("globals", namespace), ("kwargs", kwargs)):
        if mapping is not None and not isinstance(mapping, Mapping):
            raise TypeError(f"{name} must be a dictionary, not {mapping!r:.60}")
