"""Config: options over file over defaults, and an error for whatever is wrong."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from ppnext.errors import ConfigError
from ppnext.runtime.addresses import DEFAULT_PORT
from ppnext.runtime.cpus import usable_cpus
from ppnext.server.config import Config, merge, read_file


def test_the_defaults_are_safe() -> None:
    config = Config()
    assert (config.listen, config.lan, config.announce, config.allow_root) == (
        (),
        False,
        False,
        False,
    )
    assert config.port == DEFAULT_PORT == 60000


def test_what_is_missing_is_found_out() -> None:
    config = Config().completed()
    assert config.workers == usable_cpus()
    assert config.name
    kept = Config(workers=3, name="here").completed()
    assert (kept.workers, kept.name) == (3, "here")


def test_options_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "ppserver.toml"
    path.write_text('port = 1234\nworkers = 3\nannounce-on = ["127.0.0.1"]\nidle_exit = 5\n')
    from_file = merge(Config(), read_file(str(path)), str(path))
    config = merge(from_file, {"workers": 4}, "ppserver")
    assert (config.port, config.workers, config.name) == (1234, 4, "")
    assert config.announce_on == ("127.0.0.1",)
    assert config.idle_exit == 5.0


def test_every_setting_can_stand_in_the_file(tmp_path: Path) -> None:
    values = {
        "listen": '["127.0.0.1", "::1"]', "lan": "true", "port": "0", "workers": "2",
        "nice": "5", "polite": "true", "polite_after": "30",
        "announce": "true", "announce_on": '"127.0.0.1"', "name": '"n"', "key_file": '"k"',
        "key_fd": "3", "idle_exit": "1.5", "socket_timeout": "10", "restart": "true",
        "pid_file": '"p"', "allow_root": "true", "debug": "true", "format": '"%(message)s"',
        "resource": '["gpu=2", "licence"]',
    }  # fmt: skip
    assert set(values) == {field.name for field in fields(Config)}
    path = tmp_path / "all.toml"
    path.write_text("".join(f"{name} = {value}\n" for name, value in values.items()))
    config = merge(Config(), read_file(str(path)), str(path))
    assert config.listen == ("127.0.0.1", "::1")
    assert config.socket_timeout == 10.0
    assert config.offers == (("gpu", 2), ("licence", 1))
    changed = [
        f.name for f in fields(Config) if getattr(config, f.name) != getattr(Config(), f.name)
    ]
    assert changed == [field.name for field in fields(Config)]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"prot": 1}, "unknown setting 'prot'; known: listen"),
        ({"port": "60000"}, "port must be a number, not '60000'"),
        ({"port": 1.5}, "port must be a whole number, not 1.5"),
        ({"port": True}, "port must be a number, not True"),
        ({"port": 70000}, "port must be from 0 to 65535, not 70000"),
        ({"port": -1}, "port must be from 0"),
        ({"workers": -1}, "workers must be from 0"),
        ({"nice": 20}, "nice must be from 0 to 19, not 20"),
        ({"polite_after": -1}, "polite_after must be from 0"),
        ({"idle_exit": 0}, "idle_exit must be from 0.001"),
        ({"socket_timeout": float("nan")}, "socket_timeout must be from"),
        ({"lan": "yes"}, "lan must be true or false, not 'yes'"),
        ({"name": 5}, "name must be a string, not 5"),
        ({"listen": 5}, "listen must be a list of addresses, not 5"),
        ({"listen": [5]}, "listen must be a list of addresses"),
        ({"resource": 5}, "resource must be a list of amounts such as 'gpu=2', not 5"),
        ({"resource": ["gpu=0"]}, "resource: gpu must be 1 or more, not 0"),
        ({"resource": "gpu=many"}, "resource: gpu must be a whole number, not 'many'"),
        ({"server": {"port": 1}}, "unknown setting 'server'"),
        ({"key-file": "a", "key_file": "b"}, "key_file is given twice"),
        ({"name": "n" * 201}, "name has more than 200 characters"),
        ({"format": "%"}, "format must be one of logging's: "),
        ({"format": "%(mesage)s"}, "format must be one of logging's: "),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_with_its_source(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge(Config(), given, "lab.toml")
    assert str(caught.value).startswith(f"lab.toml: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"port: 5", b"\xff\xfe", b'port = "'], ids=str)
def test_a_file_that_is_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.toml is not TOML"):
        read_file(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_file(str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_file(str(tmp_path))
