"""Settings: what a ``Server`` is told by its caller, but for the network; see ``network``.

Everything a caller can get wrong is checked before anything is started.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = [
    "AUTODETECT",
    "check_backlog",
    "check_ncpus",
    "check_proto",
    "check_shipped",
    "check_timeout",
    "wants_network",
]

AUTODETECT = "autodetect"

_MANY = 4096

_NETWORK_VARIABLES = ("PPNEXT_SERVERS", "PPNEXT_SERVERS_FILE")

_HEARTBEAT_LIMIT = 30.0
"""Seconds of silence after which a ppserver is given up in any case."""

_NEWEST_PROTO = 5
"""What every Python that ppnext runs on writes."""


def check_ncpus(ncpus: object) -> int:
    """Return the number of workers that ``ncpus`` asks for.

    Raises:
        TypeError: it is neither a whole number nor ``"autodetect"``.
        ValueError: it is negative, or more than any machine has.
    """
    if ncpus == AUTODETECT:
        from ppnext.runtime.cpus import usable_cpus  # to read a control group's quota takes a lot

        return usable_cpus()
    if isinstance(ncpus, bool) or not isinstance(ncpus, int):
        raise TypeError(f'ncpus must be a whole number or "{AUTODETECT}", not {ncpus!r}')
    if ncpus < 0:
        raise ValueError(f"ncpus must be 0 or more, not {ncpus}")
    if ncpus > _MANY:
        raise ValueError(f"ncpus={ncpus} is more than the {_MANY} workers a machine can be given")
    return ncpus


def check_proto(proto: object) -> int:
    """Return a pickle protocol that can be used.

    Raises:
        TypeError: it is no whole number.
        ValueError: this Python does not have it.
    """
    if isinstance(proto, bool) or not isinstance(proto, int):
        raise TypeError(f"proto must be a pickle protocol number, not {proto!r}")
    if not 2 <= proto <= _NEWEST_PROTO:
        raise ValueError(f"proto must be from 2 to {_NEWEST_PROTO}, not {proto}")
    return proto


def check_backlog(backlog: object) -> int | None:
    """Return how many jobs may be unfinished before ``submit`` waits.

    Raises:
        TypeError, ValueError: it is no whole number above 0.
    """
    if backlog is None:
        return None
    if isinstance(backlog, bool) or not isinstance(backlog, int):
        raise TypeError(f"backlog must be a whole number or None, not {backlog!r}")
    if backlog < 1:
        raise ValueError(f"backlog must be 1 or more, not {backlog}")
    return backlog


def check_shipped(
    ship_roots: Iterable[str | os.PathLike[str]], ship: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return folders and names of distributions whose modules come along with jobs.

    Raises:
        TypeError: they are not in a tuple or list, or not paths and strings.
        ValueError: a folder is none.
    """
    for name, given in (("ship_roots", ship_roots), ("ship", ship)):
        if isinstance(given, (str, bytes)) or not isinstance(given, (tuple, list)):
            raise TypeError(
                f"{name} must be a tuple, not {given!r:.60}; did you mean ({given!r},)?"
            )
    roots = tuple(os.path.abspath(os.fspath(root)) for root in ship_roots)
    for root in roots:
        if not os.path.isdir(root):
            raise ValueError(f"ship_roots must be folders; there is no folder {root}")
    if not all(isinstance(it, str) for it in ship):
        raise TypeError(f"ship must be names of distributions, not {ship!r:.60}")
    return roots, tuple(ship)


def check_timeout(socket_timeout: object) -> float:
    """Return the seconds of silence after which a ppserver is given up.

    Raises:
        TypeError, ValueError: it is no number above 0.
    """
    if isinstance(socket_timeout, bool) or not isinstance(socket_timeout, (int, float)):
        raise TypeError(f"socket_timeout must be a number of seconds, not {socket_timeout!r}")
    if not socket_timeout > 0:
        raise ValueError(f"socket_timeout must be more than 0 seconds, not {socket_timeout}")
    return min(float(socket_timeout), _HEARTBEAT_LIMIT)


def wants_network(ppservers: object, interfaces: object, secret: object) -> bool:
    """Whether a caller or the environment speaks of ppservers; how, ``network`` finds out."""
    given = (interfaces, secret, *map(os.environ.get, _NETWORK_VARIABLES))
    return ppservers != () or any(it is not None for it in given)
