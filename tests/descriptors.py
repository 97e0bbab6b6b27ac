"""Descriptors of this process."""

from __future__ import annotations

import os

__all__ = ["open_descriptors"]


def open_descriptors() -> int:
    """Return how many there are."""
    return len(os.listdir("/proc/self/fd"))
