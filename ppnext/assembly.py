"""Assembly: what stands behind one ``Server``, put together.

An event loop in a thread of its own; a client with an engine on it; worker processes of this
machine, and ppservers if there are to be any.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakSet

from ppnext.client import Client
from ppnext.forked import Forked
from ppnext.nodes.local import WorkerPool
from ppnext.nodes.relief import Relief
from ppnext.rescue import Rescue
from ppnext.runtime.loop import LoopThread
from ppnext.runtime.processes import WorkerProcess
from ppnext.runtime.sharing import Sharing
from ppnext.runtime.units import UnitFile
from ppnext.sched.policy import Policy
from ppnext.shipping.outfit import Outfitter
from ppnext.shipping.roots import automatic_roots
from ppnext.submitter import Submitter
from ppnext.version import VERSION

if TYPE_CHECKING:
    from ppnext.network import Network
    from ppnext.wire.keys import Key

__all__ = ["Assembly"]


_assemblies: WeakSet[Assembly] = WeakSet()


class Assembly:
    """The parts of a job server that are at work.

    Args:
        ncpus: local worker processes.
        started: those of them that have been started already.
        environment: for workers; see ``worker_environment``.
        proto: the pickle protocol.
        restart: start every job in a new worker process.
        backlog: most unfinished jobs before ``submit`` waits.
        ship_roots: folders whose modules are the user's own, besides those that are anyway.
        ship: installed distributions that come along.
        units: countable things of this machine; closed with this.

    Attributes:
        thread: the event loop.
        client: the jobs that are out.
        pool: the worker processes.
        submitter: makes jobs of calls.
        is_closed: whether all has been told to end.
    """

    def __init__(
        self,
        ncpus: int,
        started: list[WorkerProcess],
        environment: Mapping[str, str],
        proto: int,
        restart: bool,
        backlog: int | None,
        ship_roots: tuple[str, ...],
        ship: tuple[str, ...],
        units: UnitFile,
    ) -> None:
        self.is_closed = False
        roots = [*automatic_roots(), *ship_roots]
        outfitter = Outfitter(roots, ship)
        self.thread = LoopThread("ppnext-engine")
        # A worker that ends after each job must not hold others that would have to be taken back.
        policy = Policy(prefetch_limit=0) if restart else Policy()
        sharing = Sharing(on_idle=lambda: self.thread.turn.soon(self.pool.trim))
        self.client = Client(self.thread, policy, outfitter, sharing, backlog)
        engine = self.client.engine
        engine.here.offer(units.offers)
        self._units = units
        self.pool = WorkerPool(
            self.thread.turn,
            engine,
            engine.new_node,
            "local",
            list(sys.path),
            proto,
            environment,
            sharing,
            restart,
            started,
            roots,
        )
        turn, clock = self.thread.turn, self.thread.loop.time
        relief = Relief(turn, clock, lambda: [self.pool], lambda: engine.unfinished > 0)
        self.client.watchers.append(relief.watch)
        self.submitter = Submitter(self.client, sharing, outfitter, proto)
        self.thread.post(self.pool.resize, ncpus)
        _assemblies.add(self)

    def use_network(self, network: Network, key: Key, silence: float, rescue: bool) -> None:
        """Look for ppservers and use them from now on.

        Args:
            network: which.
            key: proves to them that this client may.
            silence: seconds after which a silent one is given up.
            rescue: whether jobs on slow or silent ones are started elsewhere as well.
        """
        self.client.fitting.has_network = True
        if rescue:
            client = self.client
            turn, clock = self.thread.turn, self.thread.loop.time
            client.watchers.append(Rescue(turn, clock, client.engine, client.twins).watch)
        self.thread.post(self._start_network, network, key, silence)

    def _start_network(self, network: Network, key: Key, silence: float) -> None:
        # Loaded here so that a program without ppservers does not pay for the network.
        from ppnext.nodes.remote import RemoteNodes
        from ppnext.wire.connection import Heartbeat
        from ppnext.wire.messages import PROTOCOL, Hello

        name = socket.gethostname()[:200]
        python = "{}.{}.{}".format(*sys.version_info)
        engine = self.client.engine
        remote = RemoteNodes(
            self.thread.turn,
            engine,
            engine.new_node,
            key,
            os.urandom(16),
            Hello(PROTOCOL, VERSION, python, name, os.getpid(), 0),
            network.servers,
            network.wildcards,
            network.interfaces,
            Heartbeat(interval=min(5.0, silence / 4), dead=silence),
            self.client.sharing.allocate,
        )
        self.client.troubles = remote.troubles
        self.thread.spawn(remote.run())

    def close(self) -> None:
        """End all workers and connections, and all jobs that have not ended.

        May be called again, to finish what a signal has cut short.
        """
        self.client.destroy()
        self.thread.post(self.pool.close)
        self.thread.stop()
        self.client.callbacks.stop()
        self._units.close()
        self.is_closed = True

    def abandon(self) -> None:
        """Have nothing to do with it any more, in a child that was forked: it is the parent's."""
        self.is_closed = True
        self.thread.abandon()
        self.client.__class__ = Forked
        self._units.abandon()


def _abandon_all() -> None:
    for assembly in list(_assemblies):
        assembly.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
