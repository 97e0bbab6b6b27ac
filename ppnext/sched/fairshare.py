"""Fair share: how a daemon's slots are divided among its sessions.

Max-min fairness in whole slots, work-conserving: no session gets more than it can use, none gets
less than an equal part unless it asked for less, and no slot stays free while a session wants it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

__all__ = ["offers", "shares"]

Session = TypeVar("Session", bound=Hashable)


def shares(total: int, demands: Mapping[Session, int], turn: int = 0) -> dict[Session, int]:
    """Divide ``total`` slots among sessions.

    Args:
        total: slots there are.
        demands: how many slots each session could use now.
        turn: where to begin when the slots cannot be divided evenly; whoever counts it up lets
            every session have the odd slot, or any slot at all, in its turn.

    Returns:
        slots of each session.
    """
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
