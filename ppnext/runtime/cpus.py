"""How many processors this process may really use.

The number is the smaller of two:

* the processors the process may run on (affinity, which ``taskset`` and batch systems set);
* the processor time its control group may use (what containers and systemd set), rounded up,
  because half a processor still runs one worker.

A control group is limited by its own quota and by those of all groups above it, so the path
from ``/proc/self/cgroup`` is followed upwards. Inside a container that path may not exist
below the mount point: a missing file is no limit, and the walk ends at the mount point, which
holds the container's own limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["affinity_cpus", "read_quota", "usable_cpus"]

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_SELF_CGROUP = Path("/proc/self/cgroup")


def usable_cpus(
    allowed: int | None = None,
    cgroup_root: Path = _CGROUP_ROOT,
    self_cgroup: Path = _SELF_CGROUP,
) -> int:
    """Count the processors this process may use.

    Args:
        allowed: processors it may run on; asked of the system if not given.
        cgroup_root: where the control groups are mounted.
        self_cgroup: the file that names this process's control groups.

    Returns:
        The count, at least 1.
    """
    if allowed is None:
        allowed = affinity_cpus()
    quota = read_quota(cgroup_root, _text(self_cgroup) or "")
    if quota is not None:
        allowed = min(allowed, math.ceil(quota))
    return max(1, allowed)


def affinity_cpus() -> int:
    """Count the processors this process may run on, without regard to quotas."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    # Imported here: only systems without sched_getaffinity need it, and it costs start-up time.
    import psutil

    process = psutil.Process()
    # macOS has no affinity at all, and psutil no such method there.
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity() or ()) or os.cpu_count() or 1
    return os.cpu_count() or 1


def read_quota(root: Path, self_cgroup_text: str) -> float | None:
    """Read the processor quota of the control group of a process.

    Args:
        root: where the control groups are mounted.
        self_cgroup_text: what ``/proc/self/cgroup`` says.

    Returns:
        Processors' worth of time, such as 1.5, or ``None`` if there is no limit.
    """
    quotas = []
    for line in self_cgroup_text.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            # A hybrid system mounts version 2 in a directory of its own.
            for mount in (root, root / "unified"):
                quotas += [_quota_v2(group) for group in _groups(mount, path)]
        elif "cpu" in controllers.split(","):
            for mount in (root / "cpu", root / controllers):
                quotas += [_quota_v1(group) for group in _groups(mount, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(mount: Path, path: str) -> Iterator[Path]:
    """The directories of a group and of all groups above it, the mount point last."""
    # A group outside of the namespace is shown with "..": only what is below the mount counts.
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for depth in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:depth])


def _quota_v2(group: Path) -> float | None:
    """``cpu.max`` holds "quota period" in microseconds, or "max period"."""
    fields = (_text(group / "cpu.max") or "").split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(group: Path) -> float | None:
    """Two files hold quota and period in microseconds; a quota of -1 is no limit."""
    quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
    return None if quota is None or period is None else _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    try:
        quota_us, period_us = int(quota), int(period)
    except ValueError:  # "max", or a format of the future: no limit that we know of
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # not this version of control groups, or not Linux
        return None
