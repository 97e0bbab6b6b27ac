"""Template: a function with its settings, to be given arguments only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ppnext.job import Job
from ppnext.jobserver import Server
from ppnext.terms import DEFAULT, Asked, agree

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Template"]


class Template:
    """A function with the settings for ``submit``, to be given arguments only.

    Args:
        job_server: where jobs are submitted; the others are those of ``Server.submit``.

    Raises:
        TypeError, ValueError: one of the terms is wrong; what else is, ``submit`` says.
    """

    def __init__(
        self,
        job_server: Server,
        func: Callable[..., Any],
        depfuncs: tuple[Any, ...] = (),
        modules: tuple[str, ...] = (),
        callback: Callable[..., Any] | None = None,
        callbackargs: tuple[Any, ...] = (),
        group: str = "default",
        globals: Mapping[str, Any] | None = None,  # Parallel Python's name
        **terms: Unpack[Asked],
    ) -> None:
        self.job_server = job_server
        self.func = func
        self.depfuncs = depfuncs
        self.modules = modules
        self.callback = callback
        self.callbackargs = callbackargs
        self.group = group
        self.globals = globals
        self.terms = terms
        agree(DEFAULT, terms)  # so that what is wrong with them is said here

    def submit(self, *args: Any, **kwargs: Any) -> Job:
        """Submit a job with these arguments for the function; see ``Server.submit``."""
        return self.job_server.submit(
            self.func,
            args,
            self.depfuncs,
            self.modules,
            self.callback,
            self.callbackargs,
            self.group,
            self.globals,
            kwargs=kwargs,
            **self.terms,
        )
