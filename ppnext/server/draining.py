"""Draining: ``ppserver --drain`` tells the ppservers that run here to end, and waits for it.

They are told by a signal that means the same when it comes twice, so nobody's jobs are cut short
because two people have had the same idea.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import TIMEOUT_MAX, Thread

from ppnext.errors import ConfigError, PpnextError
from ppnext.runtime.runfiles import Running, running

__all__ = ["SIGNAL", "drain"]

SIGNAL = "SIGUSR2"
"""Tells a ppserver to drain, if it does not do so yet."""


def drain(places: Sequence[Path], where: str, timeout: float | None) -> str:
    """Tell the ppservers of this user on this machine to drain, and wait until they have ended.

    Args:
        places: where their run files are.
        where: an address or a port; only those that listen there. Empty for all.
        timeout: seconds to wait; None for as long as it takes.

    Returns:
        what to print.

    Raises:
        ConfigError: there is none.
        PpnextError: they have not ended in time; they will, when their jobs have.
    """
    found = running(places)
    meant = [it for it in found if it.is_at(where)]
    for other in set(found) - set(meant):
        other.close()
    if not meant:
        listens = f" that listens on {where}" if where else ""
        raise ConfigError(f"no ppserver of this user{listens} runs on this machine")
    for it in meant:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(it.pid, getattr(signal, SIGNAL))
    names = ", ".join(f"process {it.pid} on {it.addresses[0]}" for it in meant)
    if not _all_end(meant, timeout):
        raise PpnextError(f"still draining after {timeout:g} s: {names}")
    return f"ppserver: drained: {names}"


def _all_end(meant: Sequence[Running], timeout: float | None) -> bool:
    """Whether all end within the time."""

    def wait() -> None:
        for it in meant:
            it.wait()

    waiting = Thread(target=wait, name="ppserver-drain", daemon=True)
    waiting.start()
    waiting.join(None if timeout is None else min(timeout, TIMEOUT_MAX))
    return not waiting.is_alive()
