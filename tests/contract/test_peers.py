"""The stories of docs/reliability.rst and the tests that retell them belong together.

The tests are in ``test_peers_workers.py`` and ``test_peers_inputs.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reliability.rst"


def test_every_story_has_its_test_and_every_test_its_story() -> None:
    told = set(re.findall(r"``(test_\w+)``", PAGE.read_text(encoding="utf-8")))
    files = [path.read_text(encoding="utf-8") for path in HERE.glob("test_peers_*.py")]
    retold = {name for text in files for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert told == retold


def test_every_test_says_whose_story_it_is() -> None:
    for path in HERE.glob("test_peers_*.py"):
        text = path.read_text(encoding="utf-8")
        stories = re.findall(r'^def test_\w+\(.*\):\n    """[\w./]+', text, re.MULTILINE)
        assert len(stories) == text.count("\ndef test_"), path.name
