"""The key file: where it is, when it is trusted, how it changes.

A key file is code execution on every machine that accepts its keys, so it is read and changed as
a private file (``privatefile``); one that was named and cannot be read is never passed over in
favour of the next place.

Where it is, first hit wins: the argument, ``PPNEXT_KEY_FILE``, ``ppnext.key`` of systemd's
``CREDENTIALS_DIRECTORY``, the user's configuration directory. ``PPNEXT_KEY`` may hold the key
lines themselves, for containers.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from ppnext.errors import KeyFileError
from ppnext.runtime.privatefile import (
    READ,
    decode,
    locked,
    open_checked,
    publish,
    read_text,
    replace,
)
from ppnext.wire.keys import KID_SIZE, MAX_FILE_BYTES, SECRET_SIZE, Key, new_key, parse_keys

__all__ = [
    "KeyFile",
    "append",
    "create",
    "default_path",
    "find_key_file",
    "from_environ",
    "from_fd",
    "generate",
    "load",
    "revoke",
]

_CREDENTIAL = "ppnext.key"


def default_path(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where the key file is if nothing else is said.

    Args:
        environ: the environment.
        platform: as ``sys.platform``.

    Raises:
        KeyFileError: it would be in the user's home folder, and there is none.
    """
    if platform == "win32":
        # Local, not roaming: a key belongs to one machine's profile.
        local = environ.get("LOCALAPPDATA")
        base = Path(local) if local else _home(environ) / "AppData" / "Local"
    elif platform == "darwin":
        base = _home(environ) / "Library" / "Application Support"
    else:
        config = environ.get("XDG_CONFIG_HOME", "")
        # The XDG specification wants relative values ignored.
        base = Path(config) if config.startswith("/") else _home(environ) / ".config"
    return base / "ppnext" / "keys"


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else _expanded("~")


def _expanded(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # of a user whom the system does not know, as in some containers
        raise KeyFileError(
            f"it is not known where the home folder in the path {path} is; set HOME, or name a key "
            "file by its whole path"
        ) from None


def find_key_file(
    explicit: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    platform: str = sys.platform,
) -> Path:
    """Decide which key file is meant; the file need not exist.

    Args:
        explicit: the path given by option or argument, None if none was.
        environ: the environment.
        platform: as ``sys.platform``.

    Raises:
        KeyFileError: it would be in the user's home folder, and there is none.
    """
    if explicit is not None:
        return _expanded(explicit)
    named = environ.get("PPNEXT_KEY_FILE")
    if named:
        return _expanded(named)
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and os.path.lexists(os.path.join(credentials, _CREDENTIAL)):
        return Path(credentials) / _CREDENTIAL
    return default_path(environ, platform)


def load(path: Path) -> list[Key]:
    """Read a key file.

    Returns:
        Its keys in file order, expired ones included; empty if it holds none.

    Raises:
        KeyFileError: it is missing, unsafe or malformed; the message says how to mend it.
    """
    return _load(path)[0]


def generate(name: str) -> Key:
    """A new random key called ``name``; nothing is written."""
    return new_key(secrets.token_bytes(SECRET_SIZE), secrets.token_bytes(KID_SIZE), name)


def create(path: Path, name: str) -> Key:
    """Make a key file with one new key, unless there is a file already.

    Args:
        path: where; the directory is made with mode 0700 if it is missing.
        name: what people call the key.

    Returns:
        The first key of the file: the new one, or that of whoever was faster.

    Raises:
        KeyFileError: it cannot be written, or the file that is there is unsafe or has no key.
    """
    key = generate(name)
    if publish(path, key.line() + "\n"):
        return key
    keys = load(path)
    if not keys:
        raise KeyFileError(f"{path} is there but holds no key; add one with `ppserver --new-key`")
    return keys[0]


def append(path: Path, key: Key) -> None:
    """Add a key at the end of the file; make the file if it is missing.

    Raises:
        KeyFileError: the file is unsafe or full, or has a key of this id already.
    """
    if publish(path, key.line() + "\n"):
        return
    with locked(path) as text:
        gap = "" if not text or text.endswith("\n") else "\n"
        changed = f"{text}{gap}{key.line()}\n"
        parse_keys(changed, str(path))
        replace(path, changed)


def revoke(path: Path, kid_prefix: str) -> Key:
    """Remove one key from the file; comments stay.

    Args:
        path: the key file.
        kid_prefix: the first hex digits of the key's id, enough to single it out.

    Returns:
        The key that was removed.

    Raises:
        KeyFileError: the file is unsafe, or the prefix fits no key or several.
    """
    with locked(path) as text:
        keys = parse_keys(text, str(path))
        prefix = kid_prefix.lower()
        hits = [key for key in keys if prefix and key.kid.hex().startswith(prefix)]
        if len(hits) != 1:
            labels = ", ".join(key.label for key in keys) or "none"
            raise KeyFileError(
                f"{path}: key id {kid_prefix!r} fits {len(hits)} keys, it must fit one;"
                f" the keys are: {labels}"
            )
        kid = hits[0].kid.hex()
        lines = text.splitlines(keepends=True)
        replace(path, "".join(line for line in lines if not _is_key_line(line, kid)))
        return hits[0]


def from_fd(fd: int) -> list[Key]:
    """Read keys from an inherited descriptor up to its end, and close it.

    Its owner and mode are not checked: whoever started this process chose it.

    Raises:
        KeyFileError: it cannot be read, or holds no well-formed key.
    """
    source = f"key descriptor {fd}"
    try:
        # Closed at once, so that no worker can inherit it.
        with open(fd, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise KeyFileError(f"{source}: {exc.strerror}; pass an open, readable one") from exc
    return _some_keys(decode(data, source), source)


def from_environ(environ: MutableMapping[str, str]) -> list[Key] | None:
    """Take ``PPNEXT_KEY`` out of the environment, so that no child process inherits it.

    Args:
        environ: usually ``os.environ``; the variable is deleted from it in any case.

    Returns:
        The keys in it; None if it is unset or empty.

    Raises:
        KeyFileError: it is set to something that is no key line.
    """
    text = environ.pop("PPNEXT_KEY", "")
    return _some_keys(text, "PPNEXT_KEY") if text else None


class KeyFile:
    """A key file that is watched: what a daemon polls, or reloads on SIGHUP.

    Args:
        path: the file; it is read first by :meth:`reload`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether the file differs from what the last successful :meth:`reload` read."""
        try:
            found = _stamp(os.stat(self.path))
        except OSError:
            return True  # gone or unreachable: reload() says which
        return found != self._stamp

    def reload(self) -> list[Key]:
        """Read the file again.

        Raises:
            KeyFileError: as :func:`load`; :meth:`changed` stays true then.
        """
        self._stamp = None
        keys, status = _load(self.path)
        self._stamp = _stamp(status)
        return keys


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_ino, status.st_size


def _load(path: Path) -> tuple[list[Key], os.stat_result]:
    fd = open_checked(path, READ)
    try:
        return parse_keys(read_text(fd, path), str(path)), os.fstat(fd)
    finally:
        os.close(fd)


def _some_keys(text: str, source: str) -> list[Key]:
    keys = parse_keys(text, source)
    if not keys:
        raise KeyFileError(f"{source}: no key in it; make one with `ppserver --new-key`")
    return keys


def _is_key_line(line: str, kid: str) -> bool:
    words = line.split()
    return len(words) > 1 and not words[0].startswith("#") and words[1] == kid
