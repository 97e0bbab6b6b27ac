"""A laboratory of its own: network namespaces joined by a bridge, with nobody else on the wire.

The client's namespace holds the bridge; each ppserver's is joined to it by a veth pair. Names
carry this process's number, so that runs do not meet; everything is removed at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

import ppnext
from tests.ppserver_fixture import LISTENS, Daemon, recorded_ppserver

__all__ = ["Lab", "lab"]

ROOT = str(Path(ppnext.__file__).parents[1])
_numbers = count()


class Lab:
    """Namespaces for a client and three machines.

    Attributes:
        client: the client's address.
        machines: address of each machine, by name.
    """

    client = "10.77.0.1"
    machines = {"a": "10.77.0.2", "b": "10.77.0.3", "c": "10.77.0.4"}  # noqa: RUF012  # read only

    def __init__(self, directory: Path, key_file: Path) -> None:
        self._directory = directory
        self._key_file = key_file
        self._prefix = f"ppn{os.getpid()}-{next(_numbers)}"
        self._namespaces: list[str] = []
        self._programs: list[subprocess.Popen[str]] = []
        self._daemons: list[Daemon] = []

    def build(self) -> None:
        """Make the namespaces and join them.

        Raises:
            CalledProcessError: this is not permitted here.
        """
        hub = self._add("hub")
        _ip("-n", hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", hub, "addr", "add", f"{self.client}/24", "dev", "br0")
        _ip("-n", hub, "link", "set", "br0", "up")
        for name, address in self.machines.items():
            machine = self._add(name)
            veth = f"to-{name}"
            _ip("-n", hub, "link", "add", veth, "type", "veth",
                "peer", "name", "eth0", "netns", machine)  # fmt: skip
            _ip("-n", hub, "link", "set", veth, "master", "br0", "up")
            _ip("-n", machine, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", machine, "link", "set", "eth0", "up")

    def unplug(self, machine: str) -> None:
        """Take the link of a machine down."""
        _ip("-n", self._name("hub"), "link", "set", f"to-{machine}", "down")

    def start_ppserver(self, machine: str, *options: str) -> Daemon:
        """Start a ppserver with one worker that announces itself by mDNS."""
        script, audit_file = recorded_ppserver()
        arguments = [
            script, "-i", self.machines[machine], "-a", "-w", "1",
            "--allow-root", "--key-file", str(self._key_file), *options,
        ]  # fmt: skip
        process = self._start(machine, *arguments, TESTS_AUDIT_FILE=str(audit_file))
        self._daemons.append(Daemon(process, self._key_file, audit_file))
        return self._daemons[-1]

    def run(self, machine: str, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Run a program."""
        return self._start(machine, "-c", code, *arguments)

    def close(self) -> None:
        """End what was started and remove what was made."""
        for process in self._programs:
            process.kill()
            process.wait(10)
        for daemon in self._daemons:
            daemon.stop()
        for process in self._programs:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        for name in self._namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False, timeout=30)

    def _start(self, machine: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PPNEXT_")}
        process = subprocess.Popen(
            ["ip", "netns", "exec", self._name(machine), sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._directory,
            env={**environment, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1", **variables},
        )
        self._programs.append(process)
        return process

    def _name(self, machine: str) -> str:
        return f"{self._prefix}{machine}"

    def _add(self, machine: str) -> str:
        name = self._name(machine)
        _ip("netns", "add", name)
        self._namespaces.append(name)
        _ip("-n", name, "link", "set", "lo", "up")
        return name


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)


@pytest.fixture
def lab(tmp_path: Path, key_file: Path) -> Iterator[Lab]:
    """The laboratory; the test is skipped where it cannot be built."""
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the command ip, which is not installed")
    lab = Lab(tmp_path, key_file)
    try:
        try:
            lab.build()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not permitted: {error.stderr.strip()}")
        yield lab
    finally:
        with suppress(subprocess.TimeoutExpired):
            lab.close()


def address_of(daemon: Daemon) -> str:
    """Wait until the daemon listens; where."""
    return daemon.wait_for_log(LISTENS.pattern)[1]
