"""Niceness: how much workers give way to the other processes of the machine, from their start.

The parent puts a number into the environment of a worker, and the worker takes it out again before
it has any threads or children: they all inherit what it has. An ordinary user cannot take that
back, and a job that gives way by itself does so on top of it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["MOST", "VARIABLE", "give_way"]

VARIABLE = "_PPNEXT_NICE"

MOST = 19
"""The niceness of those who give way to all others."""


def give_way(environment: MutableMapping[str, str]) -> None:
    """Have this process, and all that it will start, give way to others as its parent wants.

    That goes for the disks as well where the system has it so: Linux derives the priority there
    from the niceness, as long as nobody sets another.

    Args:
        environment: of this process.
    """
    nice = environment.pop(VARIABLE, "")
    if nice and hasattr(os, "nice"):
        os.nice(int(nice))
