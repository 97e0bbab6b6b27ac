"""Units: which of the countable things that the present job has claimed are its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ppnext.errors import PpnextError
from ppnext.runtime.units import MOST, Amounts, Ids, Units

__all__ = ["resource_ids", "units"]


@dataclass(frozen=True)
class _Held:
    """What the present job has claimed, and which units those are, or why that is not known."""

    claimed: Amounts = ()
    ids: Ids = field(default_factory=dict)
    trouble: Exception | None = None


_held = _Held()
_machine: list[Units] = []
"""The one of this process, once a job has claimed something."""


def resource_ids(name: str) -> tuple[int, ...]:
    """Say which of a thing the job that calls this has claimed with ``resources``.

    No other job has them at the same time that the same ``Server`` or ``ppserver`` runs on this
    machine.

    Args:
        name: of the thing, such as ``"gpu"``.

    Returns:
        As many numbers, from 0, as the job has claimed, the lowest first; an empty tuple if it has
        claimed none, or if this is not called in a job.

    Raises:
        PpnextError: it has claimed some, but which ones is not known; the message says why.
    """
    held = _held
    if name in held.ids:
        return held.ids[name]
    if name not in dict(held.claimed):
        return ()
    why = held.trouble or f"a thing has numbers if the machine has no more than {MOST} of it"
    raise PpnextError(f"which {name} this job has is not known: {why}") from held.trouble


@contextmanager
def units(claimed: Amounts, machine: Units | None = None) -> Iterator[None]:
    """Have what a job has claimed to itself while it runs.

    Args:
        claimed: how much of which things.
        machine: whose they are; None for that of which this is a worker.
    """
    global _held
    if not claimed:
        yield
        return
    if machine is None:
        _machine[:] = _machine or [Units(os.environ)]
        machine = _machine[0]
    with ExitStack() as stack:
        try:
            _held = _Held(claimed, stack.enter_context(machine.locked(claimed)))
        except (OSError, PpnextError) as error:
            _held = _Held(claimed, trouble=error)  # for who asks: most jobs do not
        try:
            yield
        finally:
            _held = _Held()
