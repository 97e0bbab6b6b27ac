"""How much memory this process may really use, and how much is left.

The smaller of what the machine has and what the process's control group and those above it allow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ppnext.runtime.cgroups import CGROUP_ROOT, SELF_CGROUP, groups, text

__all__ = ["Room", "rooms", "usable_memory"]

MEMINFO = Path("/proc/meminfo")

_UNKNOWN = 1 << 30


def usable_memory(
    physical: int | None = None,
    cgroup_root: Path = CGROUP_ROOT,
    self_cgroup: Path = SELF_CGROUP,
) -> int:
    """Return how much memory this process may use, in bytes; 1 GiB where nobody knows.

    Args:
        physical: what the machine has; asked of the system if not given.
        cgroup_root: where the control groups are mounted.
        self_cgroup: the file that names this process's control groups.
    """
    if physical is None:
        physical = _physical()
    limits = (_limit(path) for path in _limit_files(cgroup_root, text(self_cgroup) or ""))
    return min([physical, *(limit for limit in limits if limit is not None)])


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, others not these names
        return _UNKNOWN


def _limit_files(root: Path, self_cgroup_text: str) -> Iterator[Path]:
    for line in self_cgroup_text.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield from (group / "memory.max" for group in groups(root, path))
        elif "memory" in controllers.split(","):
            for group in groups(root / "memory", path):
                yield group / "memory.limit_in_bytes"


def _limit(path: Path) -> int | None:
    try:
        limit = int(text(path) or "")
    except ValueError:  # no such file, "max", or a format of the future
        return None
    return limit if limit > 0 else None


class Room(NamedTuple):
    """Memory of the machine, or what a control group may have of it.

    Attributes:
        total: its bytes.
        available: those that are left, or can be had at the cost of the system's cache.
    """

    total: int
    available: int


def rooms(
    meminfo: Path = MEMINFO,
    cgroup_root: Path = CGROUP_ROOT,
    self_cgroup: Path = SELF_CGROUP,
) -> list[Room]:
    """Return how much memory is left: on the machine, and in each control group with a limit.

    Args:
        meminfo: where the system says it, if it does; otherwise psutil is asked.
        cgroup_root: where the control groups are mounted.
        self_cgroup: the file that names this process's control groups.

    Raises:
        OSError: the system cannot be asked now, as this process has no descriptor left for it.
    """
    try:
        machine = _machine(meminfo.read_text(encoding="ascii"))
    except FileNotFoundError:  # not Linux
        machine = _machine("")
    groups = map(_group, _limit_files(cgroup_root, text(self_cgroup) or ""))
    # Without a limit a group of the first version is said to have more than there is.
    return [machine, *(it for it in groups if it is not None and it.total < machine.total)]


def _machine(said: str) -> Room:
    lines = (line.partition(":") for line in said.splitlines())
    values = {name: int(value.split()[0]) << 10 for name, _, value in lines if "kB" in value}
    if "MemAvailable" in values:
        return Room(values["MemTotal"], values["MemAvailable"])
    import psutil  # takes long to load, and is not needed on Linux

    memory = psutil.virtual_memory()
    return Room(memory.total, memory.available)


def _group(limit_file: Path) -> Room | None:
    """What is left in a control group; None if it has no limit, or does not say."""
    limit = _limit(limit_file)
    if limit is None:
        return None
    is_first = limit_file.name == "memory.limit_in_bytes"
    used = _limit(limit_file.with_name("memory.usage_in_bytes" if is_first else "memory.current"))
    if used is None:
        return None
    said = text(limit_file.with_name("memory.stat")) or ""
    stat = dict(line.split(" ", 1) for line in said.splitlines())
    cache = int(stat.get("total_inactive_file" if is_first else "inactive_file", 0))
    return Room(limit, max(0, limit - used + cache))
