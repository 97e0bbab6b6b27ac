"""Calls: what a client wants to be run, as its session keeps it."""

from __future__ import annotations

from ppnext.nodes.roles import Definition
from ppnext.wire.messages import Limits
from ppnext.wire.payloads import Payload

__all__ = ["ClientCall"]


class ClientCall:
    """A function and arguments; which objects these refer to is not known here.

    Args:
        definition: the function.
        arguments: as they came.
        limits: what it may use; None if that is not limited.
    """

    __slots__ = ("arguments", "definition", "limits")

    uses = ()

    def __init__(
        self, definition: Definition, arguments: Payload, limits: Limits | None = None
    ) -> None:
        self.definition = definition
        self.arguments = arguments
        self.limits = limits
