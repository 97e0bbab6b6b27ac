"""Moved: classes that one Python pickles under a name which another does not know.

Python 3.13 pickles paths as classes of ``pathlib._local``, a module that no other version has.
There it gets a stand-in, which looks the classes up in ``pathlib`` when it is asked for one.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

__all__ = ["stand_in"]

_MOVED = {"pathlib._local": "pathlib"}


class _StandIn(ModuleType):
    """A module whose content is that of another, which is imported when it is needed."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)  # what the import system asks every module
        return getattr(import_module(_MOVED[self.__name__]), name)


def stand_in() -> None:
    """Put stand-ins in place of the modules that this Python does not have."""
    if sys.version_info < (3, 13):
        for name in _MOVED:
            sys.modules.setdefault(name, _StandIn(name))
