"""Daemons for the remote peers: one ppserver each, on loopback, with a secret of its own."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Daemon", "DaemonFailed", "start_ppft", "start_ppnext"]

LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0


class DaemonFailed(Exception):
    """A daemon could not be started; the peer is left out."""


class Daemon(NamedTuple):
    """A daemon that listens, and how clients reach it."""

    process: subprocess.Popen[str]
    access: dict[str, str]


def start_ppnext(python: Path, workers: int, folder: Path) -> Daemon:
    """Start ppnext's ppserver, with its key file in ``folder``."""
    key_file = str(folder / "keys")
    ppserver = [str(python), "-m", "ppnext.server", "--key-file", key_file]
    made = subprocess.run([*ppserver, "--new-key", "bench"], capture_output=True, text=True)
    if made.returncode != 0:
        raise DaemonFailed("ppserver --new-key failed")
    process = _start([*ppserver, "-i", LOOPBACK, "-p", "0", "-w", str(workers), "-t", "60"])
    greeting = process.stdout.readline() if process.stdout else ""
    found = re.search(r"listens on ([^;,]+)", greeting)
    if found is None:
        process.kill()
        process.wait()
        raise DaemonFailed("ppserver did not start")
    return Daemon(process, {"server": found[1], "key_file": key_file})


def start_ppft(python: Path, workers: int, folder: Path) -> Daemon:
    """Start ppft's ppserver. It takes its secret on the command line only, and greets nobody."""
    secret = secrets.token_hex(16)
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port = sock.getsockname()[1]
    process = _start(
        [
            *(str(python), "-m", "ppft.server", "-i", LOOPBACK, "-p", str(port)),
            *("-w", str(workers), "-s", secret, "-t", "60"),
        ]
    )
    deadline = time.monotonic() + START_SECONDS
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise DaemonFailed("ppft's ppserver did not start")
        time.sleep(0.1)
    return Daemon(process, {"server": f"{LOOPBACK}:{port}", "secret": secret})


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0
