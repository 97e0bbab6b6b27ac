"""Needs: what a job needs of the node that runs it, and whether a node has it. Pure.

A job that needs nothing has None for a need. The others are equal if they need the same, so that
the scheduler can keep them in one queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

__all__ = ["Facts", "Need", "distributions", "fits", "minor", "parse_requires", "with_same"]


class Need(NamedTuple):
    """What a job needs.

    Attributes:
        python: the one minor version of Python that can run it, such as "3.11"; None for any.
        without: minor versions that have turned out not to be able to.
        requires: requirements, such as "numpy>=2"; as ``parse_requires`` returns them.
        limited: whether it is to be held to limits.
        node: pattern of the names of nodes that may run it; None for any.
        priority: those with a higher one are placed first. Nodes do not care.
        threads: how many of its machine's slots it takes. This and the next are looked after by the
            scheduler, which knows what machines have.
        resources: how much of the things that a machine has few of it takes, by name, sorted.
        avoid: names of nodes that are not to run it.
    """

    python: str | None = None
    without: frozenset[str] = frozenset()
    requires: tuple[str, ...] = ()
    limited: bool = False
    node: str | None = None
    priority: int = 0
    threads: int = 1
    resources: tuple[tuple[str, int], ...] = ()
    avoid: frozenset[str] = frozenset()


class Facts(NamedTuple):
    """What is known of a node.

    Attributes:
        python: its version of Python, such as "3.11.7".
        versions: of distributions that it was asked for, by name: empty if it is not installed.
        limits: whether it can hold jobs to limits.
        name: what users call it.
    """

    python: str
    versions: Mapping[str, str] = {}
    limits: bool = True
    name: str = ""


def minor(python: str) -> str:
    """Return the minor version, such as "3.11", of a full one."""
    return ".".join(python.split(".")[:2])


def parse_requires(requires: Iterable[str]) -> tuple[str, ...]:
    """Return requirements in their normal form, sorted.

    Args:
        requires: requirements as pip takes them, of distributions or of ``python`` itself.

    Raises:
        TypeError: it is not a tuple or list of strings.
        ValueError: one is malformed, or has an address or a condition.
    """
    if isinstance(requires, str):
        raise TypeError(f"requires must be a tuple of strings; did you mean ({requires!r},)?")
    if not isinstance(requires, (tuple, list)) or not all(isinstance(it, str) for it in requires):
        raise TypeError(f"requires must be a tuple of strings, not {requires!r:.80}")
    return tuple(sorted({str(_parsed(it)) for it in requires}))


def distributions(requires: Iterable[str]) -> list[str]:
    """Return the names of the distributions that requirements speak of, without ``python``."""
    names = (_parsed(it).name for it in requires)
    return sorted({name for name in names if name.lower() != "python"})


def with_same(requires: tuple[str, ...], name: str, version: str) -> tuple[str, ...]:
    """Add that nodes must have this very version of a distribution, if its name is not there yet.

    Args:
        requires: requirements in their normal form.
        version: any text; what is none in a requirement asks for nothing.
    """
    from packaging.utils import canonicalize_name  # only for who uses it

    if canonicalize_name(name) in map(canonicalize_name, distributions(requires)):
        return requires
    try:
        return parse_requires((*requires, f"{name}==={version}"))
    except ValueError:
        return requires


@lru_cache(maxsize=256)
def _parsed(requirement: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement  # only for who uses it

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement as error:
        raise ValueError(
            f"requires names distributions as pip does, such as 'numpy>=2', not {requirement!r}: "
            f"{str(error).splitlines()[0]}"
        ) from None
    if parsed.url is not None or parsed.marker is not None:
        raise ValueError(f"a requirement of a job is a name and versions only, not {requirement!r}")
    return parsed


def fits(need: Need, facts: Facts) -> str | None:
    """Return why a node cannot run jobs of a need; None if it can."""
    here = minor(facts.python)
    if need.python is not None and here != need.python:
        return f"has Python {facts.python}, not {need.python}"
    if here in need.without:
        return f"has Python {facts.python}, which does not know the function's syntax"
    if need.node is not None and not _is_named(facts.name, need.node):
        return f"is not {need.node}"
    if facts.name in need.avoid:
        return "is not to run it a second time"
    if not facts.limits and (need.threads > 1 or need.resources):
        return "has an older ppnext, which does not know of threads and resources of jobs"
    if need.limited and not facts.limits:
        return "has an older ppnext, which cannot hold jobs to limits"
    for requirement in need.requires:
        lack = _lack(_parsed(requirement), facts)
        if lack is not None:
            return lack
    return None


def _is_named(name: str, pattern: str) -> bool:
    """Whether a node is meant by a name or a pattern, with or without its port.

    The brackets of an IPv6 address mean something else in a pattern; in a name they are as written.
    """
    host = name.rpartition(":")[0]
    names = (name, host, host.strip("[]"))
    return pattern in names or any(fnmatchcase(it, pattern) for it in names)


def _lack(requirement: Requirement, facts: Facts) -> str | None:
    name, wanted = requirement.name, requirement.specifier
    if name.lower() == "python":
        return None if _meets(wanted, facts.python) else f"has Python {facts.python}, not {wanted}"
    if name not in facts.versions:
        return f"has not said yet whether it has {name}"
    version = facts.versions[name]
    if not version:
        return f"has no {name}"
    if not _meets(wanted, version):
        return f"has {name} {version}, not {str(wanted).removeprefix('===')}"
    return None


def _meets(wanted: SpecifierSet, version: str) -> bool:
    """Whether a version is wanted. What a node says may be no version; any is fine if none is."""
    from packaging.version import InvalidVersion  # only for who uses it

    try:
        return not wanted or wanted.contains(version, prereleases=True)
    except InvalidVersion:  # recent packaging returns False by itself
        return False
