"""Functions: a function and what it needs, as bytes with a content hash.

What is shipped is a *definition*: the function, the functions and classes that Parallel Python's
``depfuncs`` and ``globals`` add to its namespace, and the modules to be imported for it. It is
named by the SHA-256 of its bytes, never by the identity of anything; it is sent to a worker once,
and later jobs carry the name only. For ``map`` the function is shipped inside a ``Chunked``.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import types
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast
from weakref import WeakKeyDictionary

from ppnext.errors import NotShippable
from ppnext.shipping import byvalue
from ppnext.shipping.broadcasts import note_used, take_used
from ppnext.shipping.calls import encode_call
from ppnext.shipping.chunks import Chunked
from ppnext.shipping.culprits import find_culprit
from ppnext.shipping.envelope import joined
from ppnext.shipping.guards import Guards

__all__ = ["Definition", "FunctionShipper", "unwrap_call"]


class Definition:
    """A function as it is shipped.

    Attributes:
        digest: SHA-256 of the payload.
        payload: the function, pickled.
        uses: what keeps the broadcast objects that it refers to.
    """

    __slots__ = ("__weakref__", "digest", "payload", "uses")

    is_held = False

    def __init__(self, digest: bytes, payload: bytes, uses: Sequence[object] = ()) -> None:
        self.digest = digest
        self.payload = payload
        self.uses = uses


class _Remembered(NamedTuple):
    depfuncs: tuple[object, ...]
    modules: tuple[str, ...]
    guards: Guards
    definition: Definition


def unwrap_call(
    func: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[Callable[..., object], tuple[object, ...], Mapping[str, object]]:
    """Take bound methods and partials apart into a plain function and its arguments.

    So the function keeps its content hash while the objects it is bound to change.
    """
    while True:
        if type(func) is functools.partial:
            kwargs = {**func.keywords, **kwargs}
            args = (*func.args, *args)
            func = func.func
        elif isinstance(func, types.MethodType) and isinstance(func.__func__, types.FunctionType):
            args = (func.__self__, *args)
            func = func.__func__
        else:
            return func, args, kwargs


class FunctionShipper:
    """Makes definitions, and remembers them for as long as they hold.

    Args:
        protocol: the pickle protocol to write.
        wrap: makes of a function what is shipped in its place.
    """

    def __init__(
        self,
        protocol: int = pickle.HIGHEST_PROTOCOL,
        wrap: Callable[[Callable[..., object]], Callable[..., object]] | None = None,
    ) -> None:
        self._protocol = protocol
        self._wrap = wrap
        # What makes and remembers the definitions of chunks: by whether they are starred.
        self._chunked: dict[bool, FunctionShipper] = {}
        self._remembered: WeakKeyDictionary[Callable[..., object], _Remembered] = (
            WeakKeyDictionary()
        )

    def ship(
        self,
        func: Callable[..., object],
        depfuncs: tuple[object, ...] = (),
        modules: tuple[str, ...] = (),
        namespace: Mapping[str, object] | None = None,
    ) -> Definition:
        """Return the definition of ``func`` as it is now.

        Args:
            depfuncs: functions and classes that it calls by their name.
            modules: modules or import statements that it relies on.
            namespace: globals, whose functions, classes and modules are added.

        Raises:
            NotShippable: something in it cannot be pickled; the message names it.
        """
        try:
            known = self._remembered.get(func)
        except TypeError:  # cannot be hashed or weakly referenced, so it cannot be remembered
            return self._make(func, depfuncs, modules, namespace, Guards())
        if (
            known is not None
            and namespace is None
            and known.modules == modules
            and len(known.depfuncs) == len(depfuncs)
            and all(map(lambda a, b: a is b, known.depfuncs, depfuncs))
            and known.guards.hold()
        ):
            return known.definition
        guards = Guards()
        definition = self._make(func, depfuncs, modules, namespace, guards)
        if namespace is None and guards.reliable and _can_be_remembered(func):
            self._remembered[func] = _Remembered(depfuncs, modules, guards, definition)
        return definition

    def ship_chunked(self, func: Callable[..., object], star: bool) -> Definition:
        """Return the definition of a function that is called with each of a list of arguments.

        Args:
            func: any callable; what it is bound to is part of the definition.
            star: whether each call's arguments are a tuple to be spread.

        Raises:
            NotShippable: something in it cannot be pickled; the message names it.
        """
        plain, args, kwargs = unwrap_call(func, (), {})
        bound = joined(encode_call(args, kwargs, self._protocol)) if args or kwargs else b""
        wrap = functools.partial(Chunked, star=star, protocol=self._protocol, bound=bound)
        if bound:  # it may change from map to map
            return FunctionShipper(self._protocol, wrap).ship(plain)
        return self._chunked.setdefault(star, FunctionShipper(self._protocol, wrap)).ship(plain)

    def _make(
        self,
        func: Callable[..., object],
        depfuncs: tuple[object, ...],
        modules: tuple[str, ...],
        namespace: Mapping[str, object] | None,
        guards: Guards,
    ) -> Definition:
        note_used()
        extra = self._namespace_to_ship(namespace)
        extra.update({_name_of(dependency): dependency for dependency in depfuncs})
        content = (self._wrap(func) if self._wrap else func, extra, modules)
        try:
            payload = byvalue.dumps(content, self._protocol, guards)
        # An object raises what it likes while it is pickled; it is named and chained.
        except Exception as error:
            name = getattr(func, "__qualname__", repr(func))
            culprit = find_culprit(func if not extra else (func, extra), self._protocol)
            take_used()
            raise NotShippable(f"the function {name} cannot be shipped: {culprit}") from error
        return Definition(hashlib.sha256(payload).digest(), payload, take_used())

    def _namespace_to_ship(self, namespace: Mapping[str, object] | None) -> dict[str, object]:
        """Functions, classes and modules of ``globals=``, without those that cannot be shipped."""
        shipped: dict[str, object] = {}
        for name, value in (namespace or {}).items():
            if name.startswith("__") or not isinstance(value, _NAMESPACE_KINDS):
                continue
            try:
                byvalue.dumps(value, self._protocol)
            # A function that uses the job server itself, say, stays at home, as it always did.
            except Exception:
                continue
            shipped[name] = value
        return shipped


def _can_be_remembered(func: object) -> bool:
    # A function's content is guarded; what other callables are made of is not.
    if isinstance(func, types.BuiltinFunctionType):
        return isinstance(func.__self__, types.ModuleType)
    return isinstance(func, types.FunctionType)


_NAMESPACE_KINDS = (types.FunctionType, type, types.ModuleType)


def _name_of(dependency: object) -> str:
    return cast(str, dependency.__name__)  # type: ignore[attr-defined]  # checked
