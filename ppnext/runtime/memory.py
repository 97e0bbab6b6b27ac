"""How much memory this process may really use.

The smaller of what the machine has and what the process's control group and those above it allow.
Inside a container the group's own path may not exist below the mount point, which then holds the
container's limit: a missing file is no limit, and the walk ends at the mount point.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["usable_memory"]

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_SELF_CGROUP = Path("/proc/self/cgroup")
_UNKNOWN = 1 << 30


def usable_memory(
    physical: int | None = None,
    cgroup_root: Path = _CGROUP_ROOT,
    self_cgroup: Path = _SELF_CGROUP,
) -> int:
    """Return how much memory this process may use, in bytes; 1 GiB where nobody knows.

    Args:
        physical: what the machine has; asked of the system if not given.
        cgroup_root: where the control groups are mounted.
        self_cgroup: the file that names this process's control groups.
    """
    if physical is None:
        physical = _physical()
    limits = (_limit(path) for path in _limit_files(cgroup_root, _text(self_cgroup)))
    return min([physical, *(limit for limit in limits if limit is not None)])


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, others not these names
        return _UNKNOWN


def _limit_files(root: Path, groups: str) -> Iterator[Path]:
    for line in groups.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        # A group outside of the namespace is shown with "..": only what is below the mount counts.
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for depth in range(len(parts), -1, -1):
            if hierarchy == "0" and not controllers:
                yield root.joinpath(*parts[:depth], "memory.max")
            elif "memory" in controllers.split(","):
                yield root.joinpath("memory", *parts[:depth], "memory.limit_in_bytes")


def _limit(path: Path) -> int | None:
    try:
        limit = int(_text(path))
    except ValueError:  # no such file, "max", or a format of the future
        return None
    return limit if limit > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # not this version of control groups, or not Linux
        return ""
