"""The ppserver command: every option has its effect, and every mistake its one line."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ppnext.errors import ConfigError
from ppnext.runtime import keystore
from ppnext.server.cli import _courtesy, main
from ppnext.server.config import Config
from ppnext.version import VERSION
from tests.ppserver_fixture import PPServers

ROOT = str(Path(keystore.__file__).parents[2])
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command to its end, in a home directory of its own."""

    def run(
        *args: str, env: dict[str, str] | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PPNEXT_")}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": ROOT}
        environment.pop("XDG_CONFIG_HOME", None)
        environment |= env or {}
        return subprocess.run(
            [sys.executable, "-m", "ppnext.server", *args],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=environment,
            input=given,
        )

    return run


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused start says."""
    assert result.returncode == 1, result
    lines = [line for line in result.stderr.splitlines() if "jobs of every client" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ppserver: ")
    return lines[0]


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"ppserver {VERSION}\n"


@pytest.mark.parametrize("args", [("-s", "secret"), ("-s",), ("--secret=x",), ("-d", "-s", "x")])
def test_a_secret_on_the_command_line_is_answered_with_how_to_make_a_key(
    args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 1
    err = capsys.readouterr().err
    assert "ppserver --new-key" in err
    assert err.count("\n") == 1


def test_an_unknown_option_is_status_2(run: Run) -> None:
    assert run("--no-such-option").returncode == 2


# Starts that are refused.


def test_a_port_in_use_is_one_line(run: Run, key_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        args = ("--key-file", str(key_file), "-i", "127.0.0.1", "-p", str(port))
        assert f"cannot listen on 127.0.0.1:{port}" in complaint(run(*args))


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_named_key_file_that_is_missing_is_not_made(run: Run, tmp_path: Path, how: str) -> None:
    path = tmp_path / "nowhere"
    if how == "option":
        result = run("--key-file", str(path), "-p", "0")
    else:
        result = run("-p", "0", env={"PPNEXT_KEY_FILE": str(path)})
    assert "ppserver --new-key" in complaint(result)
    assert not path.exists()


def test_a_loose_key_file_is_refused_with_the_cure(run: Run, key_file: Path) -> None:
    key_file.chmod(0o640)
    line = complaint(run("--key-file", str(key_file), "-p", "0"))
    assert f"chmod 600 {key_file}" in line


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give away"
)
def test_a_key_file_of_somebody_else_is_refused(run: Run, key_file: Path) -> None:
    os.chown(key_file, 65534, 65534)
    line = complaint(run("--key-file", str(key_file), "-p", "0"))
    assert "belongs to user 65534" in line
    assert "chown" in line


def test_a_key_file_without_a_usable_key_is_refused(run: Run, key_file: Path) -> None:
    key_file.write_text(key_file.read_text().rstrip() + " expires=2001-01-01\n")
    assert "no key that can be used" in complaint(run("--key-file", str(key_file), "-p", "0"))


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_politeness_is_refused_where_a_suspended_job_would_outlive_the_daemon(
    platform: str,
) -> None:
    with pytest.raises(ConfigError, match="--polite needs Linux"):
        _courtesy(Config(polite=True), platform)
    assert _courtesy(Config(), platform) is None


def test_a_host_name_is_no_address_to_listen_on(run: Run, key_file: Path) -> None:
    line = complaint(run("--key-file", str(key_file), "-i", "localhost"))
    assert "--listen needs an IP address" in line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("--drain-timeout", "5"),
            "--drain-timeout is how long --drain waits; say --drain as well",
        ),
        (("--drain", "--drain-timeout", "-1"), "--drain-timeout must be 0 or more seconds, not -1"),
        (
            ("--drain", "--drain-timeout", "nan"),
            "--drain-timeout must be 0 or more seconds, not nan",
        ),
        (("--drain", "1", "--drain-timeout", "inf"), "listens on 1 runs on this machine"),
    ],
)
def test_a_time_for_draining_that_means_nothing_is_refused(
    run: Run, args: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    places = {"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    # A daemon that were started all the same would end by itself.
    assert said in complaint(run(*args, "--port", "0", "--idle-exit", "1", env=places))


def test_a_config_file_with_a_mistake_is_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("prot = 1\n")
    assert "lab.toml: unknown setting 'prot'" in complaint(run("-c", str(path)))


def test_a_pid_file_that_cannot_be_written(run: Run, key_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "pid"
    args = ("--key-file", str(key_file), "-p", "0", "-i", "127.0.0.1", "-P", str(path))
    assert f"the pid file {path} cannot be written" in complaint(run(*args))


# Key tools.


def test_the_life_of_a_key(run: Run, tmp_path: Path) -> None:
    made = run("--new-key")
    path = tmp_path / ".config" / "ppnext" / "keys"
    (key,) = keystore.load(path)
    short = key.kid.hex()[:8]
    assert str(path) in made.stdout
    assert f"--export-key {short}" in made.stdout
    assert key.line() not in made.stdout
    second = run("--new-key", "home")
    assert "home" in second.stdout
    listed = run("--list-keys").stdout
    assert [line.split()[1] for line in listed.splitlines()] == ["lab", "home"]
    exported = run("--export-key", short)
    assert exported.stdout == key.line() + "\n"
    revoked = run("--revoke", short)
    assert revoked.returncode == 0
    assert [it.name for it in keystore.load(path)] == ["home"]
    imported = run("--import-key", given=exported.stdout)
    assert imported.returncode == 0, imported.stderr
    assert keystore.load(path)[-1] == key
    for told in (made, second, revoked, imported):
        assert exported.stdout.split()[2] not in told.stdout + told.stderr


def test_a_key_that_is_not_there(run: Run, key_file: Path) -> None:
    args = ("--key-file", str(key_file))
    assert "holds no key whose id begins with 'ffffffff'" in complaint(
        run(*args, "--export-key", "ffffffff")
    )
    assert "fits 0 keys" in complaint(run(*args, "--revoke", "zz"))


def test_an_imported_line_that_is_no_key(run: Run, tmp_path: Path) -> None:
    result = run("--import-key", given="hunter2-hunter2\n")
    assert "ppserver --new-key" in complaint(result)
    assert "hunter2" not in result.stderr
    assert not (tmp_path / ".config" / "ppnext" / "keys").exists()


def test_key_tools_exclude_each_other(run: Run) -> None:
    assert run("--new-key", "a", "--list-keys").returncode == 2


@pytest.mark.parametrize("show", [False, True])
def test_a_key_is_shown_on_a_screen_only_when_asked_for(
    run: Run, key_file: Path, show: bool
) -> None:
    (key,) = keystore.load(key_file)
    args = ["--key-file", str(key_file), "--export-key", key.kid.hex()[:8]]
    ours, theirs = pty.openpty()
    try:
        result = subprocess.run(
            [sys.executable, "-m", "ppnext.server", *args, *(["--show"] if show else [])],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        os.close(theirs)
        screen = b""
        with contextlib.suppress(OSError):  # the end of a terminal is an error
            while data := os.read(ours, 4096):
                screen += data
    finally:
        os.close(ours)
    assert result.returncode == (0 if show else 1)
    assert (key.line().encode() in screen) is show
    if not show:
        assert screen == b""
        assert "--show" in result.stderr


# What the daemon says and does.


def test_the_greeting_says_where_whom_and_what_to_type(ppserver: PPServers, key_file: Path) -> None:
    daemon = ppserver.start()
    (key,) = keystore.load(key_file)
    log = daemon.log()
    assert f"ppserver {VERSION} listens on {daemon.address}; 2 workers" in log
    assert f"accepts: {key.label} ({key_file})" in log
    daemon.wait_for_log(rf'ppnext\.Server\(ppservers=\("{daemon.address}",\)\)')
    daemon.wait_for_log("only this machine can reach it; --lan")
    assert daemon.stop() == 0
    assert "ppserver: ended" in daemon.log()


def test_a_newcomer_gets_a_key(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ppnext.server", "-p", "0", "-w", "1", "-t", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
    )
    output, _ = process.communicate(timeout=30)
    path = tmp_path / ".config" / "ppnext" / "keys"
    (key,) = keystore.load(path)
    assert f"ppserver: made key {key.label} in {path}" in output
    assert "listens on 127.0.0.1:" in output
    assert key.line().split()[2] not in output
    assert process.returncode == 0


def test_letter_p_i_and_w(ppserver: PPServers) -> None:
    with socket.create_server(("127.0.0.2", 0)) as probe:
        port = probe.getsockname()[1]
    daemon = ppserver.start("-i", "127.0.0.2", "-p", str(port), "-w", "5")
    assert daemon.address == f"127.0.0.2:{port}"
    assert "; 5 workers" in daemon.log()


def test_letter_capital_p_is_the_pid_file(ppserver: PPServers, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    daemon = ppserver.start("-P", str(path))
    assert path.read_text() == f"{daemon.pid}\n"
    assert daemon.stop() == 0
    assert not path.exists()


def test_a_signal_in_the_moment_of_the_greeting_is_a_proper_end(
    ppserver: PPServers, tmp_path: Path
) -> None:
    for number in range(5):
        path = tmp_path / f"pid{number}"
        daemon = ppserver.start("-P", str(path))
        assert daemon.stop() == 0
        assert not path.exists()


def test_letter_t_ends_an_idle_daemon(ppserver: PPServers) -> None:
    daemon = ppserver.start("-t", "0.05")
    assert daemon.process.wait(10) == 0
    daemon.wait_for_log(r"no client for 0\.05 s: ending")


@pytest.mark.parametrize("debug", [False, True])
def test_letter_d_logs_everything(ppserver: PPServers, debug: bool) -> None:
    daemon = ppserver.start("-t", "0.05", *(["-d"] if debug else []))
    daemon.process.wait(10)
    daemon.stop()
    assert ("DEBUG" in daemon.log()) is debug


def test_letter_f_is_the_format_of_log_lines(ppserver: PPServers) -> None:
    daemon = ppserver.start("-t", "0.05", "-f", "<<%(message)s>>")
    daemon.wait_for_log("<<no client for")


def test_letter_c_reads_settings_and_options_win(ppserver: PPServers, tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("workers = 7\nidle-exit = 0.05\nport = 1\n")
    daemon = ppserver.start("-c", str(path), "-w", "3")
    assert "; 3 workers" in daemon.log()
    assert daemon.process.wait(10) == 0


def test_letter_a_announces_and_discovery_that_cannot_is_one_line(ppserver: PPServers) -> None:
    daemon = ppserver.start("-a", "--announce-on", "127.0.0.77-no-address")
    daemon.wait_for_log("not announced: discovery unavailable: .*\n")
    assert 'ppservers=("*",)' in daemon.log()
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()


def test_keys_from_a_descriptor_and_from_the_environment(
    ppserver: PPServers, key_file: Path, run: Run
) -> None:
    with key_file.open("rb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ppnext.server", "-p", "0", "-i", "127.0.0.1", "-t", "0.05",
             "--key-fd", str(file.fileno())],
            pass_fds=[file.fileno()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": ROOT},
        )  # fmt: skip
        output, _ = process.communicate(timeout=30)
    assert re.search(r"accepts: test/\w+ \(descriptor \d+\)", output)
    args = ("-p", "0", "-i", "127.0.0.1", "-t", "0.05")
    result = run(*args, env={"PPNEXT_KEY": key_file.read_text()})
    assert "(PPNEXT_KEY)" in result.stdout


def test_with_keys_of_its_own_it_needs_no_home(run: Run, key_file: Path) -> None:
    env = {"PPNEXT_KEY": key_file.read_text(), "PPNEXT_KEY_FILE": "~no-such-user/keys"}
    result = run("-p", "0", "-i", "127.0.0.1", "-t", "0.05", env=env)
    assert result.returncode == 0, result.stderr


def test_that_nobody_reads_what_it_prints_is_no_reason_to_end(key_file: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    args = ("-p", "0", "-i", "127.0.0.1", "-t", "0.05", "--key-file", str(key_file))
    with open(writing, "wb") as pipe:
        result = subprocess.run(
            [sys.executable, "-m", "ppnext.server", *args],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
    assert "no client for 0.05 s: ending" in result.stderr
    assert "Error" not in result.stderr
    assert result.returncode == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only for root")
class TestRoot:
    """Row 38: running as root."""

    def test_row_38_refused_on_the_network(self, run: Run, key_file: Path) -> None:
        line = complaint(run("--key-file", str(key_file), "-i", "192.0.2.1", "-p", "0"))
        assert "running as root on 192.0.2.1" in line
        assert "--allow-root" in line

    def test_row_38_with_the_flag_it_goes_on(self, run: Run, key_file: Path) -> None:
        args = ("--key-file", str(key_file), "-i", "192.0.2.1", "-p", "0", "--allow-root")
        # The address is not this machine's, so it ends there, and not earlier.
        assert "cannot listen on 192.0.2.1" in complaint(run(*args))

    def test_row_38_a_warning_on_the_loopback(self, ppserver: PPServers) -> None:
        daemon = ppserver.start("-t", "0.05")
        daemon.wait_for_log("running as root: jobs of every client run as root")
