"""Passing: descriptors that go along with the bytes of a socket to another process."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Sequence

from ppnext.wire.payloads import Large

__all__ = ["NO_SIGNAL", "receive", "send_passing"]

_MOST = 64
"""Most descriptors in one read; more are closed by the system."""

_ROOM = socket.CMSG_SPACE(_MOST * 4) if hasattr(socket, "CMSG_SPACE") else 0
NO_SIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0)
"""To send with: that the other end has gone is an error then, also in a program that has taken back
that Python ignores SIGPIPE, and would be ended by it."""

_CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def receive(channel: socket.socket, size: int, flags: int = 0) -> tuple[bytes, Sequence[int]]:
    """Return what has arrived, and the descriptors that came along: the caller owns them.

    Args:
        size: most bytes.
        flags: as ``recv`` takes them.

    Raises:
        OSError: as ``recv`` raises it.
    """
    if not _ROOM:  # a system that passes none
        return channel.recv(size, flags), ()
    data, ancillary, _, _ = channel.recvmsg(size, _ROOM, flags | _CLOSE_ON_EXEC)
    if not ancillary:
        return data, ()
    descriptors = array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, descriptors


def send_passing(
    channel: socket.socket, buffers: Sequence[bytes | memoryview], passed: Large
) -> int:
    """Send buffers and, along with their first byte, the descriptor of a payload.

    Returns:
        how many bytes were sent; on a blocking socket all of them, if they are small.

    Raises:
        OSError: as ``send`` raises it.
    """
    descriptor = passed.descriptor()
    if descriptor is None:
        raise AssertionError("a payload without a descriptor was to be passed")
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))
    return channel.sendmsg(buffers, [rights], NO_SIGNAL)
