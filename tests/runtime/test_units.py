"""Units: no two processes have the same ones, and nobody keeps those of the dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppnext.errors import PpnextError
from ppnext.runtime import units as module
from ppnext.runtime.units import MOST, UnitFile, Units

HOLDS = """
import os, sys
from ppnext.runtime.units import Units
with Units(os.environ).locked(eval(sys.argv[1])) as ids:
    print(ids, flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process, which has units until it is ended."""

    def __init__(self, file: UnitFile, *claimed: tuple[str, int]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, repr(claimed)],
            env={**file.variables(), "PYTHONPATH": str(Path(module.__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.ids = eval(self.process.stdout.readline())

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def file() -> Iterator[UnitFile]:
    file = UnitFile({"gpu": 3, "licence": 2, "scratch": MOST + 1})
    yield file
    file.close()


def test_a_system_without_proc_has_a_file(tmp_path: Path) -> None:
    with UnitFile({"gpu": 1}, proc=str(tmp_path)) as file:
        holder = Holder(file, ("gpu", 1))
        assert holder.ids == {"gpu": (0,)}
        holder.end()
        (variable,) = file.variables().values()
        path = Path(variable.partition(":")[2])
        assert path.is_file()
    assert not path.exists()


def test_no_two_processes_have_the_same_ones(file: UnitFile) -> None:
    one = Holder(file, ("gpu", 1))
    two = Holder(file, ("gpu", 2), ("licence", 1))
    three = Holder(file, ("licence", 1))
    for holder in (one, two, three):
        holder.end()
    assert (one.ids, two.ids) == ({"gpu": (0,)}, {"gpu": (1, 2), "licence": (0,)})
    assert three.ids == {"licence": (1,)}


@pytest.mark.parametrize("kill", [False, True])
def test_what_is_not_held_any_more_is_there_for_others(file: UnitFile, kill: bool) -> None:
    one, two = Holder(file, ("gpu", 1)), Holder(file, ("gpu", 1))
    one.end(kill)
    three = Holder(file, ("gpu", 2))
    for holder in (two, three):
        holder.end()
    assert (two.ids, three.ids) == ({"gpu": (1,)}, {"gpu": (0, 2)})


def test_what_somebody_is_about_to_lose_is_waited_for(file: UnitFile) -> None:
    """A process that is killed has its units until it has ended."""
    one = Holder(file, ("gpu", 3))
    waits = subprocess.Popen(
        [sys.executable, "-c", HOLDS, "(('gpu', 1),)"],
        env={**file.variables(), "PYTHONPATH": str(Path(module.__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    one.end(kill=True)
    told, _ = waits.communicate(timeout=30)
    assert told == "{'gpu': (0,)}\n"


def test_a_child_of_a_process_has_none_of_its_units(file: UnitFile) -> None:
    units = Units(file.variables())
    with units.locked((("gpu", 1),)):
        child = os.fork()
        if not child:
            os._exit(0)  # which closes the file, for itself
        os.waitpid(child, 0)
        other = Holder(file, ("gpu", 1))
        other.end()
    assert other.ids == {"gpu": (1,)}


def test_who_is_told_nothing_has_nothing() -> None:
    with UnitFile({}) as nothing, Units(nothing.variables()).locked((("gpu", 1),)) as ids:
        assert (nothing.variables(), ids) == ({}, {})


def test_large_amounts_have_no_numbers(file: UnitFile) -> None:
    with Units(file.variables()).locked((("gpu", 1), ("scratch", 7))) as ids:
        assert ids == {"gpu": (0,)}


def test_the_variable_is_taken_out(file: UnitFile) -> None:
    environment = {**file.variables(), "PATH": "/bin"}
    Units(environment)
    assert environment == {"PATH": "/bin"}


def test_units_that_do_not_come_free_are_named(file: UnitFile) -> None:
    other = Holder(file, ("gpu", 2))
    try:
        with (
            pytest.raises(PpnextError, match="only 1 of 2 gpu could be had within 0 s"),
            Units(file.variables(), patience=0.0).locked((("gpu", 2),)),
        ):
            raise AssertionError("there are none")
    finally:
        other.end()


def test_a_closed_file_is_an_error_of_who_wants_units(file: UnitFile) -> None:
    units = Units(file.variables())
    file.close()
    file.close()
    with pytest.raises(OSError), units.locked((("gpu", 1),)):
        raise AssertionError("there are none")


def test_where_memory_is_no_file_it_has_a_name_until_it_is_closed(tmp_path: Path) -> None:
    file = UnitFile({"gpu": 1}, folder=tmp_path)
    with Units(file.variables()).locked((("gpu", 1),)) as ids:
        assert ids == {"gpu": (0,)}
        assert len(list(tmp_path.iterdir())) == 1
    file.close()
    assert not list(tmp_path.iterdir())


def test_what_was_abandoned_in_a_forked_child_stays_with_its_parent(tmp_path: Path) -> None:
    file = UnitFile({"gpu": 1}, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    file.abandon()
    file.close()
    assert len(list(tmp_path.iterdir())) == 1
