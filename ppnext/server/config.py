"""Config: what the daemon is told, by options, by a TOML file, and by default.

Options win over the file, the file over the defaults. The file has the names of the long options
as keys, with ``_`` or ``-``; an unknown key is an error, not a typo that nobody notices.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ppnext.amounts import parse_amounts
from ppnext.errors import ConfigError
from ppnext.runtime import niceness
from ppnext.runtime.addresses import DEFAULT_PORT
from ppnext.runtime.cpus import usable_cpus

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Config", "merge", "read_file"]

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Config:
    """The daemon's settings.

    Attributes:
        listen: IP addresses to listen on; empty for the loopback.
        lan: listen on the laboratory's network as well.
        port: TCP port; 0 for any free one.
        workers: jobs to run at a time; 0 for as many as this process may use processors.
        announce: announce the daemon by mDNS.
        announce_on: addresses of the interfaces to announce it on; empty for those listened on.
        name: what the daemon calls itself.
        key_file: key file; empty for the user's own.
        key_fd: descriptor to read keys from instead; -1 for none.
        idle_exit: seconds without a client after which the daemon ends; None for never.
        socket_timeout: seconds of silence after which a client is given up, at most 60.
        nice: how much jobs give way to the other processes of the machine; 0 for not at all.
        polite: give slots back while others use the machine.
        polite_after: seconds after which a job that is suspended for that is run elsewhere.
        restart: start every job in a new worker process.
        resource: countable things that jobs may claim, such as "gpu=2".
        pid_file: file to write the process number to; empty for none.
        allow_root: accept to run as root on addresses other than the loopback.
        debug: log everything.
        format: format of log lines.
    """

    listen: tuple[str, ...] = ()
    lan: bool = False
    port: int = DEFAULT_PORT
    workers: int = 0
    announce: bool = False
    announce_on: tuple[str, ...] = ()
    name: str = ""
    key_file: str = ""
    key_fd: int = -1
    idle_exit: float | None = None
    socket_timeout: float = 3600.0
    nice: int = 10
    polite: bool = False
    polite_after: float = 60.0
    restart: bool = False
    resource: tuple[str, ...] = ()
    pid_file: str = ""
    allow_root: bool = False
    debug: bool = False
    format: str = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"

    @property
    def offers(self) -> tuple[tuple[str, int], ...]:
        """What jobs may claim, by name."""
        return parse_amounts("resource", self.resource)

    def completed(self) -> Config:
        """Return the same settings with what is to be found out filled in."""
        return replace(
            self,
            workers=self.workers or usable_cpus(),
            name=self.name or socket.gethostname()[:_LONGEST_NAME],
        )


def merge(base: Config, given: Mapping[str, object], source: str) -> Config:
    """Return ``base`` with other values for the settings that are given.

    Raises:
        ConfigError: a setting is unknown or its value is wrong; the message names ``source``.
    """
    known = {field.name: getattr(Config(), field.name) for field in fields(Config)}
    values: dict[str, object] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ConfigError(f"{source}: unknown setting {key!r}; known: {', '.join(known)}")
        if name in values:
            raise ConfigError(f"{source}: {name} is given twice, with '_' and with '-'")
        values[name] = _checked(name, value, known[name], source)
    return replace(base, **values)  # type: ignore[arg-type]  # each value was checked


def _checked(name: str, value: object, default: object, source: str) -> object:
    if isinstance(default, tuple):
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(it, str) for it in items):
            what = "amounts such as 'gpu=2'" if name == "resource" else "addresses"
            raise ConfigError(f"{source}: {name} must be a list of {what}, not {value!r}")
        if name == "resource":
            _check_amounts(items, source)
        return tuple(items)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{source}: {name} must be true or false, not {value!r}")
        return value
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ConfigError(f"{source}: {name} must be a string, not {value!r}")
        if name == "name" and len(value) > _LONGEST_NAME:
            raise ConfigError(f"{source}: name has more than {_LONGEST_NAME} characters")
        if name == "format":
            _check_format(value, source)
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{source}: {name} must be a number, not {value!r}")
    if isinstance(default, int) and not isinstance(value, int):
        raise ConfigError(f"{source}: {name} must be a whole number, not {value!r}")
    _check_range(name, value, source)
    return value if isinstance(default, int) else float(value)


def _check_amounts(given: Sequence[str], source: str) -> None:
    try:
        parse_amounts("resource", given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from None


def _check_format(given: str, source: str) -> None:
    try:
        logging.Formatter(given).format(logging.makeLogRecord({}))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: format must be one of logging's: {error}") from None


def _check_range(name: str, value: float, source: str) -> None:
    ranges: dict[str, tuple[float, float]] = {
        "port": (0, 65535),
        "workers": (0, 4096),
        "nice": (0, niceness.MOST),
        "polite_after": (0, 1e9),
        "key_fd": (-1, 1 << 20),
        "idle_exit": (0.001, 1e9),
        "socket_timeout": (0.001, 1e9),
    }
    low, high = ranges[name]
    if not low <= value <= high:
        raise ConfigError(f"{source}: {name} must be from {low:g} to {high:g}, not {value}")


def read_file(path: str) -> dict[str, object]:
    """Return the settings in a TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"the config file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config file {path} is not TOML: {error}") from error
