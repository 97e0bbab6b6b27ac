"""A ppserver of which a test says how much others use its machine, and where time passes faster.

``python polite_ppserver.py KEYS LOAD WORKERS AFTER``: the file LOAD says how many processors others
use; a job that is suspended is given up after AFTER seconds.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from time import monotonic

from ppnext.runtime import keystore
from ppnext.runtime.listener import listen
from ppnext.runtime.loop import new_loop
from ppnext.runtime.processes import worker_environment
from ppnext.server.config import Config
from ppnext.server.daemon import Daemon
from ppnext.server.keyring import AcceptedKeys
from ppnext.server.politeness import Politeness
from ppnext.server.yielding import Courtesy

__all__ = ["Load", "main"]

CORES = 4


class Load:
    """What others use, as a file has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._used = 0.0
        self._last = monotonic()

    def used(self) -> float:
        """How much they have used so far."""
        now = monotonic()
        self._used += float(self._path.read_text()) * (now - self._last)
        self._last = now
        return self._used


def main(keys: str, load: str, workers: str, after: str) -> None:
    """Serve until told to end."""
    logging.basicConfig(level=logging.INFO)
    politeness = Politeness(int(workers), CORES, smoothing=0.05, patience=0.3)
    courtesy = Courtesy(politeness, Load(Path(load)).used, float(after), every=0.1)
    (sock,) = sockets = listen(["127.0.0.1"], 0)
    loop = new_loop()
    daemon = Daemon(
        loop,
        Config(workers=int(workers), polite_after=float(after)).completed(),
        sockets,
        AcceptedKeys(keystore.load(Path(keys)), None),
        worker_environment(os.environ),
        courtesy,
    )
    print(f"listens on {sock.getsockname()[0]}:{sock.getsockname()[1]};", flush=True)
    loop.run_until_complete(daemon.run())
    loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
