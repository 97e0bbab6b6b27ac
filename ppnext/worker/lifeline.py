"""Lifeline: when the parent dies, by whatever means, this process and its children die.

The parent holds the writing end of a pipe and never writes. Where the kernel can do it (Linux),
the reading end is set up so that the kernel itself sends SIGKILL to this process group as soon as
the other end is closed: that needs no thread and no interpreter lock, so it also works while a job
sits in C code for minutes. Elsewhere the thread that watches the control channel sees it end.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

__all__ = ["die_with_group", "tie"]


def tie(lifeline: int) -> None:
    """Have the kernel kill this process group when the pipe's other end is closed.

    Args:
        lifeline: descriptor of the reading end; it stays open for the life of the process.
    """
    if sys.platform != "linux":
        return
    import fcntl  # POSIX only

    f_setsig = getattr(fcntl, "F_SETSIG", 10)  # named since Python 3.13
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, f_setsig, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)


def die_with_group() -> NoReturn:
    """End this process and what its jobs have started."""
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
