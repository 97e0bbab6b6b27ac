"""The version of ppnext, read from the installed package's metadata or, in a checkout, from here."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
