"""Results: how jobs have ended here, as messages for the client."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppnext.sched.model import Mishap
from ppnext.wire.frames import CHUNK_LIMIT
from ppnext.wire.messages import Died, Outcome, Result
from ppnext.wire.payloads import Payload

__all__ = ["Results", "died"]


class Results:
    """Puts small ones together; what is large, or is no bytes, goes last in its message.

    Args:
        send: sends a message with its payloads.
    """

    def __init__(self, send: Callable[[Result, Sequence[Payload]], object]) -> None:
        self._send = send
        self._outcomes: list[Outcome] = []
        self._payloads: list[Payload] = []
        self._room = CHUNK_LIMIT

    def add(self, job: int, attempt: int, it: Outcome, payload: Payload) -> None:
        """Add the outcome of a job.

        Args:
            attempt: the client's number of it.
            it: as the worker told it.
        """
        if self._outcomes and (self._room < it.size or type(payload) is not bytes):
            self.send()
            self._outcomes, self._payloads, self._room = [], [], CHUNK_LIMIT
        self._outcomes.append(
            Outcome(
                job,
                attempt,
                it.size,
                it.raised,
                it.seconds,
                it.output,
                it.dropped,
                freed=True,  # what the client has sent was only ever copied
            )
        )
        self._payloads.append(payload)
        self._room = self._room - it.size if type(payload) is bytes else -1

    def send(self) -> None:
        """Send what there is."""
        self._send(Result(self._outcomes), self._payloads)


def died(job: int, attempt: int, last: Mishap) -> Died:
    """Return what the client is told of an attempt that has no outcome."""
    cause, why = last.cause[:1024], last.verdict
    if why is None:
        return Died(job, attempt, cause)
    return Died(job, attempt, cause, why.limit.name, why.stack, why.peak)
