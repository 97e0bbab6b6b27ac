"""Provisions: the user's own modules, for nodes that ask for them. Lives on the event loop.

Nodes ask for a bundle by its content hash, which the definition of a function has told them, or for
a module by its name, when a job imports what its definition does not mention. To look for a module
is to read files, which a thread does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppnext.engine import Engine
    from ppnext.nodes.link import Link
    from ppnext.shipping.outfit import Outfitter

__all__ = ["Provisions"]

_log = logging.getLogger("ppnext.shipping")

_MOST_OPEN = 1000
"""Most questions that wait for an answer; honest workers ask one at a time."""


class Provisions:
    """Answers nodes that ask.

    Args:
        outfitter: has the user's modules, and is told which of them jobs have looked for.
        engine: sends what is provided to the nodes that wait for it.
        post: has the event loop make a call; from any thread.
    """

    def __init__(self, outfitter: Outfitter, engine: Engine, post: Callable[..., None]) -> None:
        self._outfitter = outfitter
        self._engine = engine
        self._post = post
        self._threads: ThreadPoolExecutor | None = None
        # Questions for modules that are not answered yet, of all nodes.
        self._open = 0

    def provide(self, digest: bytes) -> None:
        """Send what has this content hash to the nodes that wait for it."""
        bundle = self._outfitter.project.bundle(digest)
        if bundle is None:
            self._engine.drop(digest)
            _log.debug("a node asked for %s, which no job uses (any more)", digest.hex())
        else:
            self._engine.provide(digest, bundle.payload)

    def seek(self, link: Link, module: str) -> None:
        """Tell a node whether there is a module of this name."""
        if self._open >= _MOST_OPEN:
            link.found(module, b"", "too many modules are looked for at a time")
            return
        self._open += 1
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "ppnext-modules")
        self._threads.submit(self._look, link, module)

    def _look(self, link: Link, module: str) -> None:
        from ppnext.shipping.bundles import Bundle  # most programs never get here

        digest, why = b"", ""
        try:
            found = self._outfitter.project.find(module)
        # Whatever it is, the job that waits for the module is to be told.
        except Exception as error:
            _log.exception("looking for the module %r failed", module)
            why = f"looking for the module {module} failed: {error}"
        else:
            if isinstance(found, Bundle):
                digest = found.digest
                self._outfitter.note_sought(module)
            elif found is not None:
                why = found.reason
        self._post(self._answer, link, module, digest, why[:1000])

    def _answer(self, link: Link, module: str, digest: bytes, why: str) -> None:
        self._open -= 1
        link.found(module, digest, why)

    def close(self) -> None:
        """Answer nobody any more."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)
