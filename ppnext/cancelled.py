"""The error of cancelled jobs; apart from ``ppnext.errors``, which is to be loaded quickly."""

from __future__ import annotations

from concurrent.futures import CancelledError

from ppnext.errors import JobError

__all__ = ["JobCancelled"]


class JobCancelled(JobError, CancelledError):
    """A job was cancelled before it ended."""


JobCancelled.__module__ = "ppnext.errors"
