"""Keyring: the accepted keys follow their file, and survive its troubles."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from ppnext.runtime import keystore
from ppnext.runtime.keystore import KeyFile
from ppnext.server.keyring import AcceptedKeys
from ppnext.wire.keys import Key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def first(path: Path) -> Key:
    return keystore.create(path, "first")


@pytest.fixture
def accepted(path: Path, first: Key) -> AcceptedKeys:
    file = KeyFile(path)
    return AcceptedKeys(file.reload(), file)


def test_a_new_key_is_accepted_when_the_file_has_changed(
    path: Path, first: Key, accepted: AcceptedKeys
) -> None:
    assert not accepted.reload_if_changed()
    second = keystore.generate("second")
    keystore.append(path, second)
    assert accepted.lookup(second.kid) is None
    assert accepted.reload_if_changed()
    assert accepted.lookup(second.kid) == second
    assert accepted.lookup(first.kid) == first
    assert not accepted.reload_if_changed()


def test_a_revoked_key_is_not_accepted(path: Path, first: Key, accepted: AcceptedKeys) -> None:
    keystore.append(path, keystore.generate("second"))
    keystore.revoke(path, first.kid.hex())
    assert accepted.reload()
    assert accepted.lookup(first.kid) is None


def test_an_expired_key_is_not_accepted(path: Path, first: Key) -> None:
    yesterday = datetime.date.today() - datetime.timedelta(days=1)
    old = replace(keystore.generate("old"), expires=yesterday)
    accepted = AcceptedKeys([first, old], None)
    assert accepted.lookup(old.kid) is None
    assert accepted.usable == [first]


@pytest.mark.parametrize("trouble", ["loose", "gone", "malformed"])
def test_a_file_in_trouble_changes_nothing_and_is_one_line(
    path: Path, first: Key, accepted: AcceptedKeys, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = path.read_text()
    if trouble == "loose":
        path.chmod(0o644)
        path.write_text(text + "# changed\n")
    elif trouble == "gone":
        path.unlink()
    else:
        path.write_text("no key\n")
    for _ in range(3):
        assert not accepted.reload_if_changed()
    assert accepted.lookup(first.kid) == first
    assert caplog.text.count("the keys stay as they were") == 1
    path.unlink(missing_ok=True)
    keystore.append(path, keystore.generate("second"))
    assert accepted.reload_if_changed()
    assert accepted.lookup(first.kid) is None


def test_keys_without_a_file_stay(first: Key) -> None:
    accepted = AcceptedKeys([first], None)
    assert not accepted.reload_if_changed()
    assert not accepted.reload()
    assert accepted.lookup(first.kid) == first
