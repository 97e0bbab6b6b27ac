"""The customer: the client process, as the laboratory sees it.

One process at a time. What it says goes to the ledger; which nodes it sees is kept, with times, so
that it can be measured when it noticed what. When it is killed a new one takes over.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.chaos.errands import Errand
from tests.chaos.ledger import Ending, Ledger

__all__ = ["Customer"]

_PROGRAM = Path(__file__).with_name("client.py")
_ROOT = Path(__file__).resolve().parents[2]
_LINE = 1 << 22
"""Bytes that a line of a client may have."""


class Customer:
    """A client process and those that take over from it.

    Args:
        ledger: is told of jobs.
        settings: for ``client.py``.
        log: file for what a client writes to its standard error.

    Attributes:
        number: which client it is.
        nodes: slots by the name of the node, as the client sees them.
        changed_at: when it noticed that these had changed.
        meetings: how each job of a meeting has ended.
        unfinished: where jobs are, as the client has explained.
        busy: what is being done to it; empty for nothing.
    """

    def __init__(self, ledger: Ledger, settings: dict[str, Any], log: Path) -> None:
        self.number = 0
        self.nodes: dict[str, int] = {}
        self.changed_at = 0.0
        self.meetings: list[object] = []
        self.unfinished: dict[str, str] = {}
        self.busy = ""
        self._ledger = ledger
        self._settings = settings
        self._log = log
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    @property
    def pid(self) -> int:
        """Its process number."""
        if self._process is None:
            raise AssertionError("there was never a client")
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start a client."""
        self.number += 1
        self.nodes = {}
        path = f"{_ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        with open(self._log, "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, str(_PROGRAM), stdin=PIPE, stdout=PIPE, stderr=log,
                limit=_LINE, env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        self._reading = asyncio.ensure_future(self._read(self._process))
        self._say(self._settings)

    def submit(self, errand: Errand) -> None:
        """Have it submit a job."""
        self._ledger.submitted(errand, self.number, time.monotonic())
        self._say({"submit": errand.number, "kind": errand.kind, "dice": errand.dice})

    def meet(self, dice: int, size: int) -> None:
        """Have so many of its jobs meet."""
        self.meetings = []
        self._say({"meet": dice, "size": size})

    async def explain(self) -> dict[str, str]:
        """Ask it where its unfinished jobs are."""
        self.unfinished = {"": "it does not answer"}
        self._say({"explain": True})
        await self.until(lambda: "" not in self.unfinished, 5.0)
        return self.unfinished

    def dump(self) -> None:
        """Have it write the stacks of its threads to the log."""
        self.signal(signal.SIGUSR1)

    async def kill(self) -> None:
        """End it with SIGKILL; the ledger is told."""
        self.signal(signal.SIGKILL)
        await self._gone()
        self._ledger.client_killed(self.number, time.monotonic())

    async def leave(self) -> int:
        """Have it end by itself, which destroys its server. Return its exit status."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 20.0)
        except asyncio.TimeoutError:
            self.dump()
            self.signal(signal.SIGKILL)
        await self._gone()
        return self._process.returncode or 0

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def replace_settings(self, **settings: Any) -> None:
        """Change what the next client is told."""
        self._settings.update(settings)

    async def until(self, question: Callable[[], bool], patience: float) -> bool:
        """Wait until something is so that it says. Return whether it became so."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(question), patience)
            except asyncio.TimeoutError:
                return False
            return True

    async def sees(self, names: Sequence[str], patience: float) -> bool:
        """Wait until it sees these nodes."""
        return await self.until(lambda: set(names) <= set(self.nodes), patience)

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            await self._gone()

    async def _gone(self) -> None:
        assert self._process is not None and self._reading is not None
        await self._process.wait()
        await self._reading

    def _say(self, fact: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(ConnectionError):  # it has just been killed, which the ledger will hear
            self._process.stdin.write(json.dumps(fact).encode() + b"\n")

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if line.endswith(b"\n"):  # the last words of a client that is killed may be half a line
                self._hear(json.loads(line))
                async with self._changed:
                    self._changed.notify_all()

    def _hear(self, fact: dict[str, Any]) -> None:
        if "ended" in fact:
            self._hear_end(fact)
        elif "called" in fact:
            self._ledger.called(fact["called"])
        elif "nodes" in fact:
            self.nodes, self.changed_at = fact["nodes"], fact["at"]
        elif "unfinished" in fact:
            self.unfinished = fact["unfinished"]

    def _hear_end(self, fact: dict[str, Any]) -> None:
        if fact["ended"] < 0:
            self.meetings.append(fact["value"] if fact["ending"] == "ok" else fact["text"])
            return
        ending = Ending(
            fact["ending"], fact["value"], fact["text"], fact["output"], fact["attempts"]
        )
        self._ledger.ended(fact["ended"], ending, time.monotonic())
