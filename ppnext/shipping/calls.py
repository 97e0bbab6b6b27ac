"""Calls: a job's arguments on their way out.

The plain pickler is tried first because it is fastest. What it refuses, and what it would write as
a reference to ``__main__``, goes through ``byvalue``. Large buffers stay out of the pickle; see
``envelope``.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping

from ppnext.errors import NotShippable
from ppnext.shipping import byvalue
from ppnext.shipping.broadcasts import note_used, take_used
from ppnext.shipping.culprits import find_culprit
from ppnext.shipping.envelope import Parts, hold_no_buffers, pack

__all__ = ["HIGHEST_PROTOCOL", "encode_call", "encode_object"]

HIGHEST_PROTOCOL = pickle.HIGHEST_PROTOCOL
"""The newest pickle protocol that this Python writes."""


def encode_call(
    args: tuple[object, ...], kwargs: Mapping[str, object], protocol: int
) -> bytes | Parts:
    """Return the arguments of one call as bytes, or as parts if they have large buffers.

    Parts are the memory of the arguments themselves, to be written or joined at once.

    Raises:
        NotShippable: an argument cannot be pickled; the message names it.
    """
    if not kwargs and hold_no_buffers(args):
        return pickle.dumps((args,), protocol)
    call = (args, kwargs) if kwargs else (args,)
    note_used()
    try:
        payload = pack(call, protocol)
    # What the plain pickler refuses is looked at below.
    except Exception:
        payload = b"__main__"
    # By reference to __main__ is a reference to nothing on the other side.
    if b"__main__" not in (payload if isinstance(payload, bytes) else payload.pickled):
        return payload
    try:
        return pack(call, protocol, byvalue.dumps)
    # An object raises what it likes while it is pickled; it is named and chained.
    except Exception as error:
        culprit = _culprit(args, kwargs, protocol)
        take_used()
        raise NotShippable(f"the job's arguments cannot be shipped: {culprit}") from error


def encode_object(obj: object, protocol: int) -> bytes | Parts:
    """Return an object as bytes, or as parts if it has buffers.

    All its buffers stay out of the pickle, small ones as well: so none of them can be written to
    where the object is loaded from memory that cannot.

    Raises:
        NotShippable: it cannot be pickled; the message names what in it cannot.
    """
    note_used()
    try:
        payload = pack(obj, protocol, least=0)
    # What the plain pickler refuses is looked at below.
    except Exception:
        payload = b"__main__"
    if b"__main__" not in (payload if isinstance(payload, bytes) else payload.pickled):
        return payload
    try:
        return pack(obj, protocol, byvalue.dumps, least=0)
    # As in encode_call.
    except Exception as error:
        culprit = find_culprit(obj, protocol)
        take_used()
        raise NotShippable(f"the object cannot be shipped: {culprit}") from error


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
