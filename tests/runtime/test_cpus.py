"""The processor count respects affinity and the control group's quota."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ppnext.errors
from ppnext.runtime.cpus import affinity_cpus, read_quota, usable_cpus
from tests.folders import write


@pytest.mark.parametrize(
    ("files", "self_cgroup", "quota"),
    [
        pytest.param({}, "", None, id="no cgroups"),
        pytest.param({}, "0::/\n", None, id="v2 without files"),
        pytest.param({"cpu.max": "max 100000\n"}, "0::/\n", None, id="v2 unlimited"),
        pytest.param({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5, id="v2 at the mount"),
        pytest.param({"a/b/cpu.max": "200000 100000"}, "0::/a/b", 2.0, id="v2 own group"),
        pytest.param(
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"},
            "0::/a/b",
            0.5,
            id="v2 limited by a parent",
        ),
        pytest.param(
            {"cpu.max": "300000 100000"}, "0::/host/only/path", 3.0, id="v2 path not mounted"
        ),
        pytest.param({"x/cpu.max": "100000 100000"}, "0::/../x", 1.0, id="v2 outside namespace"),
        pytest.param({"unified/cpu.max": "400000 100000"}, "0::/", 4.0, id="hybrid"),
        pytest.param({"cpu.max": "what is this"}, "0::/", None, id="v2 unknown format"),
        pytest.param({"cpu.max": ""}, "0::/", None, id="v2 empty"),
        pytest.param({"cpu.max": "100000 0"}, "0::/", None, id="v2 period zero"),
        pytest.param(
            {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            "4:memory:/m\n1:cpu:/a\n0::/\n",
            2.5,
            id="v1",
        ),
        pytest.param(
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/cpu.cfs_quota_us": "70000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            "3:cpu,cpuacct:/a",
            0.7,
            id="v1 joint mount limited by a parent",
        ),
        pytest.param({"cpu/cpu.cfs_quota_us": "70000"}, "1:cpu:/", None, id="v1 without period"),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "70000", "cpu/cpu.cfs_period_us": "100000"},
            "2:cpuset:/\n9:name=systemd:/\nnonsense",
            None,
            id="no cpu controller",
        ),
    ],
)
def test_quota(
    tmp_path: Path, files: dict[str, str], self_cgroup: str, quota: float | None
) -> None:
    assert read_quota(write(tmp_path, files), self_cgroup) == quota


@pytest.mark.parametrize(
    ("allowed", "quota", "count"),
    [(8, "max", 8), (8, "150000", 2), (8, "30000", 1), (2, "800000", 2), (0, "max", 1)],
)
def test_count_is_the_smaller_rounded_up_and_never_zero(
    tmp_path: Path, allowed: int, quota: str, count: int
) -> None:
    root = write(tmp_path, {"cg/cpu.max": f"{quota} 100000", "self": "0::/\n"})
    assert usable_cpus(allowed, root / "cg", root / "self") == count


def test_without_cgroups_affinity_decides(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert usable_cpus(None, missing, missing) == affinity_cpus()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_is_respected_and_psutil_not_loaded() -> None:
    program = (
        "import os, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from ppnext.runtime.cpus import usable_cpus\n"
        "print(usable_cpus(), 'psutil' in sys.modules)\n"
    )
    root = str(Path(ppnext.errors.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert result.stdout.split() == ["1", "False"]
