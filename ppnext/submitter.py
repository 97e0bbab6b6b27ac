"""Submitter: makes jobs of calls.

It pickles what it is given, in the thread that gives it, and hands the job to the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from itertools import count
from typing import Any

from ppnext.client import Client
from ppnext.errors import NotShippable
from ppnext.job import Job
from ppnext.mapper import Mapper
from ppnext.mapping import MapRun
from ppnext.runtime.sharing import Sharing
from ppnext.shipping.broadcasts import Broadcast, take_used
from ppnext.shipping.calls import encode_call, encode_object
from ppnext.shipping.envelope import Parts
from ppnext.shipping.functions import Definition, FunctionShipper, unwrap_call
from ppnext.shipping.outfit import Outfitter
from ppnext.terms import Terms
from ppnext.wire.connection import PAYLOAD_LIMIT
from ppnext.wire.payloads import Payload

__all__ = ["Submitter"]


class Submitter:
    """Submits jobs to one client.

    Args:
        client: where jobs go.
        sharing: where large arguments are put.
        outfitter: what functions need of the user's modules.
        proto: the pickle protocol.
    """

    def __init__(self, client: Client, sharing: Sharing, outfitter: Outfitter, proto: int) -> None:
        self._client = client
        self._sharing = sharing
        self._outfitter = outfitter
        self._proto = proto
        self._tids = count()
        self._shipper = FunctionShipper(proto)
        self._mapper = Mapper(self._shipper, proto)

    def submit(
        self,
        server: object,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None,
        depfuncs: tuple[Any, ...],
        modules: tuple[str, ...],
        namespace: Mapping[str, Any] | None,
        group: str,
        callback: tuple[Callable[..., Any], tuple[Any, ...]] | None,
        terms: Terms,
    ) -> Job:
        """Submit one call; see ``Server.submit``."""
        plain, all_args, all_kwargs = unwrap_call(func, args, kwargs or {})
        definition = self._shipper.ship(plain, depfuncs, modules, namespace)
        arguments = encode_call(all_args, all_kwargs, self._proto)
        job = self._job(server, group, definition, arguments, terms, callback)
        self._client.submit(job)
        return job

    def map(
        self,
        server: object,
        slots: Callable[[], int],
        func: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        chunksize: int | str,
        ordered: bool,
        keep_going: bool,
        group: str,
        terms: Terms,
    ) -> MapRun:
        """Return a map, not started; see ``Server.map`` and ``MapRun``."""

        def submit(
            definition: Definition, arguments: bytes | Parts, ended: Callable[[object], object]
        ) -> Job:
            job = self._job(server, group, definition, arguments, terms)
            Future.add_done_callback(job, ended)  # not in the callback thread
            self._client.submit(job, eager=True)
            return job

        again = terms.retries is None
        return self._mapper.start(
            submit, slots, func, iterables, chunksize, ordered, keep_going, again
        )

    def _job(
        self,
        server: object,
        group: str,
        definition: Definition,
        arguments: bytes | Parts,
        terms: Terms,
        callback: tuple[Callable[..., Any], tuple[Any, ...]] | None = None,
    ) -> Job:
        """Return a job with what this thread has just pickled for it."""
        definition = self._outfitter.complete(definition)
        if definition.home is not None:
            requires = self._client.fitting.as_here(terms.requires, definition.home)
            terms = terms._replace(requires=requires) if requires else terms
        if terms.requires:
            self._client.fitting.know(terms.requires)
        _check_size("function", definition.payload)
        _check_size("arguments", arguments)
        uses = take_used()
        if uses or definition.uses:
            self._client.broadcasts.check((*uses, *definition.uses))
        return Job(
            self._client,
            next(self._tids),
            group,
            server,
            definition,
            arguments if isinstance(arguments, bytes) else self._keep(arguments),
            callback,
            uses,
            terms,
        )

    def broadcast(self, obj: object) -> Broadcast:
        """Have nodes hold an object; see ``Server.broadcast``."""
        payload = encode_object(obj, self._proto)
        _check_size("object", payload)
        uses = take_used()
        self._client.broadcasts.check(uses)
        buffers = [payload] if isinstance(payload, bytes) else payload.buffers
        return self._client.broadcasts.hold(buffers, uses)

    def _keep(self, arguments: bytes | Parts) -> Payload:
        """Return large arguments as they are now: the user may change them from here on."""
        if isinstance(arguments, bytes):
            return arguments
        return self._sharing.share(arguments.buffers) or arguments.join()


def _check_size(what: str, payload: bytes | Parts) -> None:
    if len(payload) > PAYLOAD_LIMIT:
        raise NotShippable(
            f"the job's {what} make {len(payload)} bytes; at most {PAYLOAD_LIMIT} can be sent: "
            "let the job read large data itself, or split it"
        )
