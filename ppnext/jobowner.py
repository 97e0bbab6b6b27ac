"""Job owner: whom a job asks where it stands and tells what its user does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ppnext.callbacks import CallbackThread
from ppnext.runtime.attendance import Sleeper

if TYPE_CHECKING:
    from ppnext.job import Job

__all__ = ["JobOwner"]


class JobOwner(Protocol):
    """Whose job it is: the client that knows where it stands."""

    @property
    def callbacks(self) -> CallbackThread:
        """Where users' callbacks run."""

    def describe(self, job: Job) -> str:
        """Say in one line where the job is, or why it waits."""

    def cancelled(self, job: Job, grace: float) -> None:
        """The job was cancelled by its user, who gives it so many seconds to clean up."""

    def attend(self, job: Job) -> Sleeper | None:
        """Return what a thread that waits for the job should sleep on; None for a lock."""
