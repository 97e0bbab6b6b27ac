"""The client under fire: a program that does what it is told, line by line, until it is killed.

    python client.py

Each line of its input, and each of its output, is one JSON object. The first line says what to
connect to. Then ``{"submit": NUMBER, "kind": KIND, "dice": DICE}`` submits a job, ``{"meet": DICE,
"size": N}`` has N jobs meet, ``{"explain": true}`` says where the unfinished ones are. It says when
a job has ended and how, each time a callback is called, and which nodes are connected when that
changes, with the time on the clock that all processes of a machine share.

It is a user's script: the functions of its jobs are in a file beside it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from functools import partial
from typing import Any

import numpy as np
from errands import (  # type: ignore[import-not-found]  # it is beside this script
    KINDS,
    MAP_SIZE,
    array_of,
    checksum,
    meet,
    shared_array,
)  # fmt: skip

import ppnext

__all__ = ["main"]

_LOOK = 0.02
"""Seconds between two looks at which nodes there are; no event tells of it."""


class Told:
    """What goes back to whoever commands; what jobs print and is shown here is kept apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def __call__(self, **fact: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps(fact) + "\n")
            self._stream.flush()


class Submitter:
    """Turns lines into jobs."""

    def __init__(self, server: ppnext.Server, folder: str, told: Told) -> None:
        self._server = server
        self._folder = folder
        self._told = told
        self._broadcast = server.broadcast(shared_array())
        self._unfinished: dict[int, ppnext.Job] = {}

    def submit(self, number: int, kind: str, dice: int) -> None:
        it = KINDS[kind]
        if it.arguments == "map":
            mapping = threading.Thread(target=self._map, args=(number, dice), daemon=True)
            mapping.start()
            return
        arguments: tuple[object, ...] = (dice, self._folder)
        if it.arguments == "array":
            arguments = (array_of(dice),)
        elif it.arguments == "broadcast":
            arguments = (self._broadcast, dice)
        job = self._server.submit(
            it.function,
            arguments,
            callback=self._called,
            callbackargs=(number,),
            retry=not it.once,
            **it.terms,
        )
        self._watch(number, job)
        if kind == "cancelled":
            job.cancel()

    def meet(self, dice: int, size: int) -> None:
        for number in range(size):
            job = self._server.submit(meet, (dice, self._folder, size))
            self._watch(-1 - number, job)

    def explain(self) -> None:
        lines = {
            number: f"attempt {job.attempts}: {job.status()}"
            for number, job in list(self._unfinished.items())
        }
        self._told(unfinished=lines)

    def _watch(self, number: int, job: ppnext.Job) -> None:
        self._unfinished[number] = job
        job.add_done_callback(partial(self._ended, number))

    def _called(self, number: int, result: object) -> None:
        self._told(called=number)

    def _ended(self, number: int, job: Any) -> None:
        self._unfinished.pop(number, None)
        try:
            value, ending, text = job.result(), "ok", ""
        except Exception as error:  # whatever it is, the ledger is to judge
            value, ending, text = None, type(error).__name__, str(error)
        self._told(
            ended=number, ending=ending, value=plain(value), text=text[:1000],
            output=job.output, attempts=job.attempts, node=job.node,
        )  # fmt: skip

    def _map(self, number: int, dice: int) -> None:
        try:
            numbers = range(dice, dice + MAP_SIZE)
            mapped = self._server.map(KINDS["maps"].function, numbers, [self._folder] * MAP_SIZE)
            value, ending, text = sum(mapped), "ok", ""
        except Exception as error:  # as above
            value, ending, text = None, type(error).__name__, str(error)
        self._told(
            ended=number, ending=ending, value=value, text=text[:1000],
            output="", attempts=1, node=None,
        )  # fmt: skip


def plain(value: object) -> object:
    """A value as JSON can carry it."""
    return checksum(value) if isinstance(value, np.ndarray) else value


def watch_nodes(server: ppnext.Server, told: Told) -> None:
    """Say which nodes there are, whenever that has changed."""
    known: dict[str, int] = {}
    while True:
        nodes = server.get_active_nodes()
        if nodes != known:
            told(nodes=nodes, at=time.monotonic())
            known = nodes
        time.sleep(_LOOK)  # a server tells nobody that a node has gone


def main() -> None:
    """Do what the lines of the standard input say."""
    faulthandler.register(signal.SIGUSR1)
    settings = json.loads(sys.stdin.readline())
    told = Told()
    with ppnext.Server(
        settings["workers"],
        tuple(settings["servers"]),
        key_file=settings["key_file"],
        socket_timeout=settings["silence"],
    ) as server:
        submitter = Submitter(server, settings["folder"], told)
        threading.Thread(target=watch_nodes, args=(server, told), daemon=True).start()
        for line in sys.stdin:
            order = json.loads(line)
            if "submit" in order:
                submitter.submit(order["submit"], order["kind"], order["dice"])
            elif "meet" in order:
                submitter.meet(order["meet"], order["size"])
            elif "explain" in order:
                submitter.explain()


if __name__ == "__main__":
    main()
