"""A peer that has been started: what every system can be asked, and what it does if it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Handle", "Running", "Unavailable"]

Handle = Any


class Unavailable(Exception):
    """The system has nothing for this; the measure is left out for it."""


class Running:
    """A started peer; each system overrides what it does in a way of its own.

    Attributes:
        chunks: the chunk sizes that ``map`` is tried with on many small calls; the best counts.
            0 is the system's own choice.
        uneven: the same, on calls of uneven length.
        encrypted: whether all that it sends goes through TLS.
    """

    chunks: tuple[int, ...] = (64, 1024, 8192)
    uneven: tuple[int, ...] = (1, 8)
    encrypted = False

    def __init__(self, workers: int, access: Mapping[str, str]) -> None:
        raise NotImplementedError

    def submit(self, func: Callable[..., Any], *args: Any) -> Handle:
        """Submit one job; return at once."""
        raise NotImplementedError

    def collect(self, handle: Handle) -> Any:
        """Wait for a job's result."""
        return handle.result()

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        """Wait for the results of jobs."""
        return [self.collect(handle) for handle in handles]

    def cancel(self, handle: Handle) -> None:
        """Stop a job that runs."""
        raise Unavailable("it cannot stop a job that runs")

    def submit_within(self, seconds: float, func: Callable[..., Any], *args: Any) -> Handle:
        """Submit one job that may take so long and no longer."""
        raise Unavailable("its jobs have no timeouts")

    def failure(self, handle: Handle) -> BaseException:
        """Wait for a job that fails; return how."""
        error: BaseException | None = handle.exception()
        if error is None:
            raise ValueError("a job did not fail")
        return error

    def map(self, func: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """Call the function with each item; return the results in order."""
        return self.gather([self.submit(func, item) for item in items])

    def exchange(self, func: Callable[..., Any], value: Any) -> Any:
        """Run one job with a large argument; return its large result."""
        return self.collect(self.submit(func, value))

    def share(self, value: Any) -> Any:
        """Return an argument that stands for a large value that many jobs use."""
        raise Unavailable("it shares no values")

    def unstarted(self) -> Running:
        """Return a peer that takes jobs and runs none."""
        raise Unavailable("it cannot queue jobs without running them")

    def again(self) -> Running:
        """Return another client of the same daemon."""
        raise Unavailable("it has no daemon that clients share")

    def with_modules(self, folder: str) -> Running:
        """Return another such peer, just started, which ships the modules in a folder."""
        raise Unavailable("it ships no modules")

    def form_of(self, func: Callable[..., Any]) -> str:
        """Return how it ships a function: by "reference", "source" or "value"."""
        raise Unavailable("it does not say how it ships a function")

    def close(self) -> None:
        """End it."""
        raise NotImplementedError
