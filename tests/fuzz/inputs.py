"""The corpus on disk: a folder for each target, a file for each input."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CORPUS", "FILES", "UNMENDED", "name_of"]

CORPUS = Path(__file__).with_name("corpus")

FILES = sorted(CORPUS.glob("*/*"))

UNMENDED: dict[str, str] = {}
"""What has been found and not been mended yet: the name of a file, and what is wrong."""


def name_of(path: Path) -> str:
    """Return the target and the name of a file of the corpus."""
    return f"{path.parent.name}/{path.name}"
