"""The threads of libraries in workers fit on the processors."""

from __future__ import annotations

import os

import pytest

from ppnext import Server
from ppnext.runtime.processes import worker_environment
from ppnext.runtime.threads import VARIABLES, thread_limits


@pytest.mark.parametrize(
    ("workers", "processors", "each"), [(16, 16, 1), (4, 16, 4), (3, 16, 5), (1, 16, 16), (8, 2, 1)]
)
def test_workers_times_threads_fit_on_the_processors(
    workers: int, processors: int, each: int
) -> None:
    limits = thread_limits({}, workers, processors)
    assert set(limits.values()) == {str(each)} and set(limits) == set(VARIABLES)


def test_what_the_user_has_set_stays() -> None:
    limits = thread_limits({"OMP_NUM_THREADS": "3", "PATH": ""}, 4, 4)
    assert set(limits) == set(VARIABLES) - {"OMP_NUM_THREADS"}
    environment = worker_environment({"OMP_NUM_THREADS": "3", "PPNEXT_KEY": ""}, workers=4)
    assert environment["OMP_NUM_THREADS"] == "3" and "PPNEXT_KEY" not in environment


def test_jobs_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with Server(64) as server:
        assert server.submit(os.getenv, ("OMP_NUM_THREADS",)).result(20) == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Server(1) as server:
        assert server.submit(os.getenv, ("OMP_NUM_THREADS",)).result(20) == "7"
