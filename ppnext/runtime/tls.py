"""The TLS 1.3 channel under the handshake, and the certificate that names it.

A daemon makes a P-256 key and a self-signed certificate at each start and keeps both in memory.
The certificate says nothing about who the daemon is; the handshake of
:mod:`ppnext.wire.handshake` proves that, and binds its proofs to the certificate's hash.

What holds on both sides: TLS 1.3 or nothing, ALPN ``ppnext/1``, no session tickets, so nothing
to resume. ALPN names that do not overlap do not stop OpenSSL, so :func:`check_channel` must be
called on every new channel. Contexts are made bare: ``create_default_context`` would honour
``SSLKEYLOGFILE`` and write the session's secrets to a file.

The :mod:`ssl` module reads private keys from paths only. The path leads to anonymous memory where
there is such a thing, else to a file that is removed at once; in both the key is encrypted under
a random password that exists in this process only.
"""

from __future__ import annotations

import datetime
import os
import secrets
import ssl
import tempfile
from dataclasses import dataclass, field

from ppnext.errors import HandshakeError
from ppnext.wire.handshake import ALPN

__all__ = [
    "Identity",
    "check_channel",
    "client_context",
    "ephemeral_certificate",
    "peer_certificate",
    "server_context",
]

# Nobody checks the dates; fixed ones do not tell when the daemon was started.
_FROM = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
_UNTIL = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its private key, made for one run of a daemon.

    Attributes:
        der: the certificate, as its hash enters the handshake.
        chain: certificate and private key as PEM, the key encrypted.
        password: what the key is encrypted under.
    """

    der: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    password: bytes = field(repr=False)


def ephemeral_certificate() -> Identity:
    """Make a new P-256 key and a self-signed certificate for it; some milliseconds."""
    # Imported here because only daemons need x509, and clients should not pay for it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ppnext")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.not_valid_before(_FROM).not_valid_after(_UNTIL)
    builder = builder.serial_number(x509.random_serial_number()).public_key(key.public_key())
    certificate = builder.sign(key, hashes.SHA256())
    password = secrets.token_hex(32).encode("ascii")
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    return Identity(
        der=certificate.public_bytes(serialization.Encoding.DER),
        chain=certificate.public_bytes(serialization.Encoding.PEM) + private,
        password=password,
    )


def server_context(identity: Identity) -> ssl.SSLContext:
    """The daemon's TLS settings, with ``identity`` loaded."""
    context = _bare_context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    if not _load_from_memory(context, identity):
        _load_from_file(context, identity)
    return context


def client_context() -> ssl.SSLContext:
    """The client's TLS settings."""
    context = _bare_context(ssl.PROTOCOL_TLS_CLIENT)
    # Right here and nowhere else: the certificate is authenticated by the HMAC of the handshake
    # that follows, and nothing is sent to the peer or believed from it before that.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check_channel(channel: ssl.SSLObject | ssl.SSLSocket) -> None:
    """Refuse a channel that is not ours; for both sides, right after the TLS handshake.

    Raises:
        HandshakeError: not TLS 1.3, or the other side does not speak ``ppnext/1``.
    """
    version, alpn = channel.version(), channel.selected_alpn_protocol()
    if version == "TLSv1.3" and alpn == ALPN:
        return
    seen = f"{version or 'no TLS'}, protocol {alpn or 'not named'}"
    if channel.server_side:
        raise HandshakeError(f"not a ppnext client, or one of an incompatible version ({seen})")
    raise HandshakeError(
        f"not a ppnext daemon, or one of an incompatible version ({seen});"
        " check the address, and that both machines have the same version of ppnext"
    )


def peer_certificate(channel: ssl.SSLObject | ssl.SSLSocket) -> bytes:
    """The daemon's certificate as the client saw it, DER, for the handshake.

    Raises:
        HandshakeError: there is none.
    """
    der = channel.getpeercert(binary_form=True)
    if der is None:
        raise HandshakeError("the daemon showed no certificate; check the address")
    return der


def _bare_context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context


def _load_from_memory(context: ssl.SSLContext, identity: Identity) -> bool:
    """Load the identity through anonymous memory; False where there is none."""
    if not hasattr(os, "memfd_create"):
        return False
    fd = os.memfd_create("ppnext", os.MFD_CLOEXEC)
    try:
        path = f"/proc/self/fd/{fd}"
        if not os.path.exists(path):
            return False  # a container without /proc
        with open(fd, "wb", closefd=False) as file:
            file.write(identity.chain)
        context.load_cert_chain(path, password=identity.password)
        return True
    finally:
        os.close(fd)


def _load_from_file(context: ssl.SSLContext, identity: Identity) -> None:
    """Load the identity through a file that is removed at once."""
    fd, path = tempfile.mkstemp(prefix="ppnext-")
    try:
        with open(fd, "wb") as file:
            file.write(identity.chain)
        context.load_cert_chain(path, password=identity.password)
    finally:
        os.unlink(path)
