"""Loading: what a worker makes of the functions and arguments that were sent to it.

Apart from what writes them, so that a worker starts without loading that.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import re
import types
from collections.abc import Callable, Iterator
from typing import cast

from ppnext.shipping.envelope import Buffer, unpack
from ppnext.shipping.rebuild import is_importable

__all__ = ["decode_call", "load_definition"]

_MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


def decode_call(payload: Buffer) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return positional and keyword arguments of a call.

    Args:
        payload: what ``encode_call`` has returned, or its parts joined. Where it can be written
            to, buffers of the arguments are slices of it.

    Raises:
        Exception: whatever loading the objects raises.
    """
    args, *rest = cast("tuple[object, ...]", unpack(payload))
    return cast("tuple[object, ...]", args), cast("dict[str, object]", rest[0] if rest else {})


def load_definition(payload: bytes) -> Callable[..., object]:
    """Rebuild a function in a worker, with its namespace and its modules.

    Raises:
        ImportError: a module it relies on cannot be imported here.
        Exception: whatever loading the objects raises.
    """
    func, extra, modules = pickle.loads(payload)
    space: dict[str, object] = {}
    for module in modules:
        _import_into(space, module)
    space.pop("__builtins__", None)  # exec leaves it there
    for own in _own_namespaces(func):
        own.update(extra)
        own.update(space)
    return cast("Callable[..., object]", func)


def _own_namespaces(func: object) -> Iterator[dict[str, object]]:
    """The globals of functions that were shipped by value; those of others belong to a module.

    A function that wraps another brings that one's globals as well.
    """
    passed: list[object] = []
    while func is not None and not any(func is it for it in passed):
        if isinstance(func, types.FunctionType) and not is_importable(func):
            yield func.__globals__
        passed.append(func)
        func = (
            func.func if isinstance(func, functools.partial) else getattr(func, "__wrapped__", None)
        )


def _import_into(space: dict[str, object], module: str) -> None:
    if _MODULE_NAME.match(module):
        importlib.import_module(module)
        root = module.partition(".")[0]
        space[root] = importlib.import_module(root)
    else:
        exec(module, space)
