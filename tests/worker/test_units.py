"""Which units the present job has, as it is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import ppnext
from ppnext.errors import PpnextError
from ppnext.runtime.units import MOST, UnitFile, Units
from ppnext.worker.units import resource_ids, units


@pytest.fixture
def file() -> Iterator[UnitFile]:
    with UnitFile({"gpu": 2, "scratch": MOST + 1}) as file:
        yield file


def test_a_job_has_numbers_while_it_runs(file: UnitFile) -> None:
    with units((("gpu", 2), ("scratch", 1)), Units(file.variables())):
        assert resource_ids("gpu") == (0, 1)
        assert resource_ids("licence") == ()
    assert resource_ids("gpu") == ()


def test_they_are_given_back_by_a_job_that_raises(file: UnitFile) -> None:
    machine = Units(file.variables())
    with pytest.raises(ZeroDivisionError), units((("gpu", 2),), machine):
        raise ZeroDivisionError
    with units((("gpu", 2),), machine):
        assert resource_ids("gpu") == (0, 1)


def test_what_is_not_numbered_is_an_error_of_who_asks(file: UnitFile) -> None:
    with (
        units((("scratch", 1),), Units(file.variables())),
        pytest.raises(PpnextError, match="has no more than 1024 of it"),
    ):
        resource_ids("scratch")


def test_trouble_is_an_error_of_who_asks(file: UnitFile) -> None:
    machine = Units(file.variables())
    file.close()
    with units((("gpu", 1),), machine):
        with pytest.raises(PpnextError, match="which gpu this job has is not known: .*No such"):
            resource_ids("gpu")
        assert resource_ids("licence") == ()


def test_where_no_job_runs_there_are_none() -> None:
    assert ppnext.resource_ids("gpu") == ()
