"""Messages: what the two ends of a connection can say to each other.

Each message is a typed record, sent as a MessagePack array in the control part of a frame and
decoded strictly: a missing field, a wrong type, a value out of its range or an unknown kind is a
``ProtocolError``. What follows as payload is opaque here; the table says what the ends put there.

==========  ==========================  =====================================================
message     sent by                     payload
==========  ==========================  =====================================================
Hello       both, first                 none
Ping, Pong  both                        none
Bye         both, last                  none
Setup       parent to its worker        none
Define      whoever submits             a function, as the shipping layer wrote it
Hold        whoever submits             an object that jobs use
Drop        whoever submits             none
Need        whoever runs                none
Run         whoever submits             the arguments of each job
Retract     whoever submits             none
Result      whoever runs                of each job, its result or exception, then its output
Died        whoever runs                none
Returned    whoever runs                none
Offer       whoever runs                none
Freed       parent to its worker        none
Unfit       whoever runs                none
Ask         whoever submits             none
Facts       whoever runs                none
Seek        whoever runs                none
Found       whoever submits             none
Stop        whoever submits             none
Began       a worker to its parent      none
==========  ==========================  =====================================================

A job is named by its number and its attempt, so that whatever arrives late can be told apart.
Jobs that are sent together, and results that are ready together, are one message; the payload is
what they carry, one after the other, in the order of the entries, whose sizes add up to it.
New fields are added at the end with a default: an older end ignores them, a newer end fills them.
A new message has a version of the protocol from which on it is understood (``SINCE``): it is not
sent to an end that said an older one in its Hello.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from ppnext.errors import ProtocolError
from ppnext.wire.fields import (
    Amounts,
    Count,
    Digest,
    JobRef,
    Jobs,
    Line,
    Names,
    Seconds,
    Slots,
    Text,
)
from ppnext.wire.limits import Limits

__all__ = [
    "BATCH_LIMIT",
    "KINDS",
    "OLDEST",
    "PROTOCOL",
    "SINCE",
    "Ask",
    "Began",
    "Bye",
    "Define",
    "Died",
    "Drop",
    "Facts",
    "Found",
    "Freed",
    "Hello",
    "Hold",
    "JobRef",
    "Limits",
    "Message",
    "Need",
    "Offer",
    "Outcome",
    "Ping",
    "Pong",
    "Result",
    "Retract",
    "Returned",
    "Run",
    "Seek",
    "Setup",
    "Start",
    "Stop",
    "Unfit",
    "decode_control",
    "encode_control",
]

PROTOCOL = 3
"""The version of this language; each end says its own in Hello."""

OLDEST = 2
"""The oldest version of an end that this one can work with."""

BATCH_LIMIT = 1024
"""Most jobs in one Run and in one Result, so that their control part fits into a frame."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Who speaks: versions, name, process and how many jobs it runs at a time."""

    protocol: Count
    version: Line
    python: Line
    name: Line
    pid: Count
    slots: Slots
    """How many in all; an Offer says how many of them are for you."""
    offers: Amounts = ()
    """Countable things that jobs may claim."""


class Ping(msgspec.Struct, frozen=True, array_like=True):
    """Are you there? Answered at once with a Pong of the same token."""

    token: Count


class Pong(msgspec.Struct, frozen=True, array_like=True):
    """I am."""

    token: Count


class Bye(msgspec.Struct, frozen=True, array_like=True):
    """Nothing more will come from this end; an end of stream without it is a loss."""

    reason: Line


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """What a worker needs before its first job: its name and where Python looks for modules."""

    node: Line
    path: list[str]
    protocol: Count
    """The pickle protocol for results."""
    roots: list[str] = []
    """Folders of the client's own modules, for a worker on the client's machine."""


class Define(msgspec.Struct, frozen=True, array_like=True):
    """Here is the function with this content hash (SHA-256 of the payload)."""

    digest: Digest


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """Here is the object of this name; keep it until told to drop it, or ask for it again."""

    digest: Digest


class Drop(msgspec.Struct, frozen=True, array_like=True):
    """No job that is still to come uses what has this name, and who needs it will not get it."""

    digest: Digest


class Need(msgspec.Struct, frozen=True, array_like=True):
    """I was told to use the function or the object of this name and do not have it (any more)."""

    digest: Digest


class Start(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One job of a Run. ``once`` jobs are never started a second time."""

    job: Count
    attempt: Count
    size: Count
    """Bytes of its arguments in the payload."""
    once: bool = False


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Run these attempts of jobs, which call one function and have the same limits, in this
    order."""

    function: Digest
    jobs: Annotated[list[Start], msgspec.Meta(min_length=1, max_length=BATCH_LIMIT)]
    limits: Limits | None = None


class Retract(msgspec.Struct, frozen=True, array_like=True):
    """Give back those of these jobs that have not been started. Answered by Returned."""

    jobs: Jobs


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How one job ended by itself. Its part of the payload is the pickled result or exception, then
    ``output`` bytes of text."""

    job: Count
    attempt: Count
    size: Count
    """Bytes of both in the payload."""
    raised: bool
    seconds: Seconds
    """Wall-clock time of the call, in seconds."""
    output: Count = 0
    dropped: Count = 0
    """Bytes of output that were left out, because there was more than is kept."""
    freed: bool = False
    """Arguments that were passed along are not in use any more: their memory may be reused."""


class Result(msgspec.Struct, frozen=True, array_like=True):
    """These jobs ended by themselves."""

    outcomes: Annotated[list[Outcome], msgspec.Meta(min_length=1, max_length=BATCH_LIMIT)]


class Freed(msgspec.Struct, frozen=True, array_like=True):
    """A result that was passed along is not in use any more."""

    job: Count
    attempt: Count
    reusable: bool
    """Whether its memory may be written again; if not, others may still look at it."""


class Died(msgspec.Struct, frozen=True, array_like=True):
    """This attempt was begun and has no outcome: its worker process is gone, or it was stopped
    because it went beyond a limit."""

    job: Count
    attempt: Count
    cause: Line
    limit: Line = ""
    """The name of the limit that it went beyond; empty if it was none."""
    stack: Text = ""
    """Where it was when that was found out, as text, the innermost call last."""
    peak: Count = 0
    """Most bytes of memory that it was seen to have."""


class Returned(msgspec.Struct, frozen=True, array_like=True):
    """Jobs that were not started and now will not be, asked for or not, and those asked for in
    vain: they have started, have ended, or were never here."""

    jobs: Jobs
    kept: Jobs


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """From now on this many jobs run here at a time for you."""

    slots: Slots


class Unfit(msgspec.Struct, frozen=True, array_like=True):
    """This attempt has not been started, because jobs of its function cannot run here at all."""

    job: Count
    attempt: Count
    why: Line
    arguments: bool = False
    """It is not the function but this job's arguments that cannot be loaded here."""


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """Which versions of these distributions are installed where you run jobs? Answered by Facts."""

    distributions: Names


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """The versions of distributions that are installed here; empty for one that is not."""

    versions: Annotated[dict[Line, Line], msgspec.Meta(max_length=256)]


class Seek(msgspec.Struct, frozen=True, array_like=True):
    """A job wants to import a module of this name, which is not here. Answered by Found."""

    module: Line


class Found(msgspec.Struct, frozen=True, array_like=True):
    """The content hash of a module's bundle, which is sent when it is asked for with Need; empty if
    there is none, and why not, or nothing if the module is not ours."""

    module: Line
    digest: Annotated[bytes, msgspec.Meta(max_length=32)]
    why: Line = ""


class Stop(msgspec.Struct, frozen=True, array_like=True):
    """Nobody wants this attempt any more, which has been started: interrupt it. It is answered by
    its Result, or by Died."""

    job: Count
    attempt: Count
    grace: Seconds
    """Seconds after which its process is killed, if it has not ended."""


class Began(msgspec.Struct, frozen=True, array_like=True):
    """A job that has limits is being started: first it is loaded, then it is called."""

    job: Count
    attempt: Count
    called: bool


Message: TypeAlias = (
    Hello
    | Ping
    | Pong
    | Bye
    | Setup
    | Define
    | Need
    | Run
    | Retract
    | Result
    | Died
    | Returned
    | Offer
    | Freed
    | Hold
    | Drop
    | Unfit
    | Ask
    | Facts
    | Seek
    | Found
    | Stop
    | Began
)

KINDS: dict[type[Message], int] = {
    Hello: 1,
    Ping: 2,
    Pong: 3,
    Bye: 4,
    Setup: 5,
    Define: 16,
    Need: 17,
    Run: 18,
    Retract: 19,
    Result: 20,
    Died: 21,
    Returned: 22,
    Offer: 23,
    Freed: 24,
    Hold: 25,
    Drop: 26,
    Unfit: 27,
    Ask: 28,
    Facts: 29,
    Seek: 30,
    Found: 31,
    Stop: 32,
    Began: 33,
}
"""The number that stands for each message in a frame's header. A number is never used again."""

SINCE: dict[type[Message], int] = {Stop: 3}
"""The version of the protocol from which on a message between machines is understood; the oldest
if it is not here."""

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[int, msgspec.msgpack.Decoder[Message]] = {
    kind: msgspec.msgpack.Decoder(message) for message, kind in KINDS.items()
}


def encode_control(message: Message) -> bytes:
    """Return the control part that says ``message``."""
    return _encoder.encode(message)


def decode_control(kind: int, control: bytes) -> Message:
    """Return the message that a control part says.

    Raises:
        ProtocolError: the kind is unknown, or the control part is not exactly such a message.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        raise ProtocolError(f"a message of unknown kind {kind} arrived")
    try:
        return decoder.decode(control)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a malformed message of kind {kind} arrived: {error}") from error
