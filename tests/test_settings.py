"""Where settings come from: the caller, the environment, files; in this order."""

from __future__ import annotations

import os

import pytest

from ppnext.errors import ConfigError, KeyFileError
from ppnext.network import client_key, network_settings
from ppnext.runtime import keystore
from ppnext.runtime.addresses import Address
from ppnext.runtime.cpus import usable_cpus
from ppnext.settings import check_ncpus, check_proto

VARIABLES = (
    "PPNEXT_SERVERS",
    "PPNEXT_SERVERS_FILE",
    "PPNEXT_INTERFACES",
    "PPNEXT_KEY",
    "PPNEXT_KEY_FILE",
)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ppnext.network._taken", [])


def test_autodetect_is_what_may_be_used():
    assert check_ncpus("autodetect") == usable_cpus()


@pytest.mark.parametrize("number", [0, 1, 4096])
def test_numbers_of_workers(number):
    assert check_ncpus(number) == number


@pytest.mark.parametrize("number", [2, 5])
def test_protocols(number):
    assert check_proto(number) == number


def test_nothing_is_no_network():
    assert not network_settings((), None)


def test_names_and_patterns_are_told_apart():
    network = network_settings(("node1", "node2:7000", "[::1]:7001", "*"), ["127.0.0.1"])
    assert network
    assert network.servers == [
        Address("node1", 60000),
        Address("node2", 7000),
        Address("::1", 7001),
    ]
    assert len(network.wildcards) == 1
    assert network.interfaces == ["127.0.0.1"]


def test_the_environment_counts_if_the_caller_names_no_server(monkeypatch):
    monkeypatch.setenv("PPNEXT_SERVERS", "node1, node2:7000")
    assert [it.host for it in network_settings((), None).servers] == ["node1", "node2"]
    assert [it.host for it in network_settings(("other",), None).servers] == ["other"]


def test_a_servers_file_counts_if_nothing_else_names_one(monkeypatch, tmp_path):
    file = tmp_path / "servers"
    file.write_text("# the lab\nnode1\nnode2:7000  # the big one\n\n")
    monkeypatch.setenv("PPNEXT_SERVERS_FILE", str(file))
    assert [it.host for it in network_settings((), None).servers] == ["node1", "node2"]
    monkeypatch.setenv("PPNEXT_SERVERS", "other")
    assert [it.host for it in network_settings((), None).servers] == ["other"]


def test_a_malformed_name_says_where_it_was_read(monkeypatch, tmp_path):
    file = tmp_path / "servers"
    file.write_text("node1\nnode2:x\n")
    monkeypatch.setenv("PPNEXT_SERVERS_FILE", str(file))
    with pytest.raises(ConfigError, match=r"servers.*node2:x|node2:x.*servers"):
        network_settings((), None)
    monkeypatch.setenv("PPNEXT_SERVERS", "a:b:c:d:e:x")
    with pytest.raises(ConfigError, match="PPNEXT_SERVERS"):
        network_settings((), None)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_servers_file_that_cannot_be_read_is_an_error(monkeypatch, tmp_path, content):
    file = tmp_path / "servers"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("PPNEXT_SERVERS_FILE", str(file))
    with pytest.raises(ConfigError, match=f"{file}, named by PPNEXT_SERVERS_FILE, cannot be read"):
        network_settings((), None)


def test_interfaces_of_the_environment(monkeypatch):
    monkeypatch.setenv("PPNEXT_INTERFACES", "127.0.0.1, 10.0.0.5 fe80::1%2")
    wanted = ["127.0.0.1", "10.0.0.5", "fe80::1%2"]
    assert network_settings(("*",), None).interfaces == wanted
    assert network_settings(("*",), "::1").interfaces == ["::1"]


def test_an_interface_is_an_ip_address(monkeypatch):
    monkeypatch.setenv("PPNEXT_INTERFACES", "eth0")
    with pytest.raises(ConfigError, match="IP address.*'eth0'"):
        network_settings(("*",), None)


# Keys.


def test_the_key_of_a_file(key_file):
    assert client_key(None, key_file) == keystore.load(key_file)[0]


def test_a_secret_wins_over_everything(key_file, tmp_path, monkeypatch):
    other = keystore.create(tmp_path / "other", "other")
    monkeypatch.setenv("PPNEXT_KEY_FILE", str(key_file))
    assert client_key(other.line(), key_file) == other


def test_the_environment_may_hold_the_key_itself(key_file, tmp_path, monkeypatch):
    other = keystore.create(tmp_path / "other", "other")
    monkeypatch.setenv("PPNEXT_KEY", other.line())
    assert client_key(None, None) == other
    assert client_key(None, key_file) == keystore.load(key_file)[0]


def test_a_key_in_the_environment_is_hidden_from_children_and_not_forgotten(
    key_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("PPNEXT_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(KeyFileError):
        client_key(None, None)
    key = keystore.load(key_file)[0]
    monkeypatch.setenv("PPNEXT_KEY", key.line())
    for _ in range(2):
        assert client_key(None, None) == key
        assert "PPNEXT_KEY" not in os.environ


def test_a_named_file_that_is_missing_is_never_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("PPNEXT_KEY_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    keystore.create(keystore.default_path({"HOME": str(tmp_path)}), "home")
    with pytest.raises(KeyFileError, match="none"):
        client_key(None, None)


def test_an_empty_key_file_has_no_key_to_use(key_file):
    key_file.write_text("# nothing\n")
    with pytest.raises(KeyFileError, match="ppserver --new-key"):
        client_key(None, key_file)
