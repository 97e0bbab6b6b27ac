"""How many processors this process may really use.

The number is the smaller of two:

* the processors the process may run on (affinity, which ``taskset`` and batch systems set);
* the processor time its control group may use (what containers and systemd set), rounded up,
  because half a processor still runs one worker.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from ppnext.runtime.cgroups import CGROUP_ROOT, SELF_CGROUP, groups, text

__all__ = ["affinity_cpus", "read_quota", "usable_cpus"]


def usable_cpus(
    allowed: int | None = None,
    cgroup_root: Path = CGROUP_ROOT,
    self_cgroup: Path = SELF_CGROUP,
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
    quota = read_quota(cgroup_root, text(self_cgroup) or "")
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
                quotas += [_quota_v2(group) for group in groups(mount, path)]
        elif "cpu" in controllers.split(","):
            for mount in (root / "cpu", root / controllers):
                quotas += [_quota_v1(group) for group in groups(mount, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_v2(group: Path) -> float | None:
    """``cpu.max`` holds "quota period" in microseconds, or "max period"."""
    fields = (text(group / "cpu.max") or "").split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(group: Path) -> float | None:
    """Two files hold quota and period in microseconds; a quota of -1 is no limit."""
    quota, period = text(group / "cpu.cfs_quota_us"), text(group / "cpu.cfs_period_us")
    return None if quota is None or period is None else _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    try:
        quota_us, period_us = int(quota), int(period)
    except ValueError:  # "max", or a format of the future: no limit that we know of
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None
