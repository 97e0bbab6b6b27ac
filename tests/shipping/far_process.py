"""Another process for the shipping tests: what is shipped to it is rebuilt and called there.

Run as a program this file is that process; imported, by tests or by the scripts that tests run, it
is the end that talks to it. It is a worker without anything but ``ppnext.shipping``.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from typing import IO

from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper, unwrap_call
from ppnext.shipping.loading import decode_call, load_definition
from ppnext.shipping.outcomes import (
    decode_exception,
    decode_result,
    encode_exception,
    encode_result,
)

__all__ = ["Far", "serve"]

PROTOCOL = 5


def write(stream: IO[bytes], data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def read(stream: IO[bytes]) -> bytes:
    head = stream.read(4)
    return stream.read(struct.unpack(">I", head)[0]) if head else b""


class Far:
    """The other process."""

    def __init__(self) -> None:
        self.shipper = FunctionShipper(PROTOCOL)
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def call(self, func: Callable[..., object], *args: object, **kwargs: object) -> object:
        """Ship a function and its arguments, and return or raise what came of it."""
        return self.run(func, args, kwargs)

    def run(
        self,
        func: Callable[..., object],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
        depfuncs: tuple[object, ...] = (),
        modules: tuple[str, ...] = (),
        namespace: dict[str, object] | None = None,
    ) -> object:
        """As ``call``, with all that a function may need."""
        func, args, kwargs_to_send = unwrap_call(func, args, kwargs or {})
        definition = self.shipper.ship(func, depfuncs, modules, namespace)
        payload = joined(encode_call(args, kwargs_to_send, PROTOCOL))
        return self.run_payloads(definition.payload, payload)

    def run_payloads(self, definition: bytes, call: bytes) -> object:
        """Call what is pickled already."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        write(requests, definition)
        write(requests, call)
        raised = read(replies) == b"raised"
        outcome = read(replies)
        if raised:
            raise decode_exception(outcome)
        return decode_result(outcome)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def __enter__(self) -> Far:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Do what is asked until there is no more."""
    while definition := read(requests):
        call = read(requests)
        try:
            args, kwargs = decode_call(call)
            result = load_definition(definition)(*args, **kwargs)
            outcome = joined(encode_result(result, PROTOCOL))
        # Whatever a job raises is its outcome.
        except BaseException as error:  # it is raised at the other end
            write(replies, b"raised")
            write(replies, encode_exception(error, "over there", PROTOCOL))
        else:
            write(replies, b"returned")
            write(replies, outcome)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
