"""Outcomes: results and exceptions on their way back.

A result is pickled as it is, its large buffers beside the pickle; see ``envelope``. An exception
goes as a description that can always be read (type, message, traceback as text) together with its
pickle, if it has one that can be loaded again; the client raises the original exception with the
remote traceback as its cause, or else a ``RemoteError`` that says the same.
"""

from __future__ import annotations

import pickle
from types import TracebackType
from typing import cast

from ppnext.errors import JobExited, RemoteError, ResultNotShippable
from ppnext.shipping.envelope import Buffer, Parts, hold_no_buffers, pack, unpack

__all__ = [
    "RemoteTraceback",
    "decode_exception",
    "decode_result",
    "encode_exception",
    "encode_result",
    "pickled_result",
]


class RemoteTraceback(Exception):
    """The cause of an exception that a job raised: its traceback on the node, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def encode_result(result: object, protocol: int) -> bytes | Parts:
    """Return a job's result as bytes, or as parts if it has large buffers. Called in the worker.

    Parts are the memory of the result itself, to be written or joined at once.

    Raises:
        ResultNotShippable: the result cannot be pickled.
    """
    try:
        simple = hold_no_buffers((result,))
        return pickle.dumps(result, protocol) if simple else pack(result, protocol)
    # The plain pickler is tried first because it is fastest.
    except Exception:
        pass
    from ppnext.shipping import byvalue  # most workers never need it

    try:
        return pack(result, protocol, byvalue.dumps_home)
    # An object raises what it likes while it is pickled; the job is told, and goes on failing.
    except Exception as error:
        kind = type(result)
        raise ResultNotShippable(
            f"the job returned a {kind.__module__}.{kind.__qualname__}, which cannot be pickled: "
            f"{error}"
        ) from None


def pickled_result(result: object, protocol: int) -> bytes:
    """Return ``result`` as one pickle that ``pickle.loads`` can load, whatever it holds.

    Raises:
        ResultNotShippable: the result cannot be pickled.
    """
    payload = encode_result(result, protocol)
    if isinstance(payload, bytes):
        return payload
    # The newest protocol that leaves nothing out of a pickle.
    return cast(bytes, encode_result(result, 4))


def decode_result(payload: Buffer) -> object:
    """Return a job's result.

    Args:
        payload: what ``encode_result`` has returned, or its parts joined. Where it can be written
            to, the result's buffers are slices of it.

    Raises:
        RemoteError: the result cannot be rebuilt in this process.
    """
    try:
        return unpack(payload)
    # Loading runs the code of the result's classes, which may raise anything.
    except Exception as error:
        raise RemoteError(
            f"the job's result arrived but cannot be rebuilt here: {type(error).__name__}: {error}",
            type(error).__qualname__,
        ) from error


def encode_exception(error: BaseException, where: str, protocol: int) -> bytes:
    """Return what a job raised as bytes. Called in the worker, never fails.

    Args:
        where: node, process and job, for the head of the traceback.
    """
    kind = type(error)
    text = f"{where}\n{_traceback(error)}"
    pickled = _pickled(error, protocol) if isinstance(error, Exception) else None
    exited = not isinstance(error, Exception)
    description = (f"{kind.__module__}.{kind.__qualname__}", _message(error), text, exited)
    return pickle.dumps((description, pickled), protocol)


def _traceback(error: BaseException) -> str:
    from traceback import format_exception  # most workers never need it

    try:
        lines = format_exception(type(error), error, _below_worker(error.__traceback__))
    # An exception may answer with an error whatever it is asked; that it was raised is left.
    except Exception as trouble:
        return f"(its traceback cannot be shown: {trouble!r})"
    return "".join(lines).rstrip()


def _below_worker(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without the worker's own frames at its top."""
    while traceback is not None and traceback.tb_frame.f_globals.get("__name__", "").startswith(
        ("ppnext.worker", "ppnext.shipping")
    ):
        traceback = traceback.tb_next
    return traceback


def _message(error: BaseException) -> str:
    try:
        return str(error)
    # The exception's own __str__ is broken; that must not hide that it was raised.
    except Exception:
        return "(its message cannot be shown)"


def _pickled(error: Exception, protocol: int) -> bytes | None:
    """The exception's pickle, or None where there is none that can be loaded again."""
    from ppnext.shipping import byvalue  # as above

    try:
        payload = byvalue.dumps_home(error, protocol)
        if isinstance(pickle.loads(payload), BaseException):
            return payload
    # Exceptions whose constructors want other arguments fail here; their description goes alone.
    except Exception:
        pass
    return None


def decode_exception(payload: bytes) -> BaseException:
    """Return the exception to raise for what a job raised. Never fails."""
    try:
        (type_name, message, text, exited), pickled = pickle.loads(payload)
    # It is text in a tuple unless the worker was broken by the job; say what there is to say.
    except Exception as error:
        return RemoteError(f"the job raised, but its report cannot be read: {error}")
    rebuilt = _rebuilt(cast("bytes | None", pickled))
    if rebuilt is None:
        kind = JobExited if exited else RemoteError
        rebuilt = kind(f"{type_name}: {message}" if message else type_name, type_name, text)
    rebuilt.__cause__ = RemoteTraceback(text)
    return rebuilt


def _rebuilt(pickled: bytes | None) -> BaseException | None:
    if pickled is None:
        return None
    try:
        rebuilt = pickle.loads(pickled)
    # Its class may not exist here; the description that came along says what it was.
    except Exception:
        return None
    return rebuilt if isinstance(rebuilt, BaseException) else None


def open_result(payload: bytes | memoryview) -> tuple[BaseException | None, object]:
    """Return a result, or why it cannot be unpickled here."""
    try:
        return None, decode_result(payload)
    except RemoteError as error:
        return error, None
