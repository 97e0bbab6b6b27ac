"""Reports: results on their way to the parent.

While more jobs wait in the inbox, the results of very short ones are held back for a moment, so
that many leave in one write. A job that turns out to be long must not keep the results of those
before it, so a second thread sends what has waited too long; it sleeps unless results are held
back. Jobs that must not be started a second time are reported at once: what was held back when a
worker died is run again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from ppnext.wire.frames import CHUNK_LIMIT
from ppnext.wire.messages import Outcome, Result
from ppnext.wire.payloads import Payload

__all__ = ["HELD_FOR", "Reports"]

HELD_FOR = 0.0005
"""Seconds for which results are held back while short jobs follow each other."""

_MOST = 128
"""Most results that are held back."""

_MOST_BYTES = CHUNK_LIMIT // 4


class Reports:
    """Results that have not been sent.

    Args:
        send: sends a message and its payloads, in the thread that calls.
        watch: called when results begin to be held back, so that ``send_old`` will be called.
    """

    def __init__(
        self, send: Callable[[Result, list[Payload]], None], watch: Callable[[], None]
    ) -> None:
        self._send = send
        self._watch = watch
        self._held: deque[tuple[Outcome, Payload]] = deque()
        self._bytes = 0
        self._since = 0.0
        self._lock = Lock()
        # Whether the second thread looks after what is held.
        self._watched = False

    def add(self, outcome: Outcome, payload: Payload, now: float, urgent: bool) -> None:
        """Report how a job ended. Called by the thread that runs jobs.

        Args:
            now: the present time, in seconds.
            urgent: send it now, with all that is held back.
        """
        if not self._held:
            self._since = now
            self._bytes = 0
        self._held.append((outcome, payload))
        self._bytes += outcome.size
        if (
            urgent
            or now - self._since > HELD_FOR
            or self._bytes > _MOST_BYTES
            or len(self._held) >= _MOST
        ):
            self.send_all()
        elif not self._watched:
            self._watched = True
            self._watch()

    def send_all(self) -> None:
        """Send all that is held back; when this returns, nothing is on its way any more."""
        with self._lock:
            self._send_held()

    def send_before(self, send: Callable[[], None]) -> None:
        """Send all that is held back, then call ``send()``; nothing is sent in between."""
        with self._lock:
            self._send_held()
            send()

    def _send_held(self) -> None:
        outcomes: list[Outcome] = []
        payloads: list[Payload] = []
        room = CHUNK_LIMIT
        while self._held:
            outcome, payload = self._held.popleft()
            if outcomes and (outcome.size > room or type(payload) is not bytes):
                self._send(Result(outcomes), payloads)
                outcomes, payloads, room = [], [], CHUNK_LIMIT
            outcomes.append(outcome)
            payloads.append(payload)
            room = room - outcome.size if type(payload) is bytes else -1
        if outcomes:
            self._send(Result(outcomes), payloads)

    def send_old(self, now: float) -> bool:
        """Send what has been held back too long. Called by the second thread, while it watches.

        Returns:
            whether to go on watching.
        """
        if not self._held:
            self._watched = False
            # The other thread may have added one without asking to be watched.
            return bool(self._held)
        if now - self._since > HELD_FOR:
            self.send_all()
        return True
