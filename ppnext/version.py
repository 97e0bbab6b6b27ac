"""The versions of ppnext, whose package's metadata are made from it, and of Python."""

from __future__ import annotations

import sys

__all__ = ["PYTHON", "VERSION"]

VERSION = "0.1.0"

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The minor version of Python, which code objects belong to."""
