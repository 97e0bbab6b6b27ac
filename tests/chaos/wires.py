"""Wires: where a machine of the laboratory is plugged in.

A machine on the ``Loopback`` is reached through a fault proxy. Where the kernel permits it, others
have a network ``Namespace`` of their own, joined to the laboratory by a cable that can be pulled.

The laboratory itself is a namespace too (``enter`` starts the program again inside of one), so that
nothing here is seen from outside, nothing outside is reached, and all of it, cables and mounts too,
is taken down by the kernel when the last process in it has ended. A namespace of a machine is held
by a process that ends with its standard input, and so with the laboratory, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Protocol

from tests.chaos.proxy import FaultProxy

__all__ = ["INSIDE", "Loopback", "Namespace", "Wire", "enter", "mount_small", "unmount"]

INSIDE = "TESTS_CHAOS_INSIDE"
"""Set in the environment of a program that ``enter`` has started."""

_UNSHARE = (["unshare", "-n", "-m"], ["unshare", "-U", "-r", "-n", "-m"])
_numbers = count(1)


class Wire(Protocol):
    """What joins a machine to the laboratory.

    Attributes:
        host: the address that the machine's daemon listens on.
        prefix: what the command of the daemon begins with.
        proxy: the proxy before it, if there is one.
    """

    host: str
    prefix: Sequence[str]
    proxy: FaultProxy | None

    def join(self, port: int) -> str:
        """The daemon will listen on this port; return the address for clients."""

    async def close(self) -> None:
        """Take it down."""


class Loopback:
    """A machine on the loopback, behind a fault proxy."""

    host = "127.0.0.1"
    prefix: Sequence[str] = ()

    def __init__(self) -> None:
        self.proxy: FaultProxy | None = None

    def join(self, port: int) -> str:
        """Put a proxy before the port."""
        self.proxy = FaultProxy((self.host, port))
        return self.proxy.address

    async def close(self) -> None:
        """End the proxy."""
        if self.proxy is not None:
            await self.proxy.close()


class Namespace:
    """A machine in a network namespace, at the end of a cable."""

    proxy: FaultProxy | None = None

    def __init__(self) -> None:
        number = next(_numbers)
        self._near = f"10.78.{number}.1"
        self.host = f"10.78.{number}.2"
        self._cable = f"cable{number}"
        self._holder: Process | None = None
        self.prefix: Sequence[str] = ()

    async def open(self) -> None:
        """Make the namespace and plug it in."""
        self._holder = await asyncio.create_subprocess_exec(
            "unshare", "-n", "sh", "-c", "echo made; exec cat", stdin=PIPE, stdout=PIPE
        )
        if self._holder.stdout is None or await self._holder.stdout.readline() != b"made\n":
            raise OSError("a network namespace could not be made")
        pid = str(self._holder.pid)
        self.prefix = ("nsenter", "-n", "-t", pid)
        await _run("ip", "link", "add", self._cable, "type", "veth",
                   "peer", "name", "eth0", "netns", pid)  # fmt: skip
        await _run("ip", "addr", "add", f"{self._near}/24", "dev", self._cable)
        await _run(*self.prefix, "ip", "addr", "add", f"{self.host}/24", "dev", "eth0")
        await _run(*self.prefix, "ip", "link", "set", "lo", "up")
        await _run(*self.prefix, "ip", "link", "set", "eth0", "up")
        await self.plug_in()

    def join(self, port: int) -> str:
        """Return where the daemon is; nothing stands before it."""
        return f"{self.host}:{port}"

    async def pull(self) -> None:
        """Take the link down."""
        await _run("ip", "link", "set", self._cable, "down")

    async def plug_in(self) -> None:
        """Take the link up."""
        await _run("ip", "link", "set", self._cable, "up")

    async def close(self) -> None:
        """Let go of the namespace; it ends with its last process."""
        if self._holder is not None:
            if self._holder.returncode is None:
                self._holder.kill()
            await self._holder.wait()


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise OSError(f"{' '.join(command)}: {said.decode().strip()}")


async def mount_small(folder: Path) -> None:
    """Mount a file system on a folder that holds 64 KiB."""
    await _run("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "ppnext-chaos", str(folder))


async def unmount(folder: Path) -> None:
    """Take it away again."""
    await _run("umount", str(folder))


def enter(module: str, arguments: Sequence[str]) -> None:
    """Start a module again inside namespaces of its own, in place of this process.

    Returns:
        only where that is not permitted, or has been done already.
    """
    if INSIDE in os.environ or sys.platform != "linux":
        return
    for unshare in _UNSHARE:
        within = [*unshare, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        try:
            is_permitted = not subprocess.run([*within, "true"], capture_output=True).returncode
        except FileNotFoundError:  # there is no such command here
            return
        if is_permitted:
            program = [sys.executable, "-m", module, *arguments]
            sys.stdout.flush()
            os.execvpe(within[0], [*within, *program], {**os.environ, INSIDE: "yes"})
