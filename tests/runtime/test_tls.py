"""The channel on real sockets, and the threats 4, 7, 35 and 36."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppnext.errors import HandshakeError
from ppnext.runtime.tls import (
    Identity,
    _load_from_file,
    _load_from_memory,
    check_channel,
    client_context,
    ephemeral_certificate,
    peer_certificate,
    server_context,
)
from ppnext.wire.handshake import ALPN

DEADLINE = 20.0
Pair = tuple[ssl.SSLSocket, ssl.SSLSocket]


@pytest.fixture(scope="module")
def identity() -> Identity:
    return ephemeral_certificate()


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socketpair()
    for end in pair:
        end.settimeout(DEADLINE)
    yield pair
    for end in pair:
        end.close()


@pytest.fixture
def connect(sockets: tuple[socket.socket, socket.socket]) -> Iterator[Callable[..., Pair]]:
    """Run a TLS handshake between two contexts over a socket pair: (client, daemon)."""
    opened: list[ssl.SSLSocket] = []

    def run(client: ssl.SSLContext, server: ssl.SSLContext) -> Pair:
        with ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(server.wrap_socket, sockets[1], server_side=True)
            try:
                opened.append(client.wrap_socket(sockets[0]))
            finally:
                # Whatever the client said, the daemon's error is the one to see.
                opened.append(accepted.result(DEADLINE))
        return opened[0], opened[1]

    yield run
    for end in opened:
        end.close()


def test_an_honest_channel(identity: Identity, connect: Callable[..., Pair]) -> None:
    client, daemon = connect(client_context(), server_context(identity))
    check_channel(client)
    check_channel(daemon)
    assert peer_certificate(client) == identity.der
    client.sendall(b"hello")
    assert daemon.recv(5) == b"hello"


def test_the_certificate(identity: Identity) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    certificate = x509.load_der_x509_certificate(identity.der)
    assert certificate.subject.rfc4514_string() == "CN=ppnext"
    assert certificate.issuer == certificate.subject
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    other = x509.load_der_x509_certificate(ephemeral_certificate().der)
    assert other.serial_number != certificate.serial_number
    assert other.public_key() != key


def test_row_10_identity_does_not_show_its_key(identity: Identity) -> None:
    assert "PRIVATE" not in repr(identity)
    assert identity.password.decode() not in repr(identity)


def test_peer_certificate_must_be_there(identity: Identity, connect: Callable[..., Pair]) -> None:
    _, daemon = connect(client_context(), server_context(identity))
    with pytest.raises(HandshakeError, match="no certificate"):
        peer_certificate(daemon)  # clients show none


# --- row 4: captured now, key stolen later ------------------------------------------------------


def test_row_4_forward_secret_and_not_resumable(
    identity: Identity, connect: Callable[..., Pair]
) -> None:
    client, daemon = connect(client_context(), server_context(identity))
    daemon.sendall(b"x")  # tickets would arrive with the first data
    assert client.recv(1) == b"x"
    assert client.version() == daemon.version() == "TLSv1.3"
    cipher = client.cipher()
    assert cipher is not None
    assert cipher[0].startswith("TLS_")
    assert cipher[2] >= 128
    assert client.session is None or not client.session.has_ticket
    assert not client.session_reused


# --- row 7: downgrade ---------------------------------------------------------------------------


def test_row_7_tls_1_2_client_is_refused(identity: Identity, connect: Callable[..., Pair]) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        connect(old, server_context(identity))


def test_row_7_tls_1_2_daemon_is_refused(identity: Identity, connect: Callable[..., Pair]) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    _load_from_file(old, identity)
    with pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        connect(client_context(), old)


@pytest.mark.parametrize("names", [None, ["h2"], ["ppnext/2"], ["http/1.1", "h2"]])
def test_row_7_other_alpn_is_refused_by_both(
    identity: Identity, connect: Callable[..., Pair], names: list[str] | None
) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    if names is not None:
        stranger.set_alpn_protocols(names)
    client, daemon = connect(stranger, server_context(identity))
    with pytest.raises(HandshakeError, match="not a ppnext client, or one of an incompatible"):
        check_channel(daemon)
    with pytest.raises(HandshakeError, match="not a ppnext daemon, or one of an incompatible"):
        check_channel(client)


def test_row_7_tls_1_2_with_our_alpn_is_refused(
    identity: Identity, connect: Callable[..., Pair]
) -> None:
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    contexts[0].check_hostname = False
    contexts[0].verify_mode = ssl.CERT_NONE
    _load_from_file(contexts[1], identity)
    for context in contexts:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([ALPN])
    for end in connect(*contexts):
        with pytest.raises(HandshakeError, match=r"TLSv1\.2"):
            check_channel(end)


@pytest.mark.parametrize("sent", [b"PPNX" + bytes(100), b"GET / HTTP/1.1\r\n\r\n", bytes(200)])
def test_row_7_plain_tcp_is_refused(
    identity: Identity, sockets: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    client, daemon = sockets
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        server_context(identity).wrap_socket(daemon, server_side=True)
    daemon.close()
    received = b""
    with contextlib.suppress(ConnectionResetError):  # the daemon left some of it unread
        while data := client.recv(4096):
            received += data
    assert len(received) <= 7  # a TLS alert at most


# --- row 35: the private key and the disk -------------------------------------------------------


def usable_for_a_daemon(context: ssl.SSLContext, connect: Callable[..., Pair]) -> bool:
    context.set_alpn_protocols([ALPN])
    client, _ = connect(client_context(), context)
    return client.version() == "TLSv1.3"


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no anonymous memory files here")
def test_row_35_through_memory(identity: Identity, connect: Callable[..., Pair]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert _load_from_memory(context, identity)
    assert usable_for_a_daemon(context, connect)


def test_row_35_through_a_file_that_is_gone(
    identity: Identity,
    connect: Callable[..., Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_from_file(context, identity)
    assert list(tmp_path.iterdir()) == []
    assert usable_for_a_daemon(context, connect)


def test_row_35_a_failed_load_leaves_no_file(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken = Identity(identity.der, identity.chain, b"wrong password")
    for load in (_load_from_file, _load_from_memory):
        with pytest.raises(ssl.SSLError):
            load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), broken)
    assert list(tmp_path.iterdir()) == []


STARTED_DAEMON = """
import sys
written = []
sys.addaudithook(lambda event, args: written.append(args) if event == "open" else None)
from ppnext.runtime.tls import ephemeral_certificate, server_context
server_context(ephemeral_certificate())
for path, mode, flags in written:
    if isinstance(path, str) and flags & 3 and not path.startswith("/proc/"):
        sys.exit(f"opened for writing: {path}")
"""

KILLED_DAEMON = """
import os, signal, sys
def hook(event, args):
    if event == "os.remove" and "ppnext-" in str(args[0]):
        os.kill(os.getpid(), signal.SIGKILL)
from ppnext.runtime.tls import _bare_context, _load_from_file, ephemeral_certificate
import ssl
identity = ephemeral_certificate()
sys.addaudithook(hook)
_load_from_file(_bare_context(ssl.PROTOCOL_TLS_SERVER), identity)
"""


def run_daemon(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "TMPDIR": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no anonymous memory files here")
def test_row_35_nothing_is_written_to_disk(tmp_path: Path) -> None:
    done = run_daemon(STARTED_DAEMON, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_row_35_killed_between_write_and_unlink(tmp_path: Path) -> None:
    done = run_daemon(KILLED_DAEMON, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o077 == 0
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in left.read_bytes()
    assert b"BEGIN PRIVATE KEY" not in left.read_bytes()
    for guess in (b"", b"ppnext", hashlib.sha256(left.read_bytes()).hexdigest().encode()):
        with pytest.raises(ssl.SSLError):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(left, password=guess)


# --- row 36: SSLKEYLOGFILE ----------------------------------------------------------------------


def test_row_36_no_key_log(
    identity: Identity,
    connect: Callable[..., Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    assert ssl.create_default_context().keylog_filename == str(log)
    log.unlink(missing_ok=True)
    client, daemon = connect(client_context(), server_context(identity))
    client.sendall(b"x")
    assert daemon.recv(1) == b"x"
    assert not log.exists()


# --- what a client pays -------------------------------------------------------------------------


def test_a_client_does_not_import_x509() -> None:
    code = (
        "import sys; from ppnext.runtime.tls import client_context; client_context();"
        "sys.exit('cryptography.x509' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
