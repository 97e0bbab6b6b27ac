"""Every example in the README and in the docs that is marked as runnable runs.

Runnable are: each ```` ```python ```` block of README.md; in docs/, each ``.. testcode::`` and
each ``.. code-block:: python`` whose ``:name:`` begins with ``run-``. Each runs as a script in an
interpreter of its own and must end with status 0.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 90

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})python\s*$")
DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. (?P<kind>testcode|code-block):: *(?P<argument>.*?)\s*$"
)
OPTION = re.compile(r"^ +:(?P<key>[\w-]+): *(?P<value>.*?)\s*$")


@dataclass(frozen=True)
class Example:
    """A block of code: the page it is on, the line it begins at (from 1), its text."""

    page: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def markdown_examples(text: str, page: str) -> list[Example]:
    found = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        start = at
        closing = fence["indent"] + fence["ticks"]
        while at < len(lines) and lines[at].rstrip() != closing:
            at += 1
        if at == len(lines):
            raise ValueError(f"{page}:{start}: the code block has no end")
        found.append(example(page, start, lines[start:at]))
        at += 1
    return found


def rst_examples(text: str, page: str) -> list[Example]:
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        directive = DIRECTIVE.match(line)
        if directive is None:
            continue
        block = indented_block(lines, number + 1, len(directive["indent"]))
        options = {}
        body = 0
        while body < len(block) and (option := OPTION.match(block[body])):
            options[option["key"]] = option["value"]
            body += 1
        named = directive["argument"] == "python" and options.get("name", "").startswith("run-")
        if directive["kind"] == "testcode" or named:
            found.append(example(page, number + 1 + body, block[body:]))
    return found


def indented_block(lines: list[str], start: int, indent: int) -> list[str]:
    """Return the lines from ``start`` that are blank or further in than ``indent``."""
    end = start
    while end < len(lines):
        line = lines[end]
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        end += 1
    return lines[start:end]


def example(page: str, start: int, lines: list[str]) -> Example:
    """Make an example of ``lines``; the first of them is line ``start`` of the page, from 0."""
    while lines and not lines[0].strip():
        start, lines = start + 1, lines[1:]
    code = textwrap.dedent("\n".join(lines)).rstrip() + "\n"
    if not code.strip():
        raise ValueError(f"{page}:{start}: the code block is empty")
    return Example(page, start + 1, code)


def readme_examples() -> list[Example]:
    readme = ROOT / "README.md"
    if not readme.exists():
        return []
    return markdown_examples(readme.read_text(encoding="utf-8"), readme.name)


def all_examples() -> list[Example]:
    found = readme_examples()
    for page in sorted((ROOT / "docs").rglob("*.rst")):
        name = page.relative_to(ROOT).as_posix()
        if "_build" not in page.parts:
            found += rst_examples(page.read_text(encoding="utf-8"), name)
    return found


def test_markdown_blocks_are_found() -> None:
    text = "a\n```python\nx = 1\n```\n```sh\nls\n```\n- b\n  ```python\n  if x:\n      y\n  ```\n"
    assert markdown_examples(text, "p") == [
        Example("p", 3, "x = 1\n"),
        Example("p", 10, "if x:\n    y\n"),
    ]


def test_rst_blocks_are_found() -> None:
    text = textwrap.dedent(
        """\
        .. testcode::

            a = 1

            b = 2

        .. code-block:: python

            not_run()

        .. code-block:: python
           :caption: c
           :name: run-this

           run()
        Text.
        """
    )
    assert rst_examples(text, "p") == [
        Example("p", 3, "a = 1\n\nb = 2\n"),
        Example("p", 15, "run()\n"),
    ]


def test_an_open_or_empty_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="no end"):
        markdown_examples("```python\nx\n", "p")
    with pytest.raises(ValueError, match="empty"):
        rst_examples(".. testcode::\n\nText.\n", "p")


def test_readme_has_an_example() -> None:
    assert readme_examples(), "README.md must show at least one ```python block"


@pytest.mark.parametrize("shown", all_examples(), ids=str)
def test_example_runs(shown: Example, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    # Empty lines before it make the line numbers of a traceback those of the page.
    script.write_text("\n" * (shown.line - 1) + shown.code, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PPNEXT_")}
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part
    )
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 0, f"{shown}\n{result.stdout}"
