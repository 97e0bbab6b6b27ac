"""Run files: which ppservers of this user run on this machine.

Each has a small file in a folder that only its user can change, with its process number and the
addresses that it listens on, and holds a lock on it as long as it lives. So a file whose lock is
free is that of a ppserver which is gone, however it went; neither a process number that comes
again nor a clock that is set misleads anybody. Such files are removed by whoever looks.

The folder is ``ppnext`` in ``$XDG_RUNTIME_DIR``, or ``ppnext-`` and the user's number where
temporary files are. Who looks for ppservers looks in both: a service may not have what a login has.

Containers may share such a folder, and have process numbers of their own. So a file says where its
number counts as well, and who counts elsewhere passes it over.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # looked for before it is used

__all__ = ["RunFile", "Running", "create", "folders", "running"]

_BEGINNING = "ppserver-"
_MOST = 4096
"""Bytes that are read of a run file."""


class RunFile:
    """The run file of this process.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def remove(self) -> None:
        """This process is about to end."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


class Running:
    """A ppserver that runs.

    Args:
        pid: its process number.
        addresses: those that it listens on, as it prints them.
        descriptor: its run file; closed by ``wait``.
    """

    def __init__(self, pid: int, addresses: Sequence[str], descriptor: int) -> None:
        self.pid = pid
        self.addresses = tuple(addresses)
        self._descriptor = descriptor

    def is_at(self, where: str) -> bool:
        """Whether it listens on an address or a port; an empty one is any."""
        ends = {address.rpartition(":")[2] for address in self.addresses}
        return not where or where in self.addresses or where in ends

    def wait(self) -> None:
        """Wait until it has ended, however it does."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self.close()

    def close(self) -> None:
        """Ask no more of it."""
        os.close(self._descriptor)


def folders(environ: Mapping[str, str]) -> list[Path]:
    """Return where run files may be, the best place first.

    Args:
        environ: the environment.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    places = [Path(tempfile.gettempdir()) / f"ppnext-{user}"]
    # The XDG specification wants relative values ignored.
    if environ.get("XDG_RUNTIME_DIR", "").startswith("/"):
        places.insert(0, Path(environ["XDG_RUNTIME_DIR"]) / "ppnext")
    return places


def counted_where() -> str:
    """Return what names the processes among which numbers are unique; empty where all are."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def create(places: Sequence[Path], addresses: Sequence[str], counted: str | None = None) -> RunFile:
    """Make a run file for this process in the first of these folders that can be used.

    Args:
        places: the folders.
        addresses: those that it listens on.
        counted: where its number counts; None to find that out.

    Raises:
        OSError: there is none.
    """
    trouble = OSError(errno.ENOSYS, "files cannot be locked on this system")
    for place in places if fcntl is not None else ():
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            _check_folder(place)
            for other in running([place]):  # so that what others have left is removed
                other.close()
            return _create(place, addresses, counted_where() if counted is None else counted)
        except OSError as error:
            trouble = error
    raise trouble


def _create(place: Path, addresses: Sequence[str], counted: str) -> RunFile:
    token = secrets.token_hex(8)
    path = place / f"{_BEGINNING}{os.getpid()}-{token}"
    draft = place / f".{token}"
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        # Locked before it has its name: nobody ever sees a file of ours that is free.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, "\n".join([f"{os.getpid()} {counted}", *addresses]).encode())
        os.replace(draft, path)
    except OSError:
        os.close(descriptor)
        draft.unlink(missing_ok=True)
        raise
    return RunFile(path, descriptor)


def running(places: Sequence[Path]) -> list[Running]:
    """Return the ppservers of this user that run; their files are open until they are closed."""
    found = []
    for place in places if fcntl is not None else ():
        try:
            _check_folder(place)
            paths = sorted(place.glob(f"{_BEGINNING}*"))
        except OSError:
            continue  # there is no such folder, or it is not ours
        found += [it for it in map(_read, paths) if it is not None]
    return found


def _check_folder(place: Path) -> None:
    """Refuse a folder in which others may have put files."""
    status = place.lstat()
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not is_ours or status.st_mode & 0o022:
        raise OSError(errno.EPERM, f"{place} is not a folder that only its user can change")


def _read(path: Path) -> Running | None:
    """Return the ppserver that a file is of; None if there is none any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # it has just ended
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        first, *addresses = os.pread(descriptor, _MOST, 0).decode().split("\n")
        pid, _, counted = first.partition(" ")
        if counted == counted_where():
            return Running(int(pid), addresses, descriptor)
        os.close(descriptor)
        return None
    path.unlink(missing_ok=True)
    os.close(descriptor)
    return None
