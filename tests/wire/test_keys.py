"""Keys: round trips, and everything that is refused in place of a key (threat rows 8 and 10)."""

from __future__ import annotations

import base64
import contextlib
import copy
import datetime
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppnext.errors import ConfigError, KeyFileError, WeakSecretError
from ppnext.wire.keys import (
    MAX_FILE_BYTES,
    MAX_FILE_LINES,
    Key,
    KeyRing,
    new_key,
    parse_key_line,
    parse_keys,
    usable,
)

SECRET = bytes(range(100, 132))
KID = bytes(range(16))
TODAY = datetime.date(2026, 5, 17)
DAY = datetime.timedelta(days=1)
KEY = Key(KID, SECRET, "lab")
SECRET_FORMS = (
    SECRET.hex(),
    base64.urlsafe_b64encode(SECRET).decode().rstrip("="),
    repr(SECRET)[2:-1],
    repr(list(SECRET))[1:-1],
)


def other_key(number: int, expires: datetime.date | None = None) -> Key:
    return Key(bytes([number]) * 16, SECRET, f"key{number}", expires)


def encoded(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


def test_line_is_the_documented_one() -> None:
    assert KEY.line() == f"ppnext-key-v1 {KID.hex()} {encoded(SECRET)} lab"
    assert other_key(7, TODAY).line().endswith(" key7 expires=2026-05-17")


@given(
    st.binary(min_size=32, max_size=32).filter(lambda raw: len(set(raw)) >= 12 and max(raw) > 126),
    st.binary(min_size=16, max_size=16).filter(any),
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    st.none() | st.dates(),
)
def test_line_round_trip(
    secret: bytes, kid: bytes, name: str, expires: datetime.date | None
) -> None:
    key = Key(kid, secret, name, expires)
    assert parse_key_line(key.line()) == key
    assert parse_keys(f"# a comment\n\n  {key.line()}\r\n") == [key]


def test_new_key_and_label() -> None:
    assert new_key(SECRET, KID, "lab") == KEY
    assert KEY.label == "lab/00010203"


@pytest.mark.parametrize("kid", [b"", bytes(15), bytes(17), bytes(16)])
def test_malformed_kid(kid: bytes) -> None:
    with pytest.raises(ConfigError, match="key id"):
        new_key(SECRET, kid, "lab")


@pytest.mark.parametrize("name", ["", "my lab", "a" * 65, "lab\n", "läb", "../keys"])
def test_malformed_name(name: str) -> None:
    with pytest.raises(ConfigError, match="key name"):
        new_key(SECRET, KID, name)


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        bytes(31),
        SECRET[:31],
        SECRET + b"x",
        bytes(32),
        b"\xff" * 32,
        bytes(range(8)) * 4,
        b"correct horse battery staple 123",
        b"0123456789abcdef0123456789ABCDEF",
    ],
)
def test_row_8_weak_bytes_are_refused(secret: bytes) -> None:
    with pytest.raises(WeakSecretError, match="ppserver --new-key"):
        new_key(secret, KID, "lab")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "password",
        "epo20pdosl;dksldkmm",  # the default secret of Parallel Python
        "ppnext-key-v1",
        "ppnext-key-v2 " + KEY.line().split(" ", 1)[1],
        KEY.line().rsplit(" ", 1)[0],
        KEY.line() + " expires=2026-05-17 more",
        KEY.line() + " expires=2026-02-30",
        KEY.line() + " expires=20260517",
        KEY.line() + " until=2026-05-17",
        KEY.line().replace("00010203", "0001020"),
        KEY.line().replace("0c0d0e0f", "0C0D0E0F"),
        KEY.line().replace(KID.hex(), "0" * 32),
        KEY.line().replace(encoded(SECRET), encoded(SECRET)[:-1]),
        KEY.line().replace(encoded(SECRET), encoded(SECRET)[:-1] + "="),
        KEY.line().replace(encoded(SECRET), encoded(SECRET)[:-1] + "+"),
        KEY.line().replace(encoded(SECRET), encoded(SECRET)[:-1] + "5"),  # not canonical
        KEY.line().replace(encoded(SECRET), encoded(bytes(32))),
        KEY.line().replace(" lab", " läb"),
        KEY.line().replace(" lab", " " + "a" * 65),
    ],
)
def test_row_8_only_a_generated_line_is_a_secret(line: str) -> None:
    with pytest.raises(WeakSecretError, match="ppserver --new-key") as caught:
        parse_key_line(line)
    assert not line or len(line) < 20 or line not in str(caught.value)
    if line:
        with pytest.raises(WeakSecretError, match=r"^secret=, line 1: .*ppserver --new-key"):
            parse_keys(line, "secret=")


@given(st.text())
def test_any_text_is_keys_or_a_key_file_error(text: str) -> None:
    with contextlib.suppress(KeyFileError):
        assert parse_keys(text) == []


def test_empty_and_commented_files_have_no_keys() -> None:
    assert parse_keys("") == []
    assert parse_keys("# nothing\n\n   \n  # here\n") == []


def test_order_is_kept_and_the_source_named() -> None:
    lines = [other_key(number).line() for number in (3, 1, 2)]
    assert [key.name for key in parse_keys("\n".join(lines))] == ["key3", "key1", "key2"]
    with pytest.raises(WeakSecretError, match=r"^/etc/keys, line 2: "):
        parse_keys(lines[0] + "\nsecret\n", "/etc/keys")


def test_file_limits() -> None:
    lines = [other_key(number).line() for number in range(1, MAX_FILE_LINES + 1)]
    assert len(parse_keys("\n".join(lines) + "\n")) == MAX_FILE_LINES
    with pytest.raises(KeyFileError, match="at most 64 lines"):
        parse_keys("# one more\n" + "\n".join(lines))
    assert parse_keys("#" * MAX_FILE_BYTES) == []
    with pytest.raises(KeyFileError, match="65536 bytes"):
        parse_keys("#" * (MAX_FILE_BYTES + 1))


def test_a_kid_may_occur_once() -> None:
    twice = f"{KEY.line()}\n{KEY.line()}\n"
    with pytest.raises(KeyFileError, match="line 2: key id 00010203 occurs twice"):
        parse_keys(twice)


def test_expiry_includes_the_last_day() -> None:
    keys = [other_key(1), other_key(2, TODAY), other_key(3, TODAY - DAY)]
    assert [key.name for key in usable(keys, TODAY)] == ["key1", "key2"]
    assert [key.name for key in usable(keys, TODAY + DAY)] == ["key1"]


def test_ring_is_a_mapping_that_refuses_the_expired() -> None:
    keys = [other_key(1), other_key(2, TODAY)]
    ring = KeyRing(keys)
    assert dict(ring) == {key.kid: key for key in keys}
    assert len(ring) == 2
    assert ring.lookup(keys[1].kid, TODAY) is keys[1]
    assert ring.lookup(keys[1].kid, TODAY + DAY) is None
    assert ring.lookup(bytes(16), TODAY) is None
    assert repr(ring) == "<KeyRing key1/01010101, key2/02020202>"
    assert repr(KeyRing()) == "<KeyRing empty>"
    with pytest.raises(TypeError):
        ring[bytes(16)] = keys[0]  # type: ignore[index]  # it is frozen, which is tried


def test_row_10_no_text_form_shows_the_secret() -> None:
    key = Key(KID, SECRET, "lab", TODAY)
    shown = [repr(key), str(key), f"{key}", f"{key!r:>80}", repr([key]), repr(KeyRing([key]))]
    assert repr(key) == "<Key lab/00010203 until 2026-05-17, secret redacted>"
    for text in shown:
        assert not any(form in text for form in SECRET_FORMS)


def test_row_10_no_exception_shows_the_secret() -> None:
    word = encoded(SECRET)
    misplaced = [
        f"{word}",
        f"ppnext-key-v1 {word} {KID.hex()} lab",
        f"ppnext-key-v1 {KID.hex()} {word}",
        f"ppnext-key-v1 {KID.hex()} {word} lab {word}",
        f"ppnext-key-v1 {KID.hex()} {word} {word}=",
        f"ppnext-key-v1 {KID.hex()} {word} lab expires=2026-13-01",
        f"{KEY.line()}\n{KEY.line()}",
    ]
    for text in misplaced:
        with pytest.raises(KeyFileError) as caught:
            parse_keys(text)
        report = "".join(traceback.format_exception(caught.type, caught.value, None))
        assert not any(form in report for form in SECRET_FORMS), report
    with pytest.raises(WeakSecretError) as weak:
        new_key(SECRET + b"!", KID, "lab")
    assert not any(form in str(weak.value) for form in SECRET_FORMS)


def test_row_10_a_key_does_not_travel() -> None:
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            carry(KEY)


def test_a_key_is_frozen() -> None:
    with pytest.raises(AttributeError):
        KEY.name = "other"  # type: ignore[misc]  # it is frozen, which is tried
