"""A machine: one ppserver that keeps its name, port, key file and temporary folder while it dies
and is started again.

The machine knows what a daemon of its should be (who its workers are, what it holds when nobody is
connected) and leaves to others what becomes of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.errands import SEAT
from tests.chaos.wires import Wire, mount_small, unmount

__all__ = ["Machine", "workers_of"]

_LISTENS = re.compile(r"listens on \S+?:(\d+)[,;]")
_PATIENCE = 30.0
_IDLE_EXIT = 120
"""Seconds after which a daemon ends by itself, should the laboratory be killed."""


class Machine:
    """A machine of the laboratory.

    Args:
        name: what it is called.
        wire: how it is plugged in.
        folder: for its key file, its temporary files and its log.
        workers: jobs that it runs at a time.
        silence: seconds after which it gives up a silent client.

    Attributes:
        address: where clients find it.
        busy: what is being done to it; empty for nothing.
        spared: whether its daemon is to live as long as the laboratory.
        has_small_disk: whether its temporary folder is a file system of its own.
    """

    def __init__(self, name: str, wire: Wire, folder: Path, workers: int, silence: float) -> None:
        self.name = name
        self.wire = wire
        self.workers = workers
        self.address = ""
        self.port = 0
        self.busy = ""
        self.spared = False
        self.has_small_disk = False
        self.key_file = folder / f"keys-{name}"
        self.temporary = folder / f"tmp-{name}"
        # What says that a daemon runs stays where it was when the daemon is killed.
        self._running = folder / f"run-{name}"
        self.log = folder / f"log-{name}"
        self._silence = silence
        self._process: Process | None = None
        self._draining: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def pid(self) -> int:
        """The process number of its daemon."""
        if self._process is None:
            raise AssertionError(f"{self.name} was never started")
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether its daemon runs."""
        return self._process is not None and self._process.returncode is None

    async def prepare(self, key_file: Path, small_disk: bool) -> None:
        """Give it a key file and a temporary folder."""
        self.temporary.mkdir()
        self._running.mkdir(mode=0o700)
        shutil.copy(key_file, self.key_file)
        if small_disk:
            await mount_small(self.temporary)
            self.has_small_disk = True

    def _places(self) -> dict[str, str]:
        return {"TMPDIR": str(self.temporary), "XDG_RUNTIME_DIR": str(self._running)}

    async def start(self) -> None:
        """Start its daemon and wait until it listens, on the port it had before."""
        with open(self.log, "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.wire.prefix,
                sys.executable, "-m", "ppnext.server", "--allow-root", "--name", self.name,
                "-i", self.wire.host, "-p", str(self.port), "-w", str(self.workers),
                "-k", str(self._silence), "-t", str(_IDLE_EXIT),
                "--key-file", str(self.key_file), "--resource", f"{SEAT}=1",
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                env={**os.environ, **self._places(), "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        stdout = self._process.stdout
        assert stdout is not None
        greeting = (await asyncio.wait_for(stdout.readline(), _PATIENCE)).decode()
        found = _LISTENS.search(greeting)
        if found is None:
            raise OSError(f"{self.name} did not start: {greeting}{self.last_words()}")
        self._draining = asyncio.ensure_future(_drain(stdout))
        if not self.port:
            self.port = int(found[1])
            self.address = self.wire.join(self.port)

    async def kill(self) -> list[psutil.Process]:
        """End its daemon with SIGKILL. Return the workers that it had."""
        workers = workers_of(self.pid)
        await self.end(signal.SIGKILL)
        return workers

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End its daemon, with SIGKILL if it does not go."""
        if self._process is None:
            return
        for signum in (number, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._process.send_signal(signum)
            try:
                await asyncio.wait_for(self._process.wait(), 10.0)
                break
            except asyncio.TimeoutError:
                continue
        if self._draining is not None:
            await self._draining

    async def ended(self) -> int:
        """Wait until its daemon has ended. Return its exit status."""
        assert self._process is not None
        return await self._process.wait()

    def stop(self) -> None:
        """Have its daemon hang."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let its daemon go on, if it hangs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def last_words(self) -> str:
        """Return the end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-2000:]

    async def close(self) -> None:
        """End it."""
        if self.is_up:
            self.go_on()
        await self.end()
        await self.wire.close()
        if self.has_small_disk:
            await unmount(self.temporary)


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of a daemon or a client."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.Error):
                if "ppnext.worker" in " ".join(child.cmdline()):
                    found.append(child)
    return found
