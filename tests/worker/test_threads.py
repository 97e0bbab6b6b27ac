"""Threads of a job that takes several slots: told to what it loads, starts, and has loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ppnext.runtime.threads import VARIABLES
from ppnext.worker.threads import threads

FAKE = """
told = []
class threadpool_limits:
    def __init__(self, limits): self.limits = limits
    def __enter__(self): told.append(self.limits)
    def __exit__(self, *error): told.append("as before")
"""


@pytest.fixture
def threadpoolctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What threadpoolctl was told; a stand-in, as it may not be installed."""
    monkeypatch.delitem(sys.modules, "threadpoolctl", raising=False)
    (tmp_path / "threadpoolctl.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import threadpoolctl

    told: list[object] = threadpoolctl.told
    return told


def test_one_is_what_workers_have_anyway(threadpoolctl: list[object]) -> None:
    before = dict(os.environ)
    with threads(1):
        assert dict(os.environ) == before
    assert threadpoolctl == []


def test_libraries_are_told_for_as_long_as_the_job_runs(
    threadpoolctl: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("MKL_NUM_THREADS")
    before = dict(os.environ)
    with threads(4):
        assert {os.environ[name] for name in VARIABLES} == {"4"}
        os.environ["OMP_NUM_THREADS"] = "7"
    assert dict(os.environ) == before
    assert threadpoolctl == [4, "as before"]


def test_a_large_job_has_no_less_than_a_small_one(
    threadpoolctl: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("MKL_NUM_THREADS", "4,2")
    with threads(2):
        assert os.environ["OMP_NUM_THREADS"] == "8"
        assert os.environ["MKL_NUM_THREADS"] == "2"
    assert threadpoolctl[0] == 8


def test_it_works_without_threadpoolctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with threads(2):
        assert os.environ["OMP_NUM_THREADS"] == "2"
