"""Which top-level modules the source of a module imports, at any depth of its code.

Found in the text, a dozen times as fast as in the syntax tree: every import statement is, and one
in a docstring is taken for one as well. That does no harm, for a module of the user's that is in a
table and is not imported is never sent. What is missed, such as a name that is computed, is asked
for while the job runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["imported_names"]

# At the beginning of a line, or after another statement on it.
_STATEMENT = re.compile(
    r"(?:^|[;:])[ \t\f]*(?:from[ \t]+([^\W\d]\w*)[\w. \t]*[ \t]import\b|import[ \t]+([^\n;#]+))",
    re.MULTILINE,
)
_CONTINUED = re.compile(r"\\\n")
_NAME = re.compile(r"\s*([^\W\d]\w*)")


def imported_names(source: bytes) -> frozenset[str]:
    """Return the top-level names that a module imports by absolute import statements."""
    text = source.decode("utf-8", "replace").removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return frozenset(_names(_CONTINUED.sub(" ", text)))


def _names(text: str) -> Iterator[str]:
    for module, listed in _STATEMENT.findall(text):
        if module:
            yield module
        for item in listed.split(",") if listed else ():
            if found := _NAME.match(item):
                yield found[1]
