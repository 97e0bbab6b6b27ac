"""A symbolic model of the handshake, searched to the end; run it with Python.

Cryptography is perfect here, as Dolev and Yao have it: a proof is a term, which nobody can make who
has neither seen it nor knows its key and all that it covers. The attacker owns the network.

What TLS does is an assumption: a connection in which the client sees the daemon's certificate ends
at the daemon, and nobody else reads or writes in it. Such connections are honest. So the model has
all the others, in which the attacker sits at the other end: ``CLIENTS`` sessions of clients, which
see the attacker's certificate, and ``DAEMONS`` sessions of a daemon, each with the attacker as its
client. Sessions may be interleaved, relayed, reflected and joined crosswise in every way. If one of
them ends in "authenticated" under the key that the attacker does not know, that is an attack.

What no honest end has said is one and the same to a proof that covers it; so of all hellos that the
attacker could make up, one for each key id is tried, beside all that were said.

A model that finds nothing could be blind. So each part of the protocol is taken away in turn, and
what the search says then is in the table as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = ["CASES", "Case", "Protocol", "attack"]

CLIENTS, DAEMONS = 3, 3
OURS, THEIRS = "the daemon's certificate", "the attacker's certificate"
LAB, GUEST = "lab", "guest"
"""Two keys that the daemon accepts; the attacker has the second one."""


class Hello(NamedTuple):
    """The first message of either end."""

    role: str
    nonce: str
    kid: str


class Transcript(NamedTuple):
    """What both proofs cover."""

    hellos: tuple[Hello, ...] | frozenset[Hello]
    certificate: str


class Proof(NamedTuple):
    """An HMAC under a key, for a role."""

    key: str
    role: str
    transcript: Transcript
    after: object = None
    """The other end's proof, if it is covered as well."""


@dataclass(frozen=True)
class Protocol:
    """The handshake, and what can be left out of it."""

    certificate: bool = True
    """The transcript covers the certificate: what the client saw, and what the daemon loaded."""
    roles: bool = True
    """Proofs of clients and daemons have different keys and labels."""
    order: bool = True
    """The transcript says which hello was the client's."""
    types: bool = True
    """A hello says whose it is, and this is looked at."""
    nonces: bool = True
    """Each session of a daemon has a nonce of its own."""
    covers: bool = True
    """The daemon's proof covers the client's."""
    mutual: bool = True
    """The client waits for the daemon's proof."""

    def hello(self, role: str, nonce: str, kid: str) -> Hello:
        """Return a hello as it is sent."""
        return Hello(role if self.types else "", nonce, kid)

    def is_from(self, role: str, hello: Hello) -> bool:
        """Whether a hello is taken for one of this role."""
        return not self.types or hello.role == role

    def transcript(self, client: Hello, daemon: Hello, certificate: str) -> Transcript:
        """Return what an end takes for what was said."""
        hellos = (client, daemon) if self.order else frozenset((client, daemon))
        return Transcript(hellos, certificate if self.certificate else "")

    def client_proof(self, key: str, transcript: Transcript) -> Proof:
        """Return message 3."""
        return Proof(key, "client" if self.roles else "", transcript)

    def daemon_proof(self, key: str, transcript: Transcript) -> Proof:
        """Return message 4."""
        after = self.client_proof(key, transcript) if self.covers else None
        return Proof(key, "daemon" if self.roles else "", transcript, after)


@dataclass(frozen=True)
class World:
    """What has happened: the hello that each session has answered (None: none yet).

    Attributes:
        clients: of each client, the daemon's hello that it was shown.
        daemons: of each daemon's session, the client's hello that it was shown.
    """

    clients: tuple[Hello | None, ...]
    daemons: tuple[Hello | None, ...]


@dataclass(frozen=True)
class Case:
    """A variant of the protocol, and what is known of it.

    Attributes:
        name: what is different.
        protocol: the variant.
        breaks: whether there is an attack.
        leaked: whether the attacker has the four messages of an earlier, honest session.
        stolen: keys that the attacker knows.
    """

    name: str
    protocol: Protocol
    breaks: bool
    leaked: bool = False
    stolen: frozenset[str] = frozenset({GUEST})


def attack(case: Case) -> str | None:
    """Search all that can happen; return how somebody is deceived, or None."""
    start = World((None,) * CLIENTS, (None,) * DAEMONS)
    seen, waiting = {start}, [start]
    while waiting:
        world = waiting.pop()
        found = _deceived(case, world)
        if found:
            return found
        for following in _next(case.protocol, world):
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return None


def _client_hello(protocol: Protocol, number: int) -> Hello:
    return protocol.hello("client", f"Nc{number}", LAB)


def _daemon_hello(protocol: Protocol, number: int) -> Hello:
    return protocol.hello("daemon", f"Ns{number}" if protocol.nonces else "", "")


def _said(protocol: Protocol, world: World) -> set[Hello]:
    """The hellos that honest ends have said: clients speak first, daemons when spoken to."""
    said = {_client_hello(protocol, number) for number in range(CLIENTS)}
    spoken = (number for number, heard in enumerate(world.daemons) if heard)
    return said | {_daemon_hello(protocol, number) for number in spoken}


def _next(protocol: Protocol, world: World) -> Iterator[World]:
    """Show any hello to any session that has seen none."""
    said = _said(protocol, world)
    made_up = protocol.hello("daemon", "Na", "")
    for hello in {*said, made_up}:
        if protocol.is_from("daemon", hello):
            for clients in _shown(world.clients, hello):
                yield replace(world, clients=clients)
    made_up_too = {protocol.hello("client", "Na", kid) for kid in (LAB, GUEST)}
    recorded = protocol.hello("client", "Nold", LAB)
    for hello in {*said, *made_up_too, recorded}:
        if protocol.is_from("client", hello):
            for daemons in _shown(world.daemons, hello):
                yield replace(world, daemons=daemons)


def _shown(sessions: tuple[Hello | None, ...], hello: Hello) -> Iterator[tuple[Hello | None, ...]]:
    for number, heard in enumerate(sessions):
        if heard is None:
            yield (*sessions[:number], hello, *sessions[number + 1 :])


def _deceived(case: Case, world: World) -> str | None:
    """Let all proofs be made that can be made; say who takes a false one for true."""
    protocol = case.protocol
    proofs = _leaked(protocol) if case.leaked else set()
    clients, daemons = _transcripts(protocol, world)
    for number, transcript in clients.items():
        if not protocol.mutual:
            return f"client {number} takes anybody for its daemon"
        proofs.add(protocol.client_proof(LAB, transcript))
    for number, (kid, transcript) in daemons.items():
        if _can_make(case, proofs, protocol.client_proof(kid, transcript)):
            if kid == LAB:
                return f"daemon session {number} takes the attacker for a client"
            proofs.add(protocol.daemon_proof(kid, transcript))
    for number, transcript in clients.items():
        if _can_make(case, proofs, protocol.daemon_proof(LAB, transcript)):
            return f"client {number} takes the attacker for its daemon"
    return None


def _transcripts(
    protocol: Protocol, world: World
) -> tuple[dict[int, Transcript], dict[int, tuple[str, Transcript]]]:
    """What each session takes for what was said; of a daemon's also the key it was named."""
    clients = {
        number: protocol.transcript(_client_hello(protocol, number), heard, THEIRS)
        for number, heard in enumerate(world.clients)
        if heard
    }
    daemons = {
        number: (heard.kid, protocol.transcript(heard, _daemon_hello(protocol, number), OURS))
        for number, heard in enumerate(world.daemons)
        if heard and heard.kid
    }
    return clients, daemons


def _leaked(protocol: Protocol) -> set[Proof]:
    """The proofs of an honest session that the attacker has got hold of afterwards."""
    client = protocol.hello("client", "Nold", LAB)
    daemon = protocol.hello("daemon", "Nold too" if protocol.nonces else "", "")
    transcript = protocol.transcript(client, daemon, OURS)
    return {protocol.client_proof(LAB, transcript), protocol.daemon_proof(LAB, transcript)}


def _can_make(case: Case, proofs: set[Proof], wanted: Proof) -> bool:
    """Whether the attacker has a proof or the key to it; all that it covers is public."""
    return wanted in proofs or wanted.key in case.stolen


_WHOLE = Protocol()

CASES = [
    Case("the protocol", _WHOLE, False),
    Case("the protocol, an old session has leaked", _WHOLE, False, leaked=True),
    Case("the key is stolen", _WHOLE, True, stolen=frozenset({LAB, GUEST})),
    Case("without the certificate", replace(_WHOLE, certificate=False), True),
    Case("without the daemon's proof", replace(_WHOLE, mutual=False), True),
    Case("without roles in proofs", replace(_WHOLE, roles=False), False),
    Case("the daemon's proof covers no other", replace(_WHOLE, covers=False), False),
    Case("without either of these two", replace(_WHOLE, roles=False, covers=False), True),
    Case("without types of hellos", replace(_WHOLE, types=False), False),
    Case("without order in the transcript", replace(_WHOLE, order=False), False),
    Case("without the daemon's nonce", replace(_WHOLE, nonces=False), False),
    Case("and an old session has leaked", replace(_WHOLE, nonces=False), True, leaked=True),
]
"""What was looked at, and what came of it."""


def main() -> int:
    """Print the table; return how many cases did not come out as they are known to."""
    wrong = 0
    for case in CASES:
        found = attack(case)
        wrong += bool(found) != case.breaks
        print(f"{case.name:42} {found or 'no attack'}")
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
