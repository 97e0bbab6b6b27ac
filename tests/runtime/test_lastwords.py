"""Last words: what a process wrote is told from what Python said of its end."""

from __future__ import annotations

import os

import pytest

import ppnext
from ppnext.runtime.lastwords import last_words

HERE = os.path.dirname(os.path.abspath(ppnext.__file__))

DUMP = """Fatal Python error: {what}

Thread 0x00007f0001 (most recent call first):
  File "{here}/worker/inbox.py", line 349 in wait
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x00007f0002 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/home/me/script.py", line 3 in crash
  File "/home/me/script.py", line 9 in outer
  File "{here}/worker/interrupts.py", line 60 in call
  File "{here}/worker/main.py", line 123 in _run_job
  File "{here}/worker/main.py", line 297 in main
  File "<string>", line 1 in <module>

Extension modules: msgspec._core (total: 1)
"""

STACK = """  File "/home/me/script.py", line 9 in outer
  File "/home/me/script.py", line 3 in crash
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at"""


@pytest.mark.parametrize("before", ["", "said before\n", "Fatal Python error: of another\n"])
def test_where_the_job_was_is_found_in_the_dump(before: str) -> None:
    found = last_words((before + DUMP.format(here=HERE, what="Segmentation fault")).encode())
    assert (found.words, found.stack) == (before.strip(), STACK)


def test_an_error_of_python_itself_is_told_in_full() -> None:
    dump = "glibc said this\n" + DUMP.format(here=HERE, what="_PyMem_DebugFree: bad")
    found = last_words(dump.encode())
    assert (found.words, found.stack) == (dump.strip(), STACK)


def test_without_a_dump_there_are_only_words() -> None:
    assert last_words(b"  out of paper \xff\n") == ("out of paper \\xff", "")
    assert last_words(b"") == ("", "")


def test_the_end_of_long_words_is_kept() -> None:
    assert last_words(b"x" * 5000 + b"the end").words == "x" * 1993 + "the end"


def test_the_innermost_calls_are_kept() -> None:
    calls = "".join(f'  File "/home/me/deep.py", line {n} in f\n' for n in range(100))
    dump = f"Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n{calls}"
    lines = last_words(dump.encode()).stack.splitlines()
    assert lines[-1] == '  File "/home/me/deep.py", line 0 in f' and len(lines) == 8
