"""Installed distributions: those that are named in ``ship=``, and those that functions are from."""

from __future__ import annotations

from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    distributions,
)

from ppnext.errors import ConfigError
from ppnext.shipping.places import Place, place_of_installed

__all__ = ["owner_of", "places_of"]


_METADATA = frozenset({"METADATA", "entry_points.txt", "top_level.txt"})
"""What comes along of a distribution besides its modules: name, version, plug-ins."""


def places_of(name: str) -> list[Place]:
    """Return the places of a distribution's modules, or of a module.

    Args:
        name: of an installed distribution, or of a module.

    Raises:
        ConfigError: there is none of this name.
    """
    found = _distribution(name)
    names = {name} if found is None else _top_names(found) | {name}
    metadata = () if found is None else _metadata(found)
    places = [
        place._replace(metadata=metadata)
        for top in sorted(names)
        if (place := _place(top)) is not None
    ]
    if not places or "ppnext" in names:
        raise ConfigError(
            f"ship= names {name!r}, which is neither an installed distribution nor a module "
            "that can be imported here and shipped"
        )
    return places


def owner_of(module: str) -> tuple[str, str] | None:
    """Return name and version of the distribution that a module is from.

    Reads the file system: some milliseconds; a tenth of a second if the two have different names.

    Args:
        module: a top-level name.

    Returns:
        None if none has installed it, or several have.
    """
    try:
        found: Distribution | None = distribution(module)
    except (PackageNotFoundError, ValueError):
        found = None
    if found is None or module not in _top_names(found):
        owners = [it for it in distributions() if module in _top_names(it)]
        found = owners[0] if len(owners) == 1 else None
    return (found.name, found.version) if found is not None and found.version else None


def _distribution(name: str) -> Distribution | None:
    """Return the distribution of this name, or the one that has installed this module."""
    if not name:
        return None
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        # Not packages_distributions, which on Python 3.10 misses what names no modules.
        owners = [found for found in distributions() if name in _top_names(found)]
        return owners[0] if len(owners) == 1 else None


def _place(name: str) -> Place | None:
    return place_of_installed(name) if name.isidentifier() else None


def _metadata(found: Distribution) -> tuple[str, ...]:
    return tuple(
        str(file.locate())
        for file in found.files or ()
        if file.name in _METADATA and str(file.parent).endswith(".dist-info")
    )


def _top_names(found: Distribution) -> set[str]:
    """The top-level names of what a distribution has installed."""
    listed = set((found.read_text("top_level.txt") or "").split())
    for file in found.files or ():
        if file.suffix in (".py", ".so", ".pyd") and file.parts[0] not in ("..", "__pycache__"):
            listed.add(file.parts[0].partition(".")[0])
    return listed
