"""The key file: where it is, when it is trusted, how it changes.

A key file is code execution on every machine that accepts its keys, so it is read like sshd
reads its own: the opened descriptor (not the path) must be a regular file of at most 64 KiB,
owned by this user or root, closed to group and others. A symbolic link is followed only if this
user or root made it (dotfile managers do). The directory must not be writable by others, unless
it is sticky. Everything else is refused with the command that mends it; a file that was named
and cannot be read is never passed over in favour of the next place.

Where it is, first hit wins: the argument, ``PPNEXT_KEY_FILE``, ``ppnext.key`` of systemd's
``CREDENTIALS_DIRECTORY``, the user's configuration directory. ``PPNEXT_KEY`` may hold the key
lines themselves, for containers.

A new file appears complete or not at all: it is written under another name, synced, and linked
to its place, which fails if someone was faster; then theirs is read. Changes replace the file
the same way, under a lock on the file itself, so that a revocation cannot be lost.

Windows has neither modes nor owners of this kind; there the profile directory's ACL protects.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from ppnext.errors import KeyFileError
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

_POSIX = os.name == "posix"
# Flags that Windows lacks; NONBLOCK keeps open() of a FIFO from waiting for a writer.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_EDIT = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_CREDENTIAL = "ppnext.key"


def default_path(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where the key file is if nothing else is said.

    Args:
        environ: the environment.
        platform: as ``sys.platform``.
    """
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    if platform == "win32":
        # Local, not roaming: a key belongs to one machine's profile.
        local = environ.get("LOCALAPPDATA")
        base = Path(local) if local else home / "AppData" / "Local"
    elif platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        config = environ.get("XDG_CONFIG_HOME", "")
        # The XDG specification wants relative values ignored.
        base = Path(config) if config.startswith("/") else home / ".config"
    return base / "ppnext" / "keys"


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
    """
    if explicit is not None:
        return Path(explicit).expanduser()
    named = environ.get("PPNEXT_KEY_FILE")
    if named:
        return Path(named).expanduser()
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
    if _publish(path, key.line() + "\n"):
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
    if _publish(path, key.line() + "\n"):
        return
    with _locked(path) as text:
        gap = "" if not text or text.endswith("\n") else "\n"
        changed = f"{text}{gap}{key.line()}\n"
        parse_keys(changed, str(path))
        _replace(path, changed)


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
    with _locked(path) as text:
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
        _replace(path, "".join(line for line in lines if not _is_key_line(line, kid)))
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
    return _some_keys(_decode(data, source), source)


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
    fd = _open_checked(path, _READ)
    try:
        return parse_keys(_read(fd, path), str(path)), os.fstat(fd)
    finally:
        os.close(fd)


def _open_checked(path: Path, flags: int) -> int:
    """Open the file and refuse it unless all rules hold; returns the descriptor."""
    try:
        _check_link(path)
        for directory in {path.parent, path.resolve().parent}:
            _check_directory(directory)
        fd = os.open(path, flags | _CLOEXEC)
    except FileNotFoundError as exc:
        raise KeyFileError(
            f"there is no key file {path}; make one with `ppserver --new-key`, or copy it from"
            " a machine that has it"
        ) from exc
    except (OSError, RuntimeError) as exc:  # resolve() reports a loop of links either way
        raise _unusable(path, exc) from exc
    try:
        _check_file(path, os.fstat(fd))
    except KeyFileError:
        os.close(fd)
        raise
    return fd


def _check_link(path: Path) -> None:
    status = os.lstat(path)
    if _POSIX and stat.S_ISLNK(status.st_mode) and status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"key file {path} is a symbolic link made by user {status.st_uid}; remove it and put"
            " the file itself there"
        )


def _check_directory(path: Path) -> None:
    mode = os.stat(path).st_mode
    if _POSIX and mode & 0o022 and not mode & stat.S_ISVTX:
        raise KeyFileError(
            f"others may replace files in {path}, where the key file is;"
            f" run: chmod go-w {shlex.quote(str(path))}"
        )


def _check_file(path: Path, status: os.stat_result) -> None:
    quoted = shlex.quote(str(path))
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"key file {path} is not a regular file; name a file with key lines")
    if _POSIX and status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"key file {path} belongs to user {status.st_uid};"
            f" run: sudo chown {os.geteuid()} {quoted}"
        )
    if _POSIX and status.st_mode & 0o077:
        raise KeyFileError(
            f"key file {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o});"
            f" run: chmod 600 {quoted}"
        )
    if status.st_size > MAX_FILE_BYTES:
        raise KeyFileError(f"key file {path} is larger than {MAX_FILE_BYTES} bytes; is it the one?")


def _read(fd: int, path: Path) -> str:
    try:
        with open(fd, "rb", closefd=False) as file:
            return _decode(file.read(MAX_FILE_BYTES + 1), str(path))
    except OSError as exc:
        raise _unusable(path, exc) from exc


def _decode(data: bytes, source: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f"{source}: more than {MAX_FILE_BYTES} bytes; is it the right one?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # Not chained: that exception carries the bytes, perhaps a secret.
        raise KeyFileError(f"{source}: not text, so no key file; is it the right one?") from None


def _some_keys(text: str, source: str) -> list[Key]:
    keys = parse_keys(text, source)
    if not keys:
        raise KeyFileError(f"{source}: no key in it; make one with `ppserver --new-key`")
    return keys


def _unusable(path: Path, exc: OSError | RuntimeError) -> KeyFileError:
    reason = exc.strerror if isinstance(exc, OSError) else str(exc)
    return KeyFileError(f"key file {path} cannot be used: {reason}; mend that or name another file")


def _is_key_line(line: str, kid: str) -> bool:
    words = line.split()
    return len(words) > 1 and not words[0].startswith("#") and words[1] == kid


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[str]:
    """Hold the file's lock and yield its text; whoever waits reads what the holder left."""
    while True:
        fd = _open_checked(path, _EDIT)
        try:
            # Whoever held the lock before us replaced the file: then ours is the old one.
            if _lock(fd, path):
                yield _read(fd, path)
                return
        finally:
            os.close(fd)


def _lock(fd: int, path: Path) -> bool:
    """Lock the opened file; False if it is no longer the one at ``path``."""
    if sys.platform == "win32":
        return True  # no flock; key files of one profile are edited by one person at a time
    import fcntl  # POSIX only

    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False  # removed meanwhile: opening it again says so
    except OSError as exc:
        raise _unusable(path, exc) from exc


def _publish(path: Path, text: str) -> bool:
    """Put a complete new file at ``path``; False if there is one already."""
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        _check_directory(path.parent)
        if os.path.lexists(path):
            return False
        with _draft(path, text) as draft:
            try:
                # Both fail if the target exists, which os.replace would not.
                (os.link if _POSIX else os.rename)(draft, path)
            except FileExistsError:
                return False
            _sync_directory(path.parent)
            return True
    except OSError as exc:
        raise _unusable(path, exc) from exc


def _replace(path: Path, text: str) -> None:
    """Put a complete file in place of the one at ``path``; a link to it stays a link."""
    target = path.resolve()
    try:
        with _draft(target, text) as draft:
            os.replace(draft, target)
            _sync_directory(target.parent)
    except OSError as exc:
        raise _unusable(path, exc) from exc


@contextlib.contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """A synced 0600 file with ``text`` beside ``path``, gone afterwards unless it was moved."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, _CREATE | _CLOEXEC, 0o600), "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    if not _POSIX:
        return  # Windows cannot open a directory to sync it
    fd = os.open(path, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
