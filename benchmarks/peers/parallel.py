"""ppnext and ppft, on this machine and with a ppserver on the loopback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from benchmarks.peers.running import Handle, Running, Unavailable

__all__ = ["Ppft", "PpftRemote", "Ppnext", "PpnextRemote"]


class Ppnext(Running):
    """``ppnext.Server``."""

    chunks = (0,)
    uneven = (0,)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import ppnext

        self.workers = workers
        self.server = ppnext.Server(workers)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.server.submit(func, args)

    def collect(self, handle: Handle) -> Any:
        return handle()

    def cancel(self, handle: Handle) -> None:
        handle.cancel()

    def submit_within(self, seconds: float, func: Callable[..., Any], *args: Any) -> Handle:
        return self.server.submit(func, args, timeout=seconds)

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        return list(self.server.map(func, items))

    def share(self, value: Any) -> Any:
        broadcast = getattr(self.server, "broadcast", None)
        if broadcast is None:
            raise Unavailable("this version has no Server.broadcast")
        return broadcast(value)

    def unstarted(self) -> Running:
        return Ppnext(0, {})

    def with_modules(self, folder: str) -> Running:
        import ppnext

        other = copy(self)
        other.server = ppnext.Server(self.workers, ship_roots=[folder])
        return other

    def form_of(self, func: Callable[..., Any]) -> str:
        import ppnext

        return ppnext.explain(func).form

    def close(self) -> None:
        self.server.destroy()


class PpnextRemote(Ppnext):
    """``ppnext.Server`` with one ppserver: authenticated, encrypted."""

    encrypted = True

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import ppnext

        self.access = access
        self.server = ppnext.Server(0, (access["server"],), key_file=access["key_file"])

    def again(self) -> Running:
        return PpnextRemote(0, self.access)

    def with_modules(self, folder: str) -> Running:
        import ppnext

        server, key_file = self.access["server"], self.access["key_file"]
        other = copy(self)
        other.server = ppnext.Server(0, (server,), key_file=key_file, ship_roots=[folder])
        return other


class Ppft(Running):
    """``ppft.Server``. It has no map."""

    chunks = (0,)
    uneven = (0,)

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import ppft

        self.server = ppft.Server(ncpus=workers)

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        return self.server.submit(func, args)

    def collect(self, handle: Handle) -> Any:
        return handle()

    def close(self) -> None:
        self.server.destroy()


class PpftRemote(Ppft):
    """``ppft.Server`` with one ppserver: a password, no encryption."""

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        import ppft

        self.server = ppft.Server(ncpus=0, ppservers=(access["server"],), secret=access["secret"])
