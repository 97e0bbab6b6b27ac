"""Explaining: how a function is sent to nodes, and why that way.

What ``submit`` decides by itself can be asked for, before a job or of one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ppnext.settings import check_shipped
from ppnext.shipping.functions import Definition, FunctionShipper, unwrap_call
from ppnext.shipping.ledger import REFERENCE, VALUE, Part
from ppnext.shipping.outfit import Outfitter
from ppnext.shipping.roots import automatic_roots

__all__ = ["Explanation", "Module", "explain", "explanation_of"]


class Module(NamedTuple):
    """A top-level module that a function needs.

    Attributes:
        name: its name.
        origin: where nodes get it from: "shipped", "not shipped", "standard library" or
            "installed".
        detail: of what is shipped, files and size; of what is not, the reason; of what is
            installed, the distribution and its version here.
        digest: the first 12 characters of the content hash of what is shipped, else empty.
    """

    name: str
    origin: str
    detail: str
    digest: str


class Explanation(NamedTuple):
    """How a function is sent. ``print`` it.

    Attributes:
        form: "reference" (nodes import it), "source" (nodes compile it; any supported Python) or
            "value" (this minor version of Python only).
        python: the minor version of Python, such as "3.11", that alone can run it; None if any
            supported one can.
        reasons: why it is bound to that version.
        size: bytes that are sent to each node once, without modules.
        digest: the content hash, in hexadecimal.
        parts: functions and classes that are sent or referred to; each has ``kind``, ``name``,
            ``module``, ``form``, ``reason`` and ``where``.
        modules: modules that it needs; each has ``name``, ``origin`` ("shipped", "not shipped",
            "standard library" or "installed"), ``detail`` and ``digest``.
    """

    form: str
    python: str | None
    reasons: tuple[str, ...]
    size: int
    digest: str
    parts: tuple[Part, ...]
    modules: tuple[Module, ...]

    def __str__(self) -> str:
        where = f"only on Python {self.python}" if self.python else "on any supported Python"
        lines = [f"goes by {self.form}, {where}; {self.size} bytes, {self.digest[:12]}"]
        lines += [f"  bound to Python {self.python}: {reason}" for reason in self.reasons]
        for part in self.parts:
            at = f" ({part.where})" if part.where else ""
            lines.append(f"  {part.kind} {part.name}{at}: by {part.form}: {part.reason}")
        for module in self.modules:
            digest = f", {module.digest}" if module.digest else ""
            lines.append(f"  module {module.name}: {module.origin}: {module.detail}{digest}")
        return "\n".join(lines)


def explain(
    func: Callable[..., Any],
    *,
    ship_roots: Iterable[str | os.PathLike[str]] = (),
    ship: Iterable[str] = (),
) -> Explanation:
    """Say how a function would be sent to nodes, and why that way.

    Args:
        func: any function that ``submit`` takes.
        ship_roots: as for ``Server``.
        ship: as for ``Server``.

    Raises:
        TypeError, ValueError: an argument is wrong.
        ConfigError: something in ``ship`` is not installed.
        NotShippable: it cannot be sent; the message names what in it cannot.
    """
    if not callable(func):
        raise TypeError(f"func must be a function, not {func!r:.60}")
    roots, shipped = check_shipped(ship_roots, ship)
    plain, _, _ = unwrap_call(func, (), {})
    outfitter = Outfitter([*automatic_roots(), *roots], shipped)
    return explanation_of(outfitter.complete(FunctionShipper().ship(plain)))


def explanation_of(definition: Definition) -> Explanation:
    """Say how a function is sent that has been made ready for it."""
    return Explanation(
        _form_of(definition),
        definition.python,
        definition.reasons,
        len(definition.payload),
        definition.digest.hex(),
        definition.parts,
        tuple(_modules(definition)),
    )


def _form_of(definition: Definition) -> str:
    if definition.python is not None:
        return VALUE
    functions = [part.form for part in definition.parts if part.kind == "function"]
    return functions[0] if functions else REFERENCE


def _modules(definition: Definition) -> Iterable[Module]:
    table = definition.table
    bundles = {bundle.name: bundle for bundle in table.bundles} if table else {}
    refusals = {refusal.name: refusal for refusal in table.refusals} if table else {}
    tops = {name.partition(".")[0] for name in definition.modules} | bundles.keys()
    for name in sorted(tops | refusals.keys()):
        if name in bundles:
            bundle = bundles[name]
            detail = f"{bundle.files} files, {bundle.size} bytes"
            yield Module(name, "shipped", detail, bundle.digest.hex()[:12])
        elif name in refusals:
            yield Module(name, "not shipped", refusals[name].reason, "")
        elif name in sys.stdlib_module_names:
            yield Module(name, "standard library", "nodes have it", "")
        elif name != "__main__":
            detail = _distribution_of(name)
            if definition.home is not None and definition.home.partition(".")[0] == name:
                detail += "; nodes need the same"
            yield Module(name, "installed", detail, "")


def _distribution_of(module: str) -> str:
    from importlib import metadata  # takes long to load

    names = metadata.packages_distributions().get(module, [])
    if not names:
        return "nodes must have it"
    return ", ".join(f"{name} {metadata.version(name)} here" for name in sorted(set(names)))
