"""Children: one that fails, hangs or lacks something costs its peer the group and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import parse
from benchmarks.environments import NUMPY, REQUIREMENTS
from benchmarks.peers import PEERS
from benchmarks.processes import MARK, family, marked
from benchmarks.runner import ChildFailed, _watch, end, environment

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


def watch(folder: Path, program: str, seconds: float = 30.0) -> object:
    return _watch([sys.executable, "-c", program], folder, environment("none"), seconds)


def test_a_child_brings_values_and_its_start_up(tmp_path: Path) -> None:
    report = {"version": "1", "values": {"map": 2.0}, "curves": {}, "first": 0.0}
    text = json.dumps(report)
    found = watch(tmp_path, f"open('report.json', 'w').write({text!r})")
    assert found.version == "1"
    assert found.values.keys() == {"map", "startup"}


def test_what_a_child_says_last_is_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="ZeroDivisionError"):
        watch(tmp_path, "print('started'); 1 / 0")


def test_a_child_that_brings_nothing(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="it brought no result"):
        watch(tmp_path, "pass")


def test_a_child_whose_system_lacks_something(tmp_path: Path) -> None:
    text = json.dumps({"unavailable": "no broadcast"})
    with pytest.raises(ChildFailed, match="not available: no broadcast"):
        watch(tmp_path, f"open('report.json', 'w').write({text!r})")


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="did not end within"):
        watch(
            tmp_path, "input()" if sys.platform == "win32" else "import signal; signal.pause()", 1
        )


def test_settings_of_the_interpreter_do_not_reach_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    assert "PYTHONASYNCIODEBUG" not in environment("mark")
    assert environment("mark")[MARK] == "mark"


@linux
def test_what_has_gone_into_the_background_is_found_and_ended() -> None:
    program = (
        "import os, signal\n"
        "if os.fork() == 0:\n    os.setsid(); print(flush=True); os.close(1); signal.pause()\n"
    )
    mark = "test-" + str(id(program))
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(mark), stdout=subprocess.PIPE
    )
    output, _ = parent.communicate(timeout=30)
    assert output == b"\n"
    (daemon,) = marked(mark)
    assert daemon != parent.pid
    assert daemon in family(parent.pid, mark)
    end({daemon})
    assert marked(mark) == set()


def test_every_peer_has_an_environment() -> None:
    assert {peer.environment for peer in PEERS.values()} == set(REQUIREMENTS)
    pinned = [line for lines in REQUIREMENTS.values() for line in lines]
    assert all("==" in line for line in pinned)
    assert NUMPY.startswith("numpy")


@pytest.mark.parametrize("arguments", [["--peers", "nobody"], ["--groups", "none"], ["--peers"]])
def test_wrong_options_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert "error" in capsys.readouterr().err
