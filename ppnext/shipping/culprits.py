"""Culprits: which part of an object cannot be pickled.

Pickle names a type at best; a user wants to know which argument, which key, which global of which
function. Only called after pickling has failed, so it may take its time.
"""

from __future__ import annotations

import types
from collections.abc import Iterator

from ppnext.shipping import byvalue
from ppnext.shipping.guards import referenced_names

__all__ = ["find_culprit"]

_DEPTH = 6


def find_culprit(obj: object, protocol: int) -> str:
    """Return the path from ``obj`` to the innermost part that cannot be pickled, and why.

    Returns:
        a phrase such as ``["lock"] is a _thread.lock: cannot pickle '_thread.lock' object``.
    """
    path = ""
    for _ in range(_DEPTH):
        for step, part in _parts(obj):
            if _refusal(part, protocol) is not None:
                path, obj = path + step, part
                break
        else:
            break
    kind = type(obj)
    type_name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    where = f"{path.lstrip('.')} is" if path else "it is"
    return f"{where} a {type_name}: {_refusal(obj, protocol)}"


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _refusal(obj: object, protocol: int) -> Exception | None:
    try:
        byvalue.dumps(obj, protocol)
    # Whatever an object raises while it is pickled is the answer that is looked for.
    except Exception as error:
        return error
    return None


def _parts(obj: object) -> Iterator[tuple[str, object]]:
    if isinstance(obj, dict):
        for key, value in obj.items():
            yield f"[{key!r}]", value
    elif isinstance(obj, (list, tuple, set, frozenset)):
        for place, value in enumerate(obj):
            yield f"[{place}]", value
    elif isinstance(obj, types.FunctionType):
        for name in referenced_names(obj.__code__):
            if name in obj.__globals__:
                yield f".the global {name!r}", obj.__globals__[name]
        for name, cell in zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True):
            try:
                yield f".the closure's {name!r}", cell.cell_contents
            except ValueError:
                continue
    elif isinstance(obj, types.MethodType):
        yield ".__self__", obj.__self__
        yield ".__func__", obj.__func__
    elif not isinstance(obj, type):
        for name, value in getattr(obj, "__dict__", {}).items():
            yield f".{name}", value
