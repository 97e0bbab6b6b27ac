"""A private file: one that nobody but its owner can read, replace or have replaced.

The opened descriptor (not the path) must be a regular file of at most 64 KiB, owned by this user
or root, closed to group and others; a symbolic link must have been made by one of them, and the
directory must not be writable by others, unless it is sticky. Everything else is refused with the
command that mends it.

A new file appears complete or not at all: it is written under another name, synced, and linked to
its place, which fails if someone was faster. Changes replace the file the same way, under a lock
on the file itself.

Windows has neither modes nor owners of this kind; there the profile directory's ACL protects.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ppnext.errors import KeyFileError
from ppnext.wire.keys import MAX_FILE_BYTES

__all__ = ["READ", "decode", "locked", "open_checked", "publish", "read_text", "replace"]

_POSIX = os.name == "posix"
# Flags that Windows lacks; NONBLOCK keeps open() of a FIFO from waiting for a writer.
READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_EDIT = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def open_checked(path: Path, flags: int) -> int:
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
        raise unusable(path, exc) from exc
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


def read_text(fd: int, path: Path) -> str:
    try:
        with open(fd, "rb", closefd=False) as file:
            return decode(file.read(MAX_FILE_BYTES + 1), str(path))
    except OSError as exc:
        raise unusable(path, exc) from exc


def decode(data: bytes, source: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f"{source}: more than {MAX_FILE_BYTES} bytes; is it the right one?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # Not chained: that exception carries the bytes, perhaps a secret.
        raise KeyFileError(f"{source}: not text, so no key file; is it the right one?") from None


def unusable(path: Path, exc: OSError | RuntimeError) -> KeyFileError:
    reason = exc.strerror if isinstance(exc, OSError) else str(exc)
    return KeyFileError(f"key file {path} cannot be used: {reason}; mend that or name another file")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[str]:
    """Hold the file's lock and yield its text; whoever waits reads what the holder left."""
    while True:
        fd = open_checked(path, _EDIT)
        try:
            # Whoever held the lock before us replaced the file: then ours is the old one.
            if _lock(fd, path):
                yield read_text(fd, path)
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
        raise unusable(path, exc) from exc


def publish(path: Path, text: str) -> bool:
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
        raise unusable(path, exc) from exc


def replace(path: Path, text: str) -> None:
    """Put a complete file in place of the one at ``path``; a link to it stays a link."""
    target = path.resolve()
    try:
        with _draft(target, text) as draft:
            os.replace(draft, target)
            _sync_directory(target.parent)
    except OSError as exc:
        raise unusable(path, exc) from exc


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
