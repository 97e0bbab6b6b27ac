"""Tables of the documentation that are made from the code, as reStructuredText.

``python scripts/docs_tables.py`` lists their names, with a name it prints that table. The pages
ask for one with the directive ``.. generated:: NAME`` (docs/_ext/generated.py), so that no copy is
kept that could grow old.
"""

from __future__ import annotations

import ast
import inspect
import re
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from itertools import groupby, pairwise
from pathlib import Path
from textwrap import dedent

import msgspec.inspect

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppnext.runtime import candidates, sharing
from ppnext.runtime.segments import Segments
from ppnext.sched.model import TRANSITIONS, Status
from ppnext.sched.policy import Policy
from ppnext.server import session
from ppnext.server.config import Config
from ppnext.shipping.envelope import OUT_OF_BAND
from ppnext.wire import connection, frames, handshake, messages, outbox
from ppnext.wire.admission import AdmissionLimits
from ppnext.worker import inbox, reports

__all__ = ["TABLES", "main"]

_WIDTH = 46
"""Columns of an arrow in a picture."""

_PARTS = {2: "half", 4: "quarter", 8: "eighth"}


def list_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a ``list-table`` with one line for the header."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        for place, cell in enumerate(row):
            lines.append(f"   {'* -' if place == 0 else '  -'} {cell}".rstrip())
    return "\n".join(lines) + "\n"


def described(cls: type) -> dict[str, str]:
    """Return what the section ``Attributes:`` of a class's docstring says, by attribute."""
    section = inspect.getdoc(cls).partition("Attributes:\n")[2]  # type: ignore[union-attr]
    found: dict[str, str] = {}
    name = ""
    for line in dedent(section).splitlines():
        start = re.match(r"(\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif line.strip():
            found[name] += " " + line.strip()
    return found


def settings_table(cls: type) -> str:
    """Return the attributes of a dataclass with their defaults and meanings."""
    meaning = described(cls)
    rows = []
    for field in fields(cls):
        default = field.default
        shown = f"{default:g}" if isinstance(default, float) else repr(default)
        rows.append((f"``{field.name}``", f"``{shown}``", meaning[field.name]))
    return list_table(("name", "default", "meaning"), rows)


# The wire.


def frame_header() -> str:
    """The fields of a frame's header, from its docstring, checked against its format."""
    line = next(line for line in frames.__doc__.splitlines() if "kind u8 |" in line)
    pairs = [part.split() for part in line.split("|")]
    letters = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}
    described_format = ">" + "".join(letters[words[-1]] for words in pairs)
    if described_format != frames.HEADER.format:
        raise ValueError(f"frames.py describes {described_format}, uses {frames.HEADER.format}")
    rows, offset = [], 0
    for *name, kind in pairs:
        size = struct.calcsize(letters[kind])
        rows.append((str(offset), str(size), " ".join(name), kind))
        offset += size
    return list_table(("offset", "bytes", "field", "type"), rows)


def message_roles() -> str:
    """Who says what, as the docstring of ``ppnext.wire.messages`` has it."""
    lines = messages.__doc__.splitlines()
    borders = [at for at, line in enumerate(lines) if line.startswith("====")]
    return "\n".join(lines[borders[0] : borders[-1] + 1]) + "\n"


def message_fields() -> str:
    """The fields of every message, in the order in which they are sent, then those of entries."""
    parts = []
    entries: dict[type, str] = {}
    for message, kind in sorted(messages.KINDS.items(), key=lambda item: item[1]):
        since = messages.SINCE.get(message)
        heading = f"{kind}  {message.__name__}" + (f", from version {since} on" if since else "")
        parts.append(struct_fields(message, heading))
        for field in struct_type(message).fields:
            entries.update((entry, message.__name__) for entry in structs_in(field.type))
    for entry, message_name in entries.items():
        parts.append(struct_fields(entry, f"{entry.__name__}, a part of {message_name}"))
    return "\n".join(parts)


def structs_in(kind: msgspec.inspect.Type) -> list[type]:
    """Return the structs that may stand in a field."""
    if isinstance(kind, msgspec.inspect.StructType):
        return [kind.cls]
    if isinstance(kind, msgspec.inspect.ListType):
        return structs_in(kind.item_type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return [struct for one in kind.types for struct in structs_in(one)]
    return []


def struct_fields(struct: type, heading: str) -> str:
    """The fields of a message or of an entry of one, under a heading."""
    text = " ".join(inspect.getdoc(struct).split())  # type: ignore[union-attr]
    meaning = field_docs(struct)
    rows = [
        (
            f"``{field.name}``",
            type_name(field.type),
            "" if field.required else shown(field),
            meaning.get(field.name, ""),
        )
        for field in struct_type(struct).fields
    ]
    columns = 4 if meaning else 3
    header = ("field", "type", "default", "meaning")[:columns]
    return f"**{heading}.** {text}\n\n" + list_table(header, [row[:columns] for row in rows])


def struct_type(struct: type) -> msgspec.inspect.StructType:
    """Return what msgspec knows of a struct."""
    info = msgspec.inspect.type_info(struct)
    if not isinstance(info, msgspec.inspect.StructType):
        raise TypeError(f"{struct} is no struct")
    return info


def field_docs(struct: type) -> dict[str, str]:
    """Return the docstrings that stand behind the fields of a class, by field."""
    (definition,) = ast.parse(dedent(inspect.getsource(struct))).body
    body = definition.body  # type: ignore[attr-defined]  # of a class
    found = {}
    for field, behind in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(behind, ast.Expr)
            and isinstance(behind.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(behind.value.value).split())
    return found


def shown(field: msgspec.inspect.Field) -> str:
    """Return the default of a field."""
    return f"``{field.default!r}``"


def type_name(kind: msgspec.inspect.Type) -> str:
    """Return what may stand in a field, in words."""
    if isinstance(kind, msgspec.inspect.BoolType):
        return "boolean"
    if isinstance(kind, msgspec.inspect.IntType):
        return f"integer, {kind.ge} to {power_of_two(kind.le)}"
    if isinstance(kind, msgspec.inspect.FloatType):
        return f"float, {kind.ge:g} to {kind.le:g}"
    if isinstance(kind, msgspec.inspect.StrType):
        return "string" + (f", at most {kind.max_length} characters" if kind.max_length else "")
    if isinstance(kind, msgspec.inspect.BytesType):
        return size_of_bytes(kind)
    if isinstance(kind, msgspec.inspect.StructType):
        return kind.cls.__name__
    if isinstance(kind, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
        return f"array{count_of(kind)}: {type_name(kind.item_type)}"
    if isinstance(kind, msgspec.inspect.UnionType):
        return " or ".join(map(type_name, kind.types))
    if isinstance(kind, msgspec.inspect.NoneType):
        return "nil"
    if isinstance(kind, msgspec.inspect.DictType):
        return f"map{count_of(kind)}: {type_name(kind.key_type)}; to {type_name(kind.value_type)}"
    if isinstance(kind, msgspec.inspect.TupleType):
        return "(" + "; ".join(type_name(item) for item in kind.item_types) + ")"
    raise ValueError(f"no words for {kind}")


def size_of_bytes(kind: msgspec.inspect.BytesType) -> str:
    """Return how long a byte string may be, as people write it."""
    if kind.max_length is None or kind.min_length not in (None, kind.max_length):
        raise ValueError(f"no words for {kind}")
    return f"{'' if kind.min_length else 'at most '}{kind.max_length} bytes"


def count_of(
    kind: msgspec.inspect.ListType | msgspec.inspect.VarTupleType | msgspec.inspect.DictType,
) -> str:
    """Return how many items an array or map may have, as people write it."""
    if kind.max_length is None:
        return ""
    least = f"{kind.min_length} to" if kind.min_length else "at most"
    return f" of {least} {kind.max_length}"


def power_of_two(number: int | None) -> str:
    """Return a bound as people write it."""
    for exponent in range(10, 65):
        if number in (1 << exponent, (1 << exponent) - 1):
            return f"2\\ :sup:`{exponent}`" + ("" if number == 1 << exponent else " − 1")
    return str(number)


def wire_limits() -> str:
    """The numbers of the protocol that are not in a table of their own."""
    beat = connection.Heartbeat()
    rows = [
        ("ALPN name", f"``{handshake.ALPN}``"),
        ("version of the messages, in Hello", str(messages.PROTOCOL)),
        ("oldest version that an end may say there", str(messages.OLDEST)),
        ("bytes of the handshake, each way", str(handshake.PRE_AUTH_SIZE)),
        ("control part of a frame", f"{frames.CONTROL_LIMIT:,} bytes"),
        ("payload part of a frame", f"{frames.CHUNK_LIMIT:,} bytes"),
        ("entries of a Run and of a Result", f"{messages.BATCH_LIMIT:,}"),
        ("one payload, and all that are being put together", f"{connection.PAYLOAD_LIMIT:,} bytes"),
        ("unfinished jobs of one session of a daemon", f"{session.JOBS_LIMIT:,}"),
        ("silence after which an idle end sends a Ping", f"{beat.interval:g} s"),
        ("silence after which the other end is given up", f"{beat.dead:g} s"),
    ]
    return list_table(("what", "limit or value"), rows)


def message_order() -> str:
    """Which messages keep their order."""
    names = [f"``{message.__name__}``" for message in outbox.IN_ORDER]
    return f"{', '.join(names[:-1])} and {names[-1]} keep their order among each other.\n"


def dial_limits() -> str:
    """How many addresses a client keeps and dials."""
    rows = [
        ("discovered addresses that are kept", str(candidates.KEPT)),
        ("dials that are under way at a time", str(candidates.DIALS_IN_FLIGHT)),
        ("dials that are begun in a second", str(candidates.DIALS_PER_SECOND)),
        (
            "wait before an address is dialled again that did not know the key",
            f"{candidates.UNTRUSTED_PENALTY:g} s",
        ),
    ]
    return list_table(("what", "limit"), rows)


# Memory and workers.


def memory_limits() -> str:
    """From which sizes on memory is shared, and how much of it."""
    # Of the numbers here and in the next table some have no public name: nobody else asks.
    default = {name: it.default for name, it in inspect.signature(Segments).parameters.items()}
    rows = [
        ("buffers that are left beside a pickle", f"from {bytes_of(OUT_OF_BAND)} on"),
        ("payloads that are passed as memory", f"from {bytes_of(sharing.WORTH_SHARING)} on"),
        (
            "segments that a process has written",
            f"a {_PARTS[sharing._PART_OF_MEMORY]} of the memory that it may use (its control group "
            f"counts), and {default['most']} of them",
        ),
        (
            "those of them that are idle",
            f"{bytes_of(default['most_idle'])}, and none for longer than "
            f"{default['patience']:g} seconds",
        ),
        (
            "mappings in use",
            f"{default['most_mappings']}; beyond, payloads are copied instead",
        ),
        (
            "results that a worker has lent to its parent",
            f"{inbox._MOST_LENT}; of more, the oldest are given up",
        ),
    ]
    return list_table(("what", "limit"), rows)


def report_limits() -> str:
    """For how long results are held back."""
    rows = [
        ("age of the oldest", f"{reports.HELD_FOR * 1000:g} ms"),
        ("results", str(reports._MOST)),
        ("bytes of them all", bytes_of(reports._MOST_BYTES)),
    ]
    return list_table(("what is held back", "at most"), rows)


def bytes_of(size: int) -> str:
    """Return a size as people write it."""
    unit, name = (1 << 20, "MiB") if size >= 1 << 20 else (1 << 10, "KiB")
    if size % unit:
        raise ValueError(f"no words for {size}")
    return f"{size // unit} {name}"


# The scheduler.


def transition_table() -> str:
    """What may happen to a job in each state."""
    events = list(dict.fromkeys(event for row in TRANSITIONS.values() for event in row))
    states = [status for status in Status if TRANSITIONS[status]]
    rows = [
        (event, *(TRANSITIONS[status][event].value if event in TRANSITIONS[status] else ""
                  for status in states))
        for event in events
    ]  # fmt: skip
    return list_table(("event", *(f"while {status.value}" for status in states)), rows)


def transition_picture() -> str:
    """The states of a job and the ways between them."""
    lines = [".. code-block:: text", ""]
    for status, row in TRANSITIONS.items():
        ways = sorted(row.items(), key=lambda item: list(Status).index(item[1]))
        left = status.value
        for target, group in groupby(ways, key=lambda item: item[1]):
            label = ", ".join(event for event, _ in group)
            lines.append(f"   {left:>10} ── {label} {'─' * (_WIDTH - len(label))}► {target.value}")
            left = ""
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    "admission": lambda: settings_table(AdmissionLimits),
    "config": lambda: settings_table(Config),
    "dial-limits": dial_limits,
    "frame-header": frame_header,
    "memory-limits": memory_limits,
    "message-fields": message_fields,
    "message-order": message_order,
    "message-roles": message_roles,
    "report-limits": report_limits,
    "policy": lambda: settings_table(Policy),
    "transition-picture": transition_picture,
    "transition-table": transition_table,
    "wire-limits": wire_limits,
}


def main(arguments: list[str]) -> int:
    """Print the named table, or the names."""
    if len(arguments) == 1 and arguments[0] in TABLES:
        print(TABLES[arguments[0]]())
        return 0
    print("usage: python scripts/docs_tables.py", "|".join(TABLES))
    return 2 if arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
