"""The seam: where the product meets the simulated world.

Below it are the system's own things: sockets, the monotonic clock, processes, TLS. The product
takes them as arguments where it can, and these are given by ``clients`` and ``daemons``; the rest
is put in its place here, for as long as a world lasts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from ppnext.nodes import local, remote
from ppnext.nodes.relief import Relief
from ppnext.runtime import streams
from ppnext.runtime.addresses import Address
from ppnext.runtime.loop import Turn
from ppnext.server import daemon
from ppnext.wire.keys import Key
from tests.simulation import dialling
from tests.simulation.daemons import LabelledSession
from tests.simulation.dialling import Connected, Listening
from tests.simulation.kernel import Kernel
from tests.simulation.loop import VirtualLoop
from tests.simulation.machines import Machine
from tests.simulation.network import Network
from tests.simulation.processes import Process

__all__ = ["seam"]


@contextmanager
def seam(kernel: Kernel, network: Network) -> Iterator[None]:
    """Have the product run in a simulated world until the block is left."""

    def here() -> Machine:
        return network.of(_loop())

    def start_worker(environment: Mapping[str, str]) -> Process:
        return here().start_worker(environment)

    async def dial(
        address: Address, key: Key, client_id: bytes, deadline: float = 15.0
    ) -> Connected:
        return await dialling.dial(network, here(), address, key, client_id, deadline)

    def listener(
        loop: VirtualLoop,
        sockets: object,
        identity: object,
        daemon_id: bytes,
        lookup: object,
        admission: Any,
        on_client: Any,
    ) -> Listening:
        return Listening(network, network.of(loop).name, daemon_id, admission, on_client)

    def relief(
        turn: Turn, clock: Callable[[], float], pools: Any, has_jobs: Callable[[], bool]
    ) -> Relief:
        machine = here()
        return Relief(turn, clock, pools, has_jobs, lambda: machine.rooms)

    with ExitStack() as stack:
        for module, name, value in (
            (streams, "monotonic", lambda: _loop().time()),
            (local, "start_worker", start_worker),
            (remote, "dial", dial),
            (daemon, "Listener", listener),
            (daemon, "ephemeral_certificate", lambda: None),
            (daemon, "Relief", relief),
            (daemon, "Session", LabelledSession),
        ):
            stack.enter_context(patch.object(module, name, value))
        stack.enter_context(_logging(kernel))
        yield


def _loop() -> VirtualLoop:
    loop = VirtualLoop.current
    if loop is None:
        raise AssertionError("something runs in no process")
    return loop


class _Remarks(logging.Handler):
    """Adds what the product logs to the trace."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel

    def emit(self, record: logging.LogRecord) -> None:
        self._kernel.remark(f"    log: {record.getMessage()}")


@contextmanager
def _logging(kernel: Kernel) -> Iterator[None]:
    """Add the product's log to the trace, or leave it out if nobody reads that."""
    logger = logging.getLogger("ppnext")
    if not kernel.is_told:
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
        return
    handler = _Remarks(kernel)
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
