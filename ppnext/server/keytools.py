"""Key tools: making, listing, moving and revoking keys from the command line.

A secret is printed only to a pipe, or when it is asked for by name, and never read from arguments,
which everybody on the machine can see.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TextIO

from ppnext.errors import ConfigError, KeyFileError
from ppnext.runtime import keystore
from ppnext.wire.keys import Key, parse_key_line

__all__ = ["export_key", "import_key", "list_keys", "new_key", "revoke_key"]


def new_key(path: Path, name: str) -> str:
    """Make a key, add it to the file, and return what to tell the user."""
    if os.path.exists(path):
        key = keystore.generate(name)
        keystore.append(path, key)
    else:
        key = keystore.create(path, name)
    return (
        f"made key {key.label} in {path}\n"
        "give it to the other machines, each of which then is part of the same group:\n"
        f"  ppserver --export-key {key.kid.hex()[:8]} | ssh HOST ppserver --import-key"
    )


def list_keys(path: Path) -> str:
    """Return the keys of the file, without their secrets."""
    keys = keystore.load(path)
    lines = [
        f"{key.kid.hex()}  {key.name}" + (f"  expires {key.expires}" if key.expires else "")
        for key in keys
    ]
    return "\n".join(lines) if lines else f"{path} holds no key"


def export_key(path: Path, kid_prefix: str, show: bool, out: TextIO) -> str:
    """Return the line of one key, its secret in it.

    Raises:
        ConfigError: it would be shown on a screen, and that was not asked for.
        KeyFileError: there is no such key, or more than one.
    """
    if out.isatty() and not show:
        raise ConfigError("a key is not shown on a screen unless --show is given; pipe it")
    return _find(path, kid_prefix).line()


def import_key(path: Path, source: TextIO) -> str:
    """Read the line of a key, add it to the file, and return what to tell the user."""
    if source.isatty():
        line = getpass.getpass("key line (not shown): ")
    else:
        line = source.readline(4096)
    key = parse_key_line(line.strip())
    keystore.append(path, key)
    return f"added key {key.label} to {path}"


def revoke_key(path: Path, kid_prefix: str) -> str:
    """Take a key out of the file, and return what to tell the user."""
    key = keystore.revoke(path, kid_prefix)
    return (
        f"took key {key.label} out of {path}; a running ppserver closes its sessions within 5 s\n"
        "take it out on the other machines as well"
    )


def _find(path: Path, kid_prefix: str) -> Key:
    found = [key for key in keystore.load(path) if key.kid.hex().startswith(kid_prefix.lower())]
    if len(found) != 1:
        what = "no key" if not found else "more than one key"
        raise KeyFileError(f"{path} holds {what} whose id begins with {kid_prefix!r}")
    return found[0]
