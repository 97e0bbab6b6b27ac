"""Forked: what a client is in a child that its process has forked.

The child has copies of all objects, but none of the threads, and shares the connections to workers
and nodes with its parent: what it wrote to them would be taken for its parent's, and what it read
its parent would miss. So it has nothing to do with the jobs, which end in the parent alone.
"""

from __future__ import annotations

from typing import NoReturn

from ppnext.client import Client
from ppnext.errors import DestroyedServerError
from ppnext.job import Job
from ppnext.runtime.attendance import Attendance

__all__ = ["Forked"]


class Forked(Client):
    """A client that has become this in a forked child."""

    def submit(self, job: Job, eager: bool = False) -> NoReturn:
        """Take no job."""
        raise _elsewhere()

    def attend(self, job: Job) -> Attendance | None:
        """Let nobody wait for a job that has not ended."""
        raise _elsewhere()

    def cancelled(self, job: Job, grace: float) -> None:
        """Leave a job alone that counts as cancelled in this process."""

    def wait(self, group: str | None, timeout: float | None) -> bool:
        """Say that there are no jobs."""
        return True

    def wait_for_nodes(self, number: int, timeout: float | None) -> bool:
        """Say that there are no nodes."""
        return False

    def open_jobs(self, group: str | None) -> list[Job]:
        """Return no job."""
        return []

    def describe(self, job: Job) -> str:
        """Say who knows where a job is."""
        return super().describe(job) if job.done() else "in the process that has forked this one"

    def destroy(self) -> None:
        """Leave everything to the parent."""


def _elsewhere() -> DestroyedServerError:
    return DestroyedServerError(
        "this process was forked from the one that has the job server: make another one here"
    )
