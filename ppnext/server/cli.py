"""The ``ppserver`` command: options, key tools, and starting the daemon."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ppnext.errors import ConfigError, PpnextError
from ppnext.runtime import keystore, runfiles
from ppnext.runtime.addresses import Address
from ppnext.runtime.keystore import KeyFile
from ppnext.runtime.listener import listen
from ppnext.runtime.loop import new_loop
from ppnext.runtime.neighbours import Neighbours
from ppnext.runtime.processes import worker_environment
from ppnext.runtime.runfiles import RunFile
from ppnext.runtime.units import UnitFile
from ppnext.server import keytools
from ppnext.server.config import Config, merge, read_file
from ppnext.server.daemon import Daemon
from ppnext.server.draining import drain
from ppnext.server.interfaces import is_loopback, lan_addresses, loopback_addresses
from ppnext.server.keyring import AcceptedKeys
from ppnext.server.politeness import Politeness
from ppnext.server.yielding import Courtesy
from ppnext.version import VERSION

__all__ = ["main"]

_log = logging.getLogger("ppnext.server")

_NO_SECRET = (
    "a secret on the command line can be read by everybody on this machine (ps), so there is no "
    "-s; make a key with `ppserver --new-key` and copy it with `ppserver --export-key`"
)

_TOOLS = {"new_key", "list_keys", "export_key", "import_key", "revoke"}
"""Options that do something with the key file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit status: 0, 1 for trouble, 2 for wrong options."""
    options = _parser().parse_args(arguments)
    try:
        if options.secret is not None:
            raise ConfigError(_NO_SECRET)
        config = _config(options)
        told = _drain(options) or _use_keytools(options, config)
        if told is not None:
            print(told)
            return 0
        return _serve(config)
    except PpnextError as error:
        print(f"ppserver: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppserver",
        description="Run jobs for ppnext clients on other machines that hold the same key.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"ppserver {VERSION}")
    where = parser.add_argument_group("where")
    where.add_argument(
        "-i", "--listen", action="append", metavar="ADDRESS", help="listen on this IP address"
    )
    where.add_argument("--lan", action="store_true", help="listen on the laboratory's network")
    where.add_argument("-p", "--port", type=int, help="TCP port (60000); 0 for any free one")
    where.add_argument("-a", "--announce", action="store_true", help="announce by mDNS")
    where.add_argument(
        "--announce-on", action="append", metavar="ADDRESS", help="only on this interface"
    )
    where.add_argument("--name", help="what the daemon calls itself (the host's name)")
    what = parser.add_argument_group("what")
    what.add_argument("-w", "--workers", type=int, help="jobs at a time (all processors)")
    what.add_argument(
        "--resource", action="append", metavar="NAME=NUMBER", help="jobs may claim so many of these"
    )
    what.add_argument(
        "--nice", type=int, metavar="N", help="how much jobs give way to others, 0 to 19 (10)"
    )
    what.add_argument(
        "--polite", action="store_true", help="give slots back while others use the machine"
    )
    what.add_argument(
        "--polite-after",
        type=float,
        metavar="SECONDS",
        help="run jobs elsewhere that are suspended for so long (60)",
    )
    what.add_argument("-r", "--restart", action="store_true", help="a new process for each job")
    what.add_argument(
        "-t", "--idle-exit", type=float, metavar="SECONDS", help="end without clients"
    )
    what.add_argument(
        "-k",
        "--socket-timeout",
        type=float,
        metavar="SECONDS",
        help="give up a client that is silent for so long (at most 60)",
    )
    what.add_argument(
        "--drain",
        nargs="?",
        const="",
        metavar="WHERE",
        help="let the ppservers that run here, or that on this address or port, finish, and end",
    )
    what.add_argument(
        "--drain-timeout", type=float, metavar="SECONDS", help="wait no longer for that"
    )
    what.add_argument("-P", "--pid-file", metavar="FILE", help="write the process number there")
    what.add_argument("-c", "--config", metavar="FILE", help="read settings from a TOML file")
    what.add_argument("--allow-root", action="store_true", help="run as root on the network")
    what.add_argument("-d", "--debug", action="store_true", help="log everything")
    what.add_argument("-f", "--format", help="format of log lines")
    keys = parser.add_argument_group("keys")
    keys.add_argument("--key-file", metavar="FILE", help="use this key file")
    keys.add_argument("--key-fd", type=int, metavar="N", help="read keys from this descriptor")
    tools = keys.add_mutually_exclusive_group()
    tools.add_argument(
        "--new-key", nargs="?", const="lab", metavar="NAME", help="make a key, and end"
    )
    tools.add_argument("--list-keys", action="store_true", help="list the keys, and end")
    tools.add_argument("--export-key", metavar="ID", help="write a key to a pipe, and end")
    tools.add_argument("--import-key", action="store_true", help="read a key, and end")
    tools.add_argument("--revoke", metavar="ID", help="take a key out, and end")
    keys.add_argument("--show", action="store_true", help="let --export-key write to a screen")
    keys.add_argument("-s", "--secret", nargs="?", const="", default=None, help=argparse.SUPPRESS)
    return parser


def _config(options: argparse.Namespace) -> Config:
    given = dict(vars(options))
    file = given.pop("config", None)
    for name in (*_TOOLS, "secret", "show", "drain", "drain_timeout"):
        given.pop(name, None)
    config = Config() if file is None else merge(Config(), read_file(file), file)
    return merge(config, given, "command line")


def _drain(options: argparse.Namespace) -> str | None:
    """Let ppservers that run here end; None if the daemon is to run, or a tool."""
    timeout = getattr(options, "drain_timeout", None)
    if not hasattr(options, "drain"):
        if timeout is not None:
            raise ConfigError("--drain-timeout is how long --drain waits; say --drain as well")
        return None
    if timeout is not None and not timeout >= 0:
        raise ConfigError(f"--drain-timeout must be 0 or more seconds, not {timeout:g}")
    return drain(runfiles.folders(os.environ), options.drain, timeout)


def _use_keytools(options: argparse.Namespace, config: Config) -> str | None:
    """Do what is asked of the key file; None if the daemon is to run."""
    if not _TOOLS & set(vars(options)):
        return None
    path = keystore.find_key_file(config.key_file or None, os.environ)
    if hasattr(options, "new_key"):
        return keytools.new_key(path, options.new_key)
    if hasattr(options, "list_keys"):
        return keytools.list_keys(path)
    if hasattr(options, "export_key"):
        show = getattr(options, "show", False)
        return keytools.export_key(path, options.export_key, show, sys.stdout)
    if hasattr(options, "import_key"):
        return keytools.import_key(path, sys.stdin)
    return keytools.revoke_key(path, options.revoke)


# The daemon.


def _serve(config: Config) -> int:
    logging.basicConfig(format=config.format, level=logging.DEBUG if config.debug else logging.INFO)
    config = config.completed()
    hosts = _hosts(config)
    _check_root(config, hosts)
    courtesy = _courtesy(config)
    keys, source = _accepted_keys(config)
    units = UnitFile(config.offers)
    environment = worker_environment(os.environ, config.workers, config.nice) | units.variables()
    sockets = listen(hosts, config.port)
    pid_file = run_file = None
    loop = new_loop()
    try:
        daemon = Daemon(loop, config, sockets, keys, environment, courtesy)
        pid_file = _write_pid_file(config)
        addresses = [Address(*sock.getsockname()[:2]) for sock in sockets]
        run_file = _write_run_file(addresses)
        _say(_greeting(config, addresses, keys, source))
        loop.run_until_complete(daemon.run())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
        units.close()
        if pid_file is not None:
            pid_file.unlink(missing_ok=True)
        if run_file is not None:
            run_file.remove()
    _say("ppserver: ended")
    return 0


def _say(text: str) -> None:
    """Print for whoever started this; he may have gone, as a terminal, or the other end of a pipe.

    That is no reason to end, nor to end with an error.
    """
    try:
        print(text, flush=True)
    except OSError:
        # Nor is it tried again at the very end, with what could not be written.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _hosts(config: Config) -> list[str]:
    hosts = list(config.listen)
    for host in hosts:
        try:
            is_loopback(host)
        except ValueError:
            raise ConfigError(
                f"--listen needs an IP address of this machine, not {host!r}"
            ) from None
    if config.lan:
        hosts += lan_addresses()
    if not config.listen:
        hosts = loopback_addresses() + hosts
    return list(dict.fromkeys(hosts))


def _check_root(config: Config, hosts: list[str]) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    exposed = [host for host in hosts if not is_loopback(host)]
    if exposed and not config.allow_root:
        raise ConfigError(
            f"running as root on {', '.join(exposed)}: every client could do anything to this "
            "machine; run it as an ordinary user, or say --allow-root"
        )
    _log.warning("running as root: jobs of every client run as root")


def _courtesy(config: Config, platform: str = sys.platform) -> Courtesy | None:
    """How slots are given back while others use the machine, if they are to be."""
    if not config.polite:
        return None
    if platform != "linux":
        raise ConfigError(
            "--polite needs Linux: elsewhere jobs that are suspended would stay for ever if this "
            "ppserver were killed; without it jobs give way by their low priority (--nice)"
        )
    politeness = Politeness(config.workers, os.cpu_count() or 1)
    return Courtesy(politeness, Neighbours().used, config.polite_after)


def _accepted_keys(config: Config) -> tuple[AcceptedKeys, str]:
    """The keys to accept and where they came from; the user's own file is made if there is none."""
    if config.key_fd >= 0:
        return AcceptedKeys(keystore.from_fd(config.key_fd), None), f"descriptor {config.key_fd}"
    if not config.key_file and (keys := keystore.from_environ(os.environ)):
        return AcceptedKeys(keys, None), "PPNEXT_KEY"
    path = keystore.find_key_file(config.key_file or None, os.environ)
    named = bool(config.key_file or os.environ.get("PPNEXT_KEY_FILE"))
    if not named and not os.path.exists(path):
        key = keystore.create(path, "lab")
        print(f"ppserver: made key {key.label} in {path}")
    file = KeyFile(path)
    accepted = AcceptedKeys(file.reload(), file)
    if not accepted.usable:
        raise ConfigError(f"{path} holds no key that can be used; make one: ppserver --new-key")
    return accepted, str(path)


def _write_pid_file(config: Config) -> Path | None:
    if not config.pid_file:
        return None
    path = Path(config.pid_file)
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise ConfigError(f"the pid file {path} cannot be written: {error.strerror}") from error
    return path


def _write_run_file(addresses: list[Address]) -> RunFile | None:
    try:
        return runfiles.create(runfiles.folders(os.environ), list(map(str, addresses)))
    except OSError as error:  # the daemon can do without
        _log.warning("`ppserver --drain` will not find this ppserver: %s", error)
        return None


def _greeting(config: Config, addresses: list[Address], keys: AcceptedKeys, source: str) -> str:
    where = ", ".join(map(str, addresses))
    labels = ", ".join(key.label for key in keys.usable)
    reachable = [address for address in addresses if not is_loopback(address.host)]
    example = (reachable or addresses)[0]
    servers = '"*"' if config.announce else f'"{example}"'
    lines = [
        f"ppserver {VERSION} listens on {where}; {config.workers} workers{_offered(config)}",
        f"  accepts: {labels} ({source})",
        f"  on the client, with the same key: ppnext.Server(ppservers=({servers},))",
    ]
    if not reachable:
        lines.append("  only this machine can reach it; --lan lets the laboratory in")
    return "\n".join(lines)


def _offered(config: Config) -> str:
    amounts = ", ".join(f"{name}={amount}" for name, amount in config.offers)
    return f"; offers {amounts}" if amounts else ""
