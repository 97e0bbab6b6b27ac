"""Calls: a job's arguments on their way out."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

from ppnext.errors import NotShippable
from ppnext.shipping import byvalue
from ppnext.shipping.culprits import find_culprit

__all__ = ["HIGHEST_PROTOCOL", "encode_call"]

HIGHEST_PROTOCOL = pickle.HIGHEST_PROTOCOL
"""The newest pickle protocol that this Python writes."""


def encode_call(args: tuple[object, ...], kwargs: Mapping[str, object], protocol: int) -> bytes:
    """Return the arguments of one call as bytes.

    Raises:
        NotShippable: an argument cannot be pickled; the message names it.
    """
    call = (args, kwargs) if kwargs else (args,)
    try:
        payload = pickle.dumps(call, protocol)
    # The plain pickler is tried first because it is fastest; what it refuses is looked at below.
    except Exception:
        payload = b"__main__"
    # By reference to __main__ is a reference to nothing on the other side.
    if b"__main__" not in payload:
        return payload
    try:
        return byvalue.dumps(call, protocol)
    # An object raises what it likes while it is pickled; it is named and chained.
    except Exception as error:
        culprit = _culprit(args, kwargs, protocol)
        raise NotShippable(f"the job's arguments cannot be shipped: {culprit}") from error


def _culprit(args: tuple[object, ...], kwargs: Mapping[str, object], protocol: int) -> str:
    named = {f"argument {place}": value for place, value in enumerate(args, 1)}
    named.update({f"keyword argument {name}": value for name, value in kwargs.items()})
    for name, value in named.items():
        try:
            byvalue.dumps(value, protocol)
        # It is this one; why, find_culprit says.
        except Exception:
            return f"{name}: {find_culprit(value, protocol)}"
    return "they cannot be pickled together"
