"""The handshake: two strangers inside a TLS 1.3 channel prove to each other that they share a key.

Four messages of fixed size, no length fields, nothing to parse but bytes at known places::

    1  C -> S  ClientHello   72 bytes   magic | type 1 | version 1 | 0 0 | nonce | kid | client id
    2  S -> C  ServerHello   72 bytes   magic | type 2 | version 1 | 0 0 | nonce | 0   | daemon id
    3  C -> S  ClientProof   32 bytes   HMAC under the client proof key of the transcript
    4  S -> C  ServerProof   32 bytes   HMAC under the server proof key of transcript and 3

The transcript covers both hellos, the ALPN name and the SHA-256 of the daemon's certificate: the
one the client *saw*, and the one the daemon *loaded*. A man in the middle has another certificate,
so the two transcripts differ. Each role has a key and a label of its own, so that a message sent
back, or two connections of one program joined crosswise, prove nothing. The nonces rule out replay.

The client proves first: a scanner learns nothing from the daemon. The daemon answers every
well-formed ClientHello alike; for a kid it does not know it computes the same HMACs under a dummy
key and fails at the same step as for a wrong proof. It never says why it closes; the message of
the :class:`~ppnext.errors.HandshakeError` is for its own log.

Both classes take bytes in any chunks. After an error they stay failed.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ppnext.errors import HandshakeError
from ppnext.wire.keys import KID_SIZE, Key

__all__ = [
    "ALPN",
    "HELLO_SIZE",
    "ID_SIZE",
    "NONCE_SIZE",
    "PRE_AUTH_SIZE",
    "PROOF_SIZE",
    "ClientHandshake",
    "ServerHandshake",
]

ALPN = "ppnext/1"
NONCE_SIZE = 32
ID_SIZE = 16
HELLO_SIZE = 72
PROOF_SIZE = 32
PRE_AUTH_SIZE = HELLO_SIZE + PROOF_SIZE

_MAGIC = b"PPNX"
_CLIENT, _SERVER = 1, 2
_VERSION = 1
_NO_KID = bytes(KID_SIZE)
_SALT = b"ppnext/1 shared key"


class _Step(enum.Enum):
    HELLO = "waiting for the peer's hello"
    PROOF = "waiting for the peer's proof"
    DONE = "done"
    FAILED = "failed"


class _Hello(NamedTuple):
    nonce: bytes
    kid: bytes
    peer_id: bytes

    def encode(self, role: int) -> bytes:
        return _MAGIC + bytes((role, _VERSION, 0, 0)) + self.nonce + self.kid + self.peer_id


class _Proofs(NamedTuple):
    """Everything that follows from a secret, a kid and a transcript."""

    client: bytes
    server: bytes
    session_id: bytes


class ClientHandshake:
    """The client's side. Send :meth:`hello`, then what :meth:`receive` returns, until ``done``.

    Args:
        key: the key to prove.
        nonce: 32 random bytes, never used before.
        client_id: 16 bytes, random per process.
        certificate: the daemon's certificate as seen in the TLS handshake, DER.

    Attributes:
        done: whether the daemon has proved that it knows the key.
        daemon_id: the daemon's 16-byte id; empty until done.
        session_id: 16 bytes that name this connection in logs; empty until done.
        leftover: bytes that arrived after the ServerProof: the first frames.
        impostor: whether the peer answered with a false proof, which no daemon of ours does.
    """

    def __init__(self, key: Key, nonce: bytes, client_id: bytes, certificate: bytes) -> None:
        _check_sizes(nonce, client_id)
        self._key = key
        self._client_id = client_id
        self._certificate = certificate
        self._hello = _Hello(nonce, key.kid, client_id).encode(_CLIENT)
        self._buffer = bytearray()
        self._step = _Step.HELLO
        self._peer: _Hello | None = None
        self._proofs: _Proofs | None = None
        self.daemon_id = b""
        self.session_id = b""
        self.impostor = False

    @property
    def done(self) -> bool:
        return self._step is _Step.DONE

    @property
    def leftover(self) -> bytes:
        return bytes(self._buffer) if self.done else b""

    def hello(self) -> bytes:
        """The ClientHello, to be sent as soon as TLS stands."""
        return self._hello

    def receive(self, data: bytes) -> bytes:
        """Take what the daemon sent.

        Args:
            data: the bytes, in whatever pieces they arrive.

        Returns:
            Bytes to send, possibly none.

        Raises:
            HandshakeError: the peer is no daemon, is this very process, or lacks the key.
        """
        _refuse_failed(self._step)
        self._buffer += data
        out = b""
        try:
            if self._step is _Step.HELLO and len(self._buffer) >= HELLO_SIZE:
                out = self._answer(_take(self._buffer, HELLO_SIZE))
            if self._step is _Step.PROOF and len(self._buffer) >= PROOF_SIZE:
                self._verify(_take(self._buffer, PROOF_SIZE))
        except HandshakeError:
            self._step = _Step.FAILED
            raise
        return out

    def closed(self) -> HandshakeError:
        """What it means that the daemon closed the connection now, as an error to raise."""
        if self._step is _Step.PROOF:
            return HandshakeError(
                f"the daemon does not accept key {self._key.label};"
                " run `ppserver --list-keys` there to see those it accepts"
            )
        if self._step is _Step.HELLO:
            return HandshakeError(
                "the daemon closed the connection before its hello: it is overloaded, ending, or"
                " refuses this address for a while; try again later or read its log"
            )
        return HandshakeError(f"the connection was closed; the handshake is {self._step.value}")

    def _answer(self, message: bytes) -> bytes:
        peer = _decode(message, _SERVER)
        if peer.kid != _NO_KID:
            raise HandshakeError("malformed ServerHello: its key id is not zero")
        if peer.peer_id == self._client_id:
            raise HandshakeError("the daemon has this process's own id: connected to itself")
        transcript = _transcript(self._hello, message, self._certificate)
        self._peer = peer
        self._proofs = _prove(self._key.secret, self._key.kid, transcript)
        self._step = _Step.PROOF
        return self._proofs.client

    def _verify(self, proof: bytes) -> None:
        assert self._proofs is not None and self._peer is not None  # set by _answer
        if not hmac.compare_digest(proof, self._proofs.server):
            self.impostor = True
            raise HandshakeError(
                f"SECURITY: the peer does not know key {self._key.label}, or someone sits in"
                " between; nothing it sent was used"
            )
        self.daemon_id = self._peer.peer_id
        self.session_id = self._proofs.session_id
        self._step = _Step.DONE


class ServerHandshake:
    """The daemon's side. Send what :meth:`receive` returns, until ``done``.

    On any error close the connection without a byte. The reason stays in the daemon's log.

    Args:
        lookup: finds the accepted key for a kid; None if unknown, revoked or expired.
        nonce: 32 random bytes, never used before.
        daemon_id: 16 bytes, random per start of the daemon.
        certificate: the certificate that this daemon loaded, DER; never one from the wire.
        dummy: a key with a random secret, made once per process, used where lookup finds none.

    Attributes:
        done: whether the client has proved that it knows its key.
        key: the key it proved; None until done.
        client_id: the client's 16-byte id; empty until done.
        session_id: 16 bytes that name this connection in logs; empty until done.
        leftover: bytes given to :meth:`receive` after done: the first frames.
    """

    def __init__(
        self,
        lookup: Callable[[bytes], Key | None],
        nonce: bytes,
        daemon_id: bytes,
        certificate: bytes,
        dummy: Key,
    ) -> None:
        _check_sizes(nonce, daemon_id)
        self._lookup = lookup
        self._certificate = certificate
        self._dummy = dummy
        self._hello = _Hello(nonce, _NO_KID, daemon_id).encode(_SERVER)
        self._buffer = bytearray()
        self._step = _Step.HELLO
        self._peer: _Hello | None = None
        self._claimed: Key | None = None
        self._transcript = b""
        self.key: Key | None = None
        self.client_id = b""
        self.session_id = b""

    @property
    def done(self) -> bool:
        return self._step is _Step.DONE

    @property
    def leftover(self) -> bytes:
        return bytes(self._buffer) if self.done else b""

    def receive(self, data: bytes) -> bytes:
        """Take what the client sent.

        Args:
            data: the bytes, in whatever pieces they arrive.

        Returns:
            Bytes to send, possibly none.

        Raises:
            HandshakeError: the client is refused; the message is for the local log only.
        """
        _refuse_failed(self._step)
        self._buffer += data
        out = b""
        try:
            if self._step is _Step.HELLO and len(self._buffer) >= HELLO_SIZE:
                out = self._answer(_take(self._buffer, HELLO_SIZE))
            if self._step is _Step.PROOF and len(self._buffer) >= PROOF_SIZE:
                out += self._verify()
        except HandshakeError:
            self._step = _Step.FAILED
            self._buffer.clear()
            raise
        return out

    def closed(self) -> HandshakeError:
        """What to log if the client closed the connection, or ran out of time, now."""
        return HandshakeError(f"the client left or was too slow while {self._step.value}")

    def _answer(self, message: bytes) -> bytes:
        self._peer = _decode(message, _CLIENT)
        self._claimed = self._lookup(self._peer.kid)
        self._transcript = _transcript(message, self._hello, self._certificate)
        self._step = _Step.PROOF
        return self._hello

    def _verify(self) -> bytes:
        assert self._peer is not None  # set by _answer
        if len(self._buffer) > PROOF_SIZE:
            raise HandshakeError("the client sent more than a hello and a proof before ours")
        proof = _take(self._buffer, PROOF_SIZE)
        # An unknown kid costs the same computation and fails at the same place as a wrong proof.
        secret = (self._claimed or self._dummy).secret
        proofs = _prove(secret, self._peer.kid, self._transcript)
        proved = hmac.compare_digest(proof, proofs.client)
        if self._claimed is None or not proved:
            raise HandshakeError(_why_refused(self._claimed, self._peer))
        self.key = self._claimed
        self.client_id = self._peer.peer_id
        self.session_id = proofs.session_id
        self._step = _Step.DONE
        return proofs.server


def _check_sizes(nonce: bytes, peer_id: bytes) -> None:
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f"a nonce is {NONCE_SIZE} bytes, not {len(nonce)}")
    if len(peer_id) != ID_SIZE:
        raise ValueError(f"a peer id is {ID_SIZE} bytes, not {len(peer_id)}")


def _refuse_failed(step: _Step) -> None:
    if step is _Step.FAILED:
        raise HandshakeError("the handshake has failed before; open a new connection")


def _take(buffer: bytearray, size: int) -> bytes:
    taken = bytes(buffer[:size])
    del buffer[:size]
    return taken


def _decode(message: bytes, role: int) -> _Hello:
    kind = "ClientHello" if role == _CLIENT else "ServerHello"
    if message[:4] != _MAGIC:
        raise HandshakeError(f"malformed {kind}: the peer does not speak ppnext")
    if message[4] != role:
        raise HandshakeError(f"malformed {kind}: message type {message[4]} in its place")
    if message[5] != _VERSION:
        raise HandshakeError(
            f"malformed {kind}: handshake version {message[5]}, this ppnext speaks {_VERSION};"
            " use the same version of ppnext on both machines"
        )
    if message[6:8] != b"\0\0":
        raise HandshakeError(f"malformed {kind}: reserved bytes are not zero")
    return _Hello(message[8:40], message[40:56], message[56:72])


def _why_refused(claimed: Key | None, peer: _Hello) -> str:
    client = peer.peer_id.hex()[:8]
    if claimed is None:
        return f"client {client} named key id {peer.kid.hex()}: unknown, revoked or expired"
    return f"client {client} does not know the secret of key {claimed.label}, which it named"


def _prefixed(*parts: bytes) -> bytes:
    """The parts, each behind its length: no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _transcript(client_hello: bytes, server_hello: bytes, certificate: bytes) -> bytes:
    fingerprint = hashlib.sha256(certificate).digest()
    label, alpn = b"ppnext/1 transcript", ALPN.encode("ascii")
    parts = _prefixed(label, alpn, client_hello, server_hello, fingerprint)
    return hashlib.sha256(parts).digest()


def _role_key(secret: bytes, kid: bytes, role: bytes) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=_SALT, info=_prefixed(role, kid))
    return hkdf.derive(secret)


def _prove(secret: bytes, kid: bytes, transcript: bytes) -> _Proofs:
    client_key = _role_key(secret, kid, b"client proof key")
    server_key = _role_key(secret, kid, b"server proof key")
    client = hmac.digest(client_key, _prefixed(b"ppnext/1 client proof", transcript), "sha256")
    server_parts = _prefixed(b"ppnext/1 server proof", transcript, client)
    server = hmac.digest(server_key, server_parts, "sha256")
    session = hashlib.sha256(_prefixed(b"ppnext/1 session", transcript)).digest()
    return _Proofs(client, server, session[:16])
