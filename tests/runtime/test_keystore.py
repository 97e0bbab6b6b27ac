"""The key file on a real file system: threat row 9 as a matrix, races, edits, reloads."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppnext.errors import KeyFileError, WeakSecretError
from ppnext.runtime import keystore
from ppnext.runtime.keystore import KeyFile, append, create, find_key_file, load, revoke
from ppnext.wire.keys import MAX_FILE_BYTES, MAX_FILE_LINES, Key

STRANGER = 65534

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes and owners")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a key file may be: in a directory of mode 0700."""
    directory = tmp_path / "ppnext"
    directory.mkdir(mode=0o700)
    return directory / "keys"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- where it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"HOME": "/h"}, "/h/.config/ppnext/keys"),
        ("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "/x/ppnext/keys"),
        ("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "x"}, "/h/.config/ppnext/keys"),
        ("linux", {"HOME": "/h", "XDG_CONFIG_HOME": ""}, "/h/.config/ppnext/keys"),
        ("freebsd14", {"HOME": "/h"}, "/h/.config/ppnext/keys"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/ppnext/keys"),
        ("win32", {"HOME": "/h", "LOCALAPPDATA": "/l"}, "/l/ppnext/keys"),
        ("win32", {"HOME": "/h"}, "/h/AppData/Local/ppnext/keys"),
    ],
)
def test_default_path(platform: str, environ: dict[str, str], expected: str) -> None:
    assert keystore.default_path(environ, platform) == Path(expected)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a user need not be known")
@pytest.mark.parametrize(
    ("option", "environ"),
    [("~no-such-user/keys", {}), (None, {"PPNEXT_KEY_FILE": "~no-such-user/keys"})],
)
def test_a_home_that_nobody_knows(option: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(KeyFileError, match="not known where the home folder .*; set HOME, or name"):
        keystore.find_key_file(option, environ)


def test_default_path_without_home() -> None:
    assert keystore.default_path({}, "linux") == Path.home() / ".config/ppnext/keys"


def test_precedence(tmp_path: Path) -> None:
    (tmp_path / "ppnext.key").touch()
    environ = {
        "HOME": "/h",
        "PPNEXT_KEY_FILE": "/named/keys",
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    assert find_key_file("given", environ, "linux") == Path("given")
    assert find_key_file(None, environ, "linux") == Path("/named/keys")
    environ["PPNEXT_KEY_FILE"] = ""
    assert find_key_file(None, environ, "linux") == tmp_path / "ppnext.key"
    (tmp_path / "ppnext.key").unlink()  # a service with other credentials
    assert find_key_file(None, environ, "linux") == Path("/h/.config/ppnext/keys")


def test_a_named_file_is_never_passed_over(tmp_path: Path) -> None:
    environ = {"PPNEXT_KEY_FILE": str(tmp_path / "gone"), "HOME": str(tmp_path)}
    create(keystore.default_path(environ, "linux"), "lab")
    with pytest.raises(KeyFileError, match=r"gone.*ppserver --new-key"):
        load(find_key_file(None, environ, "linux"))


# --- making it ----------------------------------------------------------------------------------


@posix
def test_create_makes_a_private_file_in_a_private_directory(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = tmp_path / "new" / "ppnext" / "keys"
        key = create(path, "lab")
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert path.parent.stat().st_nlink == 2
    assert os.listdir(path.parent) == ["keys"]
    assert load(path) == [key]
    assert key.name == "lab"


def test_create_gives_every_key_its_own_bytes(tmp_path: Path) -> None:
    keys = [keystore.generate("lab") for _ in range(1000)]
    assert len({key.kid for key in keys}) == len({key.secret for key in keys}) == 1000


def test_create_keeps_what_is_there(path: Path) -> None:
    first = create(path, "first")
    assert create(path, "second") == first
    assert load(path) == [first]


def test_create_refuses_an_empty_file(path: Path) -> None:
    path.write_text("# keys go here\n")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"holds no key.*--new-key"):
        create(path, "lab")


@posix
def test_create_refuses_an_open_directory(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(KeyFileError, match="chmod go-w"):
        create(path, "lab")
    assert os.listdir(path.parent) == []


@posix
def test_create_does_not_write_through_a_dangling_link(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        create(path, "lab")
    assert not (tmp_path / "elsewhere").exists()


def test_create_where_it_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match="cannot be used"):
        create(tmp_path / "file" / "keys", "lab")


def test_racing_creators_agree(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda number: create(path, f"key{number}"), range(32)))
    assert {key.kid for key in keys} == {load(path)[0].kid}
    assert os.listdir(path.parent) == ["keys"]


def test_loser_of_the_race_reads_the_winners_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The moment between looking and linking, which no test can hit by luck.
    winner = create(path, "winner")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    assert create(path, "loser") == winner
    assert os.listdir(path.parent) == ["keys"]


# --- row 9: when it is trusted ------------------------------------------------------------------


def with_mode(value: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(value)


def with_directory_mode(value: int) -> Callable[[Path], None]:
    return lambda path: path.parent.chmod(value)


def owned_by_a_stranger(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER)


def a_strangers_link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def a_link_into_an_open_directory(path: Path) -> None:
    target = path.parent.parent / "open"
    target.mkdir()
    path.rename(target / "target")
    target.chmod(0o777)
    path.symlink_to(target / "target")


def a_link_to_a_loose_file(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.with_name("target").chmod(0o644)
    path.symlink_to("target")


def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def a_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def huge(path: Path) -> None:
    with path.open("a") as file:
        file.write("#" * MAX_FILE_BYTES)


def not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def gone(path: Path) -> None:
    path.unlink()


@posix
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_mode(0o644), r"mode 0644\); run: chmod 600 "),
        (with_mode(0o640), r"mode 0640\); run: chmod 600 "),
        (with_mode(0o604), r"mode 0604\); run: chmod 600 "),
        (with_mode(0o660), r"mode 0660\); run: chmod 600 "),
        (with_mode(0o601), r"mode 0601\); run: chmod 600 "),
        (with_directory_mode(0o777), "run: chmod go-w "),
        (with_directory_mode(0o770), "run: chmod go-w "),
        (with_directory_mode(0o702), "run: chmod go-w "),
        pytest.param(owned_by_a_stranger, "run: sudo chown 0 ", marks=as_root),
        pytest.param(a_strangers_link, "symbolic link made by user 65534", marks=as_root),
        (a_link_into_an_open_directory, "run: chmod go-w "),
        (a_link_to_a_loose_file, r"mode 0644\); run: chmod 600 "),
        (a_link_to_itself, "cannot be used"),
        (a_fifo, "not a regular file"),
        (a_directory, "not a regular file"),
        (a_device, "not a regular file"),
        (a_socket, "cannot be used"),
        (huge, "larger than 65536 bytes"),
        (not_text, "not text"),
        (gone, "there is no key file .*ppserver --new-key"),
    ],
)
def test_row_9_unsafe_files_are_refused(
    path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    create(path, "lab")
    spoil(path)
    with pytest.raises(KeyFileError, match=message):
        load(path)


def own_link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")


@posix
@pytest.mark.parametrize(
    "change", [with_mode(0o600), with_mode(0o400), with_directory_mode(0o1777), own_link]
)
def test_row_9_safe_files_are_read(path: Path, change: Callable[[Path], None]) -> None:
    key = create(path, "lab")
    change(path)
    assert load(path) == [key]


@posix
def test_the_advice_can_be_pasted(tmp_path: Path) -> None:
    directory = tmp_path / "it's mine"
    key = create(directory / "keys", "lab")
    (directory / "keys").chmod(0o644)
    with pytest.raises(KeyFileError) as caught:
        load(directory / "keys")
    subprocess.run(str(caught.value).partition("run: ")[2], shell=True, check=True)
    assert load(directory / "keys") == [key]


@posix
def test_a_refused_file_leaves_no_descriptor_open(path: Path) -> None:
    create(path, "lab")
    path.chmod(0o644)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    for attempt in (load, lambda p: revoke(p, "00")):
        with pytest.raises(KeyFileError):
            attempt(path)
    again = os.open(os.devnull, os.O_RDONLY)
    os.close(again)
    assert again == probe


# --- changing it --------------------------------------------------------------------------------


def test_append_and_revoke(path: Path) -> None:
    first, second, third = (keystore.generate(name) for name in ("one", "two", "three"))
    append(path, first)
    append(path, second)
    append(path, third)
    assert load(path) == [first, second, third]
    assert revoke(path, second.kid.hex()[:12].upper()) == second
    assert load(path) == [first, third]
    if os.name == "posix":
        assert mode(path) == 0o600
    assert os.listdir(path.parent) == ["keys"]


def test_edits_keep_comments_and_mend_a_missing_newline(path: Path) -> None:
    first, second = keystore.generate("one"), keystore.generate("two")
    path.write_text(f"# the lab\n#{first.line()}\n  {first.line()}")
    path.chmod(0o600)
    append(path, second)
    assert path.read_text() == f"# the lab\n#{first.line()}\n  {first.line()}\n{second.line()}\n"
    revoke(path, first.kid.hex())
    assert path.read_text() == f"# the lab\n#{first.line()}\n{second.line()}\n"
    revoke(path, second.kid.hex())
    assert load(path) == []


def test_append_refuses_a_double_and_a_full_file(path: Path) -> None:
    key = create(path, "lab")
    with pytest.raises(KeyFileError, match="occurs twice"):
        append(path, key)
    with path.open("a") as file:
        file.write("#\n" * (MAX_FILE_LINES - 1))
    before = path.read_text()
    with pytest.raises(KeyFileError, match="at most 64 lines"):
        append(path, keystore.generate("more"))
    assert path.read_text() == before


def test_append_to_an_empty_file(path: Path) -> None:
    path.touch(mode=0o600)
    key = keystore.generate("lab")
    append(path, key)
    assert load(path) == [key]


@posix
def test_edits_go_through_a_link(path: Path) -> None:
    create(path, "lab")
    own_link(path)
    key = keystore.generate("more")
    append(path, key)
    assert path.is_symlink()
    assert load(path)[1:] == [key]


@posix
def test_edits_refuse_an_unsafe_file(path: Path) -> None:
    key = create(path, "lab")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        append(path, keystore.generate("more"))
    with pytest.raises(KeyFileError, match="chmod 600"):
        revoke(path, key.kid.hex())


@pytest.mark.parametrize("prefix", ["", "zz", "0", "01"])
def test_revoke_needs_one_key(path: Path, prefix: str) -> None:
    secret = bytes(range(100, 132))
    keys = [Key(bytes([1, number]) * 8, secret, f"key{number}") for number in (1, 2)]
    for key in keys:
        append(path, key)
    with pytest.raises(KeyFileError, match=r"fits [02] keys.*key1/01010101, key2/01020102"):
        revoke(path, prefix)
    assert load(path) == keys


@posix
def test_racing_edits_lose_nothing(path: Path) -> None:
    keep, drop = ([keystore.generate(f"{kind}{n}") for n in range(12)] for kind in ("k", "d"))
    for key in drop:
        append(path, key)
    with ThreadPoolExecutor(8) as pool:
        added = [pool.submit(append, path, key) for key in keep]
        revoked = [pool.submit(revoke, path, key.kid.hex()) for key in drop]
        assert [job.result(timeout=60) for job in added] == [None] * 12
        assert [job.result(timeout=60) for job in revoked] == drop
    assert {key.kid for key in load(path)} == {key.kid for key in keep}


# --- other sources ------------------------------------------------------------------------------


def pipe_with(data: bytes) -> int:
    reader, writer = os.pipe()
    with open(writer, "wb") as file:
        file.write(data)
    return reader


def test_from_fd_reads_to_the_end_and_closes() -> None:
    key = keystore.generate("lab")
    fd = pipe_with(key.line().encode() + b"\n")
    assert keystore.from_fd(fd) == [key]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_from_fd_refuses(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no key in it"):
        keystore.from_fd(pipe_with(b""))
    with pytest.raises(WeakSecretError, match="--new-key"):
        keystore.from_fd(pipe_with(b"password"))
    with (tmp_path / "huge").open("wb+") as file:
        file.write(b"#" * (MAX_FILE_BYTES + 1))
        file.seek(0)
        with pytest.raises(KeyFileError, match="more than 65536 bytes"):
            keystore.from_fd(os.dup(file.fileno()))
    fd = pipe_with(b"")
    os.close(fd)
    with pytest.raises(KeyFileError, match="Bad file descriptor"):
        keystore.from_fd(fd)


def test_row_10_the_environment_is_emptied() -> None:
    key = keystore.generate("lab")
    environ = {"PPNEXT_KEY": key.line(), "OTHER": "stays"}
    assert keystore.from_environ(environ) == [key]
    assert environ == {"OTHER": "stays"}
    assert keystore.from_environ(environ) is None
    environ["PPNEXT_KEY"] = "password"
    with pytest.raises(WeakSecretError, match="PPNEXT_KEY, line 1"):
        keystore.from_environ(environ)
    assert environ == {"OTHER": "stays"}


def test_row_10_bytes_that_are_no_text_are_not_quoted() -> None:
    with pytest.raises(KeyFileError) as caught:
        keystore.from_fd(pipe_with(b"secret\xff"))
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)


# --- watching it --------------------------------------------------------------------------------


def test_key_file_notices_changes(path: Path) -> None:
    first = create(path, "one")
    watched = KeyFile(path)
    assert watched.changed()
    assert watched.reload() == [first]
    assert not watched.changed()
    second = keystore.generate("two")
    append(path, second)
    assert watched.changed()
    assert watched.reload() == [first, second]
    revoke(path, first.kid.hex())
    assert watched.changed()
    assert watched.reload() == [second]
    assert not watched.changed()


def test_key_file_notices_a_touch(path: Path) -> None:
    create(path, "one")
    watched = KeyFile(path)
    watched.reload()
    os.utime(path, ns=(0, 0))
    assert watched.changed()


@posix
def test_a_failed_reload_is_tried_again(path: Path) -> None:
    key = create(path, "one")
    watched = KeyFile(path)
    watched.reload()
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        watched.reload()
    assert watched.changed()
    path.chmod(0o600)
    assert watched.reload() == [key]
    assert not watched.changed()


def test_a_missing_file_has_changed(path: Path) -> None:
    create(path, "one")
    watched = KeyFile(path)
    watched.reload()
    path.unlink()
    assert watched.changed()
    with pytest.raises(KeyFileError, match="there is no key file"):
        watched.reload()


def test_importing_the_keystore_needs_no_network_stack() -> None:
    code = (
        "import sys, ppnext.runtime.keystore;"
        "network = {'ssl', 'socket', 'asyncio', 'cryptography', 'zeroconf'};"
        "sys.exit(bool(network & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
