"""Facts about the machine that a reader needs, and none that would name it."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

__all__ = ["machine"]


def machine() -> dict[str, str]:
    """Return what the machine is: processor, cores, systems."""
    facts = {
        "date": datetime.date.today().isoformat(),
        "cores": f"{_usable()} usable of {os.cpu_count()}",
        "processor": _processor(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    if hasattr(os, "getloadavg"):
        facts["load before"] = f"{os.getloadavg()[0]:.1f}"
    return facts


def _usable() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {platform.machine()}"
    return platform.machine()
