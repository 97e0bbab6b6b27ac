"""Functions: a function and what it needs, as bytes with a content hash.

What is shipped is a *definition*: the function, the functions and classes that Parallel Python's
``depfuncs`` and ``globals`` add to its namespace, and the modules to be imported for it. It is
named by the SHA-256 of its bytes, never by the identity of anything; it is sent to a worker once,
and later jobs carry the name only. For ``map`` the function is shipped inside a ``Chunked``.

A definition's payload is two pickles, one after the other: the entries of the table of the user's
modules that it sees, and the function. So a worker knows them before it loads the function.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast
from weakref import WeakKeyDictionary

from ppnext.errors import NotShippable
from ppnext.shipping import byvalue
from ppnext.shipping.broadcasts import note_used, take_used
from ppnext.shipping.calls import encode_call
from ppnext.shipping.chunks import Chunked
from ppnext.shipping.culprits import find_culprit
from ppnext.shipping.envelope import joined
from ppnext.shipping.guards import Guards, imported_names
from ppnext.shipping.ledger import Ledger, Part
from ppnext.version import PYTHON

if TYPE_CHECKING:
    from ppnext.shipping.outfit import Outfit
    from ppnext.shipping.project import Table

__all__ = ["Definition", "FunctionShipper", "unwrap_call"]


# Every supported Python reads it, whatever protocol the function is pickled with.
_ENTRIES_PROTOCOL = 4
_NO_MODULES = pickle.dumps(((), PYTHON), _ENTRIES_PROTOCOL)


class Definition:
    """A function as it is shipped.

    Attributes:
        digest: SHA-256 of the payload.
        payload: the modules that it sees and the function, pickled.
        uses: what keeps the broadcast objects that it refers to.
        python: the minor version of Python, such as "3.11", that alone can load it; None if any
            supported one can.
        reasons: why it is bound to that version, one phrase for each part that binds it.
        parts: the functions and classes in it, with the form that each goes in and why.
        home: the module that nodes import the function itself from, if it does not come along.
        modules: full names of the modules that nodes need for it: those that it refers to, and
            those that its code imports when it runs.
        imports: of these, the top-level names of what is only imported when it runs.
        without: minor versions of Python that have turned out not to understand it.
        table: the user's modules that it sees, if it sees any.
        outfit: what its outfitter has found for it, if it has looked.
    """

    __slots__ = (
        "__weakref__",
        "digest",
        "home",
        "imports",
        "modules",
        "outfit",
        "parts",
        "payload",
        "python",
        "reasons",
        "table",
        "uses",
        "without",
    )

    is_held = False

    def __init__(
        self,
        digest: bytes,
        payload: bytes,
        uses: Sequence[object] = (),
        ledger: Ledger | None = None,
    ) -> None:
        self.digest = digest
        self.payload = payload
        self.uses = uses
        ledger = ledger or Ledger()
        bound = ledger.bound
        self.python: str | None = bound[0] if bound else None
        self.reasons: tuple[str, ...] = bound[1] if bound else ()
        self.parts: tuple[Part, ...] = ledger.parts
        self.home: str | None = ledger.home
        self.modules = frozenset(ledger.modules | ledger.imports)
        self.imports = frozenset(ledger.imports - {it.partition(".")[0] for it in ledger.modules})
        self.without: frozenset[str] = frozenset()
        self.table: Table | None = None
        self.outfit: Outfit | None = None

    def seeing(self, table: Table) -> Definition:
        """Return the definition of the same function that sees these modules of the user's."""
        if not self.payload.startswith(_NO_MODULES):
            raise ValueError("the definition sees modules already")
        entries = pickle.dumps((table.entries, PYTHON), _ENTRIES_PROTOCOL)
        payload = entries + self.payload[len(_NO_MODULES) :]
        seeing = Definition(hashlib.sha256(payload).digest(), payload, self.uses)
        for name in ("python", "reasons", "parts", "modules", "imports", "without"):
            setattr(seeing, name, getattr(self, name))
        if self.home and all(it.name != self.home.partition(".")[0] for it in table.bundles):
            seeing.home = self.home
        seeing.table = table
        return seeing


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
            return self._make(func, depfuncs, modules, namespace, Ledger())
        if (
            known is not None
            and namespace is None
            and known.modules == modules
            and len(known.depfuncs) == len(depfuncs)
            and all(map(lambda a, b: a is b, known.depfuncs, depfuncs))
            and known.guards.hold()
        ):
            return known.definition
        ledger = Ledger()
        definition = self._make(func, depfuncs, modules, namespace, ledger)
        if namespace is None and ledger.guards.reliable and _can_be_remembered(func):
            self._remembered[func] = _Remembered(depfuncs, modules, ledger.guards, definition)
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
        ledger: Ledger,
    ) -> Definition:
        note_used()
        extra = self._namespace_to_ship(namespace)
        extra.update({_name_of(dependency): dependency for dependency in depfuncs})
        content = (self._wrap(func) if self._wrap else func, extra, modules)
        ledger.add_called(func)
        try:
            payload = byvalue.dumps(content, self._protocol, ledger)
        # An object raises what it likes while it is pickled; it is named and chained.
        except Exception as error:
            name = getattr(func, "__qualname__", repr(func))
            culprit = find_culprit(func if not extra else (func, extra), self._protocol)
            take_used()
            raise NotShippable(f"the function {name} cannot be shipped: {culprit}") from error
        for name in _names_in(modules):
            ledger.add_import(name)
        payload = _NO_MODULES + payload
        return Definition(hashlib.sha256(payload).digest(), payload, take_used(), ledger)

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


def _names_in(modules: tuple[str, ...]) -> Iterator[str]:
    """The names of modules that a job's ``modules`` import: names, or whole statements."""
    for text in modules:
        if all(part.isidentifier() for part in text.split(".")):
            yield text
            continue
        try:
            code = compile(text, "<modules>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue  # the job will say so
        yield from (name for level, name in imported_names(code) if not level)
