"""Start a ppserver that keeps a record of everything that is unpickled in its own process.

The record is a file of lines, named by ``TESTS_AUDIT_FILE``; the first line says that the
recording works. Each global that a pickle names and each call of ``pickle.load`` and
``pickle.loads`` becomes a line. Workers are interpreters of their own and are not recorded.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from functools import wraps

__all__ = ["STARTED", "record_unpickling"]

STARTED = "recording"


def record_unpickling(path: str) -> None:
    """From now on, append a line to the file for everything that is unpickled."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(line: str) -> None:
        os.write(file, f"{line}\n".encode(errors="backslashreplace"))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "pickle.find_class":
            note(f"{event} {arguments!r}")

    def recorded(load: Callable[..., object]) -> Callable[..., object]:
        @wraps(load)
        def recording(*arguments: object, **named: object) -> object:
            note(f"pickle.{load.__name__}")
            return load(*arguments, **named)

        return recording

    sys.addaudithook(hook)
    # Pickles of plain data name no globals, so the audit hook does not see them.
    pickle.load, pickle.loads = recorded(pickle.load), recorded(pickle.loads)
    note(STARTED)


if __name__ == "__main__":
    record_unpickling(os.environ.pop("TESTS_AUDIT_FILE"))
    from ppnext.server.cli import main

    sys.exit(main())
