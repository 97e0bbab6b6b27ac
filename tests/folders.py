"""Folders with files, as tests need them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["write"]


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files, by their paths in a folder. Return the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
