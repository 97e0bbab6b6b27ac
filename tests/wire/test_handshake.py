"""The handshake: its test vector, its threats row by row, and bytes of every kind."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.errors import HandshakeError
from ppnext.wire.handshake import (
    ALPN,
    HELLO_SIZE,
    PRE_AUTH_SIZE,
    ClientHandshake,
    ServerHandshake,
)
from ppnext.wire.keys import Key

SECRET = bytes(range(32))
KID = bytes(range(16))
KEY = Key(KID, SECRET, "lab")
OTHER = Key(bytes(range(50, 66)), bytes(range(200, 232)), "other")
DUMMY = Key(b"\xdd" * 16, bytes(range(150, 182)), "dummy")
NC, NS = b"\xaa" * 32, b"\xbb" * 32
CLIENT_ID, DAEMON_ID = b"\x01" * 16, b"\x02" * 16
CERTIFICATE = b"test certificate DER"
EVIL = b"certificate of the man in the middle"

CH = bytes.fromhex("50504e5801010000") + NC + KID + CLIENT_ID
SH = bytes.fromhex("50504e5802010000") + NS + bytes(16) + DAEMON_ID
CP = bytes.fromhex("4688b15d53b2b7fbaf4996e21edffd1ba9fdc85aa3f161f205e49b662ea676d6")
SP = bytes.fromhex("8ce9b03cd441d9811e8d86df3e25c521b01539390eeba512af9b9ea82833cdaf")


def client(
    key: Key = KEY,
    nonce: bytes = NC,
    client_id: bytes = CLIENT_ID,
    certificate: bytes = CERTIFICATE,
) -> ClientHandshake:
    return ClientHandshake(key, nonce, client_id, certificate)


def server(
    keys: Iterable[Key] = (KEY,),
    nonce: bytes = NS,
    daemon_id: bytes = DAEMON_ID,
    certificate: bytes = CERTIFICATE,
) -> ServerHandshake:
    ring = {key.kid: key for key in keys}
    return ServerHandshake(ring.get, nonce, daemon_id, certificate, DUMMY)


def refused(end: ClientHandshake | ServerHandshake, data: bytes, reason: str) -> None:
    """``end`` refuses ``data`` for ``reason``, has nothing to show for it, and stays failed."""
    with pytest.raises(HandshakeError, match=reason):
        end.receive(data)
    assert not end.done
    assert end.session_id == b"" and end.leftover == b""
    with pytest.raises(HandshakeError, match="failed before"):
        end.receive(b"")


def test_vector() -> None:
    c, s = client(), server()
    assert ALPN == "ppnext/1"
    assert c.hello() == CH
    assert s.receive(CH) == SH
    assert c.receive(SH) == CP
    assert not c.done and not s.done
    assert s.receive(CP) == SP
    assert c.receive(SP) == b""
    assert c.done and s.done
    assert s.key is KEY
    assert (s.client_id, c.daemon_id) == (CLIENT_ID, DAEMON_ID)
    assert c.session_id == s.session_id and len(c.session_id) == 16
    assert not c.impostor


def test_byte_at_a_time_equals_all_at_once() -> None:
    outcomes = []
    for step in (1, 7, 71, 72, 73, 104, 200):
        c, s = client(), server()
        to_server, to_client = CH + CP, SH + SP + b"frames"
        from_server = b"".join(
            s.receive(to_server[i : i + step]) for i in range(0, len(to_server), step)
        )
        from_client = b"".join(
            c.receive(to_client[i : i + step]) for i in range(0, len(to_client), step)
        )
        outcomes.append((from_server, from_client, s.key, s.client_id, s.session_id, c.session_id))
        assert c.leftover == b"frames" and s.leftover == b""
        assert c.done and s.done
    assert outcomes == [outcomes[0]] * len(outcomes)
    assert outcomes[0][:2] == (SH + SP, CP)


@given(st.lists(st.integers(0, 110), max_size=12))
def test_any_chunking_of_an_honest_client_is_accepted(cuts: list[int]) -> None:
    s = server()
    out = b""
    bounds = [0, *sorted(cut for cut in cuts if cut < PRE_AUTH_SIZE), PRE_AUTH_SIZE]
    for start, end in itertools.pairwise(bounds):
        out += s.receive((CH + CP)[start:end])
    assert out == SH + SP and s.done


def test_bytes_after_the_end_are_kept() -> None:
    c, s = client(), server()
    s.receive(CH + CP)
    s.receive(b"first frame")
    c.receive(SH + SP + b"one")
    c.receive(b" two")
    assert s.leftover == b"first frame"
    assert c.leftover == b"one two"


def test_leftover_is_empty_before_the_end() -> None:
    c, s = client(), server()
    c.receive(SH[:50])
    s.receive(CH[:50])
    assert c.leftover == s.leftover == b""


@pytest.mark.parametrize(("nonce", "peer_id"), [(NC[:31], CLIENT_ID), (NC, CLIENT_ID + b"x")])
def test_sizes_of_arguments_are_checked(nonce: bytes, peer_id: bytes) -> None:
    with pytest.raises(ValueError, match="bytes, not"):
        client(nonce=nonce, client_id=peer_id)
    with pytest.raises(ValueError, match="bytes, not"):
        server(nonce=nonce, daemon_id=peer_id)


def test_what_a_closed_connection_means() -> None:
    c, s = client(), server()
    assert "before its hello" in str(c.closed())
    assert "hello" in str(s.closed())
    c.receive(SH)
    s.receive(CH)
    assert "does not accept key lab/00010203" in str(c.closed())
    assert "ppserver --list-keys" in str(c.closed())
    assert "proof" in str(s.closed())
    c.receive(SP)
    assert "done" in str(c.closed())


# --- threat row 1: a stranger -----------------------------------------------------------------


def test_row_1_client_with_a_random_key() -> None:
    s = server()
    c = client(OTHER)
    assert s.receive(c.hello()) == SH
    refused(s, c.receive(SH), "unknown, revoked or expired")
    assert s.key is None


def test_row_1_client_without_a_key() -> None:
    for proof in (bytes(32), NC, NS, DUMMY.secret):
        s = server()
        s.receive(CH)
        refused(s, proof, "does not know the secret of key lab/00010203")


def test_row_1_known_kid_wrong_secret() -> None:
    s = server()
    c = client(Key(KID, OTHER.secret, "lab"))
    s.receive(c.hello())
    refused(s, c.receive(SH), "does not know the secret of key lab/00010203")
    assert s.key is None and s.client_id == b""


def test_row_1_even_the_dummy_key_is_no_key() -> None:
    s = server()
    c = client(DUMMY)
    s.receive(c.hello())
    refused(s, c.receive(SH), "unknown, revoked or expired")


# --- threat row 2: a rogue daemon -------------------------------------------------------------


@pytest.mark.parametrize("proof", [bytes(32), NS, CP])
def test_row_2_false_server_proof(proof: bytes) -> None:
    c = client()
    c.receive(SH)
    refused(c, proof, "SECURITY: the peer does not know key lab/00010203")
    assert c.impostor and c.daemon_id == b""


# --- threat row 3: a man in the middle --------------------------------------------------------


def test_row_3_relay_with_another_certificate() -> None:
    c, s = client(certificate=EVIL), server()
    c_proof = c.receive(s.receive(c.hello()))
    refused(s, c_proof, "does not know the secret")
    refused(c, SP, "SECURITY")


def test_row_3_relay_that_swaps_the_server_hello() -> None:
    c, s = client(certificate=EVIL), server()
    real = s.receive(c.hello())
    forged = real[:8] + b"\x77" * 32 + real[40:]
    refused(s, c.receive(forged), "does not know the secret")
    refused(c, SP, "SECURITY")


def test_row_3_relay_that_swaps_the_client_hello() -> None:
    c, s = client(certificate=EVIL), server()
    forged = CH[:8] + b"\x77" * 32 + KID + b"\x66" * 16
    refused(s, c.receive(s.receive(forged)), "does not know the secret")


@pytest.mark.parametrize("position", range(8, HELLO_SIZE))
def test_row_3_any_changed_hello_byte_breaks_both_proofs(position: int) -> None:
    c, s = client(), server()
    sent = bytearray(c.hello())
    sent[position] ^= 1
    refused(s, c.receive(s.receive(bytes(sent))), "client .* (named|does not know)")
    c, s = client(), server()
    got = bytearray(s.receive(c.hello()))
    got[position] ^= 1
    if 40 <= position < 56:
        refused(c, bytes(got), "key id is not zero")
    else:
        refused(s, c.receive(bytes(got)), "does not know the secret")
        refused(c, SP, "SECURITY")


# --- threat row 5: replay ---------------------------------------------------------------------


def test_row_5_replay_of_a_client() -> None:
    assert server().receive(CH + CP) == SH + SP  # what the attacker recorded
    for number in range(256):
        s = server(nonce=bytes([number]) * 32) if number != NS[0] else server(nonce=NC)
        s.receive(CH)
        refused(s, CP, "does not know the secret")


def test_row_5_replay_of_a_daemon() -> None:
    c = client(nonce=b"\xcc" * 32)
    c.receive(SH)
    refused(c, SP, "SECURITY")


# --- threat row 6: reflection -----------------------------------------------------------------


def test_row_6_client_hello_sent_back() -> None:
    c = client()
    refused(c, c.hello(), "malformed ServerHello: message type 1")


def test_row_6_client_hello_sent_back_as_server_hello() -> None:
    c = client()
    disguised = CH[:4] + b"\x02" + CH[5:40] + bytes(16)
    refused(c, disguised + CLIENT_ID, "connected to itself")
    c = client()
    c.receive(disguised + DAEMON_ID)
    refused(c, CP, "SECURITY")


def test_row_6_server_hello_sent_back() -> None:
    s = server()
    assert s.receive(CH) == SH
    refused(server(), SH, "malformed ClientHello: message type 2")


def test_row_6_client_proof_sent_back() -> None:
    c = client()
    refused(c, SH + c.receive(SH), "SECURITY")


def test_row_6_two_clients_of_one_program_cross_wired() -> None:
    a, b = client(), client(nonce=b"\xcc" * 32)
    refused(a, b.hello(), "message type 1")
    refused(b, a.hello(), "message type 1")
    # The same with hellos dressed up as ServerHellos: then each gets the other's proof.
    a, b = client(), client(nonce=b"\xcc" * 32, client_id=b"\x05" * 16)
    proofs = [
        end.receive(other.hello()[:4] + b"\x02" + other.hello()[5:40] + bytes(16) + identity)
        for end, other, identity in ((a, b, b"\x05" * 16), (b, a, CLIENT_ID))
    ]
    refused(a, proofs[1], "SECURITY")
    refused(b, proofs[0], "SECURITY")


def test_self_connection_is_refused_before_the_proof() -> None:
    c = client(client_id=DAEMON_ID)
    refused(c, SH, "connected to itself")


# --- threat row 7: downgrade ------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, 255])
def test_row_7_other_version(version: int) -> None:
    refused(server(), CH[:5] + bytes([version]) + CH[6:], f"version {version}")
    refused(client(), SH[:5] + bytes([version]) + SH[6:], f"version {version}")


@pytest.mark.parametrize("message_type", [0, 3, 255])
def test_row_7_other_type(message_type: int) -> None:
    refused(server(), CH[:4] + bytes([message_type]) + CH[5:], f"type {message_type}")
    refused(client(), SH[:4] + bytes([message_type]) + SH[5:], f"type {message_type}")


@pytest.mark.parametrize("position", [6, 7])
def test_row_7_reserved_bits(position: int) -> None:
    for bit in range(8):
        for end, hello in ((server(), CH), (client(), SH)):
            changed = bytearray(hello)
            changed[position] = 1 << bit
            refused(end, bytes(changed), "reserved")


def test_row_7_other_protocols() -> None:
    http = b"GET / HTTP/1.1\r\nHost: node7.example.org\r\n".ljust(HELLO_SIZE)
    refused(server(), http, "malformed ClientHello: the peer does not speak ppnext")
    refused(client(), http, "malformed ServerHello: the peer does not speak ppnext")


# --- threat row 8: a weak secret cannot even become a Key; test_keys has the refusals -----------


def test_row_8_the_handshake_takes_keys_only() -> None:
    with pytest.raises(AttributeError):
        ClientHandshake("password", NC, CLIENT_ID, CERTIFICATE)  # type: ignore[arg-type]  # a wrong type is tried


# --- threat row 10: nothing prints the secret ---------------------------------------------------


def test_row_10_no_error_and_no_repr_shows_the_secret() -> None:
    c, s = client(), server()
    texts = [repr(c), repr(s), str(c.closed()), str(s.closed())]
    s.receive(CH)
    c.receive(SH)
    for end in (c, s):
        with pytest.raises(HandshakeError) as caught:
            end.receive(bytes(32))
        texts += [str(caught.value), repr(caught.value), str(end.closed())]
    for text in texts:
        assert SECRET.hex() not in text and repr(SECRET)[2:-1] not in text


# --- threat row 11: no oracle -------------------------------------------------------------------


def failing_run(key: Key) -> tuple[list[bytes], float]:
    """What a daemon answers to a client with ``key``, and how long the refusal takes."""
    c, s = client(key), server()
    sent = [s.receive(c.hello())]
    proof = c.receive(sent[0])
    started = time.perf_counter()
    with pytest.raises(HandshakeError):
        s.receive(proof)
    return sent, time.perf_counter() - started


def test_row_11_unknown_kid_and_wrong_proof_look_the_same() -> None:
    wrong = Key(KID, OTHER.secret, "lab")
    assert failing_run(wrong)[0] == failing_run(OTHER)[0] == [SH]
    times: dict[str, list[float]] = {"wrong": [], "unknown": []}
    for _ in range(1000):
        times["wrong"].append(failing_run(wrong)[1])
        times["unknown"].append(failing_run(OTHER)[1])
    # Without the dummy key the ratio would be about five; the bound is loose for busy machines.
    ratio = statistics.median(times["wrong"]) / statistics.median(times["unknown"])
    assert 0.5 < ratio < 2


def test_row_11_lookup_is_asked_once_and_with_the_kid() -> None:
    asked: list[bytes] = []

    def lookup(kid: bytes) -> Key | None:
        asked.append(kid)
        return None

    s = ServerHandshake(lookup, NS, DAEMON_ID, CERTIFICATE, DUMMY)
    assert s.receive(CH) == SH
    refused(s, CP, "unknown, revoked or expired")
    assert asked == [KID]


# --- threat row 12: sizes before authentication -------------------------------------------------


def test_row_12_more_than_104_bytes_are_refused() -> None:
    refused(server(), CH + CP + b"x", "more than a hello and a proof")
    refused(server(), CH + bytes(1 << 20), "more than a hello and a proof")


# --- threat row 28: one client is not another ---------------------------------------------------


def test_row_28_attribution_to_the_right_key() -> None:
    for key in (KEY, OTHER):
        c, s = client(key), server((KEY, OTHER))
        c.receive(s.receive(c.receive(s.receive(c.hello())) or b""))
        assert c.done and s.key is key


def test_row_28_kid_of_one_with_secret_of_the_other() -> None:
    mixed = Key(KID, OTHER.secret, "lab")
    s = server((KEY, OTHER))
    c = client(mixed)
    s.receive(c.hello())
    refused(s, c.receive(SH), "does not know the secret of key lab/00010203")


# --- bytes of every kind ------------------------------------------------------------------------


@pytest.mark.parametrize("make", [client, server])
@given(chunks=st.lists(st.binary(max_size=150), max_size=6))
def test_any_bytes_are_an_error_or_progress(
    make: Callable[[], ClientHandshake | ServerHandshake], chunks: list[bytes]
) -> None:
    end = make()
    try:
        for chunk in chunks:
            end.receive(chunk)
    except HandshakeError:
        pass
    assert not end.done


@given(
    message=st.sampled_from([CH + CP, SH + SP]),
    position=st.integers(0, PRE_AUTH_SIZE - 1),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_is_an_error(message: bytes, position: int, bit: int) -> None:
    end = server() if message[4] == 1 else client()
    changed = bytearray(message)
    changed[position] ^= 1 << bit
    with pytest.raises(HandshakeError):
        end.receive(bytes(changed))
    assert not end.done
