"""Records: large reads and writes over TLS, which gives and takes one record at a time.

A record has 16 KiB at most. To go back to the loop for each costs more than the record.
"""

from __future__ import annotations

import socket
import ssl

__all__ = ["joined", "read_records", "send_records"]

_SMALL = 1 << 14
"""Bytes of a buffer that is joined with its like, to share a record."""

_LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


def read_records(sock: socket.socket, room: memoryview) -> int:
    """Read to where the bytes belong, as far as they have come. Return how many; 0 at the end.

    Raises:
        OSError: nothing has come, or the socket has failed.
    """
    count = sock.recv_into(room)
    if not count:
        return 0
    try:
        while count < len(room):
            more = sock.recv_into(room[count:])
            if not more:
                break  # the end is met again by the next read
            count += more
    except _LATER:
        pass  # that is all there is now
    return count


def send_records(sock: socket.socket, buffer: bytes | memoryview) -> int:
    """Send a buffer as far as it is taken. Return how many bytes.

    Raises:
        OSError: nothing of it was taken, or the socket has failed.
    """
    sent = sock.send(buffer)
    if sent == len(buffer):
        return sent
    rest = memoryview(buffer)
    try:
        while sent < len(buffer):
            sent += sock.send(rest[sent:])
    except _LATER:
        pass  # that is all there is room for now
    return sent


def joined(buffers: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the buffers with small ones at the front made one; a large one is not copied."""
    small = 0
    while small < len(buffers) and len(buffers[small]) <= _SMALL:
        small += 1
    if small < 2:
        return buffers
    return [b"".join(buffers[:small]), *buffers[small:]]
