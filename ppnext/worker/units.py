"""Units: which of the countable things that the present job has claimed are its own."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ppnext.errors import PpnextError
from ppnext.runtime.units import MOST, Amounts, Ids, Units

__all__ = ["belong", "resource_ids", "units"]


@dataclass(frozen=True)
class _Held:
    """What the present job has claimed, and which units those are, or why that is not known."""

    claimed: Amounts = ()
    ids: Ids = field(default_factory=dict)
    trouble: Exception | None = None


_held = _Held()
_machine = Units({})
"""The one that this process is a worker of."""


def belong(environment: MutableMapping[str, str]) -> None:
    """Have this process be a worker of the machine that its environment tells of.

    Args:
        environment: of this process; what the parent has put in is taken out.
    """
    global _machine
    _machine = Units(environment)


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
    with ExitStack() as stack:
        try:
            _held = _Held(claimed, stack.enter_context((machine or _machine).locked(claimed)))
        except (OSError, PpnextError) as error:
            _held = _Held(claimed, trouble=error)  # for who asks: most jobs do not
        try:
            yield
        finally:
            _held = _Held()
