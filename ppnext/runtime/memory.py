"""How much memory this process may really use.

The smaller of what the machine has and what the process's control group and those above it allow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ppnext.runtime.cgroups import CGROUP_ROOT, SELF_CGROUP, groups, text

__all__ = ["usable_memory"]

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
