"""Daemons for the remote peers: one ppserver each, on loopback, with a secret of its own."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

__all__ = ["DAEMONS", "Access", "DaemonFailed"]

LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0

T = TypeVar("T")
Access: TypeAlias = dict[str, str]
"""How clients reach a daemon: ``server``, ``key_file`` or ``secret``, and its ``pid``."""


class DaemonFailed(Exception):
    """A daemon could not be started."""


def start_ppnext(python: Path, workers: int, folder: Path, env: Mapping[str, str]) -> Access:
    """Start ppnext's ppserver, with its key file in ``folder``."""
    key_file = str(folder / "keys")
    ppserver = [str(python), "-m", "ppnext.server", "--key-file", key_file]
    made = subprocess.run(
        [*ppserver, "--new-key", "bench"], env=dict(env), capture_output=True, timeout=START_SECONDS
    )
    if made.returncode != 0:
        raise DaemonFailed("ppserver --new-key failed")
    command = [*ppserver, "-i", LOOPBACK, "-p", "0", "-w", str(workers), "-t", "300"]
    log = folder / "ppserver"
    process = _start(command, env, log)
    found = _waited(process, lambda: re.search(r"listens on ([^;,\s]+)", log.read_text()))
    return {"server": found[1], "key_file": key_file, "pid": str(process.pid)}


def start_ppft(python: Path, workers: int, folder: Path, env: Mapping[str, str]) -> Access:
    """Start ppft's ppserver. It takes its secret on the command line only, and greets nobody."""
    secret = secrets.token_hex(16)
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port = sock.getsockname()[1]
    command = [str(python), "-m", "ppft.server", "-i", LOOPBACK, "-p", str(port)]
    command += ["-w", str(workers), "-s", secret, "-t", "300"]
    process = _start(command, env, folder / "ppserver")
    _waited(process, lambda: True if _listens(port) else None)
    return {"server": f"{LOOPBACK}:{port}", "secret": secret, "pid": str(process.pid)}


DAEMONS: Mapping[str, Callable[[Path, int, Path, Mapping[str, str]], Access]] = {
    "ppnext": start_ppnext,
    "ppft": start_ppft,
}


def _start(command: list[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=log.parent,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _waited(process: subprocess.Popen[bytes], ready: Callable[[], T | None]) -> T:
    """Wait until a daemon is ready; one of them does not say when it is."""
    deadline = time.monotonic() + START_SECONDS
    while (found := ready()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise DaemonFailed("the ppserver did not start")
        time.sleep(0.02)
    return found


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0
