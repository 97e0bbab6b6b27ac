"""Floors: what the machine itself takes, with nothing in between.

* a ping-pong of a few bytes over a socketpair between two processes that do nothing else, wherever
  the kernel puts them (often both on one processor, where a job could not run beside its client),
  and with each on a processor of its own;
* copies of an array in memory that has been touched before;
* one TLS stream over loopback, as the standard library gives it, between two processes.
"""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

__all__ = [
    "REPLY",
    "REQUEST",
    "PingPong",
    "certificate",
    "copy_seconds",
    "has_two_processors",
    "stream_seconds",
]

# As many bytes as ppnext sends for one job that does nothing, and gets back.
REQUEST = 76
REPLY = 49
CHUNK = 1 << 20

_ECHO = f"""
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as sock:
    while sock.recv({REQUEST}):
        sock.sendall(bytes({REPLY}))
"""

_STREAM = f"""
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(sys.argv[1])
size = int(sys.argv[2])
buffer = memoryview(bytearray(size))
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    plain, _ = listener.accept()
plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
with context.wrap_socket(plain, server_side=True) as sock:
    while True:
        done = 0
        while done < size:
            count = sock.recv_into(buffer[done:done + {CHUNK}])
            if not count:
                sys.exit()
            done += count
        for start in range(0, size, {CHUNK}):
            sock.sendall(buffer[start:start + {CHUNK}])
"""


class PingPong:
    """A process that answers each message with another, over a socketpair; blocking calls.

    Args:
        apart: keep the two processes on two processors.
    """

    def __init__(self, apart: bool = False) -> None:
        self._apart = apart

    def __enter__(self) -> PingPong:
        self._sock, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        if self._apart:
            self._all = os.sched_getaffinity(0)
            self._own = {min(self._all)}
            os.sched_setaffinity(self._process.pid, {max(self._all)})
        self.microseconds(100)  # warm
        return self

    def __exit__(self, *error: object) -> None:
        self._sock.close()
        self._process.wait()

    def microseconds(self, count: int) -> list[float]:
        """Return how long so many exchanges take, each."""
        if self._apart:
            os.sched_setaffinity(0, self._own)  # of this thread only
        try:
            return [self._exchange() for _ in range(count)]
        finally:
            if self._apart:
                os.sched_setaffinity(0, self._all)

    def _exchange(self) -> float:
        start = time.perf_counter()
        self._sock.sendall(bytes(REQUEST))
        if len(self._sock.recv(REPLY)) != REPLY:
            raise ValueError("the ping-pong is broken")
        return (time.perf_counter() - start) * 1e6


def has_two_processors() -> bool:
    """Whether a process can be kept on a processor, and there are two."""
    return hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1


def copy_seconds(array: Any, scratch: Any) -> float:
    """Return how long it takes to copy an array twice, into memory that is there already."""
    import numpy

    start = time.perf_counter()
    numpy.copyto(scratch, array)
    numpy.copyto(scratch, array)
    return time.perf_counter() - start


def stream_seconds(certificate: str, size: int, trips: int) -> list[float]:
    """Return how long so many bytes take over one TLS 1.3 stream, there and back, each time.

    Args:
        certificate: a PEM file with a certificate and its key.
        size: bytes.
        trips: how often.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    command = [sys.executable, "-c", _STREAM, certificate, str(size)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise AssertionError("its output is piped")
    times = []
    with process.stdout:
        port = int(process.stdout.readline())
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain) as sock:
            data = memoryview(bytearray(size))
            for _ in range(trips + 1):
                start = time.perf_counter()
                for at in range(0, size, CHUNK):
                    sock.sendall(data[at : at + CHUNK])
                done = 0
                while done < size:
                    done += sock.recv_into(data[done : done + CHUNK])
                times.append(time.perf_counter() - start)
    process.wait()
    return times[1:]


def certificate(folder: Path) -> str:
    """Write a certificate of the usual kind, and its key; return the file's name."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / "stream.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return str(file)
