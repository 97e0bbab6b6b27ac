"""Keys: what they are, how they are written down, and what is refused in their place.

A key is 32 random bytes with a random 16-byte key id (kid), a name for people, and optionally
the last day on which it is accepted. It is written as one line::

    ppnext-key-v1 <kid: 32 hex> <secret: 43 chars base64url> <name> [expires=YYYY-MM-DD]

A key file holds at most 64 lines and 64 KiB; empty lines and lines starting with ``#`` are
skipped. The kid is random and not derived from the secret, so that logging it verifies nothing.

The key is used unstretched, so a guessable one would be broken off-line. Hence the rule: only
a generated key is a key. Everything else, from a passphrase to 32 equal bytes, is a
:class:`~ppnext.errors.WeakSecretError` that names the command which makes a good one.

The secret leaves a :class:`Key` by two doors only, ``key.secret`` and ``key.line()``. No message
of an exception quotes the text it refuses: it may be a secret in the wrong place.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from ppnext.errors import ConfigError, KeyFileError, WeakSecretError

__all__ = [
    "KID_SIZE",
    "MAX_FILE_BYTES",
    "MAX_FILE_LINES",
    "SECRET_SIZE",
    "Key",
    "KeyRing",
    "new_key",
    "parse_key_line",
    "parse_keys",
    "usable",
]

KID_SIZE = 16
SECRET_SIZE = 32
MAX_FILE_LINES = 64
MAX_FILE_BYTES = 64 * 1024

_MAGIC = "ppnext-key-v1"
_ADVICE = "make a key with `ppserver --new-key`; no other secret is accepted"
_KID = re.compile(r"[0-9a-f]{32}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EXPIRES = re.compile(r"expires=([0-9]{4}-[0-9]{2}-[0-9]{2})")
_NO_KID = bytes(KID_SIZE)
# 32 random bytes have fewer different values than this about once in 10**25 keys.
_MIN_DISTINCT = 12


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One shared key. Its repr and str show the label, never the secret.

    Attributes:
        kid: the key id, 16 random bytes, never all zero; public.
        secret: the 32 bytes that both ends must know.
        name: 1 to 64 letters, digits, dots, underscores and hyphens, for people.
        expires: the last day on which the key is accepted, or None for no end.
    """

    kid: bytes
    secret: bytes
    name: str
    expires: datetime.date | None = None

    def __post_init__(self) -> None:
        if len(self.kid) != KID_SIZE or self.kid == _NO_KID:
            raise ConfigError(f"a key id is {KID_SIZE} random bytes, not all zero")
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                "a key name is 1 to 64 letters, digits, dots, underscores and hyphens"
            )
        _refuse_weak(self.secret)

    @property
    def label(self) -> str:
        """``name/kid8``: what logs and messages call this key."""
        return f"{self.name}/{self.kid.hex()[:8]}"

    def line(self) -> str:
        """The key as a line of a key file, secret included, without a newline."""
        secret = base64.urlsafe_b64encode(self.secret).decode("ascii").rstrip("=")
        words = [_MAGIC, self.kid.hex(), secret, self.name]
        if self.expires is not None:
            words.append(f"expires={self.expires.isoformat()}")
        return " ".join(words)

    def accepted_on(self, today: datetime.date) -> bool:
        """Whether the key has not expired by ``today``."""
        return self.expires is None or today <= self.expires

    def __repr__(self) -> str:
        until = "" if self.expires is None else f" until {self.expires.isoformat()}"
        return f"<Key {self.label}{until}, secret redacted>"

    def __reduce__(self) -> NoReturn:
        # A key that travels with a job would be readable by every job of that worker.
        raise TypeError("a ppnext key is never pickled or copied")


def new_key(secret: bytes, kid: bytes, name: str) -> Key:
    """Make a key from fresh random bytes.

    Args:
        secret: 32 bytes from a cryptographic source.
        kid: 16 bytes from a cryptographic source, independent of ``secret``.
        name: what people call the key.

    Raises:
        WeakSecretError: ``secret`` does not look like 32 random bytes.
        ConfigError: ``kid`` or ``name`` is malformed.
    """
    return Key(kid=kid, secret=secret, name=name)


def parse_key_line(line: str) -> Key:
    """Read one line made by :meth:`Key.line`.

    Raises:
        WeakSecretError: the line is anything else. The message does not quote it.
    """
    words = line.split()
    if not words or words[0] != _MAGIC:
        raise WeakSecretError(f"this is not a generated key (a `{_MAGIC}` line); {_ADVICE}")
    if len(words) not in (4, 5):
        raise WeakSecretError(f"a key line has 4 or 5 words, this has {len(words)}; {_ADVICE}")
    kid, secret, name = words[1:4]
    if not _KID.fullmatch(kid) or bytes.fromhex(kid) == _NO_KID:
        raise WeakSecretError(f"the key id is not 32 random lower-case hex digits; {_ADVICE}")
    if not _NAME.fullmatch(name):
        raise WeakSecretError(f"the key name is malformed; {_ADVICE}")
    expires = _parse_expires(words[4]) if len(words) == 5 else None
    return Key(bytes.fromhex(kid), _decode_secret(secret), name, expires)


def parse_keys(text: str, source: str = "key file") -> list[Key]:
    """Read the text of a key file.

    Args:
        text: the whole text.
        source: where it came from, for messages.

    Returns:
        The keys in file order, expired ones included; empty if there is no key in it.

    Raises:
        WeakSecretError: a line is not a generated key.
        KeyFileError: the text is too long, or one key id occurs twice.
    """
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MAX_FILE_LINES or len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES:
        raise KeyFileError(
            f"{source}: a key file has at most {MAX_FILE_LINES} lines and {MAX_FILE_BYTES} bytes;"
            " remove the keys that are no longer used"
        )
    found: dict[bytes, Key] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = parse_key_line(line)
        except WeakSecretError as exc:
            # The same error with its place; the first one has nothing to add as a cause.
            raise WeakSecretError(f"{source}, line {number}: {exc}") from None
        if key.kid in found:
            raise KeyFileError(
                f"{source}, line {number}: key id {key.kid.hex()[:8]} occurs twice;"
                " remove one of the two lines"
            )
        found[key.kid] = key
    return list(found.values())


def usable(keys: Iterable[Key], today: datetime.date) -> list[Key]:
    """Those of ``keys`` that have not expired by ``today``, in the same order."""
    return [key for key in keys if key.accepted_on(today)]


class KeyRing(Mapping[bytes, Key]):
    """The keys that a daemon accepts: a mapping from kid to key that never changes.

    A reload makes a new ring; sessions compare theirs with it.

    Args:
        keys: the keys; expired ones may be among them, :meth:`lookup` refuses those.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = {key.kid: key for key in keys}

    def lookup(self, kid: bytes, today: datetime.date) -> Key | None:
        """The key called ``kid`` if it is accepted on ``today``, else None."""
        key = self._keys.get(kid)
        return key if key is not None and key.accepted_on(today) else None

    def __getitem__(self, kid: bytes) -> Key:
        return self._keys[kid]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(key.label for key in self._keys.values()) or 'empty'}>"


def _refuse_weak(secret: bytes) -> None:
    if len(secret) != SECRET_SIZE:
        raise WeakSecretError(f"the secret is not {SECRET_SIZE} bytes long; {_ADVICE}")
    if len(set(secret)) < _MIN_DISTINCT:
        raise WeakSecretError(f"the secret repeats too few bytes to be random; {_ADVICE}")
    # Random bytes are all printable once in 10**13 keys; a passphrase always is.
    if all(0x20 <= byte < 0x7F for byte in secret):
        raise WeakSecretError(f"the secret is text, perhaps a passphrase; {_ADVICE}")


def _decode_secret(word: str) -> bytes:
    if _SECRET.fullmatch(word):
        secret = base64.urlsafe_b64decode(word + "=")
        # Two spellings of one secret would make a line ambiguous, so only the canonical one passes.
        if base64.urlsafe_b64encode(secret).decode("ascii") == word + "=":
            return secret
    raise WeakSecretError(f"the secret is not 43 characters of base64url; {_ADVICE}")


def _parse_expires(word: str) -> datetime.date:
    match = _EXPIRES.fullmatch(word)
    if match:
        try:
            return datetime.date.fromisoformat(match.group(1))
        except ValueError:
            pass  # no such day: refused below like any other malformed date
    raise WeakSecretError(f"the fifth word is not expires=YYYY-MM-DD; {_ADVICE}")
