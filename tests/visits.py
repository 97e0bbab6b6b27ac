"""Jobs that report to the test and stay until it lets them go; see ``stage_fixture``.

Imported by workers, so it imports next to nothing.
"""

from __future__ import annotations

import os
import socket

__all__ = ["visit"]


def visit(port: int, name: str) -> str:
    """Tell the test on ``port`` that this job runs, and return what it answers."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"{os.getpid()} {name}\n".encode())
        answer = b""
        while data := sock.recv(4096):
            answer += data
        return answer.decode()
