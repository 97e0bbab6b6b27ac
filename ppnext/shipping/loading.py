"""Loading: what a worker makes of the functions and arguments that were sent to it.

Apart from what writes them, so that a worker starts without loading that.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from ppnext.errors import UnsuitablePython
from ppnext.shipping.envelope import Buffer, unpack
from ppnext.shipping.moved import stand_in
from ppnext.shipping.rebuild import is_importable
from ppnext.version import PYTHON

if TYPE_CHECKING:
    from ppnext.shipping.bundles import Entries

__all__ = ["decode_call", "load_definition"]

_NO_ATTRIBUTE = re.compile(r"Can't get attribute '([\w.]+)' on <module '([\w.]+)'")
# Before anything is unpickled.
stand_in()

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


def load_definition(
    payload: bytes, enter: Callable[[Entries], None] | None = None
) -> Callable[..., object]:
    """Rebuild a function in a worker, with its namespace and its modules.

    Args:
        enter: told which of the user's modules the function sees, before it is loaded.

    Raises:
        ImportError: a module it relies on cannot be imported here.
        UnsuitablePython: this Python cannot load it; that of another node may.
        Exception: whatever loading the objects raises.
    """
    stream = io.BytesIO(payload)
    entries, python = pickle.load(stream)
    if enter is not None:
        enter(cast("Entries", entries))
    try:
        func, extra, modules = pickle.load(stream)
    except AttributeError as error:
        _explain(error)
        raise
    except SyntaxError as error:
        if python == PYTHON:
            raise  # it is wrong there as well
        raise UnsuitablePython(
            f"a module that the function needs is written for Python {python}; this node's Python "
            f"{PYTHON} does not understand it: {error}"
        ) from error
    space: dict[str, object] = {}
    for module in modules:
        _import_into(space, module)
    space.pop("__builtins__", None)  # exec leaves it there
    for own in _own_namespaces(func):
        own.update(extra)
        own.update(space)
    return cast("Callable[..., object]", func)


def _explain(error: AttributeError) -> None:
    """Say so if the standard library of this Python lacks what a pickle refers to."""
    match = _NO_ATTRIBUTE.match(str(error))
    if match and match[2].partition(".")[0] in sys.stdlib_module_names:
        raise UnsuitablePython(
            f"the function needs {match[2]}.{match[1]}, which this node's Python {PYTHON} does "
            "not have"
        ) from error


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
