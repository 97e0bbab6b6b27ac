"""Calls: what a client wants to be run, as its session keeps it."""

from __future__ import annotations

from ppnext.nodes.roles import Definition
from ppnext.wire.payloads import Payload

__all__ = ["ClientCall"]


class ClientCall:
    """A function and arguments; which objects these refer to is not known here.

    Args:
        definition: the function.
        arguments: as they came.
    """

    __slots__ = ("arguments", "definition")

    uses = ()

    def __init__(self, definition: Definition, arguments: Payload) -> None:
        self.definition = definition
        self.arguments = arguments
