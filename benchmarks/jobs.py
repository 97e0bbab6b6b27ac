"""The jobs: functions that do nothing, in a module that every peer can import."""

from __future__ import annotations

__all__ = ["nothing"]


def nothing(number):  # ppft ships the source, and would not find the names of types
    """Return the number."""
    return number
