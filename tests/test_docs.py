"""The README and the docs say what is so: every example runs, and what is listed is complete.

Examples are: each ```` ```python ```` block of README.md; in docs/, each ``.. testcode::`` and
each ``.. code-block:: python``. The ``:name:`` of the latter begins with ``run-``, or with
``cluster-`` if it needs a ppserver: then one is started on the loopback, and the host ``"atlas"``
of the example stands for it. Each example runs as a script in an interpreter of its own and must
end with status 0.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from ppnext.runtime import keystore
from ppnext.server.config import Config
from ppnext.wire import messages
from ppnext.wire.handshake import ClientHandshake, ServerHandshake
from ppnext.wire.keys import Key
from tests.ppserver_fixture import recorded_ppserver

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 90

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})python\s*$")
DIRECTIVE = re.compile(
    r"^(?P<indent> *)\.\. (?P<kind>testcode|code-block):: *(?P<argument>.*?)\s*$"
)
OPTION = re.compile(r"^ +:(?P<key>[\w-]+): *(?P<value>.*?)\s*$")


@dataclass(frozen=True)
class Example:
    """A block of code: the page it is on, the line it begins at (from 1), its text, its name."""

    page: str
    line: int
    code: str
    name: str = ""

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
        name = options.get("name", "")
        if directive["kind"] == "testcode" or directive["argument"] == "python":
            if directive["kind"] == "code-block" and not name.startswith(("run-", "cluster-")):
                raise ValueError(f"{page}:{number + 1}: its name begins with run- or cluster-")
            found.append(example(page, number + 1 + body, block[body:], name))
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


def example(page: str, start: int, lines: list[str], name: str = "") -> Example:
    """Make an example of ``lines``; the first of them is line ``start`` of the page, from 0."""
    while lines and not lines[0].strip():
        start, lines = start + 1, lines[1:]
    code = textwrap.dedent("\n".join(lines)).rstrip() + "\n"
    if not code.strip():
        raise ValueError(f"{page}:{start}: the code block is empty")
    return Example(page, start + 1, code, name)


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

        .. code-block:: text

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
        Example("p", 15, "run()\n", "run-this"),
    ]


def test_a_block_that_is_not_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="p:2: its name begins with"):
        rst_examples("\n.. code-block:: python\n\n   x\n", "p")


def test_an_open_or_empty_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="no end"):
        markdown_examples("```python\nx\n", "p")
    with pytest.raises(ValueError, match="empty"):
        rst_examples(".. testcode::\n\nText.\n", "p")


def test_readme_has_an_example() -> None:
    assert readme_examples(), "README.md must show at least one ```python block"


def run_example(shown: Example, folder: Path, **variables: str) -> None:
    script = folder / "example.py"
    # Empty lines before it make the line numbers of a traceback those of the page.
    script.write_text("\n" * (shown.line - 1) + shown.code, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PPNEXT_")}
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part
    )
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 0, f"{shown}\n{result.stdout}"


@contextmanager
def daemon(key_file: Path) -> Iterator[str]:
    """A ppserver on the loopback, announced there; the value is its address."""
    options = ["-p", "0", "-w", "2", "-i", "127.0.0.1", "-a", "--key-file", str(key_file)]
    script, audit_file = recorded_ppserver()
    with subprocess.Popen(
        [sys.executable, script, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TESTS_AUDIT_FILE": str(audit_file)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            listens = re.search(r"listens on (127\.0\.0\.1:\d+);", greeting)
            assert listens, greeting
            yield listens[1]
        finally:
            process.kill()


@pytest.mark.parametrize(
    "shown", [it for it in all_examples() if not it.name.startswith("cluster-")], ids=str
)
def test_example_runs(shown: Example, tmp_path: Path) -> None:
    run_example(shown, tmp_path)


@pytest.mark.cluster
@pytest.mark.parametrize(
    "shown", [it for it in all_examples() if it.name.startswith("cluster-")], ids=str
)
def test_example_runs_beside_a_ppserver(shown: Example, tmp_path: Path) -> None:
    key_file = tmp_path / "keys"
    keystore.create(key_file, "test")
    with daemon(key_file) as address:
        here = Example(shown.page, shown.line, shown.code.replace('"atlas"', f'"{address}"'))
        run_example(here, tmp_path, PPNEXT_KEY_FILE=str(key_file), PPNEXT_INTERFACES="127.0.0.1")


# What is listed.


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.rst").read_text(encoding="utf-8")


def pages() -> dict[str, str]:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.rst")]
    return {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for file in files
        if "_build" not in file.parts
    }


def docs_tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "docs_tables", ROOT / "scripts" / "docs_tables.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_option_of_ppserver_is_documented_and_no_other() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "ppnext.server", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    option = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
    defined = re.findall(r"^``-.*$", page("ppserver"), re.MULTILINE)
    documented = {name for line in defined for name in option.findall(line)}
    offered = {name for line in text.splitlines() for name in option.findall(line)}
    assert documented - {"-s"} == offered


def test_every_variable_is_documented_and_no_other() -> None:
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "ppnext").rglob("*.py")]
    variable = re.compile(r"\bPPNEXT_[A-Z][A-Z_]*\b")
    used = set(variable.findall("\n".join(sources)))
    told = set(variable.findall(page("quickstart-cluster")))
    assert told == used


def test_tables_are_made_and_used() -> None:
    tables = docs_tables().TABLES
    asked_for = set(re.findall(r"^\.\. generated:: (\S+)$", "\n".join(pages().values()), re.M))
    assert asked_for == set(tables)
    assert all(make().strip() for make in tables.values())
    for field in fields(Config):
        assert f"``{field.name}``" in tables["config"]()


def test_every_message_and_entry_is_described() -> None:
    table = docs_tables().TABLES["message-fields"]()
    structs = [it for it in vars(messages).values() if isinstance(it, type)]
    for struct in structs:
        if issubclass(struct, msgspec.Struct):
            assert re.search(rf"^\*\*(\d+  )?{struct.__name__}[.,]", table, re.M), struct
            assert all(f"``{name}``" in table for name in struct.__struct_fields__)
    assert "Whether its memory may be written again" in table


@pytest.mark.parametrize(
    "package", sorted((ROOT / "ppnext").rglob("__init__.py")), ids=lambda it: it.parent.name
)
def test_a_package_names_its_modules_and_no_others(package: Path) -> None:
    lines = (ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or "").splitlines()
    named = {
        found[1] for line in lines if (found := re.match(r"(?:\* ``| {4})(\w+)(?:``|\b)", line))
    }
    there = {it.stem for it in package.parent.glob("*.py") if not it.stem.startswith("__")}
    there |= {it.parent.name for it in package.parent.glob("*/__init__.py")}
    assert named == there


def test_files_that_are_named_exist() -> None:
    # Packages are named with a slash as well, but "ppnext/keys" is a user's file.
    named = re.compile(
        r"(?<![\w./~-])(?:(?:docs|examples|scripts|tests)/[\w./-]*\w|ppnext/\S+?\.py)"
    )
    missing = [
        f"{where}: {name}"
        for where, text in pages().items()
        for name in named.findall(text)
        if not (ROOT / name).exists() and not name.startswith("docs/_build")
    ]
    assert missing == []


def test_the_protocol_page_has_the_test_vector_of_the_code() -> None:
    key = Key(bytes(range(16)), bytes(range(32)), "test")
    certificate = b"test certificate DER"
    client = ClientHandshake(key, b"\xaa" * 32, b"\x01" * 16, certificate)
    server = ServerHandshake(lambda kid: key, b"\xbb" * 32, b"\x02" * 16, certificate, key)
    client_proof = client.receive(server.receive(client.hello()))
    server_proof = server.receive(client_proof)
    text = page("internals/protocol")
    assert f"ClientProof  {client_proof.hex()}" in text
    assert f"ServerProof  {server_proof.hex()}" in text
    assert f"ClientHello  {client.hello()[:8].hex()}" in text


def test_internal_addresses_of_a_page_exist() -> None:
    linked = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [name for name in linked if not (ROOT / name).exists()] == []
