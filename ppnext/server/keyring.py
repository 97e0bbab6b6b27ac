"""Keyring: the keys that the daemon accepts, and when they change.

The key file is read again on SIGHUP and when it has changed on disk. A file that cannot be used
any more changes nothing: the keys that were read last stay accepted, and the log says why.
"""

from __future__ import annotations

import datetime
import logging

from ppnext.errors import KeyFileError
from ppnext.runtime.keystore import KeyFile
from ppnext.wire.keys import Key, KeyRing, usable

__all__ = ["AcceptedKeys"]

_log = logging.getLogger("ppnext.server")


class AcceptedKeys:
    """The keys that clients may prove.

    Args:
        keys: those there are at the start.
        file: where they came from, if that can be read again.
    """

    def __init__(self, keys: list[Key], file: KeyFile | None) -> None:
        self._keys = keys
        self._ring = KeyRing(keys)
        self._file = file
        self._trouble = ""

    @property
    def usable(self) -> list[Key]:
        """Those that have not expired."""
        return usable(self._keys, datetime.date.today())

    def lookup(self, kid: bytes) -> Key | None:
        """Return the accepted key of this id, if there is one."""
        return self._ring.lookup(kid, datetime.date.today())

    def reload_if_changed(self) -> bool:
        """Read the file again if it has changed. Return whether the keys may have changed."""
        return self._file is not None and self._file.changed() and self.reload()

    def reload(self) -> bool:
        """Read the file again. Return whether that worked."""
        if self._file is None:
            return False
        try:
            keys = self._file.reload()
        except KeyFileError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.error("the keys stay as they were: %s", error)
            return False
        self._trouble = ""
        self._keys, self._ring = keys, KeyRing(keys)
        _log.info("keys read: %s", ", ".join(key.label for key in keys) or "none")
        return True
