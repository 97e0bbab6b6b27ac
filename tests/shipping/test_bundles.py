"""Bundles: files as bytes, named by their content, and what is refused of them."""

from __future__ import annotations

import os
from hashlib import sha256

import msgspec
import pytest

from ppnext.shipping.bundles import SourceFile, pack
from ppnext.shipping.contents import FILE_LIMIT, FILES_LIMIT, Contents, is_normal

SOURCE = b"def double(x):\n    return 2 * x\n" * 40


def sources(folder: str = "/home/ann/lab") -> list[SourceFile]:
    return [
        SourceFile("pkg/__init__.py", folder, b""),
        SourceFile("pkg/deep/table.csv", folder, b"1,2\n"),
        SourceFile("pkg/work.py", folder, SOURCE),
    ]


def form(*files: object, name: str = "pkg", folders: tuple[str, ...] = ("/a",)) -> bytes:
    return msgspec.msgpack.encode([1, name, "/", list(folders), list(files)])


def one(path: str = "pkg/a.py", folder: int = 0, size: int = 1, packed: bool = False) -> list:
    return [path, folder, size, packed, b"x"]


def test_a_bundle_is_named_by_its_bytes() -> None:
    bundle = pack("pkg", sources())
    assert bundle.digest == sha256(bundle.payload).digest()
    assert (bundle.name, bundle.files, bundle.size) == ("pkg", 3, len(SOURCE) + 4)


def test_the_same_files_make_the_same_bytes_in_any_order() -> None:
    assert pack("pkg", sources()).payload == pack("pkg", reversed(sources())).payload


def test_another_folder_or_content_makes_another_bundle() -> None:
    changed = [*sources()[:2], SourceFile("pkg/work.py", "/home/ann/lab", SOURCE + b"\n")]
    digests = {pack("pkg", it).digest for it in (sources(), sources("/home/bob"), changed)}
    assert len(digests) == 3


def test_the_files_come_out_as_they_went_in() -> None:
    contents = Contents(pack("pkg", sources()).payload)
    assert contents.name == "pkg"
    assert {path: contents.read(path) for path in contents.files} == {
        file.path: file.data for file in sources()
    }
    assert contents.folders["pkg"] == {"__init__.py", "deep", "work.py"}
    assert contents.folders["pkg/deep"] == {"table.csv"}


def test_sources_are_deflated_and_noise_is_not() -> None:
    noise = os.urandom(100_000)
    packed = pack("pkg", [*sources(), SourceFile("pkg/noise.bin", "/a", noise)])
    assert len(noise) < len(packed.payload) < len(noise) + len(SOURCE) // 2
    assert Contents(packed.payload).read("pkg/noise.bin") == noise


@pytest.mark.parametrize(
    ("folder", "separator", "location"),
    [
        ("/home/ann", "/", "/home/ann/pkg/work.py"),
        ("/", "/", "/pkg/work.py"),
        ("C:\\lab", "\\", "C:\\lab\\pkg\\work.py"),
        ("C:\\", "\\", "C:\\pkg\\work.py"),
    ],
)
def test_locations_are_those_of_the_machine_that_it_came_from(
    folder: str, separator: str, location: str
) -> None:
    contents = Contents(pack("pkg", sources(folder), separator).payload)
    assert contents.location("pkg/work.py") == location
    assert contents.path_of(location) == "pkg/work.py"
    assert contents.path_of("elsewhere/pkg/work.py") is None


def test_each_portion_of_a_namespace_keeps_its_folder() -> None:
    files = [SourceFile("ns/a.py", "/one", b""), SourceFile("ns/b.py", "/two", b"")]
    contents = Contents(pack("ns", files).payload)
    assert contents.location("ns/a.py") == "/one/ns/a.py"
    assert contents.location("ns/b.py") == "/two/ns/b.py"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../pkg/a.py",
        "pkg/../../a.py",
        "pkg/./a.py",
        "pkg//a.py",
        "pkg/",
        "pkg",
        "",
        "other/a.py",
        "other.py",
        "pkg\\a.py",
        "pkg/c:a.py",
        "pkg/\0.py",
        "pkg/" + "a" * 1000,
        "x.dist-info/a/b",
    ],
)
def test_a_path_that_leaves_the_package_is_malformed(path: str) -> None:
    assert not is_normal(path, "pkg")
    with pytest.raises(ValueError, match="is no path in pkg"):
        Contents(form(one(path)))


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "cannot be decoded"),
        (b"\xc1\xff", "cannot be decoded"),
        (msgspec.msgpack.encode([1, "pkg"]), "cannot be decoded"),
        (msgspec.msgpack.encode([2, "pkg", "/", ["/a"], [one()]]), "form is 2"),
        (msgspec.msgpack.encode([1, "pkg", "::", ["/a"], [one()]]), "not that of a module"),
        (form(one(), name="../x"), "not that of a module"),
        (form(), "0 files"),
        (form(*[one(f"pkg/{n}.py") for n in range(FILES_LIMIT + 1)]), "2001 files"),
        (form(one(), one()), "same path"),
        (form(one("pkg/a"), one("pkg/a/b")), "same path"),
        (form(one(folder=1)), "does not name"),
        (form(one(folder=-1)), "does not name"),
        (form(one(size=2)), "is wrong"),
        (form(one(size=-1, packed=True)), "is wrong"),
        (form(one(size=FILE_LIMIT + 1, packed=True)), "is wrong"),
        (form(*[one(f"pkg/{n}", size=FILE_LIMIT, packed=True) for n in range(5)]), "more than"),
    ],
)
def test_what_keeps_not_to_the_form_is_refused(payload: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Contents(payload)


def test_data_that_does_not_inflate_is_found_when_it_is_read() -> None:
    contents = Contents(form(["pkg/a.py", 0, 5, True, b"no zlib"]))
    with pytest.raises(ValueError, match="damaged"):
        contents.read("pkg/a.py")


def test_data_that_inflates_to_more_than_it_says_is_not_inflated_further() -> None:
    large = pack("pkg", [SourceFile("pkg/a.py", "/a", b"x" * 1_000_000)]).payload
    raw = msgspec.msgpack.decode(large)
    raw[4][0][2] = 10
    with pytest.raises(ValueError, match="not as long"):
        Contents(msgspec.msgpack.encode(raw)).read("pkg/a.py")
