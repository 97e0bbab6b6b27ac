"""Fair share: how a daemon's slots are divided among its sessions.

Max-min fairness in whole slots, work-conserving: no session gets more than it can use, none gets
less than an equal part unless it asked for less, and no slot stays free while a session wants it.

A job may take several slots, more than its session's part. Then the sessions take turns: in its
own a session has room for its largest job; in those of others it has its part, or nothing if not
even its smallest job fits in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

__all__ = ["Lump", "is_crowded", "offers", "shares"]

Session = TypeVar("Session", bound=Hashable)


class Lump(NamedTuple):
    """What cannot be divided: how many slots the smallest and the largest job of a session take."""

    least: int
    most: int


def shares(
    total: int,
    demands: Mapping[Session, int],
    turn: int = 0,
    lumps: Mapping[Session, Lump] | None = None,
) -> dict[Session, int]:
    """Divide ``total`` slots among sessions.

    Args:
        total: slots there are.
        demands: how many slots each session could use now.
        turn: where to begin when the slots cannot be divided evenly; whoever counts it up lets
            every session have the odd slot, or any slot at all, in its turn.
        lumps: of the sessions that have jobs which take several slots.

    Returns:
        slots of each session.
    """
    parts = _divide(total, demands, turn)
    tight = _tight(parts, demands, lumps or {})
    if not tight:
        return parts
    wanting = [session for session, demand in demands.items() if demand > 0]
    first = wanting[turn % len(wanting)]
    if first in tight and tight[first].least <= total:
        room = min(tight[first].most, total)
        others = {session: demand for session, demand in demands.items() if session != first}
        return {first: room, **_divide(total - room, others, turn)}
    barred = {session for session, lump in tight.items() if parts[session] < lump.least}
    return _divide(total, {it: 0 if it in barred else demands[it] for it in demands}, turn)


def is_crowded(
    total: int, demands: Mapping[Session, int], lumps: Mapping[Session, Lump] | None = None
) -> bool:
    """Tell whether sessions must take turns: for any slot, or for room for a large job."""
    parts = _divide(total, demands, 0)
    return sum(demand > 0 for demand in demands.values()) > total or bool(
        _tight(parts, demands, lumps or {})
    )


def _tight(
    parts: Mapping[Session, int], demands: Mapping[Session, int], lumps: Mapping[Session, Lump]
) -> dict[Session, Lump]:
    """Return the sessions whose part has no room for their largest job."""
    return {it: lump for it, lump in lumps.items() if demands[it] > 0 and parts[it] < lump.most}


def _divide(total: int, demands: Mapping[Session, int], turn: int) -> dict[Session, int]:
    result = dict.fromkeys(demands, 0)
    wanting = [session for session, demand in demands.items() if demand > 0]
    left = total
    while wanting and left >= len(wanting):
        part = left // len(wanting)
        for session in wanting:
            given = min(part, demands[session] - result[session])
            result[session] += given
            left -= given
        wanting = [session for session in wanting if result[session] < demands[session]]
    for place in range(min(left, len(wanting))):
        result[wanting[(turn + place) % len(wanting)]] += 1
    return result


def offers(total: int, demands: Mapping[Session, int]) -> dict[Session, int]:
    """Return for each session how many slots it would get if it could use all of them.

    That is what a session is told, so that it sends as much as will be run and no more. A session
    is offered one slot at least, if there is any: it gets it in its turn.
    """
    return {
        session: max(min(1, total), shares(total, {**demands, session: total})[session])
        for session in demands
    }
