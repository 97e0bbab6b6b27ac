"""Threads: how many the libraries in a worker may start, so that all workers fit on the processors.

Libraries such as BLAS start a thread for each processor of the machine, and with a worker for each
processor there would be the square of that. They are told otherwise by variables that they read
when they are loaded. What the user has set stays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["VARIABLES", "thread_limits"]

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def thread_limits(
    environment: Mapping[str, str], workers: int, processors: int | None = None
) -> dict[str, str]:
    """Return the variables to be set for workers.

    Args:
        environment: what they have already.
        workers: how many there will be at a time.
        processors: those that they share; the ones that this process may run on if not given.
    """
    if processors is None:
        has_affinity = hasattr(os, "sched_getaffinity")
        processors = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    each = str(max(1, processors // max(1, workers)))
    return {name: each for name in VARIABLES if name not in environment}
