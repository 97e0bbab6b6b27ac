"""What strangers and peers can make us parse, each as a function of bytes.

A target takes any bytes and returns whether they were accepted. The errors that the parser promises
are a refusal; any other exception is a find, and so is an assertion here: bytes that arrive in
other pieces mean the same, what was accepted survives being written and read again, and nothing
is kept that was not sent.

Everything that is random or secret elsewhere is fixed here, so that a find can be repeated.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from itertools import groupby

from ppnext.errors import AddressError, HandshakeError, KeyFileError, ProtocolError
from ppnext.runtime.addresses import parse_server, servers_from_text
from ppnext.runtime.candidates import KEPT, Candidates
from ppnext.runtime.privatefile import decode
from ppnext.shipping.envelope import unpack
from ppnext.wire.connection import Connection, Received
from ppnext.wire.frames import CHUNK, CHUNK_LIMIT, Frame, FrameDecoder
from ppnext.wire.handshake import PRE_AUTH_SIZE, ClientHandshake, ServerHandshake
from ppnext.wire.keys import Key, parse_keys
from ppnext.wire.messages import Result, Run, decode_control, encode_control
from ppnext.wire.payloads import Block, split, view_of

__all__ = ["CERTIFICATE", "CLIENT", "DAEMON", "KEY", "PAYLOAD_LIMIT", "TARGETS", "Target"]

Target = Callable[[bytes], bool]

PAYLOAD_LIMIT = 4 * CHUNK_LIMIT
"""Most bytes of a payload that the connection under test accepts."""

KEY = Key(bytes(range(16)), bytes(range(100, 132)), "fuzz")
CLIENT, DAEMON, NONCE, CERTIFICATE = b"c" * 16, b"d" * 16, b"n" * 32, b"a certificate"
_DUMMY = Key(bytes(range(1, 17)), bytes(range(150, 182)), "dummy")
_PARTS = 6
"""Most text fields of one announcement."""


def pieces(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes as they could arrive: at once, in pieces of one size, byte by byte."""
    yield [data]
    size = 2 + (data[0] if data else 0) % 61
    yield [data[start : start + size] for start in range(0, len(data), size)]
    if len(data) <= 512:
        yield [data[place : place + 1] for place in range(len(data))]


# The stream: frames, messages, and what a connection makes of them.


def frames(data: bytes) -> bool:
    """Any cutting of a stream gives the same frames, or is refused in the same way."""
    first, *others = [_frames(cut) for cut in pieces(data)]
    assert all(other == first for other in others)
    return first is not None


def _frames(cut: list[bytes]) -> list[Frame] | None:
    decoder = FrameDecoder()
    found: list[Frame] = []
    try:
        for piece in cut:
            found += decoder.feed(piece)
    except ProtocolError:
        return None
    return list(_joined(found))


def _joined(found: list[Frame]) -> Iterator[Frame]:
    """Frames with the pieces of chunks put together: these come as they arrive."""
    for (kind, stream), same in groupby(found, lambda frame: (frame.kind, frame.stream)):
        if kind != CHUNK:
            yield from same
            continue
        payload = b"".join(frame.payload for frame in same)
        yield Frame(CHUNK, 0, stream, len(payload), b"", payload)


def messages(data: bytes) -> bool:
    """The first byte is the kind, the others are the control part."""
    try:
        message = decode_control(data[0] if data else 0, data[1:])
    except ProtocolError:
        return False
    assert decode_control(data[0], encode_control(message)) == message
    return True


def connection(data: bytes) -> bool:
    """Any cutting gives the same messages, whether read in place or fed."""
    first, *others = [_received(cut, in_place) for cut in pieces(data) for in_place in (0, 1)]
    assert all(other == first for other in others)
    return first is not None


def _received(cut: list[bytes], in_place: int) -> list[tuple[object, bytes]] | None:
    allocated: list[int] = []
    most = PAYLOAD_LIMIT + sum(map(len, cut))

    def allocate(size: int) -> Block:
        allocated.append(size)
        assert sum(allocated) <= most, "more is kept than was sent and may be announced"
        return Block(size)

    end = Connection(0.0, None, PAYLOAD_LIMIT, allocate=allocate)
    arrived: list[Received] = []
    try:
        for piece in cut:
            rest = _put(end, piece, arrived) if in_place else piece
            arrived += end.receive_data(rest, 0.0)
        for received in arrived:
            _split(received)
    except ProtocolError:
        return None
    return [(it.message, bytes(view_of(it.payload))) for it in arrived]


def _put(end: Connection, piece: bytes, arrived: list[Received]) -> bytes:
    """Put bytes where the connection wants them, as a stream does; return those left over."""
    room = end.room()
    if room is None:
        return piece
    count = min(len(room), len(piece))
    room[:count] = piece[:count]
    room.release()
    arrived += end.filled(count, 0.0)
    return piece[count:]


def _split(received: Received) -> None:
    """What both ends do with the payload of a batch."""
    message = received.message
    if isinstance(message, Run):
        split(received.payload, [job.size for job in message.jobs])
    elif isinstance(message, Result):
        split(received.payload, [outcome.size for outcome in message.outcomes])


# Before authentication.


def daemon_handshake(data: bytes) -> bool:
    """Nobody is admitted without the proof, however the bytes are cut; nor with more than it."""
    outcomes = {_shake(_daemon(), cut) for cut in pieces(data[:PRE_AUTH_SIZE])}
    assert len(outcomes) == 1
    return _shake(_daemon(), [data])


def client_handshake(data: bytes) -> bool:
    """No daemon is believed without the proof, however the bytes are cut."""
    outcomes = {_shake(_client(), cut) for cut in pieces(data)}
    assert len(outcomes) == 1
    return outcomes.pop()


def _daemon() -> ServerHandshake:
    return ServerHandshake({KEY.kid: KEY}.get, NONCE, DAEMON, CERTIFICATE, _DUMMY)


def _client() -> ClientHandshake:
    return ClientHandshake(KEY, NONCE, CLIENT, CERTIFICATE)


def _shake(handshake: ServerHandshake | ClientHandshake, cut: list[bytes]) -> bool:
    """Whether the other end is believed."""
    sent = 0
    try:
        for piece in cut:
            if handshake.done:
                break
            sent += len(handshake.receive(piece))
    except HandshakeError:
        return False
    assert sent <= PRE_AUTH_SIZE
    return handshake.done


# Files and names.


def keys(data: bytes) -> bool:
    """A key file is keys, or a refusal that quotes nothing that could be a secret."""
    found: list[Key] = []
    refusal = ""
    try:
        found = parse_keys(decode(data, "the file"))
    except KeyFileError as error:
        refusal = str(error)
    assert not any(word in refusal for word in _secrets(data))
    assert parse_keys("\n".join(key.line() for key in found)) == found
    return bool(found)


def _secrets(data: bytes) -> list[str]:
    """Words that are too long to be in a message by chance."""
    return [word for word in data.decode("utf-8", "replace").split() if len(word) >= 43]


def addresses(data: bytes) -> bool:
    """A server name is understood, also when it is written again, or refused."""
    text = data.decode("utf-8", "replace")
    try:
        server = parse_server(text)
    except AddressError:
        return False
    assert parse_server(str(server)) == server
    return True


def servers(data: bytes) -> bool:
    """A file of server names is names that are understood, or is refused."""
    try:
        names = servers_from_text(data.decode("utf-8", "replace"), "the file")
    except AddressError:
        return False
    for name in names:
        parse_server(name)
    return bool(names)


# Discovery.


def announcements(data: bytes) -> bool:
    """Announcements of strangers are dialled or refused, and are bounded in number.

    Each is two bytes of port, a flag, four bytes of address, then texts that end with a zero byte:
    the name, and addresses as text.
    """
    candidates = Candidates(networks=["192.168.1.7/24"])
    dialled = 0
    for now, (name, hosts, port, daemon_id) in enumerate(_announced(data)):
        candidates.add(name, daemon_id, hosts, port, float(now))
        dialled += len(candidates.due(float(now)))
        if port % 3 == 0:
            candidates.removed(name)
    assert len(candidates) <= KEPT and dialled <= 16
    return dialled > 0


def _announced(data: bytes) -> Iterator[tuple[str, list[str], int, bytes]]:
    while len(data) >= 7:
        port, flag, packed = struct.unpack_from(">HB4s", data)
        texts = data[7:].split(b"\0", _PARTS)
        *hosts, data = texts if len(texts) > _PARTS else [*texts, b""]
        name, *named = [host.decode("utf-8", "replace") for host in hosts]
        yield name, [*named, str(IPv4Address(packed))], port, packed * 4 if flag % 2 else b""


# What a worker and a client load after authentication.


def envelopes(data: bytes) -> bool:
    """The head of an envelope is followed or refused.

    The bytes are the head and the table, never a pickle: what is unpickled here is always None.
    """
    magic, version, count = struct.unpack_from("<BBxxI", data.ljust(8, b"\0"))
    table = data[8:][: 16 * min(count, 64)].ljust(16 * min(count, 64), b"\0")
    region = struct.pack("<BBxxI", 0xF5, version, count) + table + b"N." * (magic + 100)
    try:
        assert unpack(region) is None
    except (pickle.UnpicklingError, EOFError):
        return False
    return True


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        frames, messages, connection, daemon_handshake, client_handshake,
        keys, addresses, servers, announcements, envelopes,
    )
}  # fmt: skip
"""Every target by its name, which is that of its folder in the corpus."""
