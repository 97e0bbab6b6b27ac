"""Control groups: where the limits of this process are written.

A control group is limited by its own settings and by those of all groups above it, so the path
from ``/proc/self/cgroup`` is followed upwards. Inside a container that path may not exist below the
mount point: a missing file is no limit, and the walk ends at the mount point, which holds the
container's own limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["CGROUP_ROOT", "SELF_CGROUP", "groups", "text"]

CGROUP_ROOT = Path("/sys/fs/cgroup")
SELF_CGROUP = Path("/proc/self/cgroup")


def groups(mount: Path, path: str) -> Iterator[Path]:
    """Yield the directories of a group and of all groups above it, the mount point last."""
    # A group outside of the namespace is shown with "..": only what is below the mount counts.
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for depth in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:depth])


def text(path: Path) -> str | None:
    """Return what a file says; None if there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # not this version of control groups, or not Linux
        return None
