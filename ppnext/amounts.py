"""Amounts: how much of which countable things a machine has, or a job takes. Pure.

GPUs, licences, gigabytes of a fast disk: names that mean something to the user alone, and whole
numbers. In their normal form they are sorted by name, so that what is equal is written equally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["check_amounts", "parse_amounts"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

_MOST_NAMES = 64

_MANY = 2**53
"""More than anything that is counted one by one."""


def check_amounts(argument: str, given: object) -> tuple[tuple[str, int], ...]:
    """Return amounts, such as ``{"gpu": 1}``, in their normal form.

    Args:
        argument: what they were given as, for the message.

    Raises:
        TypeError: they are no dictionary of names and whole numbers.
        ValueError: a name is none, or an amount is not more than 0.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{argument} must be such as {{'gpu': 1}}, not {given!r:.60}")
    if len(given) > _MOST_NAMES:
        raise ValueError(f"{argument} has {len(given)} names; at most {_MOST_NAMES} are possible")
    for name, amount in given.items():
        _check(argument, name, amount)
    # They are sent: neither strings of numpy's, nor enums or the like.
    return tuple(sorted((str.__str__(name), int(amount)) for name, amount in given.items()))


def _check(argument: str, name: object, amount: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{argument} must have names such as 'gpu', not {name!r:.60}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{argument} must have names such as 'gpu', of letters, digits, '_', '-' and '.', "
            f"not {name!r:.80}"
        )
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise TypeError(f"{argument}: {name} must be a whole number, not {amount!r:.60}")
    if not 0 < amount <= _MANY:
        what = "1 or more" if amount < 1 else f"{_MANY} or less"
        raise ValueError(f"{argument}: {name} must be {what}, not {amount!r:.60}")


def parse_amounts(argument: str, given: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return amounts that are written such as ``gpu=2``; only the name is the same as 1.

    Raises:
        TypeError, ValueError: as ``check_amounts``, or one is given twice.
    """
    amounts: dict[str, object] = {}
    for text in given:
        name, equals, number = text.partition("=")
        if name in amounts:
            raise ValueError(f"{argument}: {name} is given twice")
        is_whole = number.removeprefix("-").isdecimal()
        amounts[name] = int(number) if is_whole else number if equals else 1
    return check_amounts(argument, amounts)
