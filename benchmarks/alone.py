"""``unshare --net python -m benchmarks.alone COMMAND``: a network of its own, loopback only.

Some peers listen on all addresses of the machine. They are run where there is one only. The
network that ``unshare`` makes has a loopback that is down; this brings it up and becomes the
command.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

__all__ = ["command_prefix", "main"]

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP


def command_prefix(python: str) -> list[str]:
    """Return what goes in front of a command that is to run in a network of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", python, "-m", "benchmarks.alone"]


def main() -> None:
    """Bring the loopback up; become the command."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(sock, _GET_FLAGS, request))
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
