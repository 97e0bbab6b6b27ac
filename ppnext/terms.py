"""Terms: on which terms a job is run. What ``submit`` is told besides what to call.

A server has default terms; a job that says nothing has these, the same object for all. What a call
says replaces one of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fnmatch import translate
from typing import NamedTuple, TypedDict

from ppnext.amounts import check_amounts
from ppnext.needs import parse_requires
from ppnext.wire.messages import Limits

__all__ = ["DEFAULT", "Asked", "Terms", "agree", "parse_bytes"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")

_PRIORITIES = 10**6
"""Priorities are within this distance of 0."""

_ABOUT_A_CENTURY = 3e9

_MANY_THREADS = 4096

_MORE_THAN_ANY = 1 << 60
"""Bytes that no machine has."""


class Asked(TypedDict, total=False):
    """What may be asked for each job; None is the same as nothing.

    Attributes:
        timeout: seconds that the call may take; then it is stopped, and the job ends with
            ``JobTimeout``.
        deadline: seconds after ``submit`` within which it must have been started; otherwise it ends
            with ``NoNodes``.
        retry: whether it may be started again when its worker or node is lost, or how often; if
            not, it then ends with ``WorkerDied`` or ``NodeLost``. True if not said.
        retry_on: exceptions after which it is started again as well, as often as ``retry`` says, or
            three times.
        backoff: seconds before it is started again after one of these, then twice as many.
        max_memory: bytes, or such as ``"2GiB"``, that it may have with its child processes; beyond,
            it is stopped, and ends with ``JobMemoryExceeded``.
        nice: how much it gives way to other processes, from 0 to 19.
        priority: jobs with a higher one are started first; 0 if not said.
        node: name of the node that is to run it, or a pattern such as ``"ws1*"``.
        requires: what nodes must have to run it, such as ``("numpy>=2", "python>=3.11")``.
        threads: slots that it takes on its machine, and threads that libraries such as BLAS may use
            in it; 1 if not said.
        resources: what it takes of what machines offer, such as ``{"gpu": 1}``.
    """

    timeout: float | None
    deadline: float | None
    retry: bool | int | None
    retry_on: type[BaseException] | tuple[type[BaseException], ...] | None
    backoff: float | None
    max_memory: int | str | None
    nice: int | None
    priority: int | None
    node: str | None
    requires: Iterable[str] | None
    threads: int | None
    resources: Mapping[str, int] | None


class Terms(NamedTuple):
    """What one job was promised.

    Attributes:
        retries: how often it may be started again; None for as often as workers and nodes are lost,
            within the limits of the scheduler.
        retry_on: exceptions after which it is started again as well.
        backoff: seconds before it is started again after one of these; twice as many each time.
        deadline: seconds after ``submit`` within which it must have been started; None for ever.
        priority: jobs with a higher one are placed first.
        node: pattern of the names of nodes that may run it; None for any.
        requires: what these must have, as ``parse_requires`` returns it.
        limits: what it may use where it runs; None if nothing is limited and it takes one slot.
    """

    retries: int | None = None
    retry_on: tuple[type[BaseException], ...] = ()
    backoff: float = 0.0
    deadline: float | None = None
    priority: int = 0
    node: str | None = None
    requires: tuple[str, ...] = ()
    limits: Limits | None = None


DEFAULT = Terms()


def agree(terms: Terms, given: Asked) -> Terms:
    """Return terms in which what is given replaces what was there.

    Args:
        given: what is said anew.

    Raises:
        TypeError, ValueError: one of them is wrong; the message names it and says what it may be.
    """
    changed: dict[str, object] = {}
    limits: dict[str, object] = {}
    for name, value in given.items():
        check = _CHECKS.get(name)
        if check is None:
            raise TypeError(f"there is no argument {name!r}; did you mean {_nearest(name)!r}?")
        if value is None:
            continue
        if name in _LIMITS:
            limits[_LIMITS[name]] = check(name, value)
        else:
            changed["retries" if name == "retry" else name] = check(name, value)
    if limits:
        old = terms.limits or Limits()
        kept = {it: getattr(old, it) for it in _LIMITS.values()}
        new = Limits(**{**kept, **limits})
        changed["limits"] = None if new == Limits() else new
    return terms._replace(**changed) if changed else terms  # type: ignore[arg-type]  # as above


def parse_bytes(text: str) -> int:
    """Return the number of bytes that such as ``"2GiB"`` or ``"500 MB"`` says.

    Raises:
        ValueError: it says none.
    """
    found = _SIZE.fullmatch(text)
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError(f"sizes are written such as '2GiB' or '500MB', not {text!r:.60}")
    unit = _UNITS[found[2].upper()]
    return int(found[1]) * unit if found[1].isdecimal() else int(Decimal(found[1]) * unit)


def _nearest(name: str) -> str:
    from difflib import get_close_matches  # only for mistakes

    return next(iter(get_close_matches(name, _CHECKS, 1, 0.0)))


# Checks: each returns the value as it is kept.


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r:.60}")
    if not value > 0:
        raise ValueError(f"{name} must be more than 0 seconds, not {value}")
    # What is said of limits is sent: no float of numpy's.
    return float(min(value, 10 * _ABOUT_A_CENTURY) if isinstance(value, int) else value)


def _timeout(name: str, value: object) -> float:
    seconds = _seconds(name, value)
    return seconds if seconds < _ABOUT_A_CENTURY else 0.0


def _deadline(name: str, value: object) -> float | None:
    seconds = _seconds(name, value)
    return seconds if seconds < _ABOUT_A_CENTURY else None


def _backoff(name: str, value: object) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    seconds = _seconds(name, value)
    if math.isinf(seconds):
        raise ValueError(f"{name} must be a number of seconds, not {value}")
    return seconds


def _memory(name: str, value: object) -> int:
    if isinstance(value, str):
        try:
            value = parse_bytes(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if isinstance(value, float) and math.isinf(value) and value > 0:
        return 0
    number = _whole(name, value, "a number of bytes, or such as '2GiB'")
    if number <= 0:
        raise ValueError(f"{name} must be more than 0 bytes, not {value}")
    return number if number < _MORE_THAN_ANY else 0


def _whole(name: str, value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be {what}, not {value!r:.60}")
    return int(value)  # no enum or the like


def _nice(name: str, value: object) -> int:
    number = _whole(name, value, "a whole number from 0 to 19")
    if not 0 <= number <= 19:
        raise ValueError(f"{name} must be from 0 to 19, not {value}: a job cannot take precedence")
    return number


def _threads(name: str, value: object) -> int:
    number = _whole(name, value, "a whole number of threads")
    if number < 1:
        raise ValueError(f"{name} must be 1 or more, not {value}")
    if number > _MANY_THREADS:
        raise ValueError(f"{name}={number} is more than the {_MANY_THREADS} that a machine can run")
    return number


def _retries(name: str, value: object) -> int | None:
    if isinstance(value, bool):
        return None if value else 0
    number = _whole(name, value, "True, False or how often a job may be started again")
    if number < 0:
        raise ValueError(f"{name} must be 0 or more, not {value}")
    return number


def _retry_on(name: str, value: object) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(it, type) and issubclass(it, BaseException) for it in kinds):
        raise TypeError(f"{name} must be a tuple of exception classes, not {value!r:.60}")
    return kinds


def _priority(name: str, value: object) -> int:
    number = _whole(name, value, "a whole number")
    if abs(number) > _PRIORITIES:
        raise ValueError(f"{name} must be from -{_PRIORITIES} to {_PRIORITIES}, not {value}")
    return number


def _node(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be the name of a node or a pattern, not {value!r:.60}")
    if not value:
        raise ValueError(f"{name} must be such as 'ws1*', not empty")
    re.compile(translate(value))
    return value


_LIMITS = {
    "timeout": "timeout",
    "max_memory": "memory",
    "nice": "nice",
    "threads": "threads",
    "resources": "resources",
}
"""What is told to whoever runs the job, and the name of it there."""

_CHECKS: dict[str, Callable[[str, object], object]] = {
    "timeout": _timeout,
    "max_memory": _memory,
    "nice": _nice,
    "threads": _threads,
    "resources": check_amounts,
    "retry": _retries,
    "retry_on": _retry_on,
    "backoff": _backoff,
    "deadline": _deadline,
    "priority": _priority,
    "node": _node,
    "requires": lambda name, value: parse_requires(value),  # type: ignore[arg-type]  # it checks
}
