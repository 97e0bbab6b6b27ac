"""Faults of processes: killed, and stopped for a while, workers, daemons and the client."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import psutil

from tests.chaos.laboratory import Laboratory
from tests.chaos.leaks import family
from tests.chaos.machine import Machine, workers_of

__all__ = [
    "kill_client",
    "kill_daemon",
    "kill_worker",
    "replace_client",
    "stop_client",
    "stop_daemon",
    "stop_worker",
]


async def kill_worker(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """A worker, perhaps one of the client's own, dies."""
    worker = _a_worker(lab, machine, dice)
    if worker is None:
        return "there was none"
    lab.ledger.worker_killed(lab.now)
    lab.vigil.expect([worker, *family(worker.pid)], lab.now, f"worker {worker.pid} was killed")
    with suppress(psutil.NoSuchProcess):
        worker.send_signal(signal.SIGKILL)
    return f"worker {worker.pid}"


async def stop_worker(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """A worker hangs, and goes on."""
    worker = _a_worker(lab, machine, dice)
    if worker is None:
        return "there was none"
    with suppress(psutil.NoSuchProcess):
        worker.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(length)  # the fault itself
    finally:
        with suppress(psutil.NoSuchProcess):
            worker.send_signal(signal.SIGCONT)
    return f"worker {worker.pid}"


def _a_worker(lab: Laboratory, machine: Machine, dice: int) -> psutil.Process | None:
    owner = lab.customer.pid if dice % (lab.scale.machines + 1) == 0 else machine.pid
    workers = workers_of(owner)
    return workers[dice % len(workers)] if workers else None


async def kill_daemon(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """A daemon dies, and comes back under the same name and port."""
    pid = machine.pid
    lab.expect_gone(pid, f"daemon {machine.name} was killed")
    await machine.end(signal.SIGKILL)
    await asyncio.sleep(length)  # the fault itself
    await machine.start()
    return f"process {pid}"


async def stop_daemon(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """A daemon hangs, and goes on; whether it is given up depends on how long it takes."""
    machine.stop()
    try:
        await asyncio.sleep(length)  # the fault itself
    finally:
        machine.go_on()
    return f"process {machine.pid}"


async def kill_client(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """The client dies, and another takes over."""
    if lab.customer.busy:
        return f"it was {lab.customer.busy}"
    await replace_client(lab, "killed")
    return f"client {lab.customer.number} takes over"


async def replace_client(lab: Laboratory, why: str) -> None:
    """Kill the client and start another."""
    lab.customer.busy = why
    try:
        lab.expect_gone(lab.customer.pid, f"client {lab.customer.number} was {why}")
        await lab.customer.kill()
        await lab.customer.start()
    finally:
        lab.customer.busy = ""


async def stop_client(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """The client hangs, and goes on; daemons may give it up meanwhile."""
    if lab.customer.busy:
        return f"it was {lab.customer.busy}"
    lab.customer.busy = "stopped"
    lab.customer.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(length)  # the fault itself
    finally:
        lab.customer.signal(signal.SIGCONT)
        lab.customer.busy = ""
    return f"client {lab.customer.number}"
