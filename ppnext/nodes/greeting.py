"""Greeting: whether two ends of different releases can work together."""

from __future__ import annotations

from ppnext.errors import ProtocolError
from ppnext.wire.messages import OLDEST, PROTOCOL, Hello

__all__ = ["check_protocol"]


def check_protocol(hello: Hello, name: str) -> None:
    """Refuse an end that is too old; a newer one speaks this end's version with it.

    Raises:
        ProtocolError: it is; the message names the versions.
    """
    if hello.protocol < OLDEST:
        raise ProtocolError(
            f"{name} (ppnext {hello.version}) speaks version {hello.protocol} of the protocol, "
            f"this end versions {OLDEST} to {PROTOCOL}; install a newer ppnext there"
        )
