"""A stage on which jobs appear one by one, and which they leave when the test says so.

A job that calls ``tests.visits.visit(stage.port, name)`` becomes a ``Visitor``; so a test knows
which jobs run, in which process, and decides when each ends, without waiting for time to pass. It
also sees at once when the process of a job is gone.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import psutil
import pytest

__all__ = ["Stage", "Visitor", "stage"]

PATIENCE = 20.0


class Visitor:
    """A running job.

    Attributes:
        pid: the process it runs in.
        name: what it calls itself.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self._sock = sock
        line = b""
        while not line.endswith(b"\n"):
            data = sock.recv(100)
            assert data, "a job left before it had said who it is"
            line += data
        pid, self.name = line.decode().split()
        self.pid = int(pid)

    @property
    def parent(self) -> int:
        """The process that started the job's worker."""
        return psutil.Process(self.pid).ppid()

    def release(self, answer: str = "done") -> None:
        """Let the job return ``answer``."""
        self._sock.sendall(answer.encode())
        self._sock.close()

    def gone_within(self, seconds: float) -> bool:
        """Wait for the job's process to die."""
        self._sock.settimeout(seconds)
        try:
            return self._sock.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        """Let go of the job, whatever it is doing."""
        self._sock.close()


class Stage:
    """Where jobs appear.

    Attributes:
        port: what to give to ``visit``.
    """

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._visitors: list[Visitor] = []

    def next(self, timeout: float = PATIENCE) -> Visitor:
        """Wait for the next job to appear."""
        self._listening.settimeout(timeout)
        visitor = Visitor(self._listening.accept()[0])
        self._visitors.append(visitor)
        return visitor

    def many(self, number: int) -> list[Visitor]:
        """Wait for so many jobs."""
        return [self.next() for _ in range(number)]

    def is_empty_for(self, seconds: float) -> bool:
        """Whether nobody appears for so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            return not selector.select(seconds)

    def close(self) -> None:
        """Let everybody go, and take nobody any more."""
        self._listening.close()
        for visitor in self._visitors:
            visitor.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Where jobs of this test appear."""
    stage = Stage()
    yield stage
    stage.close()
